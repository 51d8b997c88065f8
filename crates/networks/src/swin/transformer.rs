//! The transformer of four stages.

use crate::blocks::{Conv3d, ConvShape};
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use crate::swin::block::Block;
use crate::swin::config::SwinConfig;
use crate::swin::merging::PatchMerging;
use crate::swin::windows::{WindowCache, relative_positions};
use tch::Tensor;

/// Heads of the first stage; each stage doubles them with the features.
const HEADS: i64 = 3;

/// MONAI's `SwinTransformer`.
#[derive(Debug)]
pub(super) struct SwinTransformer {
    patches: Conv3d,
    stages: Vec<Stage>,
    windows: WindowCache,
}

/// Blocks at one resolution, and the way to the next.
#[derive(Debug)]
struct Stage {
    blocks: Vec<Block>,
    merging: PatchMerging,
}

impl SwinTransformer {
    pub(super) fn new(scope: &Scope<'_>, in_channels: i64, config: &SwinConfig) -> Result<Self, Error> {
        let shape = ConvShape {
            input: in_channels,
            output: config.feature_size,
            kernel_zyx: [2; 3],
            stride_zyx: [2; 3],
            bias: true,
        };
        let patches = Conv3d::new(&scope.sub("patch_embed").sub("proj"), shape, ConvInit::Torch)?;
        let positions = relative_positions()?;
        let mut stages = Vec::with_capacity(config.depths.len());
        for (index, depth) in config.depths.into_iter().enumerate() {
            // MONAI keeps each stage in a list of one.
            let scope = scope.sub(format!("layers{}", index + 1)).sub(0);
            let (features, heads) = (config.feature_size << index, HEADS << index);
            let blocks = (0..depth)
                .map(|block| Block::new(&scope.sub("blocks").sub(block), features, heads, &positions))
                .collect::<Result<_, _>>()?;
            let merging = PatchMerging::new(&scope.sub("downsample"), features, config.merging)?;
            stages.push(Stage { blocks, merging });
        }
        Ok(Self { patches, stages, windows: WindowCache::default() })
    }

    /// The five hidden states, finest first, not normalised.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, sizes multiples of 32; state s:
    /// `[batch, z/2ˢ⁺¹, y/2ˢ⁺¹, x/2ˢ⁺¹, 2ˢ·feature_size]`.
    pub(super) fn states(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let mut current = self.patches.forward(input)?.f_permute([0, 2, 3, 4, 1])?.f_contiguous()?;
        let mut states = Vec::with_capacity(self.stages.len() + 1);
        for stage in &self.stages {
            states.push(current.shallow_clone());
            let (_, z, y, x, _) = current.size5()?;
            let windows = self.windows.of([z, y, x], current.device())?;
            for (index, block) in stage.blocks.iter().enumerate() {
                current = block.forward(&current, &windows, index % 2 == 1)?;
            }
            current = stage.merging.forward(&current)?;
        }
        states.push(current);
        Ok(states)
    }
}
