//! Sums with a gradient, for statistics over the batch of all processes inside of a network.

use super::Group;
use crate::error::Error;
use tch::Tensor;

/// The sum of a tensor over all processes, in a tensor of its own.
///
/// The gradient is the sum over all processes of theirs, since the part of each counts in the results of all. Where gradients of
/// parameters are averaged between processes ([`Reducer`](super::Reducer)), n processes of batch B then equal one of batch n·B, as for
/// [`gather_rows`](super::gather_rows). This is what PyTorch's `SyncBatchNorm` sums by.
///
/// All processes call it, and the backward passes of their graphs, in the same order and with tensors of the same shape and type: nothing is
/// checked.
///
/// # Errors
/// E332 when a peer is lost. In a backward pass LibTorch's error says so, and a barrier after it names the rank.
pub fn sum_over_processes(group: &Group, local: &Tensor) -> Result<Tensor, Error> {
    if group.size() == 1 {
        return Ok(local.shallow_clone());
    }
    group.0.sum_with_gradient(local)
}
