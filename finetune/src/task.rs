//! One training step, and networks applied to whole images.

use crate::filling::Filling;
use crate::objective::AffinityPlan;
use crate::sampling::Batch;
use crate::semantic::{Semantic, SemanticLoss};
use networks::{SegmentationNetwork, Statistics};
use patches::ShardStore;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};
use torch_runtime::{Group, Precision};
use training::augment::{AugmentOptions, augment};
use training::error::BoxedError;
use training::losses::affinity::deep_affinity_loss;
use training::predict::{SlidingWindow, predict_slabs};
use training::step::{StepLoss, Task, Validation};

/// A segmentation network under training.
pub(crate) struct Segmentation {
    pub(crate) network: SegmentationNetwork,
    pub(crate) device: Device,
    pub(crate) precision: Precision,
    pub(crate) channels: i64,
    pub(crate) patch_zyx: [i64; 3],
    pub(crate) filling: Filling,
    pub(crate) seed: u64,
    /// The place of this process's first sample in the batch of all.
    pub(crate) first_sample: u64,
    /// The processes that train together.
    pub(crate) group: Option<Group>,
    pub(crate) frozen: Frozen,
    pub(crate) augmentation: AugmentOptions,
    /// Images and labels of a step to come, augmented.
    pub(crate) prepared: Option<(u64, [Tensor; 2])>,
    pub(crate) goal: Goal,
    /// The shards and the cases to validate on.
    pub(crate) validation: (Arc<ShardStore>, Vec<String>),
    /// Whether images are shown as if seen from the feet, front up.
    pub(crate) from_feet: bool,
}

/// Variables that stay as they are in the first steps, without gradients.
pub(crate) struct Frozen {
    /// The first step that changes them.
    pub(crate) until: u64,
    pub(crate) variables: Vec<Tensor>,
}

impl Frozen {
    fn at(&self, step: u64) {
        for variable in &self.variables {
            let _same = variable.set_requires_grad(step >= self.until);
        }
    }
}

/// What is learnt, and how it is told from the truth.
pub(crate) enum Goal {
    /// Classes or regions.
    Semantic(Semantic, SemanticLoss),
    /// The affinities of objects.
    Affinities(AffinityPlan),
}

impl Goal {
    /// Whether a step needs the labels on the CPU.
    fn reads_labels(&self) -> bool {
        match self {
            Self::Semantic(_, options) => options.boundary_weight > 0.0,
            Self::Affinities(_) => true,
        }
    }
}

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
    /// Scores of classes or regions, as they are.
    Scores,
    /// Probabilities.
    Sigmoid,
}

/// Channels of a whole image by sliding window, slab after slab along z.
///
/// A volume smaller than the window is filled up as [`Filling`] says.
///
/// # Shapes
/// `image`: `[channel, z, y, x]`; `emit` gets the first section and `[class or offset, z, y, x]`, float32 on the CPU.
///
/// # Errors
/// As `predict_slabs`, and when `go_on`, asked before each batch of windows, says no.
pub(crate) fn predict_image(
    image: &Tensor,
    options: &SlidingWindow,
    (networks, filling): (&[SegmentationNetwork], &Filling),
    (precision, device): (Precision, Device),
    output: Output,
    go_on: &dyn Fn() -> bool,
    emit: &mut dyn FnMut(i64, &Tensor) -> Result<(), BoxedError>,
) -> Result<(), training::TrainingError> {
    let size = image.size();
    let missing: [i64; 3] = std::array::from_fn(|axis| (options.window_zyx[axis] - size[axis + 1]).max(0));
    let before = missing.map(|n| n / 2);
    let padded = filling.fill_up(image, before, missing);
    let windows = |windows: &Tensor| {
        if go_on() {
            apply(networks, windows, output, precision, device)
        } else {
            Err("a stop was asked for".into())
        }
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
    networks: (&[SegmentationNetwork], &Filling),
    compute: (Precision, Device),
    output: Output,
) -> Result<Tensor, training::TrainingError> {
    let mut slabs = Vec::new();
    predict_image(image, options, networks, compute, output, &|| true, &mut |_, slab| {
        slabs.push(slab.shallow_clone());
        Ok(())
    })?;
    Ok(Tensor::cat(&slabs, 1))
}

impl Segmentation {
    /// Images and labels of a step as the network is shown them.
    fn augmented(&self, step: u64, batch: &Batch) -> training::Result<[Tensor; 2]> {
        let random = (self.seed, step, self.first_sample);
        let (images, labels) =
            augment(&batch.images, &batch.labels, self.patch_zyx, &self.augmentation, random)?;
        Ok([images, labels])
    }
}

impl Task for Segmentation {
    type Batch = Batch;

    fn prepare(&mut self, step: u64, batch: &Batch) -> Result<(), BoxedError> {
        self.prepared = Some((step, self.augmented(step, batch)?));
        Ok(())
    }

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        self.frozen.at(step);
        let prepared = self.prepared.take().filter(|(of, _)| *of == step);
        let [images, labels] = match prepared {
            Some((_, prepared)) => prepared,
            None => self.augmented(step, batch)?,
        };
        // read before the device has the network's work to do, so that the CPU makes its part meanwhile
        let on_cpu = self.goal.reads_labels().then(|| labels.f_to_device(Device::Cpu)).transpose()?;
        let outputs: Vec<Tensor> = {
            let _autocast = self.precision.autocast(self.device)?;
            self.network.forward_deep(&images, Statistics::Batch(self.group.as_ref()))?
        };
        let outputs: Vec<Tensor> = outputs.iter().map(|o| o.to_kind(Kind::Float)).collect();
        match &self.goal {
            Goal::Semantic(semantic, options) => {
                let distances = match &on_cpu {
                    Some(labels) => semantic.distances(labels, options, self.device)?,
                    None => None,
                };
                let truth = (&labels, distances.as_ref());
                let (loss, boundary) = semantic.loss(&outputs, truth, options, self.group.as_ref())?;
                let parts = [("dice_loss", loss.dice), ("cross_entropy", loss.cross_entropy)];
                let parts = parts.into_iter().chain(boundary.map(|term| ("boundary", term)));
                let parts = parts.map(|(name, value)| (name.to_owned(), value)).collect();
                Ok(StepLoss { total: loss.total, parts })
            }
            Goal::Affinities(plan) => {
                let targets = plan.targets(on_cpu.as_ref().unwrap_or(&labels), self.device)?;
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
            Goal::Semantic(semantic, options) => self.pooled_dice(semantic, options),
            Goal::Affinities(plan) => self.boundary_f1(plan),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_heard_before_the_next_windows() {
        let image = Tensor::zeros([1, 4, 8, 8], (Kind::Float, Device::Cpu));
        let asked = std::cell::Cell::new(0);
        let predict = |go_on: bool| {
            let answer = || {
                asked.set(asked.get() + 1);
                go_on
            };
            let compute = (Precision::Fp32, Device::Cpu);
            let options = SlidingWindow::new([4; 3]);
            let filling = Filling { axes_zyx: [true; 3], zeros: vec![false] };
            let networks: (&[SegmentationNetwork], &Filling) = (&[], &filling);
            predict_image(&image, &options, networks, compute, Output::Scores, &answer, &mut |_, _| Ok(()))
                .unwrap_err()
                .to_string()
        };
        assert!(predict(false).contains("a stop was asked for"));
        assert_eq!(asked.get(), 1);
        assert!(predict(true).contains("no network"));
    }
}
