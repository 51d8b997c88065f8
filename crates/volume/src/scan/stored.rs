//! How the voxels of a file are stored, in whatever format.

use super::Datatype;
use crate::error::{Result, VolumeError};
use std::fmt;
use std::path::Path;

/// Format of a file that holds one scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// NIfTI, first version.
    Nifti1,
    /// NIfTI, second version.
    Nifti2,
    /// MetaImage, of ITK.
    MetaImage,
    /// NRRD, of Teem, as ITK and 3D Slicer write it.
    Nrrd,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nifti1 => "NIfTI-1",
            Self::Nifti2 => "NIfTI-2",
            Self::MetaImage => "MetaImage",
            Self::Nrrd => "NRRD",
        })
    }
}

/// What a header says of its voxels.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Format.
    pub format: Format,
    /// Dimensions in the file's order: x, y, z, then channels; missing axes count 1.
    pub dims: Vec<u64>,
    /// Channels alternate voxel by voxel in the file (ITK's vector images), so that they are its first axis.
    pub interleaved: bool,
    /// Number type.
    pub datatype: Datatype,
    /// Byte order.
    pub big_endian: bool,
    /// Slope and intercept that apply to stored numbers.
    pub scaling: (f64, f64),
}

impl Stored {
    /// Shape of the volume.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        shape_zyx(&self.dims)
    }

    /// Channels: the product of the axes beyond z, of which at most one is longer than 1.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.dims.iter().skip(3).map(|&n| n as usize).product()
    }

    /// Bytes of all voxels.
    #[must_use]
    pub fn voxel_bytes(&self) -> u64 {
        self.dims.iter().product::<u64>() * self.datatype.bytes() as u64
    }
}

/// Dimensions of channels that alternate voxel by voxel, after those of space.
pub(crate) fn with_channels(mut space: Vec<i64>, channels: i64) -> Vec<i64> {
    space.resize(space.len().max(3), 1);
    space.push(channels);
    space
}

/// Shape of the volume with these dimensions in a file's order.
pub(crate) fn shape_zyx(dims: &[u64]) -> [usize; 3] {
    [2, 1, 0].map(|axis: usize| dims.get(axis).map_or(1, |&n| n as usize))
}

/// Dimensions in a file's order (x, y, z, …) that are a volume.
///
/// # Errors
/// Fewer than two axes, an empty one, several axes beyond z, or more bytes than a 64-bit number counts.
pub(crate) fn checked_dims(path: &Path, dims: &[i64]) -> Result<Vec<u64>> {
    let fail = |reason| Err(dimensions(path, format!("{dims:?}"), reason));
    if dims.iter().any(|n| *n < 1) {
        return fail("every axis needs at least one voxel");
    }
    if dims.len() < 2 {
        return fail("one axis is no image");
    }
    if dims.iter().skip(3).filter(|n| **n > 1).count() > 1 {
        return fail("only one axis beyond x, y, z can be channels");
    }
    // the size in bytes must not overflow anywhere
    match dims.iter().try_fold(8_i64, |product, n| product.checked_mul(*n)) {
        Some(_) => Ok(dims.iter().map(|n| *n as u64).collect()),
        None => fail("more voxels than a 64-bit number counts"),
    }
}

pub(crate) fn dimensions(path: &Path, found: String, reason: &'static str) -> VolumeError {
    VolumeError::Dimensions { path: path.into(), found, reason }
}
