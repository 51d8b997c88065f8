//! Self-attention on a skip.

use super::keys;
use crate::blocks::{Conv3d, ConvShape};
use crate::error::Error;
use crate::init::{ConvInit, Fill, Scope};
use tch::Tensor;

/// Channels of the map over those of queries and keys.
const RATIO: i64 = 8;

/// The published `SelfAttention` (gtgm.md, section 6.2), mended: the products are scaled, the sum has a gate, and the matrix
/// is bounded.
#[derive(Debug)]
pub(super) struct SkipAttention {
    weights: i64,
    query: Conv3d,
    key: Conv3d,
    value: Conv3d,
    gate: Tensor,
}

impl SkipAttention {
    /// For maps of `channels` channels, a multiple of eight, with at most `weights` queries × keys a sample. The gate
    /// starts at 0: nothing is added.
    pub(super) fn new(scope: &Scope<'_>, channels: i64, weights: i64) -> Result<Self, Error> {
        let convolution = |name: &str, output: i64| {
            let shape =
                ConvShape { input: channels, output, kernel_zyx: [1; 3], stride_zyx: [1; 3], bias: true };
            Conv3d::new(&scope.sub(name), shape, ConvInit::Torch)
        };
        Ok(Self {
            weights,
            query: convolution("query", channels / RATIO)?,
            key: convolution("key", channels / RATIO)?,
            value: convolution("value", channels)?,
            // Without axes, so that it does not turn a bfloat16 map into a float32 one.
            gate: scope.parameter("gate", &[], Fill::Constant(0.0))?,
        })
    }

    /// x + gate · A v with A = softmax(q kᵀ / √(channels / 8)) over keys: the map's voxels, or their means over the cells of
    /// [`keys::grid`] where they are too many.
    ///
    /// # Shapes
    /// input and output: `[batch, channels, z, y, x]`.
    pub(super) fn forward(&self, map: &Tensor) -> Result<Tensor, Error> {
        let (batch, channels, z, y, x) = map.size5()?;
        let grid = keys::grid([z, y, x], self.weights);
        // The mean of keys and values is the key and value of the mean.
        let source = if grid == [z, y, x] { map.shallow_clone() } else { map.f_adaptive_avg_pool3d(grid)? };
        // Values as heads of the keys' width that share queries and keys: for heads of one width LibTorch has kernels on
        // CPUs that never hold the matrix.
        let width = channels / RATIO;
        let heads = |tensor: Tensor, count: i64| {
            tensor.f_reshape([batch, count, width, -1])?.f_transpose(2, 3)?.f_contiguous()
        };
        let shared = |tensor: Tensor| heads(tensor, 1)?.f_expand([batch, RATIO, -1, width].as_slice(), false);
        let attended = Tensor::f_scaled_dot_product_attention(
            &shared(self.query.forward(map)?)?,
            &shared(self.key.forward(&source)?)?,
            &heads(self.value.forward(&source)?, RATIO)?,
            None::<&Tensor>,
            0.0,
            false,
            None,
            false,
        )?;
        let attended = attended.f_transpose(2, 3)?.f_reshape(map.size())?;
        Ok(map.f_add(&attended.f_mul(&self.gate)?)?)
    }
}
