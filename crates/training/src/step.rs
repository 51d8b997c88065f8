//! One training step: what a task and a batch source are, and how an update is tried.

use crate::error::BoxedError;
use crate::optimizer::Optimizer;
use crate::parallel::Peers;
use crate::record::Values;
use crate::{Result, TrainingError};
use pictures::Canvas;
use stage::Message;
use stage::limits::is_out_of_memory;
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;
use tch::{Kind, Tensor};
use torch_runtime::{Group, lists};

/// The loss of one step.
#[derive(Debug)]
pub struct StepLoss {
    /// Scalar that is minimised, attached to the graph.
    pub total: Tensor,
    /// Named scalars for the record, detached; on the loss's device or the CPU. The names `loss`, `lr`, `grad_norm` and `skipped` are
    /// the loop's own.
    pub parts: Vec<(String, Tensor)>,
}

/// What a validation found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Validation {
    /// The score that chooses the best checkpoint, higher is better; `None` where it is undefined, NaN where what the network gives is not
    /// finite: a run does not end well with that.
    pub score: Option<f64>,
    /// Named numbers for the record.
    pub values: Values,
    /// What it looks like, for [`crate::record::VALIDATION`].
    pub picture: Option<Canvas>,
    /// What people should know.
    pub messages: Vec<Message>,
}

/// What is trained: forward pass and loss for a batch.
pub trait Task {
    /// One batch.
    type Batch;

    /// Begins with what a step needs that does not depend on weights, such as views of its batch. On a GPU it is called for the next step while the
    /// backward pass of this one is computed, so that the GPU need not wait for the launches of many small kernels afterwards; not on CPUs, where
    /// nothing would be gained, and not for the first step. What fails here fails again in [`Self::loss`], which the step then begins with.
    ///
    /// # Errors
    /// Whatever there is to say, which nobody hears.
    fn prepare(&mut self, _step: u64, _batch: &Self::Batch) -> std::result::Result<(), BoxedError> {
        Ok(())
    }

    /// The loss of `batch` in training mode. `step` counts completed steps. LibTorch's generator was seeded for this step;
    /// there are no gradients.
    ///
    /// # Errors
    /// Whatever the task needs to say; the run ends with it.
    fn loss(&mut self, step: u64, batch: &Self::Batch) -> std::result::Result<StepLoss, BoxedError>;

    /// Adds the gradients of a loss that [`Self::loss`] gave; by default those of its graph. `last` is called before the last backward pass of
    /// several, or of one: of several processes gradients are then sent as they come.
    ///
    /// # Errors
    /// Whatever the task needs to say; the run ends with it.
    fn backward(
        &mut self,
        _batch: &Self::Batch,
        loss: &StepLoss,
        last: &dyn Fn() -> std::result::Result<(), BoxedError>,
    ) -> std::result::Result<(), BoxedError> {
        last()?;
        loss.total.f_backward()?;
        Ok(())
    }

    /// Names of the batch's members (case, patch), for messages: those of all processes, or those that this one computes.
    fn members(&self, batch: &Self::Batch) -> Vec<String>;

    /// Patches of the batch that this process computes: all that it names, unless said otherwise.
    fn patches(&self, batch: &Self::Batch) -> usize {
        self.members(batch).len()
    }

    /// Validates after `step` completed steps; the task switches to evaluation mode and without gradients, and back.
    ///
    /// # Errors
    /// Whatever the task needs to say; the run ends with it.
    fn validate(&mut self, step: u64) -> std::result::Result<Validation, BoxedError>;
}

/// A batch and what it cost to get it.
#[derive(Debug)]
pub struct Fetched<B> {
    /// Completed steps before this batch is used.
    pub step: u64,
    /// The batch.
    pub batch: B,
    /// How long the consumer waited for it.
    pub waited: Duration,
    /// How long a thread made it.
    pub made: Duration,
}

/// Batches in the order of the steps, starting at the run's own step.
pub trait BatchSource {
    /// One batch.
    type Batch;

    /// The next batch, or `None` after the last.
    ///
    /// # Errors
    /// When the batch cannot be made.
    fn next(&mut self) -> Result<Option<Fetched<Self::Batch>>>;
}

/// A source without threads over a function of the step, for small data and tests.
pub struct InOrder<F> {
    step: u64,
    end: u64,
    make: F,
}

impl<F> std::fmt::Debug for InOrder<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InOrder").field("step", &self.step).field("end", &self.end).finish_non_exhaustive()
    }
}

impl<F> InOrder<F> {
    /// The batches of the steps `first..end`.
    pub fn new(first: u64, end: u64, make: F) -> Self {
        Self { step: first, end, make }
    }
}

impl<B, F: FnMut(u64) -> std::result::Result<B, BoxedError>> BatchSource for InOrder<F> {
    type Batch = B;

    fn next(&mut self) -> Result<Option<Fetched<B>>> {
        if self.step >= self.end {
            return Ok(None);
        }
        let step = self.step;
        self.step += 1;
        let started = std::time::Instant::now();
        let batch = (self.make)(step).map_err(|source| TrainingError::Batch { step: step + 1, source })?;
        let made = started.elapsed();
        Ok(Some(Fetched { step, batch, waited: made, made }))
    }
}

/// How an update went.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// Updated; `loss`, `grad_norm` and the task's parts.
    Updated(Values),
    /// Not updated, because this ("loss" or "gradient") was not finite.
    NotFinite(&'static str),
}

/// Forward, backward, clip, update. `meanwhile` is called when the backward pass is under way.
#[expect(clippy::too_many_arguments, reason = "the loop's own locals")]
pub(crate) fn attempt<T: Task>(
    task: &mut T,
    optimizer: &mut Optimizer,
    step: u64,
    batch: &T::Batch,
    lr: f64,
    clip: Option<f64>,
    peers: Option<&Peers>,
    meanwhile: &mut dyn FnMut(&mut T),
) -> Result<Attempt> {
    optimizer.forget_gradients()?;
    torch_call(step, || -> Result<_> {
        let loss = task.loss(step, batch).map_err(|source| TrainingError::Task { step: step + 1, source })?;
        if loss.total.numel() != 1 {
            return Err(TrainingError::shape("loss", &loss.total, "a scalar"));
        }
        let mut scalars: Vec<Tensor> = std::iter::once(&loss.total)
            .chain(loss.parts.iter().map(|(_, part)| part))
            .map(Tensor::detach)
            .collect();
        let last = || match peers {
            Some(peers) => peers.send_gradients().map_err(BoxedError::from),
            None => Ok(()),
        };
        if let Err(source) = task.backward(batch, &loss, &last) {
            return Err(who_failed(TrainingError::Task { step: step + 1, source }, peers));
        }
        meanwhile(task);
        let read = |scalars: &[Tensor]| {
            numbers_of(scalars)
                .map_err(|e| TrainingError::Torch { step: step + 1, reason: first_line(&e.to_string()) })
        };
        let (numbers, norm) = match peers {
            None => {
                scalars.push(optimizer.grad_norm()?);
                let mut numbers = read(&scalars)?;
                let norm = numbers.pop().unwrap_or_default();
                if numbers.iter().any(|n| !n.is_finite()) {
                    return Ok(Attempt::NotFinite("loss"));
                }
                (numbers, norm)
            }
            // all processes go on, or none
            Some(peers) => {
                let (gradients, means) = peers.gradients_and_means(&read(&scalars)?)?;
                if means.iter().any(|n| !n.is_finite()) {
                    gradients.leave()?;
                    return Ok(Attempt::NotFinite("loss"));
                }
                gradients.take()?;
                (means, read(&[optimizer.grad_norm()?])?.into_iter().sum())
            }
        };
        if !norm.is_finite() {
            return Ok(Attempt::NotFinite("gradient"));
        }
        if let Some(most) = clip {
            optimizer.clip(norm, most)?;
        }
        optimizer.step(lr)?;
        let names = std::iter::once("loss").chain(loss.parts.iter().map(|(name, _)| name.as_str()));
        let mut values: Values = names.map(str::to_owned).zip(numbers).collect();
        values.insert("grad_norm".to_owned(), norm);
        Ok(Attempt::Updated(values))
    })?
}

/// What scalars are, in their order. Those of a device come in one transfer, for which it is waited, so this is best asked when it has all
/// its work.
fn numbers_of(scalars: &[Tensor]) -> std::result::Result<Vec<f64>, tch::TchError> {
    let flat = |scalars: &[&Tensor]| -> std::result::Result<Vec<f64>, tch::TchError> {
        let flat: Vec<Tensor> = scalars
            .iter()
            .map(|scalar| scalar.f_to_kind(Kind::Double)?.f_view(-1))
            .collect::<std::result::Result<_, _>>()?;
        Vec::try_from(Tensor::f_cat(&flat, 0)?)
    };
    let is_there = |scalar: &&Tensor| scalar.device().is_cuda();
    let there: Vec<&Tensor> = scalars.iter().filter(is_there).collect();
    let mut there = if there.is_empty() { Vec::new() } else { flat(&there)? }.into_iter();
    scalars
        .iter()
        .map(|scalar| match scalar.device().is_cuda().then(|| there.next()).flatten() {
            Some(number) => Ok(number),
            None => scalar.f_double_value(&[]),
        })
        .collect()
}

/// The error of a backward pass, or that another process is lost: where statistics are summed over processes, LibTorch's words for that do
/// not say which.
fn who_failed(own: TrainingError, peers: Option<&Peers>) -> TrainingError {
    match peers {
        Some(peers) if Group::is_why(&own.to_string()) => peers.meet().err().unwrap_or(own),
        // whoever failed by itself must not wait for the others: they may be anywhere, and see it end
        _ => own,
    }
}

/// Runs code whose LibTorch calls panic on failure (as tch's modules do) and turns such a failure into an error. Other
/// panics go on: they are defects.
pub(crate) fn torch_call<R>(step: u64, work: impl FnOnce() -> R) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let text = panic_text(payload.as_ref());
        if !text.contains("Torch(\"") {
            resume_unwind(payload);
        }
        let reason = first_line(&text);
        if is_out_of_memory(&reason) {
            return TrainingError::OutOfMemory { step: step + 1, reason };
        }
        TrainingError::Torch { step: step + 1, reason }
    })
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no text".to_owned())
}

/// The first line of LibTorch's message; the C++ trace that follows helps nobody.
fn first_line(text: &str) -> String {
    let start = text.find("Torch(\"").map_or(text, |at| &text[at + "Torch(\"".len()..]);
    start.split("\\n").next().and_then(|s| s.lines().next()).unwrap_or(start).to_owned()
}

/// The state of layers that a forward pass changes (running means of batch norm), as of the last good step: a batch that
/// is not finite would spoil it for good.
#[derive(Debug)]
pub(crate) struct Buffers {
    pairs: Vec<(Tensor, Tensor)>,
}

impl Buffers {
    /// Watches the variables without gradient and of at most one dimension; larger ones are frozen weights.
    pub(crate) fn new(variables: &[(String, Tensor)]) -> Self {
        let pairs = variables
            .iter()
            .filter(|(_, variable)| !variable.requires_grad() && variable.dim() <= 1)
            .map(|(_, variable)| (variable.shallow_clone(), variable.copy()))
            .collect();
        Self { pairs }
    }

    /// The layers' state is good.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub(crate) fn keep(&self) -> Result<()> {
        Ok(lists::copy(&self.pairs.iter().map(|(variable, kept)| (kept, variable)).collect::<Vec<_>>())?)
    }

    /// The layers' state is to be what it was.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub(crate) fn restore(&self) -> Result<()> {
        Ok(lists::copy(&self.pairs.iter().map(|(variable, kept)| (variable, kept)).collect::<Vec<_>>())?)
    }
}

/// The members of the last few batches that failed, for the message of the error that ends the run.
#[derive(Debug, Default)]
pub(crate) struct Suspects(VecDeque<String>);

impl Suspects {
    pub(crate) fn add(&mut self, members: &[String], keep: usize) {
        self.0.push_back(members.join(","));
        while self.0.len() > keep {
            self.0.pop_front();
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn list(&self) -> String {
        self.0.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}
