//! The loop: resuming, skipping, stopping.
#![expect(clippy::unwrap_used, reason = "test code")]

mod diverged;
mod failed;
mod tiny;
mod together;

use serde_json::json;
use stage::Message;
use std::cell::{Cell, RefCell};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tiny::{SEED, Tiny, alone, batch, source};
use training::checkpoint::{Folder, Which, read};
use training::prefetch::Prefetch;
use training::record::METRICS;
use training::run::{Observer, Outcome, RunOptions, Session, StopReason};
use training::schedule::LearningRate;
use training::{Result, TrainingError};

fn options(steps: u64) -> RunOptions {
    RunOptions {
        clip: Some(1.0),
        log_every: 4,
        validate_every: Some(5),
        checkpoint_every: 3,
        score_smoothing: 0.5,
        ..RunOptions::new(steps, LearningRate::cosine(0.01, 7).with_warmup(2))
    }
}

#[derive(Default)]
struct Watch(RefCell<Vec<Message>>);

impl Observer for &Watch {
    fn message(&mut self, message: Message) {
        self.0.borrow_mut().push(message);
    }
}

/// One process's part of a run: start or resume, then train until `stop_after` steps were made here.
fn part(
    directory: &Path,
    resume: bool,
    options: &RunOptions,
    stop_after: u64,
    spoil: &[u64],
) -> Result<Outcome> {
    let mut task = Tiny::new();
    task.spoil = spoil.to_vec();
    let mut optimizer = task.optimizer();
    let plan = json!({"net": "tiny"});
    let session = if resume {
        Session::resume(directory, plan, task.variables(), &mut optimizer)?
    } else {
        Session::start(directory, plan, SEED, task.variables())?
    };
    let mut batches = source(session.state().step, options.steps);
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() >= stop_after
    };
    session.run_until(&mut task, &mut optimizer, &mut batches, options, &mut (), &stop)
}

fn bytes(directory: &Path, name: &str) -> Vec<u8> {
    fs_err::read(directory.join(name)).unwrap()
}

#[test]
fn stopping_and_resuming_gives_the_bits_of_an_uninterrupted_run() {
    let _alone = alone();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = options(20);
    let outcome = part(whole.path(), false, &options, u64::MAX, &[6]).unwrap();
    assert!(outcome.stopped.is_none() && outcome.state.step == 20 && outcome.state.skipped == 1);

    let first = part(parts.path(), false, &options, 7, &[6]).unwrap();
    assert_eq!((first.state.step, first.stopped.as_ref()), (7, Some(&StopReason::Signal)));
    assert_eq!(first.status().code(), 75);
    assert_eq!(first.message().unwrap().code, "I306");
    let second = part(parts.path(), true, &options, 6, &[6]).unwrap();
    assert_eq!(second.state.step, 13);
    let last = part(parts.path(), true, &options, u64::MAX, &[6]).unwrap();
    assert!(last.stopped.is_none());
    assert_eq!(last.status().code(), 0);

    for name in [METRICS, Which::Latest.file_name(), Which::Final.file_name(), Which::Best.file_name()] {
        assert!(bytes(whole.path(), name) == bytes(parts.path(), name), "{name} differs");
    }
    let lines = String::from_utf8(bytes(whole.path(), METRICS)).unwrap();
    assert_eq!(lines.lines().count(), 5 + 4);
    assert!(lines.contains("\"spread\":") && lines.contains("\"kind\":\"validation\""));
}

#[test]
fn a_killed_run_continues_from_its_checkpoint_with_the_same_bits() {
    let _alone = alone();
    let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part(whole.path(), false, &options(12), u64::MAX, &[]).unwrap();
    // stopped at 11 with a save; removing that save leaves what a kill after the checkpoint of step 9 leaves
    part(killed.path(), false, &options(12), 11, &[]).unwrap();
    let folder = Folder::new(killed.path());
    fs_err::rename(folder.path(Which::Previous), folder.path(Which::Latest)).unwrap();
    assert_eq!(read(&folder.path(Which::Latest)).unwrap().state.step, 9);
    part(killed.path(), true, &options(12), u64::MAX, &[]).unwrap();
    for name in [METRICS, Which::Final.file_name()] {
        assert!(bytes(whole.path(), name) == bytes(killed.path(), name), "{name} differs");
    }
}

#[test]
fn a_finished_run_can_be_resumed_and_extended() {
    let _alone = alone();
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part(whole.path(), false, &options(12), u64::MAX, &[]).unwrap();
    part(parts.path(), false, &options(8), u64::MAX, &[]).unwrap();
    let again = part(parts.path(), true, &options(8), u64::MAX, &[]).unwrap();
    assert_eq!(again.state.step, 8);
    // the final checkpoint takes no room of its own
    let inode = |which: Which| Folder::new(whole.path()).path(which).metadata().unwrap().ino();
    assert_eq!(inode(Which::Final), inode(Which::Latest));
    // what a kill between the two renames of the last checkpoint leaves, and one before the final checkpoint
    let folder = Folder::new(parts.path());
    let last = bytes(parts.path(), Which::Latest.file_name());
    fs_err::rename(folder.path(Which::Latest), folder.path(Which::Previous)).unwrap();
    fs_err::remove_file(folder.path(Which::Final)).unwrap();
    assert_eq!(part(parts.path(), true, &options(8), u64::MAX, &[]).unwrap().state.step, 8);
    for which in [Which::Latest, Which::Final] {
        assert!(last == bytes(parts.path(), which.file_name()), "{which:?}");
    }
    // which step the predecessor holds depends on interruptions
    assert!(!folder.path(Which::Previous).exists());
    part(parts.path(), true, &options(12), u64::MAX, &[]).unwrap();
    let model = |directory: &Path| read(&Folder::new(directory).path(Which::Final)).unwrap().model;
    for ((name, a), (_, b)) in model(whole.path()).iter().zip(&model(parts.path())) {
        assert!(a.equal(b), "{name}");
    }
}

#[test]
fn threads_change_nothing() {
    let _alone = alone();
    let (plain, threaded) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    part(plain.path(), false, &options(9), u64::MAX, &[]).unwrap();
    let mut task = Tiny::new();
    let mut optimizer = task.optimizer();
    let session = Session::start(threaded.path(), json!({"net": "tiny"}), SEED, task.variables()).unwrap();
    let mut batches = Prefetch::new(0, 9, 3, 4, |step| Ok(batch(step))).unwrap();
    session.run_until(&mut task, &mut optimizer, &mut batches, &options(9), &mut (), &|| false).unwrap();
    let name = Which::Final.file_name();
    assert!(bytes(plain.path(), name) == bytes(threaded.path(), name));
}

#[test]
fn three_steps_in_a_row_without_a_number_end_the_run_and_keep_the_checkpoint() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let error = part(directory.path(), false, &options(20), u64::MAX, &[3, 8, 9, 10]).unwrap_err();
    assert_eq!(error.code(), "E302");
    let message = error.message().to_string();
    for part in ["step 11", "3 in a row", "batch8 | batch9 | batch10", "Checkpoint of step 6 kept"] {
        assert!(message.contains(part), "{message}");
    }
    let kept = read(&Folder::new(directory.path()).path(Which::Latest)).unwrap();
    // step 9 was skipped: what made it so may be in the weights of step 8
    assert_eq!((kept.state.step, kept.state.skipped), (6, 1));
    for (name, tensor) in &kept.model {
        assert_eq!(tensor.isfinite().all().int64_value(&[]), 1, "{name}");
    }
}

#[test]
fn a_skipped_step_is_told_with_its_batch() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mut task = Tiny::new();
    task.spoil = vec![2];
    let mut optimizer = task.optimizer();
    let watch = Watch::default();
    let session = Session::start(directory.path(), json!({}), SEED, task.variables()).unwrap();
    session
        .run_until(&mut task, &mut optimizer, &mut source(0, 5), &options(5), &mut &watch, &|| false)
        .unwrap();
    let messages = watch.0.borrow();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].code == "W302" && messages[0].to_string().contains("batch2"), "{}", messages[0]);
}

#[test]
fn limits_and_the_stop_file_stop_and_save() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let limited = RunOptions { wall_limit: Some(Duration::ZERO), ..options(20) };
    let outcome = part(directory.path(), false, &limited, u64::MAX, &[]).unwrap();
    assert_eq!(outcome.stopped, Some(StopReason::WallLimit(Duration::ZERO)));
    // what a process did before it trained counts
    if let Some(began) = Instant::now().checked_sub(Duration::from_secs(60)) {
        let hour = Duration::from_secs(3600);
        for (limit, wanted) in [(Duration::from_secs(59), 1), (hour, 20)] {
            let directory = tempfile::tempdir().unwrap();
            let limited = RunOptions { wall_limit: Some(limit), began, ..options(20) };
            assert_eq!(part(directory.path(), false, &limited, u64::MAX, &[]).unwrap().state.step, wanted);
        }
    }
    let file = directory.path().join("STOP");
    stage::atomic::write(&file, b"").unwrap();
    let filed = RunOptions { stop_file: Some(file.clone()), ..options(20) };
    let outcome = part(directory.path(), true, &filed, u64::MAX, &[]).unwrap();
    assert_eq!((outcome.state.step, outcome.stopped), (2, Some(StopReason::StopFile(file))));
}

#[test]
fn starting_over_a_run_and_resuming_nothing_are_refused() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let nothing = part(directory.path(), true, &options(5), u64::MAX, &[]).unwrap_err();
    assert_eq!(nothing.code(), "E308");
    assert!(nothing.message().to_string().contains("Omit --resume"));
    part(directory.path(), false, &options(5), 2, &[]).unwrap();
    let twice = part(directory.path(), false, &options(5), u64::MAX, &[]).unwrap_err();
    assert_eq!(twice.code(), "E313");
    let task = Tiny::new();
    let mut optimizer = task.optimizer();
    let other = Session::resume(directory.path(), json!({"net": "huge"}), task.variables(), &mut optimizer);
    let text = other.unwrap_err().to_string();
    assert!(text.contains("net: \"tiny\" in the checkpoint, \"huge\" now"), "{text}");
    let mut fewer = task.variables();
    fewer.truncate(2);
    let other = Session::resume(directory.path(), json!({"net": "tiny"}), fewer, &mut optimizer);
    assert!(matches!(other, Err(TrainingError::OtherTensors { .. })));
}

#[test]
fn a_source_out_of_step_or_too_short_is_an_error() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mut task = Tiny::new();
    let mut optimizer = task.optimizer();
    let session = Session::start(directory.path(), json!({}), SEED, task.variables()).unwrap();
    let run =
        session.run_until(&mut task, &mut optimizer, &mut source(1, 9), &options(9), &mut (), &|| false);
    assert!(run.unwrap_err().to_string().contains("gave the batch of step 2, expected 1"));
    let session = Session::start(directory.path(), json!({}), SEED, task.variables()).unwrap();
    let run =
        session.run_until(&mut task, &mut optimizer, &mut source(0, 2), &options(9), &mut (), &|| false);
    assert!(run.unwrap_err().to_string().contains("ended early"));
}

#[test]
fn an_equal_score_is_no_new_best() {
    let _alone = alone();
    struct Scored(Tiny, Vec<f64>);
    impl training::step::Task for Scored {
        type Batch = tiny::Batch;
        fn loss(
            &mut self,
            step: u64,
            batch: &Self::Batch,
        ) -> std::result::Result<training::step::StepLoss, training::error::BoxedError> {
            self.0.loss(step, batch)
        }
        fn members(&self, batch: &Self::Batch) -> Vec<String> {
            self.0.members(batch)
        }
        fn validate(
            &mut self,
            step: u64,
        ) -> std::result::Result<training::step::Validation, training::error::BoxedError> {
            let score = Some(self.1[step as usize - 1]);
            Ok(training::step::Validation { score, ..Default::default() })
        }
    }
    // the way back to it, 10/24 + (23/24 − 10/24), ends a last digit above 23/24
    let scores = [11.0, 23.0, 10.0, 23.0].map(|right| right / 24.0);
    assert!(scores[2] + (scores[3] - scores[2]) > scores[3]);
    let directory = tempfile::tempdir().unwrap();
    let tiny = Tiny::new();
    let mut optimizer = tiny.optimizer();
    let session = Session::start(directory.path(), json!({}), SEED, tiny.variables()).unwrap();
    let options = RunOptions { validate_every: Some(1), score_smoothing: 0.0, ..options(4) };
    let mut task = Scored(tiny, scores.to_vec());
    let run = session
        .run_until(&mut task, &mut optimizer, &mut source(0, 4), &options, &mut (), &|| false)
        .unwrap();
    assert_eq!(run.state.best.map(|best| (best.step, best.score)), Some((2, scores[1])));
}

#[test]
fn a_refusal_by_libtorch_is_an_error_of_one_line() {
    let _alone = alone();
    struct Wrong(Tiny);
    impl training::step::Task for Wrong {
        type Batch = tiny::Batch;
        fn loss(
            &mut self,
            _step: u64,
            _batch: &Self::Batch,
        ) -> std::result::Result<training::step::StepLoss, training::error::BoxedError> {
            let total = tch::Tensor::zeros([2, 3], tch::kind::FLOAT_CPU)
                .matmul(&tch::Tensor::zeros([2, 3], tch::kind::FLOAT_CPU));
            Ok(training::step::StepLoss { total, parts: Vec::new() })
        }
        fn members(&self, batch: &Self::Batch) -> Vec<String> {
            self.0.members(batch)
        }
        fn validate(
            &mut self,
            _step: u64,
        ) -> std::result::Result<training::step::Validation, training::error::BoxedError> {
            Err("never called".into())
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let tiny = Tiny::new();
    let mut optimizer = tiny.optimizer();
    let session = Session::start(directory.path(), json!({}), SEED, tiny.variables()).unwrap();
    let run =
        session
            .run_until(&mut Wrong(tiny), &mut optimizer, &mut source(0, 9), &options(9), &mut (), &|| false);
    let error = run.unwrap_err();
    assert!(matches!(error, TrainingError::Torch { step: 1, .. }), "{error}");
    assert!(!error.to_string().contains('\n') && error.to_string().contains("mat1"), "{error}");
}
