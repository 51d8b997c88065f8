//! What can go wrong with a shard store.

use stage::Message;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with a shard store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A Zarr array or group cannot be written, opened or decoded.
    #[error("{path}: {reason}")]
    Zarr {
        /// Array or group.
        path: PathBuf,
        /// What the Zarr library said.
        reason: String,
    },
    /// The case record is missing or has another form.
    #[error("{path}: the attribute 'gtgm' is not a case record: {reason}")]
    Record {
        /// Group.
        path: PathBuf,
        /// What serde said.
        reason: String,
    },
    /// Data and record disagree.
    #[error("{path}: found {found}, expected {expected}")]
    Mismatch {
        /// Array or group.
        path: PathBuf,
        /// Found.
        found: String,
        /// Expected.
        expected: String,
    },
    /// The case has no such array.
    #[error("case {case} has no {array}")]
    Absent {
        /// Case.
        case: String,
        /// `label` or `foreground`.
        array: &'static str,
    },
    /// A file of the case is gone; Zarr would read it as zeros.
    #[error("{path} is missing: the case is damaged; run preprocess again, which makes it anew")]
    Missing {
        /// Shard file or array.
        path: PathBuf,
    },
    /// The store lists no such case.
    #[error("{path} has no case '{case}'")]
    UnknownCase {
        /// Store.
        path: PathBuf,
        /// Case.
        case: String,
    },
}

impl Error {
    /// The message for people about a case that a run needs and cannot read (E301).
    #[must_use]
    pub fn message(&self, case: &str) -> Message {
        Message::error("E301", "the shards of a case cannot be read")
            .case(case)
            .detail(self.to_string())
            .cause("Usually a damaged disk or an incomplete copy")
            .fix("Run preprocess again: it makes damaged cases anew and keeps the others")
    }

    pub(crate) fn zarr(path: impl Into<PathBuf>, error: impl std::fmt::Display) -> Self {
        Self::Zarr { path: path.into(), reason: error.to_string() }
    }
}
