//! From an image as stored to network input, and from scores back to labels on the stored grid: the one way that shards are
//! made and that predictions are made, so that they cannot differ.

use crate::crop::{self, BoundingBox, Foreground};
use crate::error::Result;
use crate::geometry::Grid;
use crate::intensity::{self, ChannelTransform, IntensityRule};
use crate::orientation::Orientation;
use crate::resample;

/// The steps that were taken with one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// The stored grid.
    pub source: Grid,
    /// Axis order and flips to canonical RAS+.
    pub orientation: Orientation,
    /// The canonical grid.
    pub canonical: Grid,
    /// The grid after resampling.
    pub resampled: Grid,
    /// The foreground in it.
    pub bounds: BoundingBox,
}

/// Network input.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Normalised intensities in C order c, z, y, x on [`Prepared::grid`].
    pub data: Vec<f32>,
    /// The cropped grid.
    pub grid: Grid,
    /// The fitted rule of each channel.
    pub transforms: Vec<ChannelTransform>,
    /// The steps, for labels and for the way back.
    pub steps: Steps,
}

/// Canonical orientation, target spacing (trilinear), intensity rule, foreground crop, in this order.
///
/// # Shapes
/// `data`: c, z, y, x on `grid`, finite.
///
/// # Errors
/// As the steps: see [`resample::trilinear`], [`intensity::normalise`], [`crop::foreground_box`].
pub fn image(
    data: &[f32],
    channels: usize,
    grid: &Grid,
    spacing_zyx_mm: [f64; 3],
    rule: &IntensityRule,
) -> Result<Prepared> {
    let orientation = Orientation::to_canonical(grid);
    let canonical = orientation.apply_to_grid(grid);
    let (oriented, _) = orientation.apply_channels(data, channels, grid.shape_zyx)?;
    let (mut resampled_data, resampled) =
        resample::trilinear(&oriented, channels, &canonical, spacing_zyx_mm)?;
    drop(oriented);
    let transforms = intensity::normalise(rule, &mut resampled_data, channels)?;
    let bounds = crop::foreground_box(&resampled_data, channels, resampled.shape_zyx, background(rule))?;
    let data = crop::crop(&resampled_data, channels, resampled.shape_zyx, &bounds)?;
    let steps = Steps { source: *grid, orientation, canonical, resampled, bounds };
    Ok(Prepared { data, grid: steps.grid(), transforms, steps })
}

/// What the crop leaves away: MRI whose zeros were kept as background has other values below zero.
fn background(rule: &IntensityRule) -> Foreground {
    match rule {
        IntensityRule::MriZScore { nonzero: true } => Foreground::NonZero,
        _ => Foreground::AboveMinimum,
    }
}

impl Steps {
    /// The cropped grid.
    pub fn grid(&self) -> Grid {
        self.resampled.cropped(self.bounds.start_zyx, self.bounds.shape())
    }

    /// Takes labels on the stored grid the same way (nearest voxel).
    ///
    /// # Errors
    /// A length that does not fit the stored grid.
    pub fn labels<T: Copy + Send + Sync>(&self, labels: &[T]) -> Result<Vec<T>> {
        let (oriented, _) = self.orientation.apply(labels, self.source.shape_zyx)?;
        let resampled = resample::nearest_to_grid(&oriented, &self.canonical, &self.resampled)?;
        crop::crop(&resampled, 1, self.resampled.shape_zyx, &self.bounds)
    }

    /// The class with the highest score at each voxel of the stored grid; outside the foreground box 0.
    ///
    /// # Shapes
    /// `scores`: class, z, y, x on the cropped grid; result z, y, x on the stored grid.
    ///
    /// # Errors
    /// A length that does not fit; more than 65536 classes.
    pub fn classes_on_source(&self, scores: &[f32], classes: usize) -> Result<Vec<u16>> {
        let covered = self.covered();
        let part = self.canonical.cropped(covered.start_zyx, covered.shape());
        let labels = resample::argmax_to_grid(scores, classes, &self.grid(), &part)?;
        let whole = crop::uncrop(&labels, 1, self.canonical.shape_zyx, &covered, 0)?;
        Ok(self.orientation.invert().apply(&whole, self.canonical.shape_zyx)?.0)
    }

    /// The canonical voxels whose centres lie in the foreground box, half a resampled voxel around its outer voxels
    /// included; at least one voxel.
    fn covered(&self) -> BoundingBox {
        let (old, new) = (self.canonical.spacing_zyx_mm(), self.resampled.spacing_zyx_mm());
        let mut covered = BoundingBox::whole(self.canonical.shape_zyx);
        for axis in 0..3 {
            let n = self.canonical.shape_zyx[axis];
            // resampling keeps the first voxel's centre in place
            let ratio = new[axis] / old[axis];
            let low = (self.bounds.start_zyx[axis] as f64 - 0.5) * ratio;
            let high = (self.bounds.end_zyx[axis] as f64 - 0.5) * ratio;
            let start = if self.bounds.start_zyx[axis] == 0 { 0 } else { low.ceil().max(0.0) as usize };
            let whole = self.bounds.end_zyx[axis] == self.resampled.shape_zyx[axis];
            let end = if whole { n } else { high.floor() as usize + 1 };
            covered.start_zyx[axis] = start.min(n - 1);
            covered.end_zyx[axis] = end.clamp(covered.start_zyx[axis] + 1, n);
        }
        covered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ball(shape: [usize; 3], centre: [f64; 3], radius: f64) -> Vec<u16> {
        let mut labels = Vec::new();
        for z in 0..shape[0] {
            for y in 0..shape[1] {
                for x in 0..shape[2] {
                    let d: f64 =
                        [z, y, x].iter().zip(&centre).map(|(v, c)| (*v as f64 - c).powi(2)).sum::<f64>();
                    labels.push(u16::from(d.sqrt() < radius));
                }
            }
        }
        labels
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        /// Labels that go to the network's grid and back as scores come back on the stored grid where they were.
        #[test]
        fn scores_come_back_where_the_labels_were(
            permutation in prop::sample::select(vec![[0usize, 1, 2], [2, 0, 1], [1, 0, 2], [0, 2, 1]]),
            flips in prop::array::uniform3(any::<bool>()),
            spacing in prop::array::uniform3(0.7f64..1.5),
            centre in prop::array::uniform3(11.0f64..17.0),
        ) {
            let shape = [28, 30, 26];
            let mut affine = [[0.0; 4]; 4];
            for column in 0..3 {
                affine[permutation[column]][column] = if flips[column] { -spacing[column] } else { spacing[column] };
            }
            affine[3][3] = 1.0;
            let grid = Grid::new(shape, affine).unwrap();
            let labels = ball(shape, centre, 8.0);
            let body = ball(shape, centre, 10.5);
            let data: Vec<f32> = body.iter().zip(&labels).map(|(b, l)| f32::from(*b) * 50.0 + f32::from(*l) * 7.0).collect();
            let rule = IntensityRule::MriZScore { nonzero: false };
            let prepared = image(&data, 1, &grid, [1.0; 3], &rule).unwrap();
            prop_assert!(prepared.grid.shape_zyx.iter().product::<usize>() < data.len() * 3);
            let here = prepared.steps.labels(&labels).unwrap();
            let scores: Vec<f32> = [0u16, 1].iter().flat_map(|c| here.iter().map(move |l| f32::from(u16::from(l == c)))).collect();
            let back = prepared.steps.classes_on_source(&scores, 2).unwrap();
            let both = labels.iter().zip(&back).filter(|(a, b)| **a == 1 && **b == 1).count() as f64;
            let sum = labels.iter().chain(&back).filter(|v| **v == 1).count() as f64;
            prop_assert!(2.0 * both / sum > 0.93, "Dice {}", 2.0 * both / sum);
            if spacing.iter().all(|s| (*s - 1.0).abs() < 1e-9) {
                prop_assert_eq!(&labels, &back);
            }
        }
    }

    #[test]
    fn without_resampling_the_way_back_is_exact() {
        let shape = [20, 22, 24];
        let affine =
            [[-1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 1.0, 5.0], [0.0, -1.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid::new(shape, affine).unwrap();
        let labels = ball(shape, [9.0, 12.0, 10.0], 6.0);
        let data: Vec<f32> = ball(shape, [9.0, 12.0, 10.0], 8.0)
            .iter()
            .zip(&labels)
            .map(|(b, l)| f32::from(b * 3 + l))
            .collect();
        let prepared = image(&data, 1, &grid, [1.0; 3], &IntensityRule::MriZScore { nonzero: true }).unwrap();
        assert!(prepared.grid.shape_zyx.iter().all(|n| *n < 20));
        let here = prepared.steps.labels(&labels).unwrap();
        let scores: Vec<f32> =
            [0, 1].iter().flat_map(|c| here.iter().map(move |l| f32::from(u8::from(l == c)))).collect();
        assert_eq!(prepared.steps.classes_on_source(&scores, 2).unwrap(), labels);
    }
}
