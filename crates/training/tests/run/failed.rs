//! Runs that an error ends, and what they leave.

use super::tiny::{Batch, SEED, Tiny, alone, source};
use super::{Watch, bytes, options, part};
use serde_json::json;
use std::path::Path;
use training::TrainingError;
use training::checkpoint::{Folder, Which, read};
use training::error::BoxedError;
use training::record::METRICS;
use training::run::{RunOptions, Session};
use training::step::{StepLoss, Task, Validation};

/// What is asked for fails at one step.
struct Failing {
    tiny: Tiny,
    validation_of: u64,
    loss_of: u64,
}

impl Task for Failing {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        // the forward pass has changed the running moments of the norm by then
        let loss = self.tiny.loss(step, batch)?;
        if step == self.loss_of { Err("a shard is gone".into()) } else { Ok(loss) }
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        self.tiny.members(batch)
    }

    fn validate(&mut self, step: u64) -> Result<Validation, BoxedError> {
        if step == self.validation_of {
            Err("a held-out case is damaged".into())
        } else {
            self.tiny.validate(step)
        }
    }
}

/// A step at which something fails: a validation, a loss, or the source of batches.
#[derive(Debug, Clone, Copy)]
enum At {
    Validation(u64),
    Loss(u64),
    Source(u64),
}

/// Starts a run that fails, and what it says.
fn fail(directory: &Path, at: At, options: &RunOptions) -> (TrainingError, Vec<String>) {
    let (validation_of, loss_of, end) = match at {
        At::Validation(step) => (step, u64::MAX, options.steps),
        At::Loss(step) => (u64::MAX, step, options.steps),
        At::Source(step) => (u64::MAX, u64::MAX, step),
    };
    let tiny = Tiny::new();
    let mut optimizer = tiny.optimizer();
    let session = Session::start(directory, json!({"net": "tiny"}), SEED, tiny.variables()).unwrap();
    let mut task = Failing { tiny, validation_of, loss_of };
    let said = Watch::default();
    let error = session
        .run_until(&mut task, &mut optimizer, &mut source(0, end), options, &mut &said, &|| false)
        .unwrap_err();
    let said = said.0.borrow().iter().map(ToString::to_string).collect();
    (error, said)
}

#[track_caller]
fn expect_same(one: &Path, other: &Path, of: &str) {
    for name in [METRICS, Which::Final.file_name(), Which::Best.file_name()] {
        assert!(bytes(one, name) == bytes(other, name), "{name} differs: {of}");
    }
}

/// An error costs no completed step: what is resumed after it gives the bits of a run without one.
#[test]
fn an_error_leaves_the_last_completed_step_on_disk() {
    let _alone = alone();
    let options = options(12);
    let whole = tempfile::tempdir().unwrap();
    part(whole.path(), false, &options, u64::MAX, &[]).unwrap();
    for at in [At::Loss(7), At::Validation(5), At::Validation(12), At::Source(10)] {
        let directory = tempfile::tempdir().unwrap();
        let (error, said) = fail(directory.path(), at, &options);
        let saved = read(&Folder::new(directory.path()).path(Which::Latest)).unwrap().state;
        let (At::Validation(step) | At::Loss(step) | At::Source(step)) = at;
        let is_due = matches!(at, At::Validation(_));
        assert_eq!((saved.step, saved.validation_due), (step, is_due), "{error}");
        assert!(said.iter().any(|line| line.starts_with(&format!("I321 saved step {step},"))), "{said:?}");
        part(directory.path(), true, &options, u64::MAX, &[]).unwrap();
        expect_same(whole.path(), directory.path(), &format!("{at:?}"));
    }
}

/// The validation that ends patience may be the one that failed: what a run records at its end is recorded all the same.
#[test]
fn patience_may_end_with_a_validation_that_is_made_up_for() {
    let _alone = alone();
    let options = RunOptions { validate_every: Some(2), log_every: 7, patience: Some(2), ..options(60) };
    let (whole, failed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ended = part(whole.path(), false, &options, u64::MAX, &[]).unwrap();
    let last = ended.state.step;
    assert!(ended.exhausted && last < 60 && !last.is_multiple_of(7), "{last}");
    fail(failed.path(), At::Validation(last), &options);
    assert!(part(failed.path(), true, &options, u64::MAX, &[]).unwrap().exhausted);
    expect_same(whole.path(), failed.path(), "after patience");
}

/// What was recorded of a validation before its checkpoint was written is not recorded twice.
#[test]
fn a_validation_that_is_due_is_recorded_once() {
    let _alone = alone();
    let options = options(12);
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part(whole.path(), false, &options, u64::MAX, &[]).unwrap();
    fail(killed.path(), At::Validation(5), &options);
    let due = bytes(killed.path(), Which::Latest.file_name());
    part(killed.path(), true, &options, 1, &[]).unwrap();
    // killed before the checkpoint that says that it was done
    fs_err::write(Folder::new(killed.path()).path(Which::Latest), due).unwrap();
    part(killed.path(), true, &options, u64::MAX, &[]).unwrap();
    expect_same(whole.path(), killed.path(), "after a kill");
}
