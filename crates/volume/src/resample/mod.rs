//! Resampling along the axes of a grid.
//!
//! Two conventions, chosen by [`Resampling`]:
//!
//! - **linear**, that of MONAI's `Spacing` (defaults): the centre of the first voxel stays where it is, an axis of `n`
//!   voxels gets `round((n − 1) · old / new) + 1` of them, voxel `i` of the result lies at `i · new / old` of the source,
//!   and what lies beyond the last voxel repeats it (border padding). Images trilinear, labels nearest.
//! - **nnunet**, that of nnU-Net: the edges of the volume stay where they are, an axis gets `round(n · old / new)` voxels,
//!   voxel `i` of the result lies at `(i + ½) · n / new n − ½` of the source. Images by cubic splines, labels by a linear
//!   vote; along an axis whose spacing is more than three times another's both take the nearest slice.
//!
//! Rotation is kept in both; bring the volume to canonical orientation first. No smoothing is applied before coarser
//! sampling, as in both originals.
//!
//! Two things of the first are ours, because MONAI leaves them to rounding noise: labels exactly between two voxels take
//! the even index (MONAI takes either), and oblique volumes keep their first voxel too (MONAI centres them if the affine
//! has been through 32 bits).
//!
//! A label that does not lie on the grid of its image comes onto it by [`Alignment`], through both affines.
//!
//! Interpolation along axes is separable: one table of indices and weights per axis (coordinates in f64). Each voxel of a result is
//! a pure function of the source, so that results depend neither on the number of threads nor on the boxes in which they
//! are made. Temporary memory beside the result: [`SCRATCH_BYTES`] per call, or 8 MiB per thread if that is more.

mod align;
mod grid;
mod labeller;
mod linear;
mod nearest;
mod probability;
mod region;
mod spline;
mod taps;
mod vote;

pub use align::{Aligned, Alignment, Coverage};
pub use grid::target_grid;
pub use labeller::LabelRule;
pub use probability::ProbabilityNumbers;
pub use region::SCRATCH_BYTES;
pub(crate) use {
    grid::{axis_lines, half_pixel_lines, separate_axis},
    labeller::Labeller,
    linear::Linear,
    nearest::Nearest,
    region::region,
    spline::{Clip, Spline},
    vote::Vote,
};

use crate::crop::BoundingBox;
use crate::error::Result;
use crate::geometry::Grid;
use crate::voxels::InMemory;
use crate::{expect_length, voxels};
use serde::{Deserialize, Serialize};

/// A convention of resampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resampling {
    /// MONAI's: trilinear images, nearest labels, first voxel fixed.
    #[default]
    Linear,
    /// nnU-Net's: cubic splines, linear vote of labels, volume edges fixed, the worst axis apart.
    Nnunet,
}

impl Resampling {
    /// The name in descriptors and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Nnunet => "nnunet",
        }
    }

    /// The grid that resampling to `spacing_zyx_mm` gives.
    ///
    /// # Errors
    /// A spacing that is not a positive number.
    pub fn target_grid(self, from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<Grid> {
        match self {
            Self::Linear => target_grid(from, spacing_zyx_mm),
            Self::Nnunet => grid::half_pixel_grid(from, spacing_zyx_mm),
        }
    }

    /// Resamples an image (c, z, y, x).
    ///
    /// # Errors
    /// A length that does not fit or a spacing that is not positive.
    pub fn image(
        self,
        data: &[f32],
        channels: usize,
        from: &Grid,
        spacing_zyx_mm: [f64; 3],
    ) -> Result<(Vec<f32>, Grid)> {
        match self {
            Self::Linear => trilinear(data, channels, from, spacing_zyx_mm),
            Self::Nnunet => spline(data, channels, from, spacing_zyx_mm),
        }
    }

    /// Resamples labels (z, y, x).
    ///
    /// # Errors
    /// As [`Resampling::image`].
    pub fn labels<T: Label>(
        self,
        data: &[T],
        from: &Grid,
        spacing_zyx_mm: [f64; 3],
    ) -> Result<(Vec<T>, Grid)> {
        match self {
            Self::Linear => nearest(data, from, spacing_zyx_mm),
            Self::Nnunet => vote(data, from, spacing_zyx_mm),
        }
    }
}

/// A label value: compared, never added.
pub trait Label: Copy + Ord + Default + Send + Sync {}

impl<T: Copy + Ord + Default + Send + Sync> Label for T {}

/// Resamples an image (c, z, y, x) to a spacing in mm by the linear convention.
///
/// # Errors
/// A length that does not fit or a spacing that is not positive.
pub fn trilinear(
    data: &[f32],
    channels: usize,
    from: &Grid,
    spacing_zyx_mm: [f64; 3],
) -> Result<(Vec<f32>, Grid)> {
    let to = target_grid(from, spacing_zyx_mm)?;
    Ok((trilinear_to_grid(data, channels, from, &to)?, to))
}

/// Resamples labels (z, y, x) to a spacing in mm by the linear convention: nearest voxel (ties to the even index).
///
/// # Errors
/// As [`trilinear`].
pub fn nearest<T: Copy + Default + Send + Sync>(
    data: &[T],
    from: &Grid,
    spacing_zyx_mm: [f64; 3],
) -> Result<(Vec<T>, Grid)> {
    let to = target_grid(from, spacing_zyx_mm)?;
    Ok((nearest_to_grid(data, from, &to)?, to))
}

/// Resamples an image (c, z, y, x) to a grid that runs in the same directions, trilinear with border padding.
///
/// # Errors
/// A length that does not fit, or grids that are turned against each other.
pub fn trilinear_to_grid(data: &[f32], channels: usize, from: &Grid, to: &Grid) -> Result<Vec<f32>> {
    expect_length("image to resample", data.len(), channels, from.shape_zyx)?;
    let kernel = Linear::new(&axis_lines(from, to)?, from.shape_zyx, to.shape_zyx);
    let mut out = vec![0.0; channels * voxels(to.shape_zyx)];
    region::channels(&kernel, data, from.shape_zyx, &mut out)?;
    Ok(out)
}

/// Resamples labels (z, y, x) to a grid that runs in the same directions, nearest voxel.
///
/// # Errors
/// As [`trilinear_to_grid`].
pub fn nearest_to_grid<T: Copy + Default + Send + Sync>(
    data: &[T],
    from: &Grid,
    to: &Grid,
) -> Result<Vec<T>> {
    expect_length("label map to resample", data.len(), 1, from.shape_zyx)?;
    let kernel = Nearest::new(&axis_lines(from, to)?, from.shape_zyx, to.shape_zyx);
    let mut out = vec![T::default(); voxels(to.shape_zyx)];
    region::channels(&kernel, data, from.shape_zyx, &mut out)?;
    Ok(out)
}

/// Resamples an image (c, z, y, x) to a spacing in mm by the nnunet convention: cubic splines, clipped to the values of
/// the source; along an axis apart the nearest slice, each slice clipped to its own values.
///
/// # Errors
/// As [`trilinear`].
pub fn spline(
    data: &[f32],
    channels: usize,
    from: &Grid,
    spacing_zyx_mm: [f64; 3],
) -> Result<(Vec<f32>, Grid)> {
    expect_length("image to resample", data.len(), channels, from.shape_zyx)?;
    let to = Resampling::Nnunet.target_grid(from, spacing_zyx_mm)?;
    let apart = separate_axis(from.spacing_zyx_mm(), spacing_zyx_mm);
    let plan = Spline::new(from.shape_zyx, to.shape_zyx, apart);
    let mut out = vec![0.0; channels * voxels(to.shape_zyx)];
    let source = voxels(from.shape_zyx);
    for (data, out) in data.chunks_exact(source).zip(out.chunks_exact_mut(voxels(to.shape_zyx))) {
        let clip = Clip::of(data, from.shape_zyx, apart);
        region::channels(&plan.clipped(&clip), data, from.shape_zyx, out)?;
    }
    Ok((out, to))
}

/// Resamples labels (z, y, x) to a spacing in mm by the nnunet convention: the weights of the up to eight neighbours are
/// added per label and the largest sum wins, of equal sums the lowest label. Cost and memory do not depend on the number
/// of labels.
///
/// That is the largest of nnU-Net's per-class linear interpolations. nnU-Net itself takes the highest class that reaches
/// one half, and background where none does, which differs where three classes meet and on exact ties.
///
/// # Errors
/// As [`trilinear`].
pub fn vote<T: Label>(data: &[T], from: &Grid, spacing_zyx_mm: [f64; 3]) -> Result<(Vec<T>, Grid)> {
    expect_length("label map to resample", data.len(), 1, from.shape_zyx)?;
    let to = Resampling::Nnunet.target_grid(from, spacing_zyx_mm)?;
    let apart = separate_axis(from.spacing_zyx_mm(), spacing_zyx_mm);
    let kernel =
        Vote::new(&half_pixel_lines(from.shape_zyx, to.shape_zyx), from.shape_zyx, to.shape_zyx, apart);
    let mut out = vec![T::default(); voxels(to.shape_zyx)];
    region::channels(&kernel, data, from.shape_zyx, &mut out)?;
    Ok((out, to))
}

/// A whole volume in memory as one box.
fn whole<'a, T: Copy + Default + Sync>(
    data: &'a [T],
    shape_zyx: [usize; 3],
) -> Result<(InMemory<'a, T>, BoundingBox)> {
    Ok((InMemory::new(data, data.len() / voxels(shape_zyx), shape_zyx)?, BoundingBox::whole(shape_zyx)))
}

#[cfg(test)]
mod tests;
