//! Attention within windows, with a learnt bias for each difference of positions.

use crate::blocks::Linear;
use crate::error::Error;
use crate::init::{Fill, Scope};
use crate::swin::windows::{POSITIONS, Windows};
use tch::Tensor;

/// Standard deviation of the bias table at the start. MONAI truncates at ±2, a hundred deviations away.
const TABLE_DEVIATION: f64 = 0.02;

/// MONAI's `WindowAttention`.
#[derive(Debug)]
pub(super) struct WindowAttention {
    heads: i64,
    table: Tensor,
    joint: Linear,
    output: Linear,
}

impl WindowAttention {
    /// `relative_positions` is a constant; it has a name because MONAI's files carry it.
    pub(super) fn new(
        scope: &Scope<'_>,
        features: i64,
        heads: i64,
        relative_positions: &Tensor,
    ) -> Result<Self, Error> {
        scope.constant("relative_position_index", relative_positions)?;
        Ok(Self {
            heads,
            table: scope.parameter(
                "relative_position_bias_table",
                &[POSITIONS, heads],
                Fill::Normal(TABLE_DEVIATION),
            )?,
            joint: Linear::new(&scope.sub("qkv"), features, 3 * features)?,
            output: Linear::new(&scope.sub("proj"), features, features)?,
        })
    }

    /// softmax(q·kᵀ/√width + bias)·v in each window.
    ///
    /// # Shapes
    /// input and output: `[batch, windows, tokens, features]`.
    pub(super) fn forward(&self, input: &Tensor, windows: &Windows, shifted: bool) -> Result<Tensor, Error> {
        let (batch, count, tokens, features) = input.size4()?;
        let (heads, width) = (self.heads, features / self.heads);
        let bias = windows.bias(&self.table, shifted)?;
        // Windows go with the batch where they share a bias and with the heads where each has its own, so that the bias
        // is never repeated for the batch.
        let (bias, folded) = if bias.size()[0] == 1 {
            (bias, [batch * count, heads, tokens, width])
        } else {
            (bias.f_reshape([1, count * heads, tokens, tokens])?, [batch, count * heads, tokens, width])
        };
        let joint = self
            .joint
            .forward(input)?
            .f_reshape([batch, count, tokens, 3, heads, width])?
            .f_permute([3, 0, 1, 4, 2, 5])?;
        let part = |index: i64| joint.f_get(index)?.f_reshape(folded);
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let attended = Tensor::f_scaled_dot_product_attention(
            &query,
            &key,
            &value,
            Some(&bias),
            0.0,
            false,
            None,
            false,
        )?;
        let joined = attended
            .f_reshape([batch, count, heads, tokens, width])?
            .f_transpose(2, 3)?
            .f_reshape([batch, count, tokens, features])?;
        self.output.forward(&joined)
    }
}
