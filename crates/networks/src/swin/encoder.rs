//! The part of SwinUNETR that pretraining teaches.

use crate::blocks::{check_input, global_mean, layer_norm};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::Scope;
use crate::resnet::no_stages;
use crate::swin::config::SwinConfig;
use crate::swin::convolution::ResBlock;
use crate::swin::transformer::SwinTransformer;
use tch::{Tensor, nn};

/// SwinUNETR's transformer (`swinViT`) and the block on its coarsest state (`encoder10`).
///
/// The published encoder has a layer `linear` to 2048 features behind the pooling; its released form does not fit its
/// own features (384 inputs for 768). Here the projection head takes the pooled features directly, and a file's
/// `linear` is reported as skipped. The blocks on the finer states belong to the decoder's side: pretraining gives them
/// no gradient.
#[derive(Debug)]
pub struct SwinUnetrEncoder {
    in_channels: i64,
    feature_size: i64,
    transformer: SwinTransformer,
    bottleneck: ResBlock,
}

impl SwinUnetrEncoder {
    /// Builds it at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(path: &nn::Path<'_>, in_channels: i64, config: &SwinConfig, seed: u64) -> Result<Self, Error> {
        at_least_one("in_channels", in_channels)?;
        config.validate()?;
        let scope = Scope::new(path, seed);
        let coarsest = config.out_features();
        Ok(Self {
            in_channels,
            feature_size: config.feature_size,
            transformer: SwinTransformer::new(&scope.sub("swinViT"), in_channels, config)?,
            bottleneck: ResBlock::new(&scope.sub("encoder10").sub("layer"), coarsest, coarsest)?,
        })
    }

    /// Features in the pooled vector: 16 times `feature_size`.
    pub fn out_features(&self) -> i64 {
        16 * self.feature_size
    }

    /// The five hidden states of the transformer, finest first, each token normalised over its features without scale
    /// and shift.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, sizes multiples of 32; state s:
    /// `[batch, 2ˢ·feature_size, z/2ˢ⁺¹, y/2ˢ⁺¹, x/2ˢ⁺¹]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn hidden_states(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        self.states(input)?.iter().map(normalised).collect()
    }

    /// The first four hidden states, and the block on the fifth.
    ///
    /// # Shapes
    /// As for [`SwinUnetrEncoder::hidden_states`].
    ///
    /// # Errors
    /// As for [`SwinUnetrEncoder::hidden_states`].
    pub fn forward_maps(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let mut maps = self.hidden_states(input)?;
        let coarsest = maps.pop().ok_or_else(no_stages)?;
        maps.push(self.bottleneck.forward(&coarsest)?);
        Ok(maps)
    }

    /// The last map's mean over space.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, out_features]`.
    ///
    /// # Errors
    /// As for [`SwinUnetrEncoder::hidden_states`].
    pub fn forward_features(&self, input: &Tensor) -> Result<Tensor, Error> {
        // The finer states need no norm here.
        let coarsest = self.states(input)?.pop().ok_or_else(no_stages)?;
        global_mean(&self.bottleneck.forward(&normalised(&coarsest)?)?)
    }

    fn states(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        check_input("SwinUNETR", input, self.in_channels, SwinConfig::DIVISOR_ZYX)?;
        self.transformer.states(input)
    }
}

/// Layer normalisation without scale and shift; `[batch, z, y, x, features]` → `[batch, features, z, y, x]`.
fn normalised(state: &Tensor) -> Result<Tensor, Error> {
    let (_, _, _, _, features) = state.size5()?;
    Ok(layer_norm(state, features, None)?.f_permute([0, 4, 1, 2, 3])?.f_contiguous()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn tiny(in_channels: i64) -> (nn::VarStore, SwinUnetrEncoder) {
        let store = nn::VarStore::new(Device::Cpu);
        let config = SwinConfig { feature_size: 12, ..SwinConfig::default() };
        let encoder = SwinUnetrEncoder::new(&store.root(), in_channels, &config, 1).unwrap();
        (store, encoder)
    }

    /// The published patch has 32×160×160 voxels and 48 features; the shapes are in proportion.
    #[test]
    fn states_have_the_published_shapes() {
        let (_store, encoder) = tiny(1);
        let _guard = tch::no_grad_guard();
        let input = Tensor::ones([1, 1, 32, 160, 160], (Kind::Float, Device::Cpu));
        let sizes: Vec<Vec<i64>> =
            encoder.hidden_states(&input).unwrap().iter().map(|state| state.size()[1..].to_vec()).collect();
        let expected = [[12, 16, 80, 80], [24, 8, 40, 40], [48, 4, 20, 20], [96, 2, 10, 10], [192, 1, 5, 5]];
        assert_eq!(sizes, expected);
    }

    #[test]
    fn maps_and_features_agree_and_a_single_coarsest_voxel_will_do() {
        let (_store, encoder) = tiny(2);
        let _guard = tch::no_grad_guard();
        let input = Tensor::randn([2, 2, 32, 32, 32], (Kind::Float, Device::Cpu));
        let maps = encoder.forward_maps(&input).unwrap();
        let features = encoder.forward_features(&input).unwrap();
        assert_eq!(features.size(), [2, encoder.out_features()]);
        assert_eq!(maps[4].size(), [2, 192, 1, 1, 1]);
        assert!(features.allclose(&maps[4].reshape([2, 192]), 1e-6, 1e-6, false));
    }

    #[test]
    fn samples_do_not_see_each_other() {
        let (_store, encoder) = tiny(1);
        let _guard = tch::no_grad_guard();
        let input = Tensor::randn([3, 1, 32, 64, 32], (Kind::Float, Device::Cpu));
        let together = encoder.hidden_states(&input).unwrap();
        let alone = encoder.hidden_states(&input.narrow(0, 1, 1)).unwrap();
        for (together, alone) in together.iter().zip(&alone) {
            assert!(together.narrow(0, 1, 1).allclose(alone, 1e-4, 1e-5, false));
        }
    }

    #[test]
    fn other_sizes_are_refused() {
        let (_store, encoder) = tiny(1);
        let input = Tensor::zeros([1, 1, 32, 48, 32], (Kind::Float, Device::Cpu));
        let text = encoder.forward_features(&input).unwrap_err().to_string();
        assert!(
            text.contains("48") && text.contains("SwinUNETR") && text.contains("multiples of 32, 32, 32"),
            "{text}"
        );
        assert!(encoder.forward_maps(&input.narrow(3, 0, 32).expand([1, 2, 32, 32, 32], false)).is_err());
    }
}
