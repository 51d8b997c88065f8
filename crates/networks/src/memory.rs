//! What the first maps of an encoder take: by them a patch that cannot fit is known before the first step.

use crate::config::EncoderConfig;

/// Channels of a ResNet-50's first convolution.
const RESNET_STEM: u64 = 64;
/// Voxels that a transformer's patch embedding makes one.
const EMBEDDED: u64 = 8;

impl EncoderConfig {
    /// Numbers that the results of the first stage's convolutions hold for one sample, all of which the backward pass needs: a lower bound of
    /// what a training step keeps, by far.
    #[must_use]
    pub fn first_maps(&self, patch_zyx: [usize; 3]) -> u64 {
        let [z, y, x] = patch_zyx.map(|n| n as u64);
        let of = |z: u64, y: u64, x: u64| z.saturating_mul(y).saturating_mul(x);
        match self {
            Self::Resnet50 { .. } => RESNET_STEM.saturating_mul(of(z, y.div_ceil(2), x.div_ceil(2))),
            Self::Resenc { topology, .. } => {
                let features = topology.features.first().map_or(0, |n| n.unsigned_abs());
                // that of the stem, and two of each block
                let convolutions = 1 + 2 * topology.blocks.first().map_or(0, |n| *n as u64);
                convolutions.saturating_mul(features).saturating_mul(of(z, y, x))
            }
            Self::SwinUnetr { transformer, .. } => {
                transformer.feature_size.unsigned_abs().saturating_mul(of(z, y, x) / EMBEDDED)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ResEncConfig, ResEncSize, SwinConfig};

    #[test]
    fn first_maps_are_those_of_the_first_stage() {
        let patch = [16, 48, 50];
        let voxels = 16 * 48 * 50;
        let topology = ResEncConfig::for_patch([16, 48, 50], [1.0; 3], ResEncSize::Full).unwrap();
        assert_eq!(EncoderConfig::Resenc { in_channels: 4, topology }.first_maps(patch), 3 * 32 * voxels);
        assert_eq!(EncoderConfig::Resnet50 { in_channels: 1 }.first_maps(patch), 64 * voxels / 4);
        let transformer = SwinConfig { feature_size: 24, ..SwinConfig::default() };
        let swin = EncoderConfig::SwinUnetr { in_channels: 1, transformer };
        assert_eq!(swin.first_maps(patch), 24 * voxels / 8);
        assert_eq!(EncoderConfig::Resnet50 { in_channels: 1 }.first_maps([usize::MAX; 3]), u64::MAX);
    }
}
