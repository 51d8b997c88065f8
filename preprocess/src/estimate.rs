//! What a case will need before it is read.

use crate::preflight::readable;
use crate::treatment::AlignLabels;
use data_manifests::Descriptor;
use data_manifests::cases;
use data_manifests::descriptor::LabelKind;
use data_manifests::raw::{RawCase, open};
use stage::Message;
use volume::Orientation;

/// Largest shard in voxels; writing holds one, and its encoded form.
const SHARD_VOXELS: u64 = 256 * 256 * 256;

/// Bytes of planes that are read at a time from a case on disk.
pub(crate) const PLANES_BYTES: u64 = 8 << 20;

/// Growth in voxels beyond which a spacing is taken for an error, and likewise a resampled axis.
const MOST_GROWTH: f64 = 50.0;
const LONGEST_AXIS: usize = 4096;

/// Predicted sizes of a case.
#[derive(Debug, Clone)]
pub(crate) struct Estimate {
    /// Voxel size of the file, z, y, x, canonical.
    pub(crate) spacing_zyx_mm: [f64; 3],
    /// Voxel size after resampling, z, y, x.
    pub(crate) resampled_zyx_mm: [f64; 3],
    /// Channels.
    pub(crate) channels: usize,
    /// Voxels of the file, z, y, x, canonical.
    pub(crate) shape_zyx: [usize; 3],
    /// Voxels after resampling, z, y, x; the crop can only make it smaller.
    pub(crate) resampled_zyx: [usize; 3],
    /// Peak memory in bytes of a case in memory.
    pub(crate) memory: u64,
    /// The same of a case that goes through temporary files.
    pub(crate) streamed: u64,
    /// Bytes of those files.
    pub(crate) temporary: u64,
    /// Uncompressed bytes of the shards.
    pub(crate) disk: u64,
}

/// Predicts from the headers alone: the image's, and of labels that may lie on another grid their own.
pub(crate) fn of_case(
    case: &RawCase,
    descriptor: &Descriptor,
    align: Option<AlignLabels>,
) -> volume::Result<Estimate> {
    let (channels, grid) = open::header(&case.image)?;
    let canonical = Orientation::to_canonical(&grid).apply_to_grid(&grid);
    let method = descriptor.method();
    let target = method.resampling.target_grid(&canonical, method.spacing_zyx_mm)?;
    let voxels = |shape: [usize; 3]| shape.iter().map(|n| *n as u64).product::<u64>();
    let label: u64 = match (&case.label, &descriptor.labels) {
        (Some(_), Some(labels)) if labels.kind == LabelKind::Instances => 8,
        (Some(_), _) => 4,
        (None, _) => 0,
    };
    let image = 4 * channels as u64;
    let (read, made) = (voxels(canonical.shape_zyx), voxels(target.shape_zyx));
    let label_grid = match (align, &case.label) {
        (Some(AlignLabels::Nearest), Some(source)) => open::header(source)?.1,
        _ => grid,
    };
    let labels = label.saturating_mul(voxels(label_grid.shape_zyx));
    // what readers hold beside what they return; image and labels are read one after the other
    let image_layer = open::layer_bytes(&case.image)?;
    let label_layer = case.label.as_ref().map_or(Ok(0), open::layer_bytes)?;
    // beside what resampling takes, the parts of labels that are being aligned
    let aligning = if label_grid == grid { 0 } else { (volume::resample::SCRATCH_BYTES as u64).min(labels) };
    // one shard, a copy of it and its encoded form while it is written
    let writing = made.min(SHARD_VOXELS).saturating_mul(3 * 4);
    let scratch = (volume::resample::SCRATCH_BYTES as u64).min(image.saturating_mul(read));
    // first the image as read beside the image as made, then the latter beside the labels
    let preparing = image.saturating_mul(read.saturating_add(made)).saturating_add(4 * made);
    let labelling =
        image.saturating_mul(made).saturating_add(labels).saturating_add(aligning).saturating_add(writing);
    // a case on disk is read by planes, and made by boxes of one shard
    let plane = |shape: [usize; 3]| (shape[1] * shape[2]) as u64;
    let planes = (4 * plane(grid.shape_zyx).max(plane(label_grid.shape_zyx)) * 8).max(PLANES_BYTES * 4);
    Ok(Estimate {
        spacing_zyx_mm: canonical.spacing_zyx_mm(),
        resampled_zyx_mm: target.spacing_zyx_mm(),
        channels,
        shape_zyx: canonical.shape_zyx,
        resampled_zyx: target.shape_zyx,
        memory: preparing.max(labelling).saturating_add(scratch).saturating_add(image_layer.max(label_layer)),
        streamed: planes
            .saturating_add(image_layer.max(label_layer))
            .saturating_add(scratch)
            .saturating_add(aligning)
            .saturating_add(writing),
        temporary: read.saturating_mul(image).saturating_add(labels),
        disk: voxels(target.shape_zyx).saturating_mul(image + if label == 8 { 8 } else { label.min(1) }),
    })
}

impl Estimate {
    /// Refuses a grid that only a wrong voxel size explains.
    pub(crate) fn refuse_explosion(&self) -> Result<(), Message> {
        let voxels = |shape: &[usize; 3]| shape.iter().map(|n| *n as f64).product::<f64>();
        let growth = voxels(&self.resampled_zyx) / voxels(&self.shape_zyx);
        let longest = (0..3)
            .find(|a| self.resampled_zyx[*a] > LONGEST_AXIS && self.resampled_zyx[*a] > self.shape_zyx[*a]);
        if growth <= MOST_GROWTH && longest.is_none() {
            return Ok(());
        }
        let spacing = |mm: &[f64; 3]| cases::triple(&mm.map(readable));
        let text = format!(
            "resampling {} voxels of {} mm to {} mm gives {} voxels (z,y,x)",
            cases::triple(&self.shape_zyx),
            spacing(&self.spacing_zyx_mm),
            spacing(&self.resampled_zyx_mm),
            cases::triple(&self.resampled_zyx)
        );
        let limit = match longest {
            Some(axis) => format!(
                "{} along {}, allowed {LONGEST_AXIS}",
                self.resampled_zyx[axis],
                ["z", "y", "x"][axis]
            ),
            None => format!("{growth:.0} times as many, allowed {MOST_GROWTH}"),
        };
        Err(Message::error("E150", text)
            .detail(limit)
            .cause("The file's voxel size or the target spacing is probably wrong, often by its unit")
            .fix("Correct it, or pass --allow-large if it is meant"))
    }
}
