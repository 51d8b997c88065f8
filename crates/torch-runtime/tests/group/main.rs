//! Groups of real processes: the tests start this binary again, once per rank, with the test `worker` and a role.
#![expect(clippy::unwrap_used, reason = "test code")]

mod failures;
mod processes;
mod roles;
mod sums;

/// One rank of a group; nothing when started with the other tests.
#[test]
fn worker() {
    if let Ok(role) = std::env::var(processes::ROLE) {
        roles::play(&role);
    }
}
