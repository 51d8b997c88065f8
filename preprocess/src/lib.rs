//! Raw volumes to shards: canonical orientation, target spacing, intensity rule, foreground crop, Zarr v3.
//!
//! Cases are worked on in parallel and independently; a bad case is reported and skipped. A case that is already there
//! and was made from the same bytes by the same rules is kept, so a killed run continues where it stopped.
//!
//! Memory: a case in memory takes 4 bytes per channel for each voxel read and each voxel made, then 4 (objects: 8) per voxel
//! of its labels beside the latter, and one shard being written. Cases are let in while their sum stays below `--max-ram`;
//! one that is larger goes through temporary files and takes some 300 MiB, whatever its size.
//!
//! Around a run: `plan` measures a data set, `info` looks at raw files, `preview` draws cases before and after, `verify` checks what was written and
//! makes single cases anew.

mod admission;
mod arguments;
mod before;
mod case;
mod cli;
mod convert;
mod data_set;
mod estimate;
mod finish;
mod info;
mod inputs;
mod messages;
mod output;
mod plan;
mod preflight;
mod preview;
mod resources;
mod run;
mod treatment;
mod verify;

pub use cli::{Arguments, run};
