//! Applying an operation to some samples of a batch.

use tch::Tensor;
use torch_runtime::transfer::sent;

/// Replaces the samples `indices` of `x` by what `op` makes of them; `op` keeps their shape. `x` itself is not changed.
pub(crate) fn on_samples(x: &Tensor, indices: &[i64], op: impl FnOnce(&Tensor) -> Tensor) -> Tensor {
    if indices.is_empty() {
        return x.shallow_clone();
    }
    let index = sent(&Tensor::from_slice(indices), x.device());
    let changed = op(&x.index_select(0, &index));
    x.index_copy(0, &index, &changed)
}

/// Float32 numbers, one per sample or one for each of its channels, broadcastable over `[channel, z, y, x]`.
pub(crate) fn per_sample(values: &[f64], like: &Tensor) -> Tensor {
    sent(&Tensor::from_slice(values).to_kind(like.kind()), like.device()).view([like.size()[0], -1, 1, 1, 1])
}
