//! Processes that train one model together.
//!
//! The collectives are LibTorch's own: Gloo on CPUs, NCCL on GPUs (feature `nccl`), brought together by a store that
//! rank 0 serves on one TCP port. Every process calls the same collectives in the same order.
//!
//! # Trusted networks only
//! Neither the store nor Gloo knows authentication or encryption: whoever reaches rank 0's port, or the ports that Gloo
//! chooses, can read and change what is exchanged, or end the run. Run groups on one machine or on a network where every
//! machine is trusted. Only rank 0 listens for joining processes; when `MASTER_ADDR` is a loopback address everything
//! stays on it, and [`Network`] binds to one host or interface.

mod agree;
mod bucket;
mod collective;
mod error;
mod ffi;
mod fingerprint;
mod gather;
mod launch;
mod reducer;
mod store;
mod sum;

pub use collective::Pending;
pub use error::GroupError;
pub use fingerprint::Fingerprint;
pub use gather::gather_rows;
pub use launch::{Launch, Network};
pub use reducer::{BUCKET_BYTES, Reducer};
pub use store::stop_waiting_when;
pub use sum::sum_over_processes;

use crate::device::{describe_device, parse_device};
use crate::error::Error;
use ffi::{Backend, Bind};
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use store::Board;
use tch::Device;

/// How long joining and each collective may take unless said otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// This process's membership in a group of processes. Clones are the same membership; it ends with the last of them.
///
/// A collective that fails leaves the group unusable: save what is to be saved, end the process, and start the group
/// again.
#[derive(Clone)]
pub struct Group(Arc<Member>);

struct Member {
    rank: usize,
    size: usize,
    device: Device,
    timeout: Duration,
    // Dropped before the board: they may still speak to the store.
    gloo: Mutex<Backend>,
    nccl: Option<Mutex<Backend>>,
    board: Board,
    /// How many comparisons were made: their number is part of their keys.
    comparisons: AtomicU64,
    /// The ranks that were silent when the first collective failed.
    silent: OnceLock<Vec<usize>>,
}

impl Group {
    /// Joins the group and waits until all its processes have. Tensors of `device` can then be exchanged, and those of
    /// the CPU always. `timeout` ([`DEFAULT_TIMEOUT`] is a good one) bounds the joining and every collective.
    ///
    /// # Errors
    /// E330 when processes disagree on their number or their ranks; E331 when rank 0's port is in use, or rank 0 or
    /// other ranks do not appear within `timeout`; E335 for a GPU without NCCL; without a code for a GPU that is not there.
    pub fn join(launch: &Launch, device: Device, timeout: Duration) -> Result<Self, Error> {
        if device.is_cuda() && !cfg!(feature = "nccl") {
            return Err(GroupError::NoNccl { device: describe_device(device) }.into());
        }
        // Says what is missing better than NCCL does.
        parse_device(&describe_device(device))?;
        let (rank, size) = (launch.rank, launch.size);
        let board = Board::open(launch, timeout)?;
        let failed = |reason| GroupError::Connect { rank, size, reason };
        let address = store::gloo_address(launch);
        let bind = Bind::from_parts(&address);
        let gloo = Backend::gloo(board.store(), rank, size, &bind, timeout).map_err(failed)?;
        let nccl = device
            .is_cuda()
            .then(|| Backend::nccl(board.store(), rank, size, timeout))
            .transpose()
            .map_err(failed)?;
        Ok(Self(Arc::new(Member {
            rank,
            size,
            device,
            timeout,
            gloo: Mutex::new(gloo),
            nccl: nccl.map(Mutex::new),
            board,
            comparisons: AtomicU64::new(0),
            silent: OnceLock::new(),
        })))
    }

    /// The number of this process, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.rank
    }

    /// The number of processes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// The device whose tensors the group exchanges, beside those of the CPU.
    #[must_use]
    pub fn device(&self) -> Device {
        self.0.device
    }

    /// How long a collective may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group(rank {} of {} on {})", self.0.rank, self.0.size, describe_device(self.0.device))
    }
}
