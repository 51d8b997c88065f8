//! Patch merging: each 2×2×2 cube of tokens becomes one token of twice the features.

use crate::blocks::LayerNorm;
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use crate::swin::config::SwinMerging;
use tch::Tensor;

/// Parities z, y, x in the order in which MONAI's `merging` joins them since version 1.5.
const COMPLETE: [[i64; 3]; 8] =
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]];
/// As in MONAI 0.9 to 1.4 and the published code: (0, 1, 0) and (0, 0, 1) are there twice, (1, 1, 0) and (0, 1, 1) are not.
const PUBLISHED: [[i64; 3]; 8] =
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 1]];

/// MONAI's `PatchMerging`.
#[derive(Debug)]
pub(super) struct PatchMerging {
    order: [[i64; 3]; 8],
    norm: LayerNorm,
    reduction: Tensor,
}

impl PatchMerging {
    pub(super) fn new(scope: &Scope<'_>, features: i64, merging: SwinMerging) -> Result<Self, Error> {
        let shape = [2 * features, 8 * features];
        let (weight, _) = ConvInit::Torch.fills(&shape);
        Ok(Self {
            order: match merging {
                SwinMerging::Complete => COMPLETE,
                SwinMerging::Published => PUBLISHED,
            },
            norm: LayerNorm::new(&scope.sub("norm"), 8 * features, true)?,
            reduction: scope.sub("reduction").parameter("weight", &shape, weight)?,
        })
    }

    /// `[batch, z, y, x, features]`, sizes even → `[batch, z/2, y/2, x/2, 2·features]`.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        let grid = |parities: &[i64; 3]| {
            (1..)
                .zip(parities)
                .try_fold(input.shallow_clone(), |grid, (axis, parity)| grid.f_slice(axis, *parity, None, 2))
        };
        let grids: Vec<Tensor> = self.order.iter().map(grid).collect::<Result<_, _>>()?;
        let joined = self.norm.forward(&Tensor::f_cat(&grids, -1)?)?;
        Ok(joined.f_linear::<&Tensor>(&self.reduction, None)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_complete_order_has_every_voxel_and_the_published_one_six() {
        let distinct = |order: [[i64; 3]; 8]| order.into_iter().collect::<BTreeSet<_>>().len();
        assert_eq!((distinct(COMPLETE), distinct(PUBLISHED)), (8, 6));
        assert!(!PUBLISHED.contains(&[1, 1, 0]) && !PUBLISHED.contains(&[0, 1, 1]));
    }
}
