//! From an image as stored to network input, and from scores back to labels on the stored grid: the one way that shards are
//! made and that predictions are made, so that they cannot differ.
//!
//! [`Method`] says how; the order of the steps is that of its resampling's origin:
//!
//! - **linear**: canonical orientation, target spacing, intensity rule with the statistics of the resampled channel, crop
//!   to the foreground.
//! - **nnunet**: canonical orientation, crop to the box of voxels that are not 0 in some channel, intensity rule with the
//!   statistics of that box, target spacing.
//!
//! An image in memory goes through [`image`]. One that does not fit is read from where it lies ([`crate::Voxels`], in
//! canonical orientation) by [`survey`], in one pass that finds all numbers that the steps need; then [`Survey`] gives any
//! box of the result. Both give the same bits: they share the pieces in which statistics are summed, and each voxel is a
//! pure function of the source.

mod absence;
mod foreground;
mod probabilities;
mod statistics;
mod steps;
mod survey;

pub use absence::{check, shrinkage};
pub use probabilities::{Probabilities, ProbabilitySlabs};
pub use steps::{LabelSlabs, Steps};
pub use survey::{Survey, survey};

use crate::crop;
use crate::error::Result;
use crate::geometry::Grid;
use crate::intensity::{ChannelTransform, Rules};
use crate::orientation::Orientation;
use crate::resample::Resampling;
use crate::voxels::InMemory;

/// How images become network input.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// Spacing of network input, mm.
    pub spacing_zyx_mm: [f64; 3],
    /// What the intensities of each channel become.
    pub rules: Rules,
    /// How voxels get their spacing, and the order of the steps.
    pub resampling: Resampling,
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
    /// Smallest and largest intensity of each channel: see [`Survey::ranges`].
    pub ranges: Vec<[f32; 2]>,
    /// The steps, for labels and for the way back.
    pub steps: Steps,
}

/// Takes an image in memory through all steps.
///
/// Memory beside the image: the resampled image and what [`crate::resample`] needs for the time being.
///
/// # Shapes
/// `data`: c, z, y, x on `grid` as stored, finite.
///
/// # Errors
/// A length that does not fit; a spacing that is not positive; a rule that does not fit the intensities; voxels that are
/// not finite; nothing that counts as foreground.
pub fn image(data: &[f32], channels: usize, grid: &Grid, method: &Method) -> Result<Prepared> {
    let orientation = Orientation::to_canonical(grid);
    let source = InMemory::oriented(data, channels, grid.shape_zyx, orientation)?;
    let (survey, data) = match method.resampling {
        Resampling::Linear => {
            let plan = survey::Linear::new(grid, method)?;
            let shape = plan.target.shape_zyx;
            let mut data = plan.resampled(&source)?;
            let survey = plan.survey(&InMemory::new(&data, channels, shape)?, &source, grid, method)?;
            crop::crop_in_place(&mut data, channels, shape, &survey.steps.bounds)?;
            data.shrink_to_fit();
            let voxels = survey.steps.bounds.voxels();
            for (channel, transform) in data.chunks_exact_mut(voxels).zip(&survey.transforms) {
                transform.apply(channel);
            }
            (survey, data)
        }
        Resampling::Nnunet => {
            let survey = survey(&source, grid, method)?;
            let data = survey.image(&source)?;
            (survey, data)
        }
    };
    let Survey { steps, transforms, ranges, .. } = survey;
    Ok(Prepared { data, grid: steps.grid(), transforms, ranges, steps })
}

#[cfg(test)]
mod tests;
