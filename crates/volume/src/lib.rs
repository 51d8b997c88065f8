//! One volume: reading, geometry, resampling, intensity rules and label checks.
//!
//! Arrays are flat slices in C order: `z, y, x` for labels, `c, z, y, x` for images. Affines keep NIfTI's convention:
//! they map the voxel index `(x, y, z)` to RAS+ world millimetres.
//!
//! | need | where |
//! | --- | --- |
//! | NIfTI, MetaImage and NRRD in | [`scan::read_image`], [`scan::read_labels`] |
//! | the same a few planes at a time | [`scan::Planes`], [`scan::LabelPlanes`] |
//! | NIfTI out | [`nifti::write_labels_like`], [`nifti::write_image`] |
//! | a limit of memory per read | [`ReadLimits`] |
//! | CREMI's HDF5 in and out | [`hdf5::CremiFile`], [`hdf5::read_cremi`], [`hdf5::write_cremi`] |
//! | TIFF and PNG stacks in | [`stack::Stack`] |
//! | OME-Zarr images and labels in | [`ome_zarr::OmeZarr`] |
//! | canonical orientation and back | [`Orientation`] |
//! | target spacing and back | [`resample`] |
//! | intensity rule by modality | [`intensity::IntensityRule`] |
//! | foreground crop and back | [`crop`] |
//! | label values against the declared ones | [`labels`] |
//! | all of it, to network input and back | [`prepare`] |
//! | volumes larger than memory, box by box | [`Voxels`], [`spool`], [`prepare::survey`] |
//!
//! Flaws in the input are either a [`VolumeError`] (the volume cannot be used) or a [`Warning`] (it can, but somebody
//! should know); both have a stable code, and errors have a hint at the remedy.

mod atomic;
mod channels;
pub mod crop;
mod error;
mod geometry;
#[cfg(feature = "hdf5")]
pub mod hdf5;
pub mod intensity;
mod itk;
pub mod labels;
mod limits;
pub mod links;
pub mod nifti;
#[cfg(feature = "ome-zarr")]
pub mod ome_zarr;
mod orientation;
pub mod prepare;
mod remedy;
pub mod resample;
pub mod scan;
pub mod spool;
pub mod stack;
mod voxels;
mod warning;

pub use channels::{NamedChannel, check_same_channels};
pub use error::{NoForeground, Result, ValueTable, VolumeError};
pub use geometry::{Grid, check_same_grid, length_text, same_geometry};
pub use limits::{READ_OVERHEAD, ReadLimits};
pub use orientation::Orientation;
pub use voxels::{Filled, InMemory, Part, Voxels};
pub use warning::Warning;

/// Number of voxels of a shape.
pub(crate) fn voxels(shape_zyx: [usize; 3]) -> usize {
    shape_zyx.iter().product()
}

/// Fails unless `found` elements are what `channels` × `shape_zyx` needs.
pub(crate) fn expect_length(
    what: &'static str,
    found: usize,
    channels: usize,
    shape_zyx: [usize; 3],
) -> Result<()> {
    let expected = channels * voxels(shape_zyx);
    if found == expected { Ok(()) } else { Err(VolumeError::Length { what, found, expected }) }
}

/// 41943040 → `41,943,040`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
