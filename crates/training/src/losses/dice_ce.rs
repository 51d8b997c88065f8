//! Soft Dice with cross-entropy on logits.

use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use torch_runtime::{Group, gather_rows};

/// Options of the segmentation loss; the default is MONAI's `DiceCELoss(to_onehot_y=True, softmax=True)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiceCeOptions {
    /// Whether class 0 enters the Dice term; cross-entropy always sees it.
    pub include_background: bool,
    /// Pool the Dice sums over the batch before dividing, instead of dividing per sample: steadier with small patches.
    pub batch_dice: bool,
    /// Voxels with this label count neither in Dice nor in cross-entropy.
    pub ignore_label: Option<i64>,
    /// Weight of the Dice term.
    pub dice_weight: f64,
    /// Weight of the cross-entropy term.
    pub ce_weight: f64,
    /// Added to numerator and denominator of each Dice.
    pub smooth: f64,
}

impl Default for DiceCeOptions {
    fn default() -> Self {
        Self {
            include_background: true,
            batch_dice: false,
            ignore_label: None,
            dice_weight: 1.0,
            ce_weight: 1.0,
            smooth: 1e-5,
        }
    }
}

/// The loss and its two parts, scalars.
#[derive(Debug)]
pub struct DiceCe {
    /// What is minimised.
    pub total: Tensor,
    /// Mean over (sample, class), or over classes where the batch is pooled, of 1 − Dice, detached.
    pub dice: Tensor,
    /// Cross-entropy averaged over voxels, detached.
    pub cross_entropy: Tensor,
}

/// Dice per (sample, class) 1 − (2 Σ p g + s) / (Σ p + Σ g + s), averaged, plus voxel-mean cross-entropy.
///
/// A class absent from a sample counts with the smoothing term alone, as in MONAI. Where every voxel is ignored, the
/// cross-entropy is 0.
///
/// Of a batch that several processes hold, `group` is these: sums that reach over samples (pooled Dice, and the number of voxels
/// that count where some are ignored) are then taken over all of it, and averaged gradients are those of the whole batch.
///
/// # Shapes
/// `logits`: `[batch, class, z, y, x]`, any float kind, computed in float32; `label`: `[batch, 1, z, y, x]` or
/// `[batch, z, y, x]`, any kind that holds whole numbers `0..class` (and the ignored label). Checking the labels
/// synchronises with the device.
///
/// # Errors
/// On shapes that do not fit, fewer than two classes, or labels outside `0..class`.
///
/// # Source
/// gtgm.md, section 6.3; `monai.losses.DiceCELoss`.
pub fn dice_ce(
    logits: &Tensor,
    label: &Tensor,
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<DiceCe> {
    let shape = logits.size();
    if shape.len() != 5 || shape[1] < 2 {
        return Err(TrainingError::shape("logits", logits, "[batch, at least 2 classes, z, y, x]"));
    }
    let one_channel = [shape[0], 1, shape[2], shape[3], shape[4]];
    let without_channel = [shape[0], shape[2], shape[3], shape[4]];
    let found = label.size();
    if found != one_channel && found != without_channel {
        return Err(TrainingError::shape("label", label, format!("{one_channel:?} as the logits")));
    }
    let label = label.to_device(logits.device()).to_kind(Kind::Int64).view(one_channel);
    check_labels(&label, shape[1], options)?;
    of_classes(logits, &label, options, group)
}

/// [`dice_ce`] of shapes and labels that fit.
fn of_classes(
    logits: &Tensor,
    label: &Tensor,
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<DiceCe> {
    let label = label.to_device(logits.device()).to_kind(Kind::Int64);
    let terms = class_terms(logits, &label, options);
    let cross_entropy = terms.mean_entropy(group)?;
    let dice = soft_dice(&terms.probability, &terms.target, options, group)?;
    Ok(DiceCe::new(&dice, &cross_entropy, options))
}

/// What Dice and cross-entropy are made of, voxel by voxel.
pub(super) struct Terms {
    /// `[batch, channel, z, y, x]`, 0 where a voxel does not count.
    pub(super) probability: Tensor,
    /// Likewise.
    pub(super) target: Tensor,
    /// Cross-entropy of each voxel, `[batch, 1 or region, z, y, x]`.
    pub(super) entropy: Tensor,
    /// 1 where a voxel counts, `[batch, 1, z, y, x]`; none where all do.
    pub(super) counted: Option<Tensor>,
}

impl Terms {
    /// Leaves out voxels that do not count.
    pub(super) fn new(probability: Tensor, target: Tensor, entropy: Tensor, counted: Option<Tensor>) -> Self {
        let (probability, target) = match &counted {
            Some(counted) => (probability * counted, target * counted),
            None => (probability, target),
        };
        Self { probability, target, entropy, counted }
    }

    /// The sum of the cross-entropy over what counts, and how much that is; scalars.
    pub(super) fn entropy_sums(&self) -> [Tensor; 2] {
        match &self.counted {
            Some(counted) => {
                let channels = self.entropy.size()[1];
                [(&self.entropy * counted).sum(Kind::Float), counted.sum(Kind::Float) * channels]
            }
            None => {
                let sum = self.entropy.sum(Kind::Float);
                let all = sum.full_like(self.entropy.numel() as f64);
                [sum, all]
            }
        }
    }

    /// The mean of the cross-entropy over what counts, in all processes.
    pub(super) fn mean_entropy(&self, group: Option<&Group>) -> Result<Tensor> {
        if self.counted.is_none() {
            return Ok(self.entropy.mean(Kind::Float));
        }
        let sums = of_all(&Tensor::stack(&self.entropy_sums(), 0), group)?;
        Ok(sums.get(0) / sums.get(1).clamp_min(1.0))
    }
}

/// The terms of classes. `label`: int64 `[batch, 1, z, y, x]` on the logits' device, as [`check_labels`] wants it.
pub(super) fn class_terms(logits: &Tensor, label: &Tensor, options: &DiceCeOptions) -> Terms {
    let (label, counted) = match options.ignore_label {
        Some(ignored) => {
            let counted = label.ne(ignored);
            (label.masked_fill(&counted.logical_not(), 0), Some(counted.to_kind(Kind::Float)))
        }
        None => (label.shallow_clone(), None),
    };
    let classes = logits.size()[1];
    let log_probability = logits.log_softmax(1, Kind::Float);
    let mut probability = log_probability.exp();
    let mut target = probability.zeros_like().scatter_value(1, &label, 1.0);
    let entropy = -log_probability.gather(1, &label, false);
    if !options.include_background {
        probability = probability.narrow(1, 1, classes - 1);
        target = target.narrow(1, 1, classes - 1);
    }
    Terms::new(probability, target, entropy, counted)
}

impl DiceCe {
    /// The weighted sum of both.
    pub(super) fn new(dice: &Tensor, cross_entropy: &Tensor, options: &DiceCeOptions) -> Self {
        let total = dice * options.dice_weight + cross_entropy * options.ce_weight;
        Self { total, dice: dice.detach(), cross_entropy: cross_entropy.detach() }
    }
}

/// 1 − (2 Σ p g + s) / (Σ p + Σ g + s) for each sample and channel, or over the batch for each channel; their mean.
///
/// # Shapes
/// Both `[batch, channel, z, y, x]`, 0 where a voxel does not count.
pub(super) fn soft_dice(
    probability: &Tensor,
    target: &Tensor,
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<Tensor> {
    let pooled: &[i64] = if options.batch_dice { &[0, 2, 3, 4] } else { &[2, 3, 4] };
    let sum = |x: &Tensor| x.sum_dim_intlist(pooled, false, Kind::Float);
    let mut sums = Tensor::stack(&[sum(&(probability * target)) * 2.0, sum(probability) + sum(target)], 0);
    if options.batch_dice {
        sums = of_all(&sums, group)?;
    }
    let (overlap, size) = (sums.get(0) + options.smooth, sums.get(1) + options.smooth);
    Ok(1.0 - (overlap / size).mean(Kind::Float))
}

/// Sums over all processes, each of which has its own part in the gradient.
fn of_all(sums: &Tensor, group: Option<&Group>) -> Result<Tensor> {
    match group {
        Some(group) => {
            let rows = gather_rows(group, &sums.unsqueeze(0))?;
            Ok(rows.sum_dim_intlist([0i64].as_slice(), false, Kind::Float))
        }
        None => Ok(sums.shallow_clone()),
    }
}

/// Refuses labels (int64) that are no classes. Waits for the label's device.
pub(super) fn check_labels(label: &Tensor, classes: i64, options: &DiceCeOptions) -> Result<()> {
    if label.numel() == 0 {
        return Err(TrainingError::shape("label", label, "at least one voxel"));
    }
    let label = options
        .ignore_label
        .map_or_else(|| label.shallow_clone(), |ignored| label.masked_fill(&label.eq(ignored), 0));
    let limits = Tensor::stack(&[label.min(), label.max()], 0).to_device(Device::Cpu);
    let (low, high) = (limits.int64_value(&[0]), limits.int64_value(&[1]));
    if low < 0 || high >= classes {
        return Err(TrainingError::Shape {
            what: "label".to_owned(),
            found: format!("values {low} to {high}"),
            expected: format!("0 to {} for {classes} classes of logits", classes - 1),
        });
    }
    Ok(())
}

/// Weights 1, ½, ¼ … from full resolution down, normalised to sum 1.
///
/// # Source
/// As nnU-Net's deep supervision, which gives the coarsest output no weight; here it keeps its share.
#[must_use]
pub fn deep_supervision_weights(outputs: usize) -> Vec<f64> {
    let raw: Vec<f64> = std::iter::successors(Some(1.0), |w| Some(w * 0.5)).take(outputs).collect();
    let sum: f64 = raw.iter().sum();
    raw.iter().map(|w| w / sum).collect()
}

/// [`dice_ce`] over several resolutions, weighted by [`deep_supervision_weights`].
///
/// # Shapes
/// `outputs[0]`: `[batch, class, z, y, x]` at the label's resolution, further ones coarser; the label is reduced to each
/// by taking the nearest voxel. The parts returned are those of full resolution.
///
/// # Errors
/// As [`dice_ce`]; also without outputs.
pub fn deep_supervision(
    outputs: &[Tensor],
    label: &Tensor,
    options: &DiceCeOptions,
    group: Option<&Group>,
) -> Result<DiceCe> {
    supervise(outputs, label, &|logits, label, full| {
        // reduced labels are some of those at full resolution
        if full { dice_ce(logits, label, options, group) } else { of_classes(logits, label, options, group) }
    })
}

/// A loss over several resolutions; see [`deep_supervision`]. The loss is told whether it is at full resolution.
pub(super) fn supervise(
    outputs: &[Tensor],
    label: &Tensor,
    loss_of: &dyn Fn(&Tensor, &Tensor, bool) -> Result<DiceCe>,
) -> Result<DiceCe> {
    let Some(first) = outputs.first() else {
        return Err(TrainingError::Shape {
            what: "outputs".to_owned(),
            found: "none".to_owned(),
            expected: "at least one resolution".to_owned(),
        });
    };
    let weights = deep_supervision_weights(outputs.len());
    let mut loss = loss_of(first, label, true)?;
    let mut terms = vec![&loss.total * weights[0]];
    let label = if label.dim() == 4 { label.unsqueeze(1) } else { label.shallow_clone() };
    // double holds every label exactly; LibTorch resizes no integers
    let label = label.to_device(first.device()).to_kind(Kind::Double);
    for (output, weight) in outputs.iter().zip(&weights).skip(1) {
        let shape = output.size();
        if shape.len() != 5 {
            return Err(TrainingError::shape("logits", output, "[batch, class, z, y, x]"));
        }
        let reduced = label.internal_upsample_nearest_exact3d(&shape[2..], None, None, None);
        terms.push(loss_of(output, &reduced, false)?.total * *weight);
    }
    loss.total = Tensor::stack(&terms, 0).sum(Kind::Float);
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits_for(label: &Tensor, classes: i64, sharpness: f64) -> Tensor {
        let shape = label.size();
        Tensor::zeros([shape[0], classes, shape[2], shape[3], shape[4]], (Kind::Float, Device::Cpu))
            .scatter_value(1, label, sharpness)
    }

    #[test]
    fn a_perfect_answer_costs_nothing_under_every_option() {
        let label = Tensor::arange(48, (Kind::Int64, Device::Cpu)).remainder(3).view([2, 1, 2, 3, 4]);
        let logits = logits_for(&label, 3, 50.0);
        for (include_background, batch_dice) in [(true, true), (true, false), (false, true), (false, false)] {
            let options = DiceCeOptions { include_background, batch_dice, ..Default::default() };
            assert!(dice_ce(&logits, &label, &options, None).unwrap().total.double_value(&[]) < 1e-5);
        }
    }

    #[test]
    fn ignored_voxels_have_no_influence_and_no_gradient() {
        tch::manual_seed(5);
        let label = Tensor::arange(48, (Kind::Int64, Device::Cpu)).remainder(3).view([2, 1, 2, 3, 4]);
        let options = DiceCeOptions { ignore_label: Some(255), ..Default::default() };
        let ignored = label.copy();
        let _filled = ignored.narrow(4, 0, 1).fill_(255);
        let a = Tensor::randn([2, 3, 2, 3, 4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let b = a.detach().copy();
        let _filled = b.narrow(4, 0, 1).fill_(9.0);
        let one = dice_ce(&a, &ignored, &options, None).unwrap().total;
        let two = dice_ce(&b, &ignored, &options, None).unwrap().total;
        assert!((one.double_value(&[]) - two.double_value(&[])).abs() < 1e-6);
        one.backward();
        assert!(a.grad().narrow(4, 0, 1).abs().max().double_value(&[]) < 1e-12);
        let nothing = dice_ce(&a, &label.full_like(255), &options, None).unwrap();
        assert!(nothing.cross_entropy.double_value(&[]).abs() < 1e-12);
    }

    /// What is ignored in one sample only counts in the other, whether the Dice is each sample's or the batch's.
    #[test]
    fn ignored_voxels_are_left_out_by_hand() {
        tch::manual_seed(6);
        let shape = [2, 4, 5, 6, 7];
        let logits = Tensor::randn(shape, (Kind::Double, Device::Cpu));
        let label = Tensor::randint(4, [2, 1, 5, 6, 7], (Kind::Int64, Device::Cpu));
        let _ignored = label.get(1).narrow(2, 2, 3).fill_(9);
        let probability =
            Vec::<f64>::try_from(logits.softmax(1, Kind::Double).contiguous().view(-1)).unwrap();
        let labels = Vec::<i64>::try_from(label.contiguous().view(-1)).unwrap();
        let voxels = 5 * 6 * 7;
        let (mut entropy, mut counted) = (0.0, 0.0);
        // overlap and size of each sample and class
        let mut sums = [[[0.0; 2]; 4]; 2];
        for (i, value) in labels.iter().enumerate().filter(|(_, value)| **value != 9) {
            let (sample, at) = (i / voxels, i % voxels);
            let of = |class: usize| probability[(sample * 4 + class) * voxels + at];
            entropy -= of(*value as usize).ln();
            counted += 1.0;
            for (class, sums) in sums[sample].iter_mut().enumerate() {
                let target = f64::from(u8::from(class as i64 == *value));
                sums[0] += 2.0 * of(class) * target;
                sums[1] += of(class) + target;
            }
        }
        for batch_dice in [false, true] {
            let options = DiceCeOptions { ignore_label: Some(9), batch_dice, ..Default::default() };
            let classes = if options.include_background { 0..4 } else { 1..4 };
            let ratio = |[overlap, size]: [f64; 2]| (overlap + options.smooth) / (size + options.smooth);
            let ratios: Vec<f64> = classes
                .flat_map(|class| match batch_dice {
                    true => vec![ratio([0, 1].map(|k| sums[0][class][k] + sums[1][class][k]))],
                    false => vec![ratio(sums[0][class]), ratio(sums[1][class])],
                })
                .collect();
            let dice = 1.0 - ratios.iter().sum::<f64>() / ratios.len() as f64;
            let found = dice_ce(&logits.to_kind(Kind::Float), &label, &options, None).unwrap();
            assert!((found.dice.double_value(&[]) - dice).abs() < 1e-5, "{batch_dice}");
            assert!((found.cross_entropy.double_value(&[]) - entropy / counted).abs() < 1e-5);
        }
    }

    #[test]
    fn labels_outside_the_classes_are_named() {
        let label = Tensor::full([1, 1, 1, 1, 2], 3, (Kind::Int64, Device::Cpu));
        let logits = Tensor::zeros([1, 3, 1, 1, 2], (Kind::Float, Device::Cpu));
        let text = dice_ce(&logits, &label, &DiceCeOptions::default(), None).unwrap_err().to_string();
        assert!(text.contains("values 3 to 3") && text.contains("0 to 2"), "{text}");
    }

    #[test]
    fn deep_supervision_weighs_one_half_one_quarter() {
        assert_eq!(deep_supervision_weights(3), [4.0 / 7.0, 2.0 / 7.0, 1.0 / 7.0]);
        tch::manual_seed(4);
        let label = Tensor::randint(2, [2, 1, 4, 6, 8], (Kind::Int64, Device::Cpu));
        let full = Tensor::randn([2, 2, 4, 6, 8], (Kind::Float, Device::Cpu));
        let half = Tensor::randn([2, 2, 2, 3, 2], (Kind::Float, Device::Cpu));
        let options = DiceCeOptions::default();
        // the middle ones: 1, 3, … of two, 2, 6, … of four
        let small = label.slice(2, 1, 4, 2).slice(3, 1, 6, 2).slice(4, 2, 8, 4);
        let expected = dice_ce(&full, &label, &options, None).unwrap().total.double_value(&[]) * 2.0 / 3.0
            + dice_ce(&half, &small, &options, None).unwrap().total.double_value(&[]) / 3.0;
        let found = deep_supervision(&[full, half], &label, &options, None).unwrap().total.double_value(&[]);
        assert!((expected - found).abs() < 1e-6);
    }
}
