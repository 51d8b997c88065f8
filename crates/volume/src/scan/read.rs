//! Reading whole images and label maps.

use super::label_planes::LabelPlanes;
use super::label_type::LabelType;
use super::planes::Planes;
use super::stored::Stored;
use super::stream::Stream;
use crate::error::Result;
use crate::geometry::Grid;
use crate::limits::ReadLimits;
use crate::warning::Warning;
use std::path::Path;

/// An image as stored: neither reoriented nor resampled.
#[derive(Debug, Clone)]
pub struct Image {
    /// Channels, from the first axis beyond z that is longer than 1.
    pub channels: usize,
    /// Voxel grid.
    pub grid: Grid,
    /// Scaled intensities in C order c, z, y, x.
    pub data: Vec<f32>,
    /// How the voxels were stored.
    pub stored: Stored,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// A label map as stored.
#[derive(Debug, Clone)]
pub struct LabelImage<T = u32> {
    /// Voxel grid.
    pub grid: Grid,
    /// Labels in C order z, y, x.
    pub data: Vec<T>,
    /// How the voxels were stored.
    pub stored: Stored,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// Reads header and grid only; the voxels are neither read nor checked.
///
/// # Errors
/// As [`read_image`], except for flaws of the voxels.
pub fn read_header(path: impl AsRef<Path>) -> Result<(Stored, Grid, Vec<Warning>)> {
    let stream = Stream::open(path.as_ref())?;
    Ok((stream.stored, stream.grid, stream.warnings))
}

/// Reads an image; values are `stored · slope + intercept` in f64, rounded to f32.
///
/// # Errors
/// Truncated or corrupt file, no known format, colour or complex voxels, more than one axis beyond x, y, z, unusable geometry.
/// NaN and infinite voxels are no error here: see [`crate::intensity::check_finite`].
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    read_image_within(path, ReadLimits::UNLIMITED)
}

/// [`read_image`] in limited memory.
///
/// # Errors
/// As [`read_image`]; [`crate::VolumeError::ReadLimit`] before anything is allocated for the voxels.
pub fn read_image_within(path: impl AsRef<Path>, limits: ReadLimits) -> Result<Image> {
    Planes::open(path, limits)?.into_image()
}

/// Reads a label map; floating point labels must be integers within 0.001 after scaling.
///
/// # Errors
/// As [`read_image`]; also several channels, values that are no integers, negative or beyond 32 bits, all of them listed
/// with their counts.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelImage> {
    read_labels_within(path, ReadLimits::UNLIMITED)
}

/// Reads instance ids of up to 64 bits, none of which passes through a float.
///
/// # Errors
/// As [`read_labels`] with 64 bits; ids above 2^53 (2^24) that the file stores as 64-bit (32-bit) floats or scales by a
/// fraction.
pub fn read_labels_wide(path: impl AsRef<Path>) -> Result<LabelImage<u64>> {
    read_labels_within(path, ReadLimits::UNLIMITED)
}

/// [`read_labels`] or [`read_labels_wide`] in limited memory.
///
/// # Errors
/// As these; [`crate::VolumeError::ReadLimit`] before anything is allocated for the voxels.
pub fn read_labels_within<T: LabelType>(path: impl AsRef<Path>, limits: ReadLimits) -> Result<LabelImage<T>> {
    LabelPlanes::open(path, limits)?.into_labels()
}
