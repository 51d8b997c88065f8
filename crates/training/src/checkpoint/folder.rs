//! A run's checkpoints on disk: latest and its predecessor, best, final.

use super::{Checkpoint, Contents, read, write};
use crate::{Result, TrainingError};
use stage::Message;
use std::path::{Path, PathBuf};

/// One of a run's checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Where the run stands.
    Latest,
    /// The latest before that.
    Previous,
    /// The highest validation score.
    Best,
    /// After the last step.
    Final,
}

impl Which {
    /// The file's name.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Latest => "checkpoint_latest.safetensors",
            Self::Previous => "checkpoint_prev.safetensors",
            Self::Best => "checkpoint_best.safetensors",
            Self::Final => "checkpoint_final.safetensors",
        }
    }
}

/// What a new `Latest` leaves as `Previous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The `Latest` so far.
    Latest,
    /// The `Previous` so far: the latest is damaged.
    Previous,
}

/// What [`Folder::load_latest`] found.
#[derive(Debug)]
pub struct Loaded {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The file it came from.
    pub path: PathBuf,
    /// Set where the latest was unusable and its predecessor was taken (code W307).
    pub warning: Option<Message>,
}

/// The directory that holds a run's checkpoints.
#[derive(Debug, Clone)]
pub struct Folder {
    directory: PathBuf,
}

impl Folder {
    /// A directory, which may not exist yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Path of one checkpoint.
    #[must_use]
    pub fn path(&self, which: Which) -> PathBuf {
        self.directory.join(which.file_name())
    }

    /// Whether there is something to resume.
    #[must_use]
    pub fn has_run(&self) -> bool {
        self.path(Which::Latest).exists() || self.path(Which::Previous).exists()
    }

    /// Removes what a run leaves that was stopped before it could be resumed: its best checkpoint would pass for the next run's.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let left = [self.path(Which::Best), self.path(Which::Final), self.pending()];
        for file in left.iter().filter(|file| file.exists()) {
            fs_err::remove_file(file)?;
        }
        Ok(())
    }

    /// Where a new `Latest` is written.
    fn pending(&self) -> PathBuf {
        self.directory.join("checkpoint_next.safetensors")
    }

    /// Writes one checkpoint atomically and returns its content digest. A new `Latest` makes the old one `Previous` first, unless that is to be kept;
    /// a crash between the two renames leaves `Previous` alone, which [`Folder::load_latest`] takes.
    ///
    /// # Errors
    /// On any failure to write; the older file is kept.
    pub fn save(&self, which: Which, contents: &Contents<'_>, keep: Keep) -> Result<String> {
        let path = self.path(which);
        if which != Which::Latest {
            return write(&path, contents);
        }
        // the new file is whole on disk before anything that exists is touched
        let pending = self.pending();
        let digest = write(&pending, contents)?;
        if keep == Keep::Latest && path.exists() {
            fs_err::rename(&path, self.path(Which::Previous))?;
        }
        fs_err::rename(&pending, &path)?;
        stage::atomic::sync_directory(&self.directory)?;
        Ok(digest)
    }

    /// Makes the latest checkpoint the final one as well: one file with two names, which takes room once. Its predecessor goes: which step it
    /// holds depends on where the run was interrupted, and a finished run is the same whether it was or not.
    ///
    /// # Errors
    /// On any failure to write; an older final checkpoint is kept.
    pub fn finish(&self) -> Result<()> {
        stage::atomic::link(&self.path(Which::Latest), &self.path(Which::Final))?;
        let previous = self.path(Which::Previous);
        if previous.exists() {
            fs_err::remove_file(previous)?;
            stage::atomic::sync_directory(&self.directory)?;
        }
        Ok(())
    }

    /// The latest checkpoint, or its predecessor where the latest is missing or damaged.
    ///
    /// # Errors
    /// [`TrainingError::NothingToResume`] without any, [`TrainingError::NoUsableCheckpoint`] where none can be read.
    pub fn load_latest(&self) -> Result<Loaded> {
        if !self.has_run() {
            return Err(TrainingError::NothingToResume { directory: self.directory.clone() });
        }
        let (latest, previous) = (self.path(Which::Latest), self.path(Which::Previous));
        let reason = match read(&latest) {
            Ok(checkpoint) => return Ok(Loaded { checkpoint, path: latest, warning: None }),
            Err(error) => error,
        };
        match read(&previous) {
            Ok(checkpoint) => {
                let warning = Message::warning("W307", format!("{} is unusable", latest.display()))
                    .detail(reason.to_string())
                    .cause(format!(
                        "Using {} (step {}) instead",
                        Which::Previous.file_name(),
                        checkpoint.state.step
                    ));
                Ok(Loaded { checkpoint, path: previous, warning: Some(warning) })
            }
            Err(second) => Err(TrainingError::NoUsableCheckpoint {
                directory: self.directory.clone(),
                reasons: format!("{reason}; {second}"),
            }),
        }
    }
}
