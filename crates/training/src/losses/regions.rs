//! Soft Dice with binary cross-entropy on logits of regions that may overlap.

use super::dice_ce::{DiceCe, DiceCeOptions, Terms, soft_dice, supervise};
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};
use torch_runtime::Group;

/// Dice of each region's probability (a sigmoid), as in [`dice_ce`](super::dice_ce::dice_ce), plus binary cross-entropy averaged over
/// regions and voxels. There is no background: `include_background` has no meaning here.
///
/// # Shapes
/// `logits`: `[batch, region, z, y, x]`, any float kind, computed in float32; `label`: `[batch, 1, z, y, x]`, class values; `regions`:
/// of each region the class values that it holds.
///
/// # Errors
/// On shapes that do not fit.
///
/// # Source
/// nnU-Net's region-based training, `DC_and_BCE_loss`.
pub fn region_loss(
    logits: &Tensor,
    label: &Tensor,
    regions: &[Vec<i64>],
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<DiceCe> {
    let shape = logits.size();
    if shape.len() != 5 || shape[1] != regions.len() as i64 || regions.is_empty() {
        return Err(TrainingError::shape("logits", logits, format!("[batch, {}, z, y, x]", regions.len())));
    }
    if label.size() != [shape[0], 1, shape[2], shape[3], shape[4]] || label.numel() == 0 {
        return Err(TrainingError::shape("label", label, format!("one channel of {shape:?}")));
    }
    let label = label.to_device(logits.device()).to_kind(Kind::Int64);
    let terms = region_terms(logits, &label, regions, options);
    let entropy = terms.mean_entropy(group)?;
    let dice = soft_dice(&terms.probability, &terms.target, options, group)?;
    Ok(DiceCe::new(&dice, &entropy, options))
}

/// The terms of regions. `label`: int64 `[batch, 1, z, y, x]` on the logits' device.
pub(super) fn region_terms(
    logits: &Tensor,
    label: &Tensor,
    regions: &[Vec<i64>],
    options: &DiceCeOptions,
) -> Terms {
    let logits = logits.to_kind(Kind::Float);
    let target = masks(label, regions);
    // log(1 + eˣ) − g x, which stays finite for any x
    let entropy = logits.softplus() - &logits * &target;
    let counted = options.ignore_label.map(|ignored| label.ne(ignored).to_kind(Kind::Float));
    Terms::new(logits.sigmoid(), target, entropy, counted)
}

/// 1 where a voxel belongs to a region.
///
/// # Shapes
/// `label`: int64 `[…, 1, z, y, x]`; float32 `[…, region, z, y, x]`.
pub fn masks(label: &Tensor, regions: &[Vec<i64>]) -> Tensor {
    let mask = |values: &Vec<i64>| {
        values
            .iter()
            .fold(label.zeros_like().to_kind(Kind::Bool), |mask, value| mask.logical_or(&label.eq(*value)))
    };
    let masks: Vec<Tensor> = regions.iter().map(mask).collect();
    Tensor::cat(&masks, -4).to_kind(Kind::Float)
}

/// [`region_loss`] over several resolutions; see [`deep_supervision`](super::dice_ce::deep_supervision).
///
/// # Errors
/// As [`region_loss`]; also without outputs.
pub fn deep_region_loss(
    outputs: &[Tensor],
    label: &Tensor,
    regions: &[Vec<i64>],
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<DiceCe> {
    supervise(outputs, label, &|logits, label, _full| region_loss(logits, label, regions, options, group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn case() -> (Tensor, Tensor, Vec<Vec<i64>>) {
        tch::manual_seed(3);
        let label = Tensor::arange(48, (Kind::Int64, Device::Cpu)).remainder(4).view([2, 1, 2, 3, 4]);
        let logits = Tensor::randn([2, 2, 2, 3, 4], (Kind::Float, Device::Cpu));
        (logits, label, vec![vec![1, 2, 3], vec![3]])
    }

    #[test]
    fn it_is_its_formula() {
        let (logits, label, regions) = case();
        let loss = region_loss(&logits, &label, &regions, &DiceCeOptions::default(), None).unwrap();
        let (mut entropy, mut dice) = (0.0, 0.0);
        for sample in 0..2 {
            for (region, values) in (0..).zip(&regions) {
                let (mut both, mut sum) = (0.0, 0.0);
                for voxel in 0..24 {
                    let x = logits.get(sample).get(region).view(-1).double_value(&[voxel]);
                    let g = f64::from(u8::from(
                        values.contains(&label.get(sample).view(-1).int64_value(&[voxel])),
                    ));
                    let p = 1.0 / (1.0 + (-x).exp());
                    entropy -= (g * p.ln() + (1.0 - g) * (1.0 - p).ln()) / 96.0;
                    both += p * g;
                    sum += p + g;
                }
                dice += (1.0 - (2.0 * both + 1e-5) / (sum + 1e-5)) / 4.0;
            }
        }
        assert!((loss.dice.double_value(&[]) - dice).abs() < 1e-6);
        assert!((loss.cross_entropy.double_value(&[]) - entropy).abs() < 1e-6);
        assert!((loss.total.double_value(&[]) - dice - entropy).abs() < 1e-6);
    }

    #[test]
    fn ignored_voxels_and_great_certainty_cost_nothing() {
        let (logits, label, regions) = case();
        let options = DiceCeOptions { ignore_label: Some(9), ..Default::default() };
        let ignored = label.copy();
        let _filled = ignored.narrow(4, 0, 1).fill_(9);
        let other = logits.copy();
        let _filled = other.narrow(4, 0, 1).fill_(1e30);
        let logits = logits.set_requires_grad(true);
        let [one, two] = [&logits, &other]
            .map(|logits| region_loss(logits, &ignored, &regions, &options, None).unwrap().total);
        assert!((one.double_value(&[]) - two.double_value(&[])).abs() < 1e-6);
        one.backward();
        assert!(logits.grad().narrow(4, 0, 1).abs().max().double_value(&[]) < 1e-12);
        let perfect = (masks(&label, &regions) * 2.0 - 1.0) * 80.0;
        let found = deep_region_loss(&[perfect], &label, &regions, &DiceCeOptions::default(), None).unwrap();
        assert!(found.total.double_value(&[]) < 1e-5);
        assert!(region_loss(&logits, &label, &regions[..1], &options, None).is_err());
        assert!(deep_region_loss(&[], &label, &regions, &options, None).is_err());
    }
}
