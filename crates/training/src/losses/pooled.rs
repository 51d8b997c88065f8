//! The loss of classes or of regions over whole volumes, which come slab by slab: what validation records beside the score.

use super::dice_ce::{DiceCeOptions, check_labels, class_terms};
use super::regions::region_terms;
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// Sums of [`dice_ce`](super::dice_ce::dice_ce) or [`region_loss`](super::regions::region_loss) with `batch_dice`, over any number of volumes: one of
/// them, cut up or not, gives the same loss.
#[derive(Debug)]
pub struct PooledLoss<'a> {
    options: DiceCeOptions,
    /// Of regions, the values of each.
    regions: Option<&'a [Vec<i64>]>,
    /// Of each channel 2 Σ p g and Σ p + Σ g.
    dice: Vec<[f64; 2]>,
    /// Cross-entropy, and over how many voxels (of regions, times these) it was summed.
    entropy: [f64; 2],
}

impl<'a> PooledLoss<'a> {
    /// No volumes yet. `regions`: the class values of each, where scores are of regions.
    #[must_use]
    pub fn new(options: DiceCeOptions, regions: Option<&'a [Vec<i64>]>) -> Self {
        Self { options, regions, dice: Vec::new(), entropy: [0.0; 2] }
    }

    /// Adds a slab.
    ///
    /// # Shapes
    /// `scores`: `[class or region, z, y, x]`; `label`: int64 `[z, y, x]` on the same device.
    ///
    /// # Errors
    /// On shapes that do not fit, or labels outside the classes.
    pub fn add(&mut self, scores: &Tensor, label: &Tensor) -> Result<()> {
        if scores.dim() != 4 || scores.size()[1..] != label.size() || label.numel() == 0 {
            let expected = format!("[channel, z, y, x] for labels {:?}", label.size());
            return Err(TrainingError::shape("scores", scores, expected));
        }
        let (scores, label) = (scores.unsqueeze(0), label.unsqueeze(0).unsqueeze(0));
        let terms = match self.regions {
            None => {
                check_labels(&label, scores.size()[1], &self.options)?;
                class_terms(&scores, &label, &self.options)
            }
            Some(regions) => region_terms(&scores, &label, regions, &self.options),
        };
        let sum = |x: &Tensor| x.sum_dim_intlist([0_i64, 2, 3, 4].as_slice(), false, Kind::Double);
        let overlap = sum(&(&terms.probability * &terms.target)) * 2.0;
        let size = sum(&terms.probability) + sum(&terms.target);
        self.dice.resize(overlap.numel(), [0.0; 2]);
        for (channel, sums) in (0..).zip(&mut self.dice) {
            sums[0] += overlap.double_value(&[channel]);
            sums[1] += size.double_value(&[channel]);
        }
        for (sum, new) in self.entropy.iter_mut().zip(terms.entropy_sums()) {
            *sum += new.double_value(&[]);
        }
        Ok(())
    }

    /// The loss; none where no voxel counted.
    #[must_use]
    pub fn finish(self) -> Option<f64> {
        let [entropy, voxels] = self.entropy;
        if voxels <= 0.0 {
            return None;
        }
        let smooth = self.options.smooth;
        let dice = self.dice.iter().map(|[overlap, size]| 1.0 - (overlap + smooth) / (size + smooth));
        let dice = dice.sum::<f64>() / self.dice.len() as f64;
        Some(self.options.dice_weight * dice + self.options.ce_weight * entropy / voxels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::losses::dice_ce::dice_ce;
    use crate::losses::regions::region_loss;
    use tch::Device;

    #[test]
    fn slabs_give_the_loss_of_the_whole_volume() {
        tch::manual_seed(4);
        let label = Tensor::arange(120, (Kind::Int64, Device::Cpu)).remainder(4).view([1, 1, 6, 4, 5]);
        let scores = Tensor::randn([1, 4, 6, 4, 5], (Kind::Float, Device::Cpu));
        let regions = [vec![1_i64, 2], vec![3], vec![2], vec![1]];
        for ignore_label in [None, Some(3)] {
            let options = DiceCeOptions { batch_dice: true, ignore_label, ..Default::default() };
            let classes = dice_ce(&scores, &label, &options, None).unwrap().total.double_value(&[]);
            let of_regions = region_loss(&scores, &label, &regions, &options, None).unwrap();
            for (regions, expected) in
                [(None, classes), (Some(regions.as_slice()), of_regions.total.double_value(&[]))]
            {
                let mut pooled = PooledLoss::new(options, regions);
                for (first, sections) in [(0, 1), (1, 3), (4, 2)] {
                    let slab = |x: &Tensor| x.get(0).narrow(1, first, sections);
                    pooled.add(&slab(&scores), &slab(&label).get(0)).unwrap();
                }
                let found = pooled.finish().unwrap();
                assert!((found - expected).abs() < 1e-5, "{regions:?}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn nothing_that_counts_has_no_loss() {
        let options = DiceCeOptions { ignore_label: Some(9), ..Default::default() };
        let mut pooled = PooledLoss::new(options, None);
        let label = Tensor::full([1, 1, 2], 9, (Kind::Int64, Device::Cpu));
        pooled.add(&Tensor::zeros([2, 1, 1, 2], (Kind::Float, Device::Cpu)), &label).unwrap();
        assert_eq!(pooled.finish(), None);
        assert!(PooledLoss::new(options, None).add(&label, &label).is_err());
    }
}
