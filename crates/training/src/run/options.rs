//! Options of the loop, how a run can end, and who watches it.

use crate::checkpoint::RunState;
use crate::record::Values;
use crate::schedule::LearningRate;
use crate::{Result, TrainingError};
use stage::{ExitStatus, Message};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Options of the loop.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Steps in all, earlier ones of a resumed run included.
    pub steps: u64,
    /// Learning rate by step.
    pub lr: LearningRate,
    /// Largest gradient norm.
    pub clip: Option<f64>,
    /// A record line every so many steps (and after the last).
    pub log_every: u64,
    /// A validation every so many steps (and after the last); `None` for never.
    pub validate_every: Option<u64>,
    /// A checkpoint every so many steps (and after the last, and on a stop).
    pub checkpoint_every: u64,
    /// Share of the old value in the smoothed validation score that chooses the best checkpoint: 0 takes each score as it
    /// is, nnU-Net smooths with 0.9.
    pub score_smoothing: f64,
    /// Consecutive steps without a finite loss or gradient after which the run gives up.
    pub skips_allowed: u32,
    /// The run is complete after so many validations in a row without a better (smoothed) score; `None` for never.
    pub patience: Option<u32>,
    /// Stop and save after this time since [`Self::began`].
    pub wall_limit: Option<Duration>,
    /// When the process began, which reads and checks its inputs before it trains: what a job's limit counts.
    pub began: Instant,
    /// Stop and save as soon as this file exists.
    pub stop_file: Option<PathBuf>,
}

impl RunOptions {
    /// No clipping, validation, or limits; a line every 10 steps, a checkpoint every 500, the end after the third skip.
    #[must_use]
    pub fn new(steps: u64, lr: LearningRate) -> Self {
        Self {
            steps,
            lr,
            clip: None,
            log_every: 10,
            validate_every: None,
            checkpoint_every: 500,
            score_smoothing: 0.0,
            skips_allowed: 3,
            patience: None,
            wall_limit: None,
            began: Instant::now(),
            stop_file: None,
        }
    }

    /// Refuses what no run can follow.
    ///
    /// # Errors
    /// On a rate, an interval or a limit outside its range.
    pub fn check(&self) -> Result<()> {
        self.lr.check()?;
        let refuse = |name, found: String, expected: &str| {
            Err(TrainingError::Option { name, found, expected: expected.to_owned() })
        };
        for (name, value) in [
            ("steps", self.steps),
            ("log_every", self.log_every),
            ("checkpoint_every", self.checkpoint_every),
            ("validate_every", self.validate_every.unwrap_or(1)),
            ("skips_allowed", u64::from(self.skips_allowed)),
            ("patience", u64::from(self.patience.unwrap_or(1))),
        ] {
            if value == 0 {
                return refuse(name, "0".to_owned(), "at least 1");
            }
        }
        if let Some(clip) = self.clip
            && !(clip.is_finite() && clip > 0.0)
        {
            return refuse("clip", clip.to_string(), "above 0");
        }
        if self.patience.is_some() && self.validate_every.is_none() {
            return refuse("validate_every", "none".to_owned(), "some, for patience to count");
        }
        if !(0.0..1.0).contains(&self.score_smoothing) {
            return refuse("score_smoothing", self.score_smoothing.to_string(), "0 to below 1");
        }
        Ok(())
    }
}

/// Why a run stopped before its last step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGTERM, SIGINT or SIGUSR1.
    Signal,
    /// The stop file appeared.
    StopFile(PathBuf),
    /// The wall-time limit was reached.
    WallLimit(Duration),
    /// Another process of the run had to stop.
    Peer,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Where it stands now; saved as the latest checkpoint.
    pub state: RunState,
    /// `None` where it is complete.
    pub stopped: Option<StopReason>,
    /// Whether it is complete before the last step, since no validation was better any more.
    pub exhausted: bool,
}

impl Outcome {
    /// The exit status that belongs to it.
    #[must_use]
    pub fn status(&self) -> ExitStatus {
        if self.stopped.is_some() { ExitStatus::Interrupted } else { ExitStatus::Done }
    }

    /// What to tell people about a stop (I306).
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        let reason = match self.stopped.as_ref()? {
            StopReason::Signal => "asked to stop by a signal".to_owned(),
            StopReason::StopFile(path) => format!("found {}", path.display()),
            StopReason::Peer => "another process of this run had to stop".to_owned(),
            StopReason::WallLimit(limit) => format!("{} s are over", limit.as_secs()),
        };
        Some(
            Message::info("I306", format!("{reason}: saved step {}", self.state.step))
                .fix("Repeat the command to continue"),
        )
    }
}

/// What the loop tells while it runs; every method does nothing by default.
pub trait Observer {
    /// After every step.
    fn step(&mut self, _step: u64, _steps: u64) {}
    /// After a record line.
    fn logged(&mut self, _step: u64, _metrics: &Values, _timing: &Values) {}
    /// After a validation.
    fn validated(&mut self, _step: u64, _values: &Values, _is_best: bool) {}
    /// On anything unusual.
    fn message(&mut self, _message: Message) {}
}

impl Observer for () {}

/// Whether patience is at an end: a function of the state alone, so that a resumed run ends where it would have.
pub(super) fn exhausted(options: &RunOptions, state: &RunState) -> bool {
    let (Some(patience), Some(every), Some(best)) = (options.patience, options.validate_every, state.best)
    else {
        return false;
    };
    // the last step validates too, wherever it lies: it ends the run anyway
    state.step - best.step.min(state.step) >= u64::from(patience) * every
}

pub(super) fn stop_reason(options: &RunOptions, requested: &dyn Fn() -> bool) -> Option<StopReason> {
    if requested() {
        return Some(StopReason::Signal);
    }
    if let Some(file) = options.stop_file.as_ref().filter(|file| file.exists()) {
        return Some(StopReason::StopFile(file.clone()));
    }
    options.wall_limit.filter(|limit| options.began.elapsed() >= *limit).map(StopReason::WallLimit)
}
