//! What can go wrong between processes, with the rank that is at fault where it can be known.

use std::fmt;
use std::time::Duration;
use thiserror::Error as ThisError;

/// An error of a process group. The text holds what happened, the likely cause and the remedy.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum GroupError {
    /// The variables of the launcher are incomplete or contradict each other.
    #[error("{variable} is {found}, expected {expected}. {fix}")]
    Launch {
        /// The variable at fault.
        variable: &'static str,
        /// Its value, or that it is not set.
        found: String,
        /// What would be right.
        expected: String,
        /// The edit that helps.
        fix: String,
    },
    /// Rank 0 cannot listen.
    #[error("rank 0 cannot listen on {address}: {reason}. {fix}")]
    Listen {
        /// Address and port.
        address: String,
        /// The system's reason.
        reason: String,
        /// The edit that helps.
        fix: &'static str,
    },
    /// Rank 0 does not answer.
    #[error(
        "rank {rank} of {size} found no rank 0 at {address} within {}: {reason}. Rank 0 did not start or ended (see its \
         log), or MASTER_ADDR and MASTER_PORT differ between processes, or a firewall is between", Seconds(*.timeout)
    )]
    NoStore {
        /// This process.
        rank: usize,
        /// Processes of the group.
        size: usize,
        /// Address and port of rank 0.
        address: String,
        /// How long was waited.
        timeout: Duration,
        /// LibTorch's message.
        reason: String,
    },
    /// Ranks did not appear.
    #[error(
        "rank {rank} of {size} waited {} for {} at {what}. The process did not start, ended (see its log), or is slower \
         than the time-out", Seconds(*.waited), Ranks(.missing)
    )]
    Missing {
        /// This process.
        rank: usize,
        /// Processes of the group.
        size: usize,
        /// The ranks that gave no sign.
        missing: Vec<usize>,
        /// Where they were expected.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The processes reached rank 0 but not one another.
    #[error(
        "rank {rank} of {size} cannot connect to the other ranks: {reason}. Another process ended (see its log), or the \
         machine's name resolves to an address that others do not reach: set GLOO_SOCKET_IFNAME to the network \
         interface to use"
    )]
    Connect {
        /// This process.
        rank: usize,
        /// Processes of the group.
        size: usize,
        /// LibTorch's message.
        reason: String,
    },
    /// A collective failed.
    #[error(
        "rank {rank} of {size}: {operation} failed after {}: {reason}. {}", Seconds(*.after), Suspects(.silent)
    )]
    Failed {
        /// This process.
        rank: usize,
        /// Processes of the group.
        size: usize,
        /// The collective.
        operation: &'static str,
        /// From its start to the failure.
        after: Duration,
        /// LibTorch's message.
        reason: String,
        /// The ranks that did not report the failure as this one did: they ended or hang. Empty when all did.
        silent: Vec<usize>,
    },
    /// Processes that should hold the same do not.
    #[error("rank {rank} of {size}: {label} differ between processes: {differences}. {fix}")]
    Differ {
        /// This process.
        rank: usize,
        /// Processes of the group.
        size: usize,
        /// What was compared.
        label: String,
        /// Which rank has what, against rank 0.
        differences: String,
        /// The edit that helps.
        fix: &'static str,
    },
    /// A collective was called with what it cannot take.
    #[error("{operation}: {what} is {found}, expected {expected}")]
    Argument {
        /// The collective.
        operation: &'static str,
        /// The argument.
        what: &'static str,
        /// Its value.
        found: String,
        /// What it takes.
        expected: String,
    },
    /// A GPU was given to a program without NCCL.
    #[error(
        "a group on {device} needs NCCL, which this program was built without: build with `--features nccl`, or use \
         --device cpu"
    )]
    NoNccl {
        /// The device.
        device: String,
    },
}

impl GroupError {
    /// The same, in what processes differ.
    pub(super) fn differing_in(mut self, names: &[&str]) -> Self {
        if let Self::Differ { differences, .. } = &mut self
            && !names.is_empty()
        {
            differences.push_str(&format!("; they differ in {}", names.join(", ")));
        }
        self
    }

    /// The stable code: E330 launcher's variables, E331 joining, E332 a peer lost in a collective, E333 processes that
    /// differ, E334 an argument, E335 no NCCL.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Launch { .. } => "E330",
            Self::Listen { .. } | Self::NoStore { .. } | Self::Missing { .. } | Self::Connect { .. } => {
                "E331"
            }
            Self::Failed { .. } => "E332",
            Self::Differ { .. } => "E333",
            Self::Argument { .. } => "E334",
            Self::NoNccl { .. } => "E335",
        }
    }
}

/// A time with as many digits as people need.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 10.0 { write!(f, "{seconds:.2} s") } else { write!(f, "{seconds:.0} s") }
    }
}

/// `rank 1`, or `ranks 1, 2`.
pub(super) struct Ranks<'a>(pub(super) &'a [usize]);

impl fmt::Display for Ranks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 { "rank " } else { "ranks " })?;
        for (index, rank) in self.0.iter().enumerate() {
            write!(f, "{}{rank}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Who is to be looked at.
struct Suspects<'a>(&'a [usize]);

impl fmt::Display for Suspects<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str(
                "All processes are alive: the network between them failed, or the time-out is too short",
            )
        } else {
            write!(f, "No sign of {}: another process ended or hangs; see its log", Ranks(self.0))
        }
    }
}
