//! The collectives.

use super::error::GroupError;
use super::ffi::{Backend, Outcome, Work};
use super::fingerprint::{BYTES, Fingerprint, compare};
use super::{Group, Member};
use crate::device::describe_device;
use crate::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// How long a process whose collective failed waits for the others to say that theirs failed too.
const GRACE: Duration = Duration::from_secs(2);

/// How often a process that waits looks whether another has failed.
const LOOK: Duration = Duration::from_millis(250);

/// A collective under way. Its tensor must not be read or written before [`Pending::wait`].
#[must_use = "the tensor holds the sum only after `wait`"]
pub struct Pending {
    group: Group,
    work: Work,
    operation: &'static str,
    started: Instant,
    /// The tensor given and the contiguous copy that is reduced in its place.
    staged: Option<(Tensor, Tensor)>,
}

impl Pending {
    /// Waits until the collective is done.
    ///
    /// # Errors
    /// E332 when a peer ended or the time-out passed, with the ranks that gave no sign.
    pub fn wait(self) -> Result<(), Error> {
        self.group.0.finish(&self.work, self.operation, self.started)?;
        if let Some((target, copy)) = &self.staged {
            target.detach().f_copy_(copy)?;
        }
        Ok(())
    }
}

impl Group {
    /// Replaces each tensor by its sum over all processes. Tensors have the same shapes and types in the same order on
    /// all processes, which is checked; integers and floats of any width, any strides.
    ///
    /// # Errors
    /// E333 when processes come with different tensors or from different collectives; E332 when a peer is lost.
    pub fn all_reduce_sum(&self, tensors: &[Tensor]) -> Result<(), Error> {
        self.0.meet("all_reduce_sum", Fingerprint::of(tensors))?;
        let pending =
            tensors.iter().map(|tensor| self.start_all_reduce_sum(tensor)).collect::<Result<Vec<_>, _>>()?;
        pending.into_iter().try_for_each(Pending::wait)
    }

    /// Starts replacing `tensor` by its sum over all processes and returns at once.
    ///
    /// Nothing is checked: where shapes or types differ between processes, LibTorch ends the process. Compare them once
    /// with [`Group::agree`].
    ///
    /// # Errors
    /// When LibTorch does not take the tensor.
    pub fn start_all_reduce_sum(&self, tensor: &Tensor) -> Result<Pending, Error> {
        self.start("all_reduce_sum", tensor, |backend, tensor| backend.all_reduce_sum(tensor))
    }

    /// Overwrites `tensor` by that of rank `from`. It has the same shape and type on all processes, which is checked.
    ///
    /// # Errors
    /// E334 when there is no such rank; E333 when processes come with different tensors, ranks or from different
    /// collectives; E332 when a peer is lost.
    pub fn broadcast(&self, tensor: &Tensor, from: usize) -> Result<(), Error> {
        if from >= self.size() {
            return Err(GroupError::Argument {
                operation: "broadcast",
                what: "rank",
                found: from.to_string(),
                expected: format!("below {}", self.size()),
            }
            .into());
        }
        let print = Fingerprint::of(&[tensor.detach()]).and_text(&from.to_string());
        self.0.meet("broadcast", print)?;
        if tensor.numel() == 0 {
            return Ok(());
        }
        self.start("broadcast", tensor, |backend, tensor| backend.broadcast(tensor, from))?.wait()
    }

    /// What rank 0 says of itself, on all processes.
    ///
    /// # Errors
    /// As for [`Group::broadcast`].
    pub fn told_by_leader(&self, holds: bool) -> Result<bool, Error> {
        let said = Tensor::from_slice(&[i64::from(holds)]);
        self.broadcast(&said, 0)?;
        Ok(said.f_int64_value(&[0])? != 0)
    }

    /// The rows of all processes in the order of their ranks, without gradient; see [`gather_rows`](super::gather_rows)
    /// for one. The shape is the same on all processes, which is checked.
    ///
    /// # Shapes
    /// `rows`: `[rows, …]`; result: `[size · rows, …]`.
    ///
    /// # Errors
    /// E334 for a tensor without dimensions; E333 when processes come with different tensors or from different
    /// collectives; E332 when a peer is lost.
    pub fn all_gather(&self, rows: &Tensor) -> Result<Tensor, Error> {
        let mut shape = rows.size();
        let Some(first) = shape.first_mut() else {
            return Err(GroupError::Argument {
                operation: "all_gather",
                what: "tensor",
                found: "a single value".to_owned(),
                expected: "at least one dimension".to_owned(),
            }
            .into());
        };
        *first *= i64::try_from(self.size()).unwrap_or(i64::MAX);
        let rows = rows.detach().f_contiguous()?;
        self.0.meet("all_gather", Fingerprint::of(&[rows.shallow_clone()]))?;
        let all = Tensor::f_empty(&shape, (rows.kind(), rows.device()))?;
        if all.numel() > 0 {
            self.start("all_gather", &all, |backend, all| backend.all_gather(all, &rows))?.wait()?;
        }
        Ok(all)
    }

    /// Whether another process may be why a backward pass failed with these words: it was in
    /// [`sum_over_processes`](super::sum_over_processes).
    #[must_use]
    pub fn is_why(text: &str) -> bool {
        text.contains("sum over processes")
    }

    /// Waits until every process has come here.
    ///
    /// # Errors
    /// E333 when another process is in a different collective; E332 when a peer is lost.
    pub fn barrier(&self) -> Result<(), Error> {
        self.0.meet("barrier", Fingerprint::of(&[]))
    }

    /// Starts a collective on `tensor`, or on a contiguous copy of it.
    fn start(
        &self,
        operation: &'static str,
        tensor: &Tensor,
        start: impl FnOnce(&Backend, &Tensor) -> Outcome<Work>,
    ) -> Result<Pending, Error> {
        let started = Instant::now();
        let staged = if tensor.is_contiguous() {
            None
        } else {
            Some((tensor.shallow_clone(), tensor.detach().f_contiguous()?))
        };
        let used = staged.as_ref().map_or(tensor, |(_, copy)| copy);
        let work = self.0.start(operation, tensor.device(), started, |backend| start(backend, used))?;
        Ok(Pending { group: self.clone(), work, operation, started, staged })
    }
}

impl Member {
    fn start(
        &self,
        operation: &'static str,
        device: Device,
        started: Instant,
        start: impl FnOnce(&Backend) -> Outcome<Work>,
    ) -> Result<Work, Error> {
        // A panic elsewhere leaves the backend as it was: calls of c10d do not unwind through Rust.
        let locked =
            |backend: &Mutex<Backend>| start(&backend.lock().unwrap_or_else(PoisonError::into_inner));
        match (device, &self.nccl) {
            // Gloo only queues here: what it refuses is the tensor. NCCL connects at its first collective.
            (Device::Cpu, _) => locked(&self.gloo).map_err(Error::Torch),
            (Device::Cuda(_), Some(nccl)) => {
                locked(nccl).map_err(|reason| self.failed(operation, started, reason))
            }
            _ => Err(GroupError::Argument {
                operation,
                what: "tensor",
                found: format!("on {}", describe_device(device)),
                expected: format!("on cpu or {}", describe_device(self.device)),
            }
            .into()),
        }
    }

    /// See [`sum_over_processes`](super::sum_over_processes).
    pub(super) fn sum_with_gradient(&self, local: &Tensor) -> Result<Tensor, Error> {
        let (operation, started) = ("sum_over_processes", Instant::now());
        let backend = match (local.device(), &self.nccl) {
            (Device::Cuda(_), Some(nccl)) => nccl,
            _ => &self.gloo,
        };
        let backend = backend.lock().unwrap_or_else(PoisonError::into_inner);
        backend.sum_with_gradient(local).map_err(|reason| self.failed(operation, started, reason))
    }

    /// Waits for a collective. Not every rank talks to the one that is lost: those learn of it from the board.
    fn finish(&self, work: &Work, operation: &'static str, started: Instant) -> Result<(), Error> {
        loop {
            match work.wait(LOOK) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    if let Some(rank) = self.board.failure() {
                        return Err(self.failed(
                            operation,
                            started,
                            format!("rank {rank} says that it failed there"),
                        ));
                    }
                }
                Err(reason) => return Err(self.failed(operation, started, reason)),
            }
        }
    }

    /// Meets the other processes and checks that they come from the same collective with the same tensors.
    fn meet(&self, operation: &'static str, fingerprint: Fingerprint) -> Result<(), Error> {
        let started = Instant::now();
        let own = fingerprint.and_text(operation).to_bytes();
        let own = Tensor::f_from_data_size(&own, &[1, BYTES as i64], Kind::Uint8)?;
        let all = Tensor::f_zeros([self.size as i64, BYTES as i64], (Kind::Uint8, Device::Cpu))?;
        let work = self.start(operation, Device::Cpu, started, |gloo| gloo.all_gather(&all, &own))?;
        self.finish(&work, operation, started)?;
        let mut bytes = vec![0; self.size * BYTES];
        let count = bytes.len();
        all.f_copy_data_u8(&mut bytes, count)?;
        let (parts, _) = bytes.as_chunks::<BYTES>();
        let all: Vec<Fingerprint> = parts.iter().map(Fingerprint::from_bytes).collect();
        let fix = "All processes call the same collectives in the same order, with tensors of the same shape and type";
        Ok(compare(self.rank, &format!("arguments of {operation}"), fix, &all)?)
    }

    /// The error of a collective, after finding out who is still there.
    fn failed(&self, operation: &'static str, started: Instant, reason: String) -> Error {
        let after = started.elapsed();
        let silent = self.silent.get_or_init(|| self.board.roll_call(GRACE)).clone();
        GroupError::Failed { rank: self.rank, size: self.size, operation, after, reason, silent }.into()
    }
}
