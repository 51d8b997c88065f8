//! What can go wrong in training, with the values that disagree, and the message for people that each error makes.

use stage::{Message, disk, limits::is_out_of_memory};
use std::path::PathBuf;

/// A failure inside a task, a batch source or an observer, whose type this crate does not know.
pub type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainingError {
    /// A tensor has the wrong shape or kind.
    #[error("{what} is {found}, expected {expected}")]
    Shape {
        /// The tensor's role.
        what: String,
        /// Its shape or kind.
        found: String,
        /// What the function takes.
        expected: String,
    },
    /// An option is outside its range.
    #[error("option {name} is {found}, expected {expected}")]
    Option {
        /// Field name.
        name: &'static str,
        /// Given value.
        found: String,
        /// Permitted values.
        expected: String,
    },
    /// A file could not be read or written; the text names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A checkpoint cannot be used.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The latest checkpoint and its predecessor are both unusable.
    #[error("no usable checkpoint in {}: {reasons}", directory.display())]
    NoUsableCheckpoint {
        /// The run's directory.
        directory: PathBuf,
        /// Why each file was rejected.
        reasons: String,
    },
    /// Resuming was asked for, and there is no checkpoint.
    #[error("nothing to resume in {}", directory.display())]
    NothingToResume {
        /// The run's directory.
        directory: PathBuf,
    },
    /// A fresh start was asked for, and the directory holds a run.
    #[error("{} already holds a run", directory.display())]
    RunExists {
        /// The run's directory.
        directory: PathBuf,
    },
    /// The checkpoint was made under another plan.
    #[error("{} was made with another plan:\n{table}", path.display())]
    OtherPlan {
        /// The checkpoint.
        path: PathBuf,
        /// One line per differing value: name, value in the checkpoint, value now.
        table: String,
    },
    /// Names or shapes of stored tensors are not those of the model or the optimiser.
    #[error("{what} of the checkpoint differ from the model's:\n{table}")]
    OtherTensors {
        /// "weights" or "optimiser state".
        what: &'static str,
        /// One line per differing tensor.
        table: String,
    },
    /// Loss or gradient was not finite too often in a row.
    #[error("{what} is not finite at step {step} ({in_row} in a row); batches: {batches}")]
    NotFinite {
        /// "loss" or "gradient".
        what: &'static str,
        /// The last step tried, counted from 1.
        step: u64,
        /// How many steps in a row.
        in_row: u32,
        /// The members of those batches.
        batches: String,
        /// The step of the checkpoint that is kept, if there is one.
        kept: Option<u64>,
    },
    /// Threads that read batches cannot be started.
    #[error("cannot start {workers} threads that read batches: {source}")]
    Threads {
        /// How many were asked for.
        workers: usize,
        /// What the system says.
        source: std::io::Error,
    },
    /// The device has no memory left.
    #[error("out of memory at step {step}: {reason}")]
    OutOfMemory {
        /// The step tried, counted from 1.
        step: u64,
        /// First line of the device's message.
        reason: String,
    },
    /// LibTorch refused an operation.
    #[error("LibTorch failed at step {step}: {reason}")]
    Torch {
        /// The step tried, counted from 1.
        step: u64,
        /// First line of LibTorch's message.
        reason: String,
    },
    /// LibTorch refused an operation outside of a step.
    #[error("LibTorch failed: {reason}")]
    Tensor {
        /// First line of LibTorch's message.
        reason: String,
    },
    /// LibTorch's set-up or a group of processes failed.
    #[error(transparent)]
    Runtime(#[from] torch_runtime::Error),
    /// The task failed.
    #[error("step {step}: {source}")]
    Task {
        /// The step tried, counted from 1.
        step: u64,
        /// The task's own error.
        #[source]
        source: BoxedError,
    },
    /// No batch could be made.
    #[error("batch of step {step}: {source}")]
    Batch {
        /// The step tried, counted from 1.
        step: u64,
        /// The producer's own error.
        #[source]
        source: BoxedError,
    },
    /// A run whose last weights are not to be handed on.
    #[error("the run diverged and ends at step {step} without a model: {why}")]
    Diverged {
        /// Completed steps.
        step: u64,
        /// What was not finite.
        why: String,
        /// The step of the best validation, whose checkpoint is there.
        best: Option<u64>,
    },
    /// The network of a prediction failed.
    #[error("prediction: {source}")]
    Network {
        /// The network's own error.
        #[source]
        source: BoxedError,
    },
    /// What a prediction was handed to failed.
    #[error("prediction: {source}")]
    Consumer {
        /// The consumer's own error.
        #[source]
        source: BoxedError,
    },
    /// Batches that memory cannot hold.
    #[error("{0}")]
    NoRoom(String),
    /// Two variables or parameters have one name.
    #[error("variable {name} occurs twice")]
    DuplicateName {
        /// The name.
        name: String,
    },
}

/// What to do where losses or gradients are not finite.
const CALMER: &str = "Train in another --out with a lower --lr, or with --clip 1.0 or less and --precision fp32 where that is not what was given";

/// What to do where a directory holds a run of another plan; how a stage goes on from its weights, it says itself.
pub const OTHER_PLAN: &str =
    "Repeat the run's own options, use another --out, or --overwrite the earlier run";

/// Whether plans differ in nothing but the batch, as with another number of processes.
fn is_batch_alone(table: &str) -> bool {
    table
        .lines()
        .all(|line| ["batch:", "micro_batch:"].iter().any(|name| line.trim_start().starts_with(name)))
}

impl TrainingError {
    /// A tensor whose shape is not the expected one.
    pub(crate) fn shape(what: impl Into<String>, found: &tch::Tensor, expected: impl Into<String>) -> Self {
        Self::Shape {
            what: what.into(),
            found: format!("{:?} {:?}", found.size(), found.kind()),
            expected: expected.into(),
        }
    }

    /// A refusal of LibTorch's outside of a step.
    #[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
    pub(crate) fn tensor(error: tch::TchError) -> Self {
        Self::Tensor { reason: error.to_string().lines().next().unwrap_or_default().to_owned() }
    }

    /// What the device says where it has no memory left, whoever of the chain of errors says it.
    fn memory(&self) -> Option<String> {
        let first: &dyn std::error::Error = self;
        std::iter::successors(Some(first), |error| error.source())
            .map(ToString::to_string)
            .find(|text| is_out_of_memory(text))
            .map(|text| text.lines().next().unwrap_or_default().to_owned())
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            _ if self.memory().is_some() => "E305",
            Self::NotFinite { .. } | Self::Diverged { .. } => "E302",
            Self::OutOfMemory { .. } | Self::NoRoom(_) => "E305",
            Self::Damaged { .. }
            | Self::NoUsableCheckpoint { .. }
            | Self::OtherPlan { .. }
            | Self::OtherTensors { .. } => "E307",
            Self::NothingToResume { .. } => "E308",
            Self::RunExists { .. } => "E313",
            Self::Io(error) if disk::is_full(error) => "E161",
            Self::Io(_) => "E314",
            Self::Threads { .. } => "E318",
            Self::Batch { .. } => "E315",
            Self::Task { .. }
            | Self::Torch { .. }
            | Self::Tensor { .. }
            | Self::Network { .. }
            | Self::Consumer { .. } => "E316",
            Self::Runtime(error) => error.code().unwrap_or("E316"),
            Self::Shape { .. } | Self::Option { .. } | Self::DuplicateName { .. } => "E317",
        }
    }

    /// The message for people: what, where, cause and remedy. An inner [`Message`] of a task or producer is handed on.
    #[must_use]
    pub fn message(&self) -> Message {
        if let Self::Task { source, .. } | Self::Batch { source, .. } | Self::Consumer { source } = self
            && let Some(message) = source.downcast_ref::<Message>()
        {
            return message.clone();
        }
        if let Some(reason) = self.memory() {
            if matches!(self, Self::Network { .. } | Self::Consumer { .. }) {
                return Message::error("E305", reason)
                    .fix("Try a smaller --window-batch, --precision bf16 or another --device");
            }
            return Message::error("E305", reason).fix(
                "Try a smaller --batch (of pretrain --micro-batch keeps the batch of the losses), --precision bf16 or a smaller patch (pretrain \
                 --patch-zyx; of finetune grid.patch_zyx in the descriptor, then preprocess again, which converts nothing anew)",
            );
        }
        if let Self::Task { source, .. } | Self::Batch { source, .. } = self
            && let Some(inner) = source.downcast_ref::<Self>()
        {
            return inner.message().detail(self.to_string());
        }
        if let Self::Task { source, .. } = self {
            let first: &(dyn std::error::Error + 'static) = source.as_ref();
            let mut chain = std::iter::successors(Some(first), |error| error.source());
            if let Some(code) = chain.find_map(|error| error.downcast_ref::<torch_runtime::Error>()?.code()) {
                return Message::error(code, self.to_string());
            }
        }
        if let Self::Io(error) = self
            && let Some(full) = disk::full(error, None)
        {
            return full;
        }
        let message = Message::error(self.code(), self.to_string());
        match self {
            Self::NotFinite { kept, .. } => message
                .detail(kept.map_or_else(
                    || "No checkpoint was written yet".to_owned(),
                    |step| format!("Checkpoint of step {step} kept"),
                ))
                .cause("The same options meet the same batches and end here again")
                .fix(match kept {
                    Some(_) => format!("{CALMER}; pretrain goes on from the kept checkpoint by --init"),
                    None => CALMER.to_owned(),
                }),
            Self::Diverged { best, .. } => message
                .detail(match best {
                    Some(step) => format!("The checkpoints are kept, that of the best validation is of step {step}"),
                    None => "The last checkpoint is kept".to_owned(),
                })
                .cause("Most often the learning rate is too high")
                .fix(CALMER),
            Self::Threads { .. } => message.fix("Give fewer --workers, or raise the limit of processes (ulimit -u)"),
            Self::NothingToResume { .. } => message.fix("Omit --resume to start"),
            Self::RunExists { .. } => message.fix("Continue it with --resume, or choose another --out"),
            Self::NoUsableCheckpoint { .. } | Self::Damaged { .. } => message
                .cause("Usually a full disk or a copy that was cut short")
                .fix("Restore the file or start again in another --out"),
            Self::OtherPlan { table, .. } if is_batch_alone(table) => message.fix(format!(
                "The batch counts for all processes: with another number of them give a --batch that makes it the same. Else {}",
                OTHER_PLAN.replacen('R', "r", 1)
            )),
            Self::OtherPlan { .. } => {
                message.fix(format!("{OTHER_PLAN}. To train longer, start another run from its weights (of pretrain: --init)"))
            }
            Self::NoRoom(_) => message.fix(
                "Try a smaller --batch (of pretrain --micro-batch keeps the batch of the losses), a smaller patch (pretrain --patch-zyx; of finetune \
                 grid.patch_zyx in the descriptor, then preprocess again, which converts nothing anew) or fewer --workers",
            ),
            Self::OtherTensors { .. } => message.cause("The checkpoint was made for another network"),
            _ => message,
        }
    }
}

impl From<TrainingError> for Message {
    fn from(error: TrainingError) -> Self {
        error.message()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_one_whoever_says_it() {
        let source = || -> BoxedError {
            Box::new(TrainingError::Network {
                source: "CUDA out of memory. Tried to allocate 2.00 GiB\nframe #0".into(),
            })
        };
        for error in [
            TrainingError::Task { step: 3, source: source() },
            TrainingError::Batch { step: 3, source: "DefaultCPUAllocator: can't allocate memory".into() },
            TrainingError::Network { source: source() },
            TrainingError::OutOfMemory { step: 3, reason: "CUDA out of memory".to_owned() },
        ] {
            let message = error.message();
            assert_eq!((error.code(), message.code), ("E305", "E305"), "{message}");
            // of a prediction by itself, which has other options
            let option = if matches!(error, TrainingError::Network { .. }) {
                "--window-batch"
            } else {
                "--micro-batch"
            };
            assert!(message.fix.as_deref().is_some_and(|fix| fix.contains(option)), "{message}");
            assert!(!message.to_string().contains("frame"), "{message}");
        }
        let full = std::io::Error::new(
            std::io::ErrorKind::StorageFull,
            "cannot write a/checkpoint_next.safetensors: full",
        );
        let message = TrainingError::Io(full).message();
        assert!(message.code == "E161" && message.fix.is_some(), "{message}");
        let other = TrainingError::Task { step: 3, source: "sizes do not match".into() };
        assert_eq!(other.message().code, "E316");
    }
}
