//! NIfTI: what is read, what is refused, in how much memory.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod corpus;
#[path = "../counting/mod.rs"]
mod counting;
mod files;
mod geometry;
mod limits;
mod made;
mod planes;
mod survives;
mod traps;
mod wide;
mod written;

/// Counts what each test allocates.
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;
