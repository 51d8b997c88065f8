//! One training step and the validation while training.

use crate::sampling::Batch;
use networks::SegmentationNetwork;
use patches::{Region, ShardStore};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};
use torch_runtime::Precision;
use training::augment::{AugmentOptions, augment};
use training::error::BoxedError;
use training::losses::dice_ce::{DiceCeOptions, deep_supervision};
use training::predict::{SlidingWindow, label_map, predict};
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
    pub(crate) loss: DiceCeOptions,
    /// Class names, background first.
    pub(crate) classes: Vec<String>,
    /// The shards and the cases to validate on.
    pub(crate) validation: (Arc<ShardStore>, Vec<String>),
}

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

/// Class scores of a whole image by sliding window.
///
/// A volume smaller than the window is padded with each channel's smallest value, as training patches are.
///
/// # Shapes
/// `image`: `[channel, z, y, x]`; result `[class, z, y, x]`, float32 on the CPU.
pub(crate) fn scores(
    image: &Tensor,
    options: &SlidingWindow,
    network: &SegmentationNetwork,
    precision: Precision,
    device: Device,
) -> Result<Tensor, training::TrainingError> {
    let size = image.size();
    let missing: [i64; 3] = std::array::from_fn(|axis| (options.window_zyx[axis] - size[axis + 1]).max(0));
    let before = missing.map(|n| n / 2);
    let padding: Vec<i64> = (0..3).rev().flat_map(|a| [before[a], missing[a] - before[a]]).collect();
    // shifted so that the smallest value is 0, padded with 0, shifted back
    let smallest = image.amin([1i64, 2, 3].as_slice(), true);
    let padded = (image - &smallest).constant_pad_nd(padding) + &smallest;
    let scores = predict(&padded, options, device, &|windows| apply(network, windows, precision, device))?;
    let cropped = (0..3).fold(scores, |t, axis| t.narrow(axis as i64 + 1, before[axis], size[axis + 1]));
    Ok(cropped.contiguous())
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
        let loss = deep_supervision(&outputs, &labels, &self.loss)?;
        let parts =
            vec![("dice_loss".to_owned(), loss.dice), ("cross_entropy".to_owned(), loss.cross_entropy)];
        let parts = parts.into_iter().map(|(name, value)| (name, value.detach())).collect();
        Ok(StepLoss { total: loss.total, parts })
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        batch.members.clone()
    }

    /// Dice pooled over the validation cases per class, in the shards' grid, by sliding window.
    fn validate(&mut self, _step: u64) -> Result<Validation, BoxedError> {
        let _guard = tch::no_grad_guard();
        let classes = self.classes.len();
        let mut both = vec![0i64; classes];
        let mut sizes = vec![0i64; classes];
        let mut options = SlidingWindow::new(self.patch_zyx);
        options.overlap = 0.25;
        let (store, ids) = &self.validation;
        for id in ids {
            let case = store.case(id).map_err(|e| e.message(id))?;
            let region = Region::whole(case.record().shape_zyx);
            let [z, y, x] = case.record().shape_zyx.map(|n| n as i64);
            let image = Tensor::from_slice(&case.read_image(&region).map_err(|e| e.message(id))?).view([
                self.channels,
                z,
                y,
                x,
            ]);
            let labels = case.read_label(&region).map_err(|e| e.message(id))?;
            let labels: Vec<i64> = labels.into_iter().map(i64::from).collect();
            let labels = Tensor::from_slice(&labels).view([z, y, x]);
            let found = scores(&image, &options, &self.network, self.precision, self.device)?;
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
                values.insert(format!("pooled_dice {}", self.classes[class]), dice);
                scored.push(dice);
            }
        }
        let score = (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64);
        Ok(Validation { score, values })
    }
}
