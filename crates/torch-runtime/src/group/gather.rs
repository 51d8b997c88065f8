//! Gathering with a gradient, for losses over the whole batch.

use super::Group;
use crate::error::Error;
use tch::Tensor;

/// The rows of all processes in the order of their ranks; the gradient goes to this process's own rows.
///
/// For losses over the batch of all processes, as the contrastive ones: every process computes the same loss `L` over
/// all rows. A process can only differentiate through its own rows, so its gradient is a share: the shares of all
/// processes sum to that of `L`. Gradients of parameters are *averaged* between processes, though
/// ([`Reducer`](super::Reducer)), because losses that are means over each process's own rows need that. Therefore the
/// gradient with respect to `local` is `size` times `∂L/∂local`, the rest of the rows being constant, and then one rule
/// holds for all losses and parameters:
///
/// > n processes of batch B, gradients averaged, equal one process of batch n·B
///
/// - for losses that are means over the local rows;
/// - for losses over gathered rows, whether their parameters lie before the gathering or behind it;
/// - for sums of both.
///
/// Where gradients are summed instead, scale the whole loss by `1/size`. This is what PyTorch's differentiable
/// `all_gather` gives with `DistributedDataParallel` for equal losses, without the second collective in the backward pass.
///
/// # Shapes
/// `local`: `[rows, …]`, the same on all processes; result: `[size · rows, …]`, row `rank · rows + i` is `local[i]`.
///
/// # Errors
/// As for [`Group::all_gather`].
pub fn gather_rows(group: &Group, local: &Tensor) -> Result<Tensor, Error> {
    let all = group.all_gather(local)?;
    if group.size() == 1 {
        return Ok(local.shallow_clone());
    }
    let rows = local.size().first().copied().unwrap_or(0);
    let before = rows * i64::try_from(group.rank()).unwrap_or(0);
    let fixed = local.detach();
    // The difference is zero and only carries the gradient.
    let own = local.f_sub(&fixed)?.f_mul_scalar(i64::try_from(group.size()).unwrap_or(1))?.f_add(&fixed)?;
    let after = before + rows;
    let total = all.size().first().copied().unwrap_or(0);
    let parts = [all.f_narrow(0, 0, before)?, own, all.f_narrow(0, after, total - after)?];
    Ok(Tensor::f_cat(&parts, 0)?)
}
