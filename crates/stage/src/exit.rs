//! Exit codes, the same for every executable.

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// Everything was done (0).
    Done,
    /// A data or run error (1).
    Failed,
    /// The command line or the configuration is wrong (2).
    Usage,
    /// Finished, but some cases failed; they are listed (3).
    Partial,
    /// Interrupted by a signal or a limit; the same command continues (75, `EX_TEMPFAIL`).
    Interrupted,
}

impl ExitStatus {
    /// The process exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Partial => 3,
            Self::Interrupted => 75,
        }
    }

    /// The word written into `report.json`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Partial => "partial",
            Self::Interrupted => "interrupted",
        }
    }
}
