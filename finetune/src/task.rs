//! One training step and the validation while training.

use crate::objective::{AffinityPlan, BoundaryScore};
use crate::sampling::{self, Batch};
use networks::SegmentationNetwork;
use patches::{Case, Region, ShardStore};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};
use torch_runtime::Precision;
use training::augment::{AugmentOptions, augment};
use training::error::BoxedError;
use training::losses::affinity::deep_affinity_loss;
use training::losses::dice_ce::{DiceCeOptions, deep_supervision};
use training::predict::{SlidingWindow, label_map, predict_slabs};
use training::record::Values;
use training::step::{StepLoss, Task, Validation};

/// A segmentation network under training.
pub(crate) struct Segmentation {
    pub(crate) network: SegmentationNetwork,
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    pub(crate) channels: i64,
    pub(crate) patch_zyx: [i64; 3],
    /// See [`crate::model::ModelPlan::filled_zyx`].
    pub(crate) filled_zyx: [bool; 3],
    pub(crate) seed: u64,
    pub(crate) augmentation: AugmentOptions,
    pub(crate) goal: Goal,
    /// The shards and the cases to validate on.
    pub(crate) validation: (Arc<ShardStore>, Vec<String>),
}

/// What is learnt, and how it is told from the truth.
pub(crate) enum Goal {
    /// Classes.
    Classes {
        loss: DiceCeOptions,
        /// Names, background first.
        names: Vec<String>,
    },
    /// The affinities of objects.
    Affinities(AffinityPlan),
}

/// Patches of a training patch's size along z, y, x that validation of affinities looks at in each case, at most: in its middle.
const VALIDATED_ZYX: [usize; 3] = [2, 4, 4];

/// Applies networks to windows, float32 out: the mean of their channels, which for classes are scores before any softmax, as nnU-Net
/// averages its folds.
fn apply(
    networks: &[SegmentationNetwork],
    windows: &Tensor,
    output: Output,
    precision: Precision,
    device: Device,
) -> Result<Tensor, BoxedError> {
    let mut sum: Option<Tensor> = None;
    for network in networks {
        let found = {
            let _autocast = precision.autocast(device)?;
            network.forward_t(windows, false)?.to_kind(Kind::Float)
        };
        let found = match output {
            Output::Scores => found,
            Output::Sigmoid => found.sigmoid(),
        };
        sum = Some(match sum {
            Some(sum) => sum + found,
            None => found,
        });
    }
    let sum = sum.ok_or("no network")?;
    Ok(if networks.len() > 1 { sum / networks.len() as f64 } else { sum })
}

/// What a network's channels are made into, window by window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Scores of classes, as they are.
    Scores,
    /// Probabilities.
    Sigmoid,
}

/// Channels of a whole image by sliding window, slab after slab along z.
///
/// A volume smaller than the window is filled up: with each channel's smallest value along axes where training patches were, else with
/// mirrored voxels.
///
/// # Shapes
/// `image`: `[channel, z, y, x]`; `emit` gets the first section and `[class or offset, z, y, x]`, float32 on the CPU.
pub(crate) fn predict_image(
    image: &Tensor,
    options: &SlidingWindow,
    (networks, filled_zyx): (&[SegmentationNetwork], [bool; 3]),
    (precision, device): (Precision, Device),
    output: Output,
    emit: &mut dyn FnMut(i64, &Tensor) -> Result<(), BoxedError>,
) -> Result<(), training::TrainingError> {
    let size = image.size();
    let missing: [i64; 3] = std::array::from_fn(|axis| (options.window_zyx[axis] - size[axis + 1]).max(0));
    let before = missing.map(|n| n / 2);
    let padded = fill_up(image, before, missing, filled_zyx);
    let windows = |windows: &Tensor| apply(networks, windows, output, precision, device);
    predict_slabs(&padded, options, device, &windows, &mut |first, slab| {
        let (low, high) = (first.max(before[0]), (first + slab.size()[1]).min(before[0] + size[1]));
        if low >= high {
            return Ok(());
        }
        let inside = slab.narrow(1, low - first, high - low);
        let inside = inside.narrow(2, before[1], size[2]).narrow(3, before[2], size[3]);
        emit(low - before[0], &inside.contiguous())
    })
}

/// `missing` voxels more along z, y, x, `before` of them in front.
fn fill_up(image: &Tensor, before: [i64; 3], missing: [i64; 3], filled_zyx: [bool; 3]) -> Tensor {
    let mut image = image.shallow_clone();
    let constant = |axis: usize| if filled_zyx[axis] { missing[axis] } else { 0 };
    for axis in (0..3).filter(|axis| missing[*axis] > 0 && !filled_zyx[*axis]) {
        let size = image.size()[axis + 1];
        // … 2 1 | 0 1 2 … n − 2 n − 1 | n − 2 …
        let period = (2 * (size - 1)).max(1);
        let mirrored: Vec<i64> = (0..size + missing[axis])
            .map(|i| (i - before[axis]).rem_euclid(period))
            .map(|i| if i < size { i } else { period - i })
            .collect();
        let places = Tensor::from_slice(&mirrored).to_device(image.device());
        image = image.index_select(axis as i64 + 1, &places);
    }
    if [0, 1, 2].iter().all(|axis| constant(*axis) == 0) {
        return image;
    }
    let padding: Vec<i64> = (0..3)
        .rev()
        .flat_map(
            |axis| if constant(axis) > 0 { [before[axis], missing[axis] - before[axis]] } else { [0; 2] },
        )
        .collect();
    // shifted so that the smallest value is 0, padded with 0, shifted back
    let smallest = image.amin([1i64, 2, 3].as_slice(), true);
    (image - &smallest).constant_pad_nd(padding) + &smallest
}

/// As [`predict_image`], whole: `[class or offset, z, y, x]`.
pub(crate) fn predict_whole(
    image: &Tensor,
    options: &SlidingWindow,
    networks: (&[SegmentationNetwork], [bool; 3]),
    compute: (Precision, Device),
    output: Output,
) -> Result<Tensor, training::TrainingError> {
    let mut slabs = Vec::new();
    predict_image(image, options, networks, compute, output, &mut |_, slab| {
        slabs.push(slab.shallow_clone());
        Ok(())
    })?;
    Ok(Tensor::cat(&slabs, 1))
}

impl Task for Segmentation {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        let (images, labels) =
            augment(&batch.images, &batch.labels, self.patch_zyx, &self.augmentation, self.seed, step)?;
        let outputs: Vec<Tensor> = {
            let _autocast = self.precision.autocast(self.device)?;
            self.network.forward_deep(&images, true)?
        };
        let outputs: Vec<Tensor> = outputs.iter().map(|o| o.to_kind(Kind::Float)).collect();
        match &self.goal {
            Goal::Classes { loss, .. } => {
                let loss = deep_supervision(&outputs, &labels, loss)?;
                let parts =
                    [("dice_loss".to_owned(), loss.dice), ("cross_entropy".to_owned(), loss.cross_entropy)];
                let parts = parts.into_iter().map(|(name, value)| (name, value.detach())).collect();
                Ok(StepLoss { total: loss.total, parts })
            }
            Goal::Affinities(plan) => {
                let targets = plan.targets(&labels)?;
                let (total, finest) =
                    deep_affinity_loss(&outputs, &targets.values, &targets.weights, plan.loss)?;
                Ok(StepLoss { total, parts: vec![("affinity_loss".to_owned(), finest.detach())] })
            }
        }
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        batch.members.clone()
    }

    fn validate(&mut self, _step: u64) -> Result<Validation, BoxedError> {
        let _guard = tch::no_grad_guard();
        match &self.goal {
            Goal::Classes { names, .. } => self.pooled_dice(names),
            Goal::Affinities(plan) => self.boundary_f1(plan),
        }
    }
}

impl Segmentation {
    /// Sliding windows of validation: fewer than prediction takes.
    fn windows(&self) -> SlidingWindow {
        SlidingWindow { overlap: 0.25, ..SlidingWindow::new(self.patch_zyx) }
    }

    fn image(&self, case: &Case, region: &Region) -> patches::Result<Tensor> {
        let [z, y, x] = region.shape().map(|n| n as i64);
        Ok(Tensor::from_slice(&case.read_image(region)?).view([self.channels, z, y, x]))
    }

    /// Dice pooled over the validation cases per class, in the shards' grid, by sliding window.
    fn pooled_dice(&self, names: &[String]) -> Result<Validation, BoxedError> {
        let classes = names.len();
        let mut both = vec![0i64; classes];
        let mut sizes = vec![0i64; classes];
        let options = self.windows();
        let (store, ids) = &self.validation;
        for id in ids {
            let case = store.case(id).map_err(|e| e.message(id))?;
            let region = Region::whole(case.record().shape_zyx);
            let [z, y, x] = case.record().shape_zyx.map(|n| n as i64);
            let image = self.image(&case, &region).map_err(|e| e.message(id))?;
            let labels = case.read_label(&region).map_err(|e| e.message(id))?;
            let labels: Vec<i64> = labels.into_iter().map(i64::from).collect();
            let labels = Tensor::from_slice(&labels).view([z, y, x]);
            let compute = (self.precision, self.device);
            let network = (std::slice::from_ref(&self.network), self.filled_zyx);
            let found = predict_whole(&image, &options, network, compute, Output::Scores)?;
            let predicted = label_map(&found).to_kind(Kind::Int64);
            for class in 1..classes {
                let (p, l) = (predicted.eq(class as i64), labels.eq(class as i64));
                let count = |t: &Tensor| t.sum(Kind::Int64).int64_value(&[]);
                both[class] += count(&p.logical_and(&l));
                sizes[class] += count(&p) + count(&l);
            }
        }
        let mut values = Values::new();
        let mut scored = Vec::new();
        for class in 1..classes {
            if sizes[class] > 0 {
                let dice = 2.0 * both[class] as f64 / sizes[class] as f64;
                values.insert(format!("pooled_dice {}", names[class]), dice);
                scored.push(dice);
            }
        }
        let score = (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64);
        Ok(Validation { score, values })
    }

    /// F1 of pairs of voxels that are apart, at one half, pooled over the middles of the validation cases.
    fn boundary_f1(&self, plan: &AffinityPlan) -> Result<Validation, BoxedError> {
        let mut pooled = BoundaryScore::default();
        let (store, ids) = &self.validation;
        for id in ids {
            let case = store.case(id).map_err(|e| e.message(id))?;
            let shape = case.record().shape_zyx;
            let looked: [usize; 3] =
                std::array::from_fn(|a| shape[a].min(VALIDATED_ZYX[a] * self.patch_zyx[a] as usize));
            let region = Region::whole(shape).widened(looked);
            let image = self.image(&case, &region).map_err(|e| e.message(id))?;
            let labels = sampling::objects(&case, &region).map_err(|e| e.message(id))?;
            let [z, y, x] = looked.map(|n| n as i64);
            let targets = plan.targets(&Tensor::from_slice(&labels).view([1, 1, z, y, x]))?;
            let compute = (self.precision, self.device);
            let network = (std::slice::from_ref(&self.network), self.filled_zyx);
            let found = predict_whole(&image, &self.windows(), network, compute, Output::Sigmoid)?;
            pooled.add(&found, &targets);
        }
        let (each, score) = pooled.finish();
        let mut values = Values::new();
        for (offset, f1) in plan.offsets_zyx.iter().zip(each) {
            if let Some(f1) = f1 {
                let [z, y, x] = offset;
                values.insert(format!("boundary_f1 {z},{y},{x}"), f1);
            }
        }
        Ok(Validation { score, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_volumes_are_filled_up_as_in_training_or_mirrored() {
        let image = Tensor::from_slice(&[3.0_f32, 5.0, 7.0]).view([1, 3, 1, 1]);
        let filled = |missing: i64, as_trained: bool| {
            let missing = [missing, 0, 1];
            let found = fill_up(&image, missing.map(|n| n / 2), missing, [as_trained, true, false]);
            assert_eq!(found.size()[2..], [1, 2]);
            Vec::<f32>::try_from(found.narrow(3, 0, 1).contiguous().view(-1)).unwrap()
        };
        assert_eq!(filled(3, true), [3.0, 3.0, 5.0, 7.0, 3.0, 3.0]);
        assert_eq!(filled(3, false), [5.0, 3.0, 5.0, 7.0, 5.0, 3.0]);
        assert_eq!(filled(6, false), [5.0, 7.0, 5.0, 3.0, 5.0, 7.0, 5.0, 3.0, 5.0]);
        assert_eq!(filled(0, false), [3.0, 5.0, 7.0]);
    }
}
