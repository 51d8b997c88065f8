//! What a case will need before it is read.

use data_manifests::Descriptor;
use data_manifests::raw::{RawCase, open};
use volume::Orientation;

/// Peak bytes per voxel and channel while a case is in memory: the image as read, reoriented or resampled copy, crop, and
/// its share of label copies (measured on the largest step, where three float copies and two label copies live).
pub(crate) const BYTES_PER_VOXEL: u64 = 24;

/// Predicted sizes of a case.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    /// Channels.
    pub(crate) channels: usize,
    /// Voxels of the file, z, y, x, canonical.
    pub(crate) shape_zyx: [usize; 3],
    /// Voxels after resampling, z, y, x; the crop can only make it smaller.
    pub(crate) resampled_zyx: [usize; 3],
    /// Peak memory.
    pub(crate) memory: u64,
    /// Uncompressed bytes of the shards.
    pub(crate) disk: u64,
}

/// Predicts from the header alone.
pub(crate) fn of_case(case: &RawCase, descriptor: &Descriptor) -> volume::Result<Estimate> {
    let (channels, grid) = open::header(&case.image)?;
    let canonical = Orientation::to_canonical(&grid).apply_to_grid(&grid);
    let target = volume::resample::target_grid(&canonical, descriptor.spacing_zyx_mm())?;
    let voxels = |shape: [usize; 3]| shape.iter().map(|n| *n as u64).product::<u64>();
    let larger = voxels(canonical.shape_zyx).max(voxels(target.shape_zyx));
    let label_bytes = if case.label.is_some() { 1 } else { 0 };
    Ok(Estimate {
        channels,
        shape_zyx: canonical.shape_zyx,
        resampled_zyx: target.shape_zyx,
        memory: larger * channels as u64 * BYTES_PER_VOXEL,
        disk: voxels(target.shape_zyx) * (4 * channels as u64 + label_bytes),
    })
}
