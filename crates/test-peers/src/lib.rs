//! What tests run beside the code under test: the Python of the test environment, with which results are compared, and several
//! processes of a program that train together.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod python;
mod ranks;

pub use python::{python, run_script, venv};
pub use ranks::{as_rank, free_port, kill_one_of_two, run_ranks, torchrun_two};

/// The device of tests that are for GPUs: the first GPU, or what `GTGM_TEST_DEVICE` says.
#[must_use]
pub fn test_device() -> String {
    std::env::var("GTGM_TEST_DEVICE").unwrap_or_else(|_| "cuda".to_owned())
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it wrote on standard error.
    pub text: String,
}

impl Ended {
    /// Expects an exit code; gives what was said.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "often the exit code is all that matters")]
    pub fn expect(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}", self.text);
        self.text
    }
}
