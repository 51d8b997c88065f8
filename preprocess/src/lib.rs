//! Raw volumes to shards: canonical orientation, target spacing, intensity rule, foreground crop, Zarr v3.
//!
//! Cases are worked on in parallel and independently; a bad case is reported and skipped. A case that is already there
//! and was made from the same bytes by the same rules is kept, so a killed run continues where it stopped.
//!
//! Memory: a worker holds one case, some 16 bytes per voxel of the larger of its two grids and channel, and its labels;
//! `--max-ram` decides how many workers that allows.
//!
//! Around a run: `plan` measures a data set, `info` looks at raw files, `preview` draws cases before and after, `verify` checks what was written and
//! makes single cases anew.

mod arguments;
mod before;
mod case;
mod cli;
mod convert;
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
mod verify;

pub use cli::{Arguments, run};
