//! What only shows after many cases, large volumes, full disks and many kills. `make test-long` runs the ignored ones too.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

mod disk;
mod kill;
mod large;
mod many;
mod measured;
#[path = "../runs/support.rs"]
#[expect(dead_code, reason = "shared with the other test program, which uses all of it")]
mod support;
