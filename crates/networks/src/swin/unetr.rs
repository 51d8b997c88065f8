//! The whole network for segmentation.

use crate::blocks::{Conv3d, ConvShape};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use crate::resnet::no_stages;
use crate::swin::config::SwinConfig;
use crate::swin::convolution::{ResBlock, UpBlock};
use crate::swin::encoder::SwinUnetrEncoder;
use tch::{Tensor, nn};

/// MONAI's `SwinUNETR`, with raw logits (the published code returns their sigmoid).
#[derive(Debug)]
pub struct SwinUnetr {
    encoder: SwinUnetrEncoder,
    /// On the image and the three finest states.
    skips: Vec<ResBlock>,
    /// Coarsest (`decoder5`) first.
    decoder: Vec<UpBlock>,
    output: Conv3d,
}

impl SwinUnetr {
    /// Builds it at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(
        path: &nn::Path<'_>,
        in_channels: i64,
        classes: i64,
        config: &SwinConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        at_least_one("classes", classes)?;
        let encoder = SwinUnetrEncoder::new(path, in_channels, config, seed)?;
        let scope = Scope::new(path, seed);
        // The image, and then the states: feature_size, 2·feature_size, …
        let features = |level: usize| config.feature_size << level.saturating_sub(1);
        let skips = (0..4)
            .map(|level| {
                let input = if level == 0 { in_channels } else { features(level) };
                ResBlock::new(
                    &scope.sub(format!("encoder{}", level + 1)).sub("layer"),
                    input,
                    features(level),
                )
            })
            .collect::<Result<_, _>>()?;
        let decoder = (0..5)
            .rev()
            .map(|level| {
                UpBlock::new(
                    &scope.sub(format!("decoder{}", level + 1)),
                    features(level + 1),
                    features(level),
                )
            })
            .collect::<Result<_, _>>()?;
        let shape = ConvShape {
            input: config.feature_size,
            output: classes,
            kernel_zyx: [1; 3],
            stride_zyx: [1; 3],
            bias: true,
        };
        let output = Conv3d::new(&scope.sub("out").sub("conv").sub("conv"), shape, ConvInit::Torch)?;
        Ok(Self { encoder, skips, decoder, output })
    }

    /// The encoder.
    pub fn encoder(&self) -> &SwinUnetrEncoder {
        &self.encoder
    }

    /// Logits at the input's resolution.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, sizes multiples of 32; output: `[batch, classes, z, y, x]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_t(&self, input: &Tensor) -> Result<Tensor, Error> {
        let mut maps = self.encoder.forward_maps(input)?;
        let mut current = maps.pop().ok_or_else(no_stages)?;
        // Beside each decoder level lies the map of its own resolution: the image, then the states. The coarsest of
        // these goes in as it is.
        maps.insert(0, input.shallow_clone());
        for (level, up) in (0..self.decoder.len()).rev().zip(&self.decoder) {
            let skip = match self.skips.get(level) {
                Some(block) => block.forward(&maps[level])?,
                None => maps[level].shallow_clone(),
            };
            current = up.forward(&current, &skip)?;
        }
        self.output.forward(&current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn anisotropic_patches_keep_their_shape_and_every_weight_gets_a_gradient() {
        let store = nn::VarStore::new(Device::Cpu);
        let config = SwinConfig { feature_size: 12, ..SwinConfig::default() };
        let network = SwinUnetr::new(&store.root(), 2, 3, &config, 1).unwrap();
        let input = Tensor::randn([1, 2, 32, 64, 64], (Kind::Float, Device::Cpu));
        let logits = network.forward_t(&input).unwrap();
        assert_eq!(logits.size(), [1, 3, 32, 64, 64]);
        // Without gradients LibTorch takes another kernel for attention.
        let guard = tch::no_grad_guard();
        assert!(network.forward_t(&input).unwrap().allclose(&logits, 1e-4, 1e-5, false));
        drop(guard);
        logits.square().mean(Kind::Float).backward();
        for (name, tensor) in store.variables() {
            if tensor.requires_grad() {
                assert!(
                    tensor.grad().defined() && tensor.grad().abs().max().double_value(&[]) > 0.0,
                    "{name}"
                );
            }
        }
        let text = network.forward_t(&input.narrow(2, 0, 16)).unwrap_err().to_string();
        assert!(text.contains("[1, 2, 16, 64, 64]") && text.contains("multiples of 32"), "{text}");
    }
}
