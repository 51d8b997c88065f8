//! The writer `api` against scripted servers.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code; what is measured is printed")]

mod bench;
#[path = "../common/mod.rs"]
mod common;

mod batch;
mod batch_server;
mod batches;
mod body;
mod failures;
mod limits;
mod load;
mod objects;
mod replacing;
mod replies;
mod resuming;
mod server;
