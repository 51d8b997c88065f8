//! Runs whose last weights give no finite numbers.

use crate::tiny::{Batch, SEED, Tiny, alone, source};
use crate::{Watch, options, part};
use serde_json::json;
use training::TrainingError;
use training::checkpoint::{Folder, Which};
use training::error::BoxedError;
use training::record::METRICS;
use training::run::{RunOptions, Session};
use training::step::{StepLoss, Task, Validation};

/// With these scores, one after the other.
struct Scored(Tiny, Vec<f64>);

impl Task for Scored {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        self.0.loss(step, batch)
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        self.0.members(batch)
    }

    fn validate(&mut self, step: u64) -> Result<Validation, BoxedError> {
        Ok(Validation { score: Some(self.1[step as usize - 1]), ..Validation::default() })
    }
}

#[test]
fn a_last_validation_without_numbers_is_no_score_and_no_good_end() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let options = RunOptions { validate_every: Some(1), score_smoothing: 0.0, ..options(3) };
    let run = |scores: [f64; 3], resume: bool, watch: &Watch| {
        let tiny = Tiny::new();
        let mut optimizer = tiny.optimizer();
        let session = match resume {
            true => Session::resume(directory.path(), json!({}), tiny.variables(), &mut optimizer).unwrap(),
            false => Session::start(directory.path(), json!({}), SEED, tiny.variables()).unwrap(),
        };
        let mut batches = source(session.state().step, 3);
        let mut task = Scored(tiny, scores.to_vec());
        session.run_until(&mut task, &mut optimizer, &mut batches, &options, &mut &*watch, &|| false)
    };
    let watch = Watch::default();
    let error = run([0.5, f64::NAN, f64::NAN], false, &watch).unwrap_err();
    assert!(matches!(error, TrainingError::Diverged { step: 3, best: Some(1), .. }), "{error}");
    let said = error.message().to_string();
    assert!(said.starts_with("E302") && said.contains("that of the best validation is of step 1"), "{said}");
    assert_eq!(watch.0.borrow().iter().filter(|message| message.code == "W302").count(), 2);
    let records = fs_err::read_to_string(directory.path().join(METRICS)).unwrap();
    let scored = records.lines().filter(|line| line.contains("\"score\"")).count();
    assert_eq!(scored, 1, "{records}");
    // the checkpoint is there, and repeating the command ends alike
    let folder = Folder::new(directory.path());
    assert!(folder.path(Which::Latest).is_file() && !folder.path(Which::Final).exists());
    let again = run([0.5, f64::NAN, f64::NAN], true, &Watch::default()).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
}

#[test]
fn a_validation_that_was_not_finite_before_is_forgiven() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let options = RunOptions { validate_every: Some(1), score_smoothing: 0.0, ..options(2) };
    let tiny = Tiny::new();
    let mut optimizer = tiny.optimizer();
    let session = Session::start(directory.path(), json!({}), SEED, tiny.variables()).unwrap();
    let mut task = Scored(tiny, vec![f64::NAN, 0.25]);
    let outcome = session
        .run_until(&mut task, &mut optimizer, &mut source(0, 2), &options, &mut (), &|| false)
        .unwrap();
    assert_eq!(outcome.state.best.map(|best| best.step), Some(2));
}

#[test]
fn a_run_whose_last_steps_were_skipped_has_no_good_end() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let error = part(directory.path(), false, &options(5), u64::MAX, &[3, 4]).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("ends at step 5") && said.contains("the last 2 steps had no finite loss"),
        "{said}"
    );
    assert!(Folder::new(directory.path()).path(Which::Latest).is_file());
    // of one step its batch may be to blame
    let directory = tempfile::tempdir().unwrap();
    part(directory.path(), false, &options(5), u64::MAX, &[4]).unwrap();
}
