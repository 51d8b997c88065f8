//! Whole runs on small data sets in real layouts, in this process and as processes.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

mod aligned;
mod commands;
mod flawed;
mod formats;
mod look;
mod planned;
mod repair;
mod resume;
mod roots;
mod selection;
mod stacks;
mod support;
mod values;
mod verified;
mod zarr;
