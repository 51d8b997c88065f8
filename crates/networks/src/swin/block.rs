//! A transformer block: attention in windows and a feed-forward part, each beside a shortcut.

use crate::blocks::{LayerNorm, Linear};
use crate::error::Error;
use crate::init::Scope;
use crate::swin::attention::WindowAttention;
use crate::swin::windows::Windows;
use tch::Tensor;

/// Features of the inner layer over those of the block.
const INNER: i64 = 4;

/// MONAI's `SwinTransformerBlock`.
#[derive(Debug)]
pub(super) struct Block {
    attention_norm: LayerNorm,
    attention: WindowAttention,
    norm: LayerNorm,
    inner: Linear,
    outer: Linear,
}

impl Block {
    pub(super) fn new(
        scope: &Scope<'_>,
        features: i64,
        heads: i64,
        relative_positions: &Tensor,
    ) -> Result<Self, Error> {
        let inner = scope.sub("mlp");
        Ok(Self {
            attention_norm: LayerNorm::new(&scope.sub("norm1"), features, true)?,
            attention: WindowAttention::new(&scope.sub("attn"), features, heads, relative_positions)?,
            norm: LayerNorm::new(&scope.sub("norm2"), features, true)?,
            inner: Linear::new(&inner.sub("linear1"), features, INNER * features)?,
            outer: Linear::new(&inner.sub("linear2"), INNER * features, features)?,
        })
    }

    /// Zeros that pad the map are put in after the norm, as in MONAI: they attend and are attended to.
    ///
    /// # Shapes
    /// input and output: `[batch, z, y, x, features]`.
    pub(super) fn forward(&self, input: &Tensor, windows: &Windows, shifted: bool) -> Result<Tensor, Error> {
        let tokens = windows.cut(&self.attention_norm.forward(input)?, shifted)?;
        let attended = windows.join(&self.attention.forward(&tokens, windows, shifted)?, shifted)?;
        let map = attended.f_add(input)?;
        let inner = self.inner.forward(&self.norm.forward(&map)?)?.f_gelu("none")?;
        Ok(self.outer.forward(&inner)?.f_add(&map)?)
    }
}
