//! Checkpoints: one safetensors file each, with everything that a run needs to continue and everything that another
//! program needs to use the weights.
//!
//! # The file
//! Tensors: `model/NAME` for every variable (buffers included), and the optimiser's `optimizer/NAME/m`, `…/v` and
//! `…/updates`. Metadata, all strings: `schema` = [`SCHEMA`]; `plan` and `state` = JSON; `content_sha256` = SHA-256 of the
//! whole file with these 64 digits replaced by zeros; and the run's [`Notes`]. The bytes are a function of the content: header keys are sorted,
//! tensors are ordered by element size, largest first, then name. PyTorch reads the file with
//! `safetensors.torch.load_file`.
//!
//! # The directory
//! `checkpoint_latest.safetensors` and its predecessor `checkpoint_prev.safetensors`, `checkpoint_best.safetensors` and
//! `checkpoint_final.safetensors`. Each is written beside, synchronised and renamed, so that a reader sees whole files only.

mod diff;
mod folder;
mod format;

pub use diff::plan_differences;
pub use folder::{Folder, Keep, Loaded, Which};
pub use format::{read, write};

use crate::optimizer::Optimizer;
use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::Tensor;

/// Schema id of the file.
pub const SCHEMA: &str = "gtgm/checkpoint/2";

/// Prefix of the model's variables.
const MODEL: &str = "model/";

/// Prefix of the optimiser's state.
const OPTIMIZER: &str = "optimizer/";

/// The highest validation score so far.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Completed steps when it was reached.
    pub step: u64,
    /// The score (smoothed, where the run smooths).
    pub score: f64,
}

/// Sums since the last record line, so that a resumed run writes the line that an uninterrupted one would have written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// Sum of each value over the steps that had it, and how many those were.
    pub sums: BTreeMap<String, (f64, u64)>,
}

impl Window {
    /// Adds what a step gave.
    pub fn add(&mut self, values: impl IntoIterator<Item = (String, f64)>) {
        for (name, value) in values {
            let (sum, steps) = self.sums.entry(name).or_default();
            *sum += value;
            *steps += 1;
        }
    }

    /// The mean of each value over the steps that had it: a loss that few batches can have is not thinned by the others.
    #[must_use]
    pub fn means(self) -> BTreeMap<String, f64> {
        self.sums.into_iter().map(|(name, (sum, steps))| (name, sum / steps as f64)).collect()
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// Completed steps, skipped ones included.
    pub step: u64,
    /// The seed of every random choice.
    pub seed: u64,
    /// Steps without an update because loss or gradient was not finite.
    pub skipped: u64,
    /// How many of them at the very end.
    pub skipped_in_a_row: u32,
    /// The smoothed validation score.
    pub smoothed_score: Option<f64>,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Whether the last validation found that what the network gives is not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validated_not_finite: bool,
    /// Whether the validation after the last step is still to be done: an error came in between.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub validation_due: bool,
    /// What the next record line will average.
    pub window: Window,
    /// On what the last steps were computed; empty in checkpoints of older versions.
    #[serde(default)]
    pub computed_on: String,
}

/// Texts beside plan and state, such as version, licence and citation; the keys of those two and of the file itself are not theirs.
pub type Notes = BTreeMap<String, String>;

/// What a checkpoint holds.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// All variables by name, on any device.
    pub model: &'a [(String, Tensor)],
    /// The optimiser's state, likewise.
    pub optimizer: &'a [(String, Tensor)],
    /// How the run was set up.
    pub plan: &'a serde_json::Value,
    /// Where it stands.
    pub state: &'a RunState,
    /// What else people should know.
    pub notes: &'a Notes,
}

/// A checkpoint in memory, tensors on the CPU.
#[derive(Debug)]
pub struct Checkpoint {
    /// Variables by name, without prefix.
    pub model: BTreeMap<String, Tensor>,
    /// Optimiser state as [`Optimizer::state`] gives it; empty where the file holds weights alone.
    pub optimizer: BTreeMap<String, Tensor>,
    /// How the run was set up.
    pub plan: serde_json::Value,
    /// Where it stood.
    pub state: RunState,
    /// SHA-256 of the content, hexadecimal.
    pub content_sha256: String,
}

impl Checkpoint {
    /// Copies the weights into `variables` (in place, any device).
    ///
    /// # Errors
    /// When names or shapes differ in any way; nothing is changed then.
    pub fn restore_model(&self, variables: &[(String, Tensor)]) -> Result<()> {
        self.check_model(variables)?;
        let _guard = tch::no_grad_guard();
        for (name, variable) in variables {
            if let Some(stored) = self.model.get(name) {
                variable.shallow_clone().copy_(stored);
            }
        }
        Ok(())
    }

    /// Refuses variables whose names or shapes are not those of the weights.
    ///
    /// # Errors
    /// With a table of the differences.
    pub fn check_model(&self, variables: &[(String, Tensor)]) -> Result<()> {
        let mut wrong = Vec::new();
        for (name, variable) in variables {
            match self.model.get(name) {
                None => wrong.push(format!("  {name}: missing")),
                Some(stored) if stored.size() != variable.size() => {
                    wrong.push(format!(
                        "  {name}: shape {:?}, expected {:?}",
                        stored.size(),
                        variable.size()
                    ));
                }
                Some(_) => {}
            }
        }
        let known: std::collections::BTreeSet<&String> = variables.iter().map(|(name, _)| name).collect();
        wrong.extend(self.model.keys().filter(|n| !known.contains(n)).map(|n| format!("  {n}: unknown")));
        if wrong.is_empty() {
            return Ok(());
        }
        Err(TrainingError::OtherTensors { what: "weights", table: wrong.join("\n") })
    }

    /// Restores the optimiser's state.
    ///
    /// # Errors
    /// When it belongs to other parameters.
    pub fn restore_optimizer(&self, optimizer: &mut Optimizer) -> Result<()> {
        optimizer
            .load_state(self.optimizer.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect())
    }

    /// Refuses a plan that is not the one stored.
    ///
    /// # Errors
    /// With a table of the differing values; `path` names the checkpoint in it.
    pub fn check_plan(&self, plan: &serde_json::Value, path: &std::path::Path) -> Result<()> {
        let differences = plan_differences(&self.plan, plan);
        if differences.is_empty() {
            return Ok(());
        }
        Err(TrainingError::OtherPlan { path: path.to_owned(), table: differences.join("\n") })
    }
}
