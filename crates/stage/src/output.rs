//! A stage's output directory: locked for one run, or, where it cannot be written to, only to be looked at.

use crate::lock::OutputLock;
use crate::{Message, lock};
use std::path::Path;
use std::sync::Arc;

/// An output directory of a run. One that cannot be written to may hold the finished work all the same, on an archive or
/// in the folder of somebody else: a stage looks for it and asks [`Self::to_write`] before it changes anything.
#[derive(Debug)]
#[must_use]
pub struct Output {
    refusal: Option<Message>,
    lock: Option<Arc<OutputLock>>,
}

impl Output {
    /// Creates `directory` if needed and locks it; executables call [`crate::Context::open_output`].
    pub(crate) fn open(directory: &Path, program: &str, steal: bool) -> anyhow::Result<Self> {
        let locked = match steal {
            true => OutputLock::acquire_or_steal(directory, program),
            false => OutputLock::acquire(directory, program),
        };
        match locked {
            // the lock's file may be one's own where the directory is closed
            Ok(held) => Ok(match tempfile::tempfile_in(directory) {
                Ok(_) => Self { refusal: None, lock: Some(Arc::new(held)) },
                Err(error) => Self { refusal: Some(lock::unusable(&error)), lock: None },
            }),
            Err(error) => match error.downcast::<Message>() {
                Ok(refusal) if refusal.code == lock::UNUSABLE && directory.is_dir() => {
                    Ok(Self { refusal: Some(refusal), lock: None })
                }
                Ok(other) => Err(other.into()),
                Err(other) => Err(other),
            },
        }
    }

    /// What keeps others out of the directory, where this run has it for itself.
    pub(crate) fn lock(&self) -> Option<Arc<OutputLock>> {
        self.lock.clone()
    }

    /// Whether this run has the directory for itself.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.refusal.is_none()
    }

    /// Refuses a directory that cannot be written to.
    ///
    /// # Errors
    /// `E163` says why.
    pub fn to_write(&self) -> Result<(), Message> {
        self.refusal.clone().map_or(Ok(()), Err)
    }
}
