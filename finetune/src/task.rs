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
    pub(crate) window_zyx: [i64; 3],
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

/// Applies a network to windows, float32 out.
fn apply(
    network: &SegmentationNetwork,
    windows: &Tensor,
    precision: Precision,
    device: Device,
) -> Result<Tensor, BoxedError> {
    let _autocast = precision.autocast(device)?;
    Ok(network.forward_t(windows, false)?.to_kind(Kind::Float))
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
/// A volume smaller than the window is padded with each channel's smallest value, as training patches are.
///
/// # Shapes
/// `image`: `[channel, z, y, x]`; `emit` gets the first section and `[class or offset, z, y, x]`, float32 on the CPU.
pub(crate) fn predict_image(
    image: &Tensor,
    options: &SlidingWindow,
    network: &SegmentationNetwork,
    (precision, device): (Precision, Device),
    output: Output,
    emit: &mut dyn FnMut(i64, &Tensor) -> Result<(), BoxedError>,
) -> Result<(), training::TrainingError> {
    let size = image.size();
    let missing: [i64; 3] = std::array::from_fn(|axis| (options.window_zyx[axis] - size[axis + 1]).max(0));
    let before = missing.map(|n| n / 2);
    let mut padded = image.shallow_clone();
    if missing != [0; 3] {
        let padding: Vec<i64> = (0..3).rev().flat_map(|a| [before[a], missing[a] - before[a]]).collect();
        // shifted so that the smallest value is 0, padded with 0, shifted back
        let smallest = image.amin([1i64, 2, 3].as_slice(), true);
        padded = (image - &smallest).constant_pad_nd(padding) + &smallest;
    }
    let windows = |windows: &Tensor| {
        let found = apply(network, windows, precision, device)?;
        Ok(match output {
            Output::Scores => found,
            Output::Sigmoid => found.sigmoid(),
        })
    };
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

/// As [`predict_image`], whole: `[class or offset, z, y, x]`.
pub(crate) fn predict_whole(
    image: &Tensor,
    options: &SlidingWindow,
    network: &SegmentationNetwork,
    compute: (Precision, Device),
    output: Output,
) -> Result<Tensor, training::TrainingError> {
    let mut slabs = Vec::new();
    predict_image(image, options, network, compute, output, &mut |_, slab| {
        slabs.push(slab.shallow_clone());
        Ok(())
    })?;
    Ok(Tensor::cat(&slabs, 1))
}

impl Task for Segmentation {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        let [z, y, x] = self.window_zyx;
        let images =
            Tensor::from_slice(&batch.images).view([-1, self.channels, z, y, x]).to_device(self.device);
        let labels = Tensor::from_slice(&batch.labels).view([-1, 1, z, y, x]).to_device(self.device);
        let (images, labels) =
            augment(&images, &labels, self.patch_zyx, &self.augmentation, self.seed, step)?;
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
            let found = predict_whole(&image, &options, &self.network, compute, Output::Scores)?;
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
            let found = predict_whole(&image, &self.windows(), &self.network, compute, Output::Sigmoid)?;
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
