//! From label maps on disk to a report, through manifests, and what is said when something is wrong.
#![expect(clippy::unwrap_used, reason = "test code")]

mod browser;
mod compare;
mod end_to_end;
mod flaws;
mod inputs;
mod instances;
mod options;
mod pooled;
mod remarks;
mod tables;
mod world;
