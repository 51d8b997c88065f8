//! What the stages write down and read back: manifests, case tables, dataset descriptors, splits and the records of the
//! text stage, with their digests and their JSON Schemas.
//!
//! Stages meet only through these types. A stage directory is finished when it holds a `manifest.json`, which is written
//! last; everything below the directory is covered by it, so that [`verify::verify`] finds one flipped byte.

pub mod cases;
pub mod command;
mod derive;
pub mod descriptor;
pub mod digest;
pub mod manifest;
pub mod phantom;
pub mod plan;
pub mod raw;
pub mod records;
pub mod rules;
pub mod schema;
pub mod seen;
pub mod splits;
pub mod verify;

pub use cases::{CaseRow, CaseSplit, CaseStatus};
pub use command::run;
pub use descriptor::Descriptor;
pub use manifest::{Artefact, Manifest};
pub use plan::Plan;
