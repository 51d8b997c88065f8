//! What a case will need before it is read.

use data_manifests::Descriptor;
use data_manifests::descriptor::LabelKind;
use data_manifests::raw::{RawCase, open};
use volume::Orientation;

/// Largest shard in voxels; writing holds one, and its encoded form.
const SHARD_VOXELS: u64 = 256 * 256 * 256;

/// Predicted sizes of a case.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    /// Channels.
    pub(crate) channels: usize,
    /// Voxels of the file, z, y, x, canonical.
    pub(crate) shape_zyx: [usize; 3],
    /// Voxels after resampling, z, y, x; the crop can only make it smaller.
    pub(crate) resampled_zyx: [usize; 3],
    /// Peak memory in bytes.
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
    let label = match (&case.label, &descriptor.labels) {
        (Some(_), Some(labels)) if labels.kind == LabelKind::Instances => 8,
        (Some(_), _) => 4,
        (None, _) => 0,
    };
    let image = 4 * channels as u64;
    // first four copies of the image (as read, turned, resampled, cropped) beside the labels, then the last of them beside
    // four copies of the labels, then one shard and its encoded form beside both
    let steps = larger.saturating_mul((4 * image + label).max(image + 4 * label));
    let shards = larger.min(SHARD_VOXELS).saturating_mul(2 * image);
    Ok(Estimate {
        channels,
        shape_zyx: canonical.shape_zyx,
        resampled_zyx: target.shape_zyx,
        memory: steps.saturating_add(shards),
        disk: voxels(target.shape_zyx).saturating_mul(image + if label == 8 { 8 } else { label.min(1) }),
    })
}
