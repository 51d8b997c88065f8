//! The stage on small data sets: what it writes, how it goes on after an interruption, and what it refuses.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod clean_up;
mod device;
mod ensembles;
mod formats;
mod objects;
mod predict;
mod probabilities;
mod processes;
mod resume;
mod schedule;
mod support;
mod targets;
mod train;
