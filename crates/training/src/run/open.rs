//! Beginning or continuing a run by what lies in its directory.

use super::Session;
use crate::checkpoint::Folder;
use crate::optimizer::Optimizer;
use crate::{Result, TrainingError};
use serde_json::Value;
use std::path::Path;
use tch::Tensor;

/// What the caller wants of an earlier run in the same directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// There must be one to continue.
    pub resume: bool,
    /// One with another plan or network, a damaged one, or one without a usable checkpoint is discarded instead of refused.
    pub overwrite: bool,
}

impl Session {
    /// Starts a run, or continues the one in `directory` where it has the same plan, so that repeating a command after an
    /// interruption continues it.
    ///
    /// # Errors
    /// As [`Session::start`] and [`Session::resume`]; without anything to resume where [`Opening::resume`] asks for it.
    pub fn open(
        directory: &Path,
        plan: Value,
        seed: u64,
        variables: Vec<(String, Tensor)>,
        optimizer: &mut Optimizer,
        opening: Opening,
    ) -> Result<Self> {
        if !Folder::new(directory).has_run() {
            if opening.resume {
                return Err(TrainingError::NothingToResume { directory: directory.to_owned() });
            }
            return Self::start(directory, plan, seed, variables);
        }
        let shared = variables.iter().map(|(name, t)| (name.clone(), t.shallow_clone())).collect();
        match Self::resume(directory, plan.clone(), shared, optimizer) {
            Err(
                TrainingError::OtherPlan { .. }
                | TrainingError::NoUsableCheckpoint { .. }
                | TrainingError::OtherTensors { .. }
                | TrainingError::Damaged { .. },
            ) if opening.overwrite && !opening.resume => {
                discard(directory)?;
                Self::start(directory, plan, seed, variables)
            }
            result => result,
        }
    }
}

/// Removes everything that a run leaves, but the lock that the caller holds; what says that it is finished first, so that no end in between
/// leaves a finished run without its files.
fn discard(directory: &Path) -> Result<()> {
    if stage::atomic::remove(&directory.join(stage::sealed::MANIFEST))? {
        stage::atomic::sync_directory(directory)?;
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() == stage::lock::FILE_NAME {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs_err::remove_dir_all(entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}
