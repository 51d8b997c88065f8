//! What can go wrong with a shard store.

use crate::record::SCHEMA;
use stage::Message;
use std::fmt;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    /// The case was written in another form than this version reads.
    #[error("{path}: the case has form {found}, expected {SCHEMA}: run preprocess again with this version")]
    Schema {
        /// Case.
        path: PathBuf,
        /// Form of the case.
        found: String,
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
    /// A label value does not fit into the type that the caller declared.
    #[error("{path}: label value {value} does not fit into {declared}, the type of the declared maximum")]
    LabelTooLarge {
        /// Array.
        path: PathBuf,
        /// The value.
        value: u64,
        /// Name of the declared type.
        declared: &'static str,
    },
    /// The case has no such array.
    #[error("case {case} has no {array}")]
    Absent {
        /// Case.
        case: String,
        /// `label`, `foreground` or `channel N`.
        array: String,
    },
    /// A file of the case is gone, cut short or has other bytes than were written.
    #[error(transparent)]
    Damaged(Damage),
    /// The store lists no such case.
    #[error("{path} has no case '{case}'")]
    UnknownCase {
        /// Store.
        path: PathBuf,
        /// Case.
        case: String,
    },
}

/// Which file of a case is damaged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Directory of the case.
    pub directory: PathBuf,
    /// The file in it, with `/`.
    pub file: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Damage {
    pub(crate) fn new(directory: &Path, file: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { directory: directory.to_owned(), file: file.into(), reason: reason.into() }
    }

    pub(crate) fn missing(directory: &Path, file: impl Into<String>) -> Self {
        Self::new(directory, file, "is missing")
    }

    /// The case: a directory's name is its case's id.
    #[must_use]
    pub fn case(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Case, file and what is wrong, without the remedy.
    #[must_use]
    pub fn facts(&self) -> String {
        format!("case {}: {} {}", self.case(), self.directory.join(&self.file).display(), self.reason)
    }

    /// The command that makes the case anew; `RAW` stands for the directory of its raw files.
    #[must_use]
    pub fn repair(&self) -> String {
        // a case lies in DIR/cases/ID
        let store = self.directory.parent().and_then(Path::parent).unwrap_or(Path::new("DIR"));
        let store = if store.as_os_str().is_empty() { Path::new(".") } else { store };
        format!("preprocess verify {} --repair {} --raw RAW", store.display(), self.case())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; make the case anew with: {}", self.facts(), self.repair())
    }
}

impl std::error::Error for Damage {}

impl Error {
    /// The message for people about a case that a run needs and cannot read (E301).
    #[must_use]
    pub fn message(&self, case: &str) -> Message {
        let message = Message::error("E301", "the shards of a case cannot be read").case(case);
        let again = "Run preprocess again: it makes damaged cases anew and keeps the others";
        match self {
            Self::Damaged(damage) => message
                .detail(damage.facts())
                .cause("Usually a damaged disk or an incomplete copy")
                .fix(format!("{again}. For this case alone: {}", damage.repair())),
            Self::Schema { .. } => {
                message.detail(self.to_string()).cause("Shards of another version").fix(again)
            }
            _ if self.to_string().contains("Too many open files") => message
                .detail(self.to_string())
                .cause("This process, or the machine, has as many files open as it may")
                .fix("Raise the limit before the command: 'ulimit -n 65536'"),
            _ => message
                .detail(self.to_string())
                .cause("Usually a damaged disk or an incomplete copy")
                .fix(again),
        }
    }

    pub(crate) fn zarr(path: impl Into<PathBuf>, error: impl fmt::Display) -> Self {
        Self::Zarr { path: path.into(), reason: error.to_string() }
    }

    pub(crate) fn mismatch(
        path: impl Into<PathBuf>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> Self {
        Self::Mismatch { path: path.into(), found: found.into(), expected: expected.into() }
    }

    pub(crate) fn missing(directory: &Path, file: impl Into<String>) -> Self {
        Self::Damaged(Damage::missing(directory, file))
    }
}
