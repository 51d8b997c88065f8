//! The shard store: what is written is what is read, here and by zarr-python.
#![expect(clippy::unwrap_used, reason = "test code")]

mod damage;
mod python;
mod round_trip;
mod support;
mod writing;
