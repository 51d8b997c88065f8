//! The training loop that pretraining and fine-tuning share.
//!
//! Order within a step: batch, seed LibTorch for the step, loss, backward, clip, update; then, where due, record line,
//! validation, checkpoint, and the questions whether to stop. Everything that the next step depends on is in the
//! checkpoint or a function of (seed, step), so that N + M steps and N, stop, M steps give the same bits (on one machine
//! with one number of threads).

mod clock;
mod ending;
mod files;
mod open;
mod options;
mod reporter;
mod rescue;

pub use files::role_of;
pub use open::Opening;
pub use options::{Observer, Outcome, RunOptions, StopReason};
pub use reporter::Reporter;

use crate::checkpoint::{Best, Contents, Folder, Keep, Notes, RunState, Which};
use crate::compute::{computed_on, other_place};
use crate::optimizer::Optimizer;
use crate::parallel::Peers;
use crate::random::{Purpose, seed_torch};
use crate::record::{Record, VALIDATION, Values, progress};
use crate::step::{Attempt, BatchSource, Buffers, Fetched, Suspects, Task, attempt, torch_call};
use crate::{Result, TrainingError};
use clock::Clock;
use pictures::Canvas;
use rescue::Failure;
use serde_json::Value;
use stage::Message;
use std::path::Path;
use std::time::Instant;
use tch::{Device, Tensor};

/// What a run keeps on disk.
#[derive(Debug)]
struct Disk {
    folder: Folder,
    record: Record,
    /// Whether the latest checkpoint is there and whole.
    has_latest: bool,
}

/// A run's directory, record and state, ready to be continued. Of several processes only the first has the directory.
#[derive(Debug)]
pub struct Session {
    disk: Option<Disk>,
    peers: Option<Peers>,
    plan: Value,
    notes: Notes,
    variables: Vec<(String, Tensor)>,
    state: RunState,
    messages: Vec<Message>,
}

/// Where a model is.
fn device_of(variables: &[(String, Tensor)]) -> Device {
    variables.first().map_or(Device::Cpu, |(_, variable)| variable.device())
}

impl Session {
    /// Starts a run in `directory`. `variables` are all of the model's ([`crate::optimizer::named_variables`]); `plan` is
    /// what a resumed run must agree with.
    ///
    /// # Errors
    /// When the directory already holds a run, or cannot be written.
    pub fn start(directory: &Path, plan: Value, seed: u64, variables: Vec<(String, Tensor)>) -> Result<Self> {
        let folder = Folder::new(directory);
        if folder.has_run() {
            return Err(TrainingError::RunExists { directory: directory.to_owned() });
        }
        folder.clear()?;
        let record = Record::create(directory)?;
        let state = RunState { seed, computed_on: computed_on(device_of(&variables)), ..RunState::default() };
        let disk = Some(Disk { folder, record, has_latest: false });
        Ok(Self { disk, peers: None, plan, notes: Notes::new(), variables, state, messages: Vec::new() })
    }

    /// This process's part in the run of another one, which has the directory; [`Session::with_peers`] brings the state.
    #[must_use]
    pub fn follow(plan: Value, seed: u64, variables: Vec<(String, Tensor)>) -> Self {
        let state = RunState { seed, ..RunState::default() };
        Self { disk: None, peers: None, plan, notes: Notes::new(), variables, state, messages: Vec::new() }
    }

    /// Trains together with other processes: all of them start from the first one's weights, optimiser and counters.
    ///
    /// # Errors
    /// When a process is lost, or holds another model.
    pub fn with_peers(mut self, peers: Peers, optimizer: &mut Optimizer) -> Result<Self> {
        self.state = peers.share(&self.variables, optimizer, self.state)?;
        self.peers = Some(peers);
        Ok(self)
    }

    /// Continues the run in `directory`: weights, optimiser state, counters and record as of its latest checkpoint.
    ///
    /// # Errors
    /// Without a usable checkpoint, under another plan, with a damaged record, or with other variables or parameters; variables and
    /// optimiser are as they were then.
    pub fn resume(
        directory: &Path,
        plan: Value,
        variables: Vec<(String, Tensor)>,
        optimizer: &mut Optimizer,
    ) -> Result<Self> {
        let folder = Folder::new(directory);
        let loaded = folder.load_latest()?;
        loaded.checkpoint.check_plan(&plan, &loaded.path)?;
        loaded.checkpoint.check_model(&variables)?;
        let (step, is_due) = (loaded.checkpoint.state.step, loaded.checkpoint.state.validation_due);
        let (record, removed) = Record::resume(directory, step, is_due)?;
        // last, and by themselves all or nothing: a run that cannot go on leaves them as they were, so that another may begin with them
        loaded.checkpoint.restore_optimizer(optimizer)?;
        loaded.checkpoint.restore_model(&variables)?;
        let mut state = loaded.checkpoint.state;
        let has_latest = loaded.warning.is_none();
        let mut messages = Vec::from_iter(loaded.warning);
        messages.push(Message::info("I318", format!("resuming after step {}", state.step)));
        let here = computed_on(device_of(&variables));
        messages.extend(other_place(&state.computed_on, &here));
        state.computed_on = here;
        if removed > 0 {
            messages.push(Message::info(
                "I319",
                format!("removed {removed} record lines that are newer than the checkpoint"),
            ));
        }
        let disk = Some(Disk { folder, record, has_latest });
        Ok(Self { disk, peers: None, plan, notes: Notes::new(), variables, state, messages })
    }

    /// What checkpoints say beside plan and state: who made the weights of what, for those who get the file alone.
    #[must_use]
    pub fn with_notes(mut self, notes: Notes) -> Self {
        self.notes = notes;
        self
    }

    /// Where the run stands; batches must begin at `state().step`, drawn from `state().seed`.
    #[must_use]
    pub fn state(&self) -> &RunState {
        &self.state
    }

    /// Trains up to `options.steps`, or until asked to stop. A finished run leaves `checkpoint_final.safetensors`.
    ///
    /// # Errors
    /// On bad options, a failing task or source, too many steps in a row without a finite loss or gradient (the checkpoint
    /// on disk stays the last good one), memory running out, or a failure to write. Where the weights are still those of the last
    /// completed step, that is saved first.
    pub fn run<T: Task>(
        self,
        task: &mut T,
        optimizer: &mut Optimizer,
        source: &mut dyn BatchSource<Batch = T::Batch>,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<Outcome> {
        self.run_until(task, optimizer, source, options, observer, &stage::interrupt::requested)
    }

    /// [`Session::run`] with another answer to "was a stop asked for?" than the process's signals.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_until<T: Task>(
        mut self,
        task: &mut T,
        optimizer: &mut Optimizer,
        source: &mut dyn BatchSource<Batch = T::Batch>,
        options: &RunOptions,
        observer: &mut dyn Observer,
        stop_requested: &dyn Fn() -> bool,
    ) -> Result<Outcome> {
        options.check()?;
        for message in std::mem::take(&mut self.messages) {
            observer.message(message);
        }
        let buffers = Buffers::new(&self.variables);
        let mut saved = self.disk.as_ref().and_then(|disk| disk.folder.has_run().then_some(self.state.step));
        let ended =
            self.steps(task, optimizer, source, options, observer, stop_requested, &buffers, &mut saved);
        let (done, stopped) = match ended {
            Ok(ended) => ended,
            Err(failure) => return Err(self.rescue(failure, optimizer, &buffers, saved, observer)),
        };
        if stopped.is_none() {
            // a run that was complete before holds its last step as the predecessor alone if it was killed in between
            if self.disk.as_ref().is_some_and(|disk| !disk.has_latest) {
                self.save(Which::Latest, optimizer)?;
            }
            self.expect_finite_end()?;
            if let Some(disk) = &self.disk {
                disk.folder.finish()?;
            }
        }
        Ok(Outcome { exhausted: done && stopped.is_none(), state: self.state, stopped })
    }

    /// The steps, up to the end or a stop: whether patience is at an end, and why to stop.
    #[expect(clippy::too_many_arguments, reason = "the loop's own locals")]
    fn steps<T: Task>(
        &mut self,
        task: &mut T,
        optimizer: &mut Optimizer,
        source: &mut dyn BatchSource<Batch = T::Batch>,
        options: &RunOptions,
        observer: &mut dyn Observer,
        stop_requested: &dyn Fn() -> bool,
        buffers: &Buffers,
        saved: &mut Option<u64>,
    ) -> std::result::Result<(bool, Option<StopReason>), Failure> {
        let device = device_of(&self.variables);
        let mut clock = Clock::new(self.state.step, self.peers.as_ref().map_or(1, Peers::size), device);
        let mut suspects = Suspects::default();
        let mut stopped = None;
        let is_due = self.state.validation_due && options.validate_every.is_some();
        if is_due {
            self.validate(task, optimizer, options, observer)?;
        }
        let mut done = self.is_exhausted(options)?;
        if is_due {
            if done && self.state.step < options.steps && !self.state.step.is_multiple_of(options.log_every) {
                self.log(options, &mut clock, observer).map_err(Failure::Writing)?;
            }
            self.save(Which::Latest, optimizer).map_err(Failure::Writing)?;
            *saved = Some(self.state.step);
        }
        let mut ahead = None;
        while self.state.step < options.steps && stopped.is_none() && !done {
            let fetched = match ahead.take() {
                Some(fetched) => fetched,
                None => source.next(),
            };
            let Some(fetched) = fetched? else {
                return Err(self.source_error("the source of batches ended early".to_owned()).into());
            };
            if fetched.step != self.state.step {
                let text = format!(
                    "the source gave the batch of step {}, expected {}",
                    fetched.step + 1,
                    self.state.step + 1
                );
                return Err(self.source_error(text).into());
            }
            clock.waited += fetched.waited;
            clock.made += fetched.made;
            clock.patches += task.patches(&fetched.batch);
            let next_step = self.state.step + 1;
            let mut meanwhile = |task: &mut T| {
                if !device.is_cuda() || next_step >= options.steps {
                    return;
                }
                let next = source.next();
                if let Ok(Some(Fetched { step, batch, .. })) = &next
                    && *step == next_step
                {
                    // what fails there fails again where it is needed, and then costs no step that is under way
                    let _tried = torch_call(next_step, || task.prepare(next_step, batch));
                }
                ahead = Some(next);
            };
            let batch = &fetched.batch;
            self.one(
                task,
                optimizer,
                batch,
                options,
                observer,
                buffers,
                &mut suspects,
                *saved,
                &mut meanwhile,
            )?;
            observer.step(self.state.step, options.steps);

            let last = self.state.step >= options.steps;
            if last || self.state.step.is_multiple_of(options.log_every) {
                self.log(options, &mut clock, observer).map_err(Failure::Writing)?;
            }
            if let Some(every) = options.validate_every
                && (last || self.state.step.is_multiple_of(every))
            {
                let paused = Instant::now();
                self.state.validation_due = true;
                self.validate(task, optimizer, options, observer)?;
                clock.exclude(paused.elapsed());
            }
            if options.validate_every.is_some_and(|every| self.state.step.is_multiple_of(every)) {
                done = self.is_exhausted(options)?;
            }
            if done && !last && !self.state.step.is_multiple_of(options.log_every) {
                self.log(options, &mut clock, observer).map_err(Failure::Writing)?;
            }
            let complete = last || done;
            stopped = if complete { None } else { self.stop_reason(options, stop_requested)? };
            // what made steps fail may have come with the weights of the step before them: no regular checkpoint takes the place of an earlier one
            // until a step succeeds again
            let regular =
                self.state.skipped_in_a_row == 0 && self.state.step.is_multiple_of(options.checkpoint_every);
            if complete || stopped.is_some() || regular {
                self.save(Which::Latest, optimizer).map_err(Failure::Writing)?;
                *saved = Some(self.state.step);
            }
        }
        Ok((done, stopped))
    }

    fn source_error(&self, text: String) -> TrainingError {
        TrainingError::Batch { step: self.state.step + 1, source: text.into() }
    }

    #[expect(clippy::too_many_arguments, reason = "the loop's own locals")]
    fn one<T: Task>(
        &mut self,
        task: &mut T,
        optimizer: &mut Optimizer,
        batch: &T::Batch,
        options: &RunOptions,
        observer: &mut dyn Observer,
        buffers: &Buffers,
        suspects: &mut Suspects,
        saved: Option<u64>,
        meanwhile: &mut dyn FnMut(&mut T),
    ) -> Result<()> {
        let step = self.state.step;
        seed_torch(self.state.seed, step, Purpose::Step);
        let (lr, peers) = (options.lr.at(step), self.peers.as_ref());
        let tried = attempt(task, optimizer, step, batch, lr, options.clip, peers, meanwhile)?;
        self.state.step += 1;
        match tried {
            Attempt::Updated(values) => {
                self.state.skipped_in_a_row = 0;
                suspects.clear();
                buffers.keep()?;
                self.state.window.add(values);
                Ok(())
            }
            Attempt::NotFinite(what) => {
                buffers.restore()?;
                self.state.skipped += 1;
                self.state.skipped_in_a_row += 1;
                let members = task.members(batch);
                suspects.add(&members, options.skips_allowed as usize);
                if self.state.skipped_in_a_row >= options.skips_allowed {
                    if let Some(disk) = &mut self.disk {
                        disk.record.sync()?;
                    }
                    return Err(TrainingError::NotFinite {
                        what,
                        step: self.state.step,
                        in_row: self.state.skipped_in_a_row,
                        batches: suspects.list(),
                        kept: saved,
                    });
                }
                observer.message(
                    Message::warning(
                        "W302",
                        format!("{what} is not finite at step {}: no update", self.state.step),
                    )
                    .detail(match &self.peers {
                        // a task may name the patches of this process alone
                        Some(_) if members.len() == task.patches(batch) => {
                            format!("Of the batch the first process has: {}", members.join(","))
                        }
                        _ => format!("Batch: {}", members.join(",")),
                    }),
                );
                Ok(())
            }
        }
    }

    fn log(&mut self, options: &RunOptions, clock: &mut Clock, observer: &mut dyn Observer) -> Result<()> {
        let window = std::mem::take(&mut self.state.window);
        let step = self.state.step;
        let mut metrics: Values = window.means();
        metrics.insert("lr".to_owned(), options.lr.at(step - 1));
        metrics.insert("skipped".to_owned(), self.state.skipped as f64);
        let timing = clock.lap(step)?;
        if let Some(Disk { record, .. }) = &mut self.disk {
            record.metrics(step, "step", &metrics)?;
            record.timing(step, "step", &timing)?;
        }
        observer.logged(step, &metrics, &timing);
        Ok(())
    }

    fn validate<T: Task>(
        &mut self,
        task: &mut T,
        optimizer: &mut Optimizer,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> std::result::Result<(), Failure> {
        let step = self.state.step;
        let started = Instant::now();
        // after an error a validation may be all that is left to do for a step
        seed_torch(self.state.seed, step, Purpose::Validation);
        // what will be handed on is what is asked
        optimizer.swap_averages();
        let validation = torch_call(step, || task.validate(step));
        optimizer.swap_averages();
        let validation = validation?.map_err(|source| TrainingError::Task { step, source })?;
        self.state.validation_due = false;
        validation.messages.into_iter().for_each(|message| observer.message(message));
        let mut values = validation.values;
        let mut is_best = false;
        self.state.validated_not_finite = validation.score.is_some_and(|score| !score.is_finite());
        if self.state.validated_not_finite {
            let text =
                format!("validation after step {step}: no score, since what the network gives is not finite");
            observer.message(Message::warning("W302", text));
        }
        if let Some(score) = validation.score.filter(|s| s.is_finite()) {
            let smoothed = match self.state.smoothed_score.filter(|_| options.score_smoothing > 0.0) {
                // scores that stay the same stay so
                Some(old) => old + (1.0 - options.score_smoothing) * (score - old),
                // to the last bit: an equal score is no better one
                None => score,
            };
            self.state.smoothed_score = Some(smoothed);
            is_best = self.state.best.is_none_or(|best| smoothed > best.score);
            if is_best {
                self.state.best = Some(Best { step, score: smoothed });
            }
            values.insert("score".to_owned(), score);
            values.insert("score_smoothed".to_owned(), smoothed);
        }
        let seconds = started.elapsed().as_secs_f64();
        self.record_validation(&values, validation.picture, seconds).map_err(Failure::Writing)?;
        if is_best {
            self.save(Which::Best, optimizer).map_err(Failure::Writing)?;
        }
        observer.validated(step, &values, is_best);
        Ok(())
    }

    fn record_validation(&mut self, values: &Values, picture: Option<Canvas>, seconds: f64) -> Result<()> {
        let step = self.state.step;
        if let Some(Disk { record, folder, .. }) = &mut self.disk {
            if let Some(picture) = picture {
                let bytes = picture.encode().map_err(std::io::Error::other)?;
                stage::atomic::write(&folder.directory().join(VALIDATION), &bytes)?;
            }
            record.metrics(step, "validation", values)?;
            let seconds = Values::from([("seconds".to_owned(), seconds)]);
            record.timing(step, "validation", &seconds)?;
        }
        Ok(())
    }

    fn save(&mut self, which: Which, optimizer: &Optimizer) -> Result<()> {
        if let Some(Disk { folder, record, has_latest }) = &mut self.disk {
            record.sync()?;
            let contents = Contents {
                model: &self.variables,
                optimizer: &optimizer.state(),
                plan: &self.plan,
                state: &self.state,
                notes: &self.notes,
            };
            // a predecessor gives way to a whole checkpoint only
            let keeps = if *has_latest { Keep::Latest } else { Keep::Previous };
            folder.save(which, &contents, keeps)?;
            if which == Which::Latest {
                *has_latest = true;
                progress::save(folder.directory())?;
            }
        }
        Ok(())
    }
}
