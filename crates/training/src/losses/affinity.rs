//! Binary losses on the logits of affinities, balanced by a weight per voxel.

use crate::losses::dice_ce::deep_supervision_weights;
use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// What compares a predicted affinity with the true one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AffinityLoss {
    /// Squared difference of the probabilities, as published.
    Mse,
    /// Binary cross-entropy: it still pulls where the network is sure and wrong.
    #[default]
    Bce,
}

/// Weighted sum over all channels and voxels of one resolution, divided by the number of voxels of the batch.
///
/// # Shapes
/// `logits`, `target` (0 or 1) and `weight` (0 where the target is not known): `[batch, channel, z, y, x]`; computed in float32.
///
/// # Errors
/// On shapes that differ.
///
/// # Source
/// gtgm.md, section 7.3 (`WeightedMSE`).
pub fn affinity_loss(
    logits: &Tensor,
    target: &Tensor,
    weight: &Tensor,
    loss: AffinityLoss,
) -> Result<Tensor> {
    let size = logits.size();
    if size.len() != 5 || logits.numel() == 0 {
        return Err(TrainingError::shape("logits", logits, "[batch, channel, z, y, x], not empty"));
    }
    for (name, tensor) in [("target", target), ("weight", weight)] {
        if tensor.size() != size {
            return Err(TrainingError::shape(name, tensor, format!("{size:?} as the logits")));
        }
    }
    let logits = logits.to_kind(Kind::Float);
    let each = match loss {
        AffinityLoss::Mse => (logits.sigmoid() - target).square(),
        // max(x, 0) − x·t + log(1 + exp(−|x|)): finite for any logit
        AffinityLoss::Bce => logits.clamp_min(0.0) - &logits * target + (-logits.abs()).exp().log1p(),
    };
    let voxels = (size[0] * size[2] * size[3] * size[4]) as f64;
    Ok((each * weight).sum(Kind::Float) / voxels)
}

/// The sum that [`affinity_loss`] divides by the number of voxels, of probabilities instead of logits: what a prediction consists of.
/// Logarithms end at −100, as PyTorch's do.
///
/// # Shapes
/// As [`affinity_loss`], of any number of axes.
///
/// # Errors
/// On shapes that differ.
pub fn loss_of_probabilities(
    probability: &Tensor,
    target: &Tensor,
    weight: &Tensor,
    loss: AffinityLoss,
) -> Result<f64> {
    for (name, tensor) in [("target", target), ("weight", weight)] {
        if tensor.size() != probability.size() {
            let expected = format!("{:?} as the probabilities", probability.size());
            return Err(TrainingError::shape(name, tensor, expected));
        }
    }
    let each = match loss {
        AffinityLoss::Mse => (probability - target).square(),
        AffinityLoss::Bce => probability.binary_cross_entropy::<Tensor>(target, None, tch::Reduction::None),
    };
    Ok((each * weight).sum(Kind::Double).double_value(&[]))
}

/// [`affinity_loss`] over several resolutions, weighted by 1, ½, ¼ …; target and weight are reduced to each by taking the first voxel of each
/// block, on which the kernel of a convolution with a stride has its middle. (Classes learn from the nearest to the block's middle, as in
/// nnU-Net.) Gives the sum and the first resolution's.
///
/// # Shapes
/// `outputs[0]`: `[batch, channel, z, y, x]`, further ones coarser; `target`, `weight`: as `outputs[0]`.
///
/// # Errors
/// As [`affinity_loss`]; also without outputs.
pub fn deep_affinity_loss(
    outputs: &[Tensor],
    target: &Tensor,
    weight: &Tensor,
    loss: AffinityLoss,
) -> Result<(Tensor, Tensor)> {
    let mut total: Option<(Tensor, Tensor)> = None;
    for (output, share) in outputs.iter().zip(deep_supervision_weights(outputs.len())) {
        let reduced = |t: &Tensor| {
            let (from, to) = (t.size(), output.size());
            if from == to || to.len() != 5 {
                return t.shallow_clone();
            }
            t.upsample_nearest3d(&to[2..], None, None, None)
        };
        let value = affinity_loss(output, &reduced(target), &reduced(weight), loss)?;
        total = Some(match total {
            None => (&value * share, value.detach()),
            Some((sum, first)) => (sum + value * share, first),
        });
    }
    total.ok_or_else(|| TrainingError::Shape {
        what: "outputs".to_owned(),
        found: "none".to_owned(),
        expected: "at least one resolution".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn case() -> [Tensor; 3] {
        let logits = Tensor::from_slice(&[0.0_f32, 2.0, -3.0, 100.0]).view([1, 2, 1, 1, 2]);
        let target = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 0.0]).view([1, 2, 1, 1, 2]);
        let weight = Tensor::from_slice(&[1.0_f32, 2.0, 1.0, 0.0]).view([1, 2, 1, 1, 2]);
        [logits, target, weight]
    }

    #[test]
    fn both_losses_are_their_formulas() {
        let [logits, target, weight] = case();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mse = (0.25 + 2.0 * sigmoid(2.0).powi(2) + sigmoid(-3.0).powi(2)) / 2.0;
        let bce = (2.0_f64.ln() - 2.0 * sigmoid(-2.0).ln() - sigmoid(3.0).ln()) / 2.0;
        for (loss, expected) in [(AffinityLoss::Mse, mse), (AffinityLoss::Bce, bce)] {
            let found = affinity_loss(&logits, &target, &weight, loss).unwrap().double_value(&[]);
            assert!((found - expected).abs() < 1e-6, "{loss:?}: {found} instead of {expected}");
            let found = loss_of_probabilities(&logits.sigmoid(), &target, &weight, loss).unwrap() / 2.0;
            assert!((found - expected).abs() < 1e-6, "{loss:?}: {found} instead of {expected}");
        }
        // what is not known does not count, however wrong
        let logits = Tensor::from_slice(&[1e30_f32]).view([1, 1, 1, 1, 1]);
        let zero = logits.zeros_like();
        assert_eq!(affinity_loss(&logits, &zero, &zero, AffinityLoss::Bce).unwrap().double_value(&[]), 0.0);
    }

    /// Coarse targets and weights are those of the first voxel of each block.
    #[test]
    fn coarse_outputs_learn_from_the_first_voxels() {
        tch::manual_seed(3);
        let random = |size: [i64; 5]| Tensor::rand(size, (Kind::Float, Device::Cpu));
        let (target, weight) = (random([2, 3, 4, 6, 8]), random([2, 3, 4, 6, 8]));
        let outputs = [random([2, 3, 4, 6, 8]), random([2, 3, 2, 3, 2])];
        let first_of_each = |t: &Tensor| t.slice(2, 0, 4, 2).slice(3, 0, 6, 2).slice(4, 0, 8, 4);
        for loss in [AffinityLoss::Mse, AffinityLoss::Bce] {
            let of = |output: &Tensor, target: &Tensor, weight: &Tensor| {
                affinity_loss(output, target, weight, loss).unwrap().double_value(&[])
            };
            let (fine, coarse) = (
                of(&outputs[0], &target, &weight),
                of(&outputs[1], &first_of_each(&target), &first_of_each(&weight)),
            );
            let (total, first) = deep_affinity_loss(&outputs, &target, &weight, loss).unwrap();
            assert!((first.double_value(&[]) - fine).abs() < 1e-6);
            assert!((total.double_value(&[]) - (2.0 * fine + coarse) / 3.0).abs() < 1e-6, "{loss:?}");
        }
        assert!(deep_affinity_loss(&[], &target, &weight, AffinityLoss::Mse).is_err());
        assert!(affinity_loss(&outputs[1], &target, &weight, AffinityLoss::Mse).is_err());
    }
}
