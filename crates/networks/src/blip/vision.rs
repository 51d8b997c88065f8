//! The vision transformer of BLIP.

use super::VisionConfig;
use crate::error::Error;
use crate::pretrained::{Activation, Linear, Norm, Source, attend, split_heads};
use tch::Tensor;

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    queries_keys_values: Linear,
    attended: Linear,
    norm: Norm,
    inner: Linear,
    outer: Linear,
}

/// Patches to hidden states, pre-normalised.
#[derive(Debug)]
pub(super) struct Vision {
    patch_weight: Tensor,
    patch_bias: Tensor,
    patch: i64,
    size: i64,
    class: Tensor,
    places: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    heads: i64,
    activation: Activation,
}

impl Vision {
    pub(super) fn take(
        source: &mut Source,
        config: &VisionConfig,
        activation: Activation,
    ) -> Result<Self, Error> {
        let (hidden, patch, epsilon) = (config.hidden_size, config.patch_size, config.layer_norm_eps);
        let patches = (config.image_size / patch).pow(2);
        let embedding = |name: &str| format!("vision_model.embeddings.{name}");
        let patch_weight = source.take(&embedding("patch_embedding.weight"), &[hidden, 3, patch, patch])?;
        let patch_bias = source.take(&embedding("patch_embedding.bias"), &[hidden])?;
        let class = source.take(&embedding("class_embedding"), &[1, 1, hidden])?;
        let places = source.take(&embedding("position_embedding"), &[1, patches + 1, hidden])?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| {
                let name = |part: &str| format!("vision_model.encoder.layers.{index}.{part}");
                Ok(Layer {
                    attention_norm: source.norm(&name("layer_norm1"), hidden, epsilon)?,
                    queries_keys_values: source.linear(&name("self_attn.qkv"), hidden, 3 * hidden)?,
                    attended: source.linear(&name("self_attn.projection"), hidden, hidden)?,
                    norm: source.norm(&name("layer_norm2"), hidden, epsilon)?,
                    inner: source.linear(&name("mlp.fc1"), hidden, config.intermediate_size)?,
                    outer: source.linear(&name("mlp.fc2"), config.intermediate_size, hidden)?,
                })
            })
            .collect::<Result<_, Error>>()?;
        let norm = source.norm("vision_model.post_layernorm", hidden, epsilon)?;
        Ok(Self {
            patch_weight,
            patch_bias,
            patch,
            size: config.image_size,
            class,
            places,
            layers,
            norm,
            heads: config.num_attention_heads,
            activation,
        })
    }

    /// `[batch, 3, size, size]` to `[batch, 1 + patches, hidden]`.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor, Error> {
        let found = pixels.size();
        let &[batch, 3, height, width] = found.as_slice() else { return Err(self.other_input(found)) };
        if height != self.size || width != self.size {
            return Err(self.other_input(found));
        }
        let stride = [self.patch, self.patch];
        let patches =
            pixels.f_conv2d(&self.patch_weight, Some(&self.patch_bias), stride, [0, 0], [1, 1], 1)?;
        let patches = patches.f_flatten(2, 3)?.f_transpose(1, 2)?;
        let class = self.class.f_expand([batch, 1, self.class.size()[2]], false)?;
        let mut states = Tensor::f_cat(&[&class, &patches], 1)?.f_add(&self.places)?;
        for layer in &self.layers {
            let parts = layer.queries_keys_values.forward(&layer.attention_norm.forward(&states)?)?;
            let parts = parts.f_chunk(3, -1)?;
            let [query, key, value] = [0, 1, 2].map(|part: usize| split_heads(&parts[part], self.heads));
            let joined = attend(&query?, &key?, &value?, None)?;
            states = states.f_add(&layer.attended.forward(&joined)?)?;
            let inner = self.activation.forward(&layer.inner.forward(&layer.norm.forward(&states)?)?)?;
            states = states.f_add(&layer.outer.forward(&inner)?)?;
        }
        self.norm.forward(&states)
    }

    fn other_input(&self, found: Vec<i64>) -> Error {
        Error::Input { network: "BLIP", found, expected: format!("[batch, 3, {0}, {0}]", self.size) }
    }
}
