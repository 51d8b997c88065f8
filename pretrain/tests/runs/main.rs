//! The stage on small data sets: what it writes, how it goes on after an interruption, and what it refuses.
#![expect(clippy::unwrap_used, reason = "test code")]

mod alike;
mod choices;
mod device;
mod finite;
mod killed;
mod processes;
mod refused;
mod resume;
mod started;
mod support;
mod trained;
mod twins;
