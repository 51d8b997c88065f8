//! Planned slices of a case with their voxels, slab by slab, so that memory does not grow with the volume.

use crate::captioner::SliceImage;
use crate::slices::{self, Slice};
use data_manifests::Descriptor;
use patches::{Case, Region};
use stage::interrupt;

/// Most voxels of all channels that are read at once (64 MiB).
const SLAB_VOXELS: usize = 16 << 20;

/// Hands `planned` slices of a case, in their order (plane by plane, ascending), to `visit`: those that were read together at a time.
///
/// Gives false when the run was asked to stop.
///
/// # Errors
/// When the case cannot be read, and whatever `visit` gives.
pub fn each(
    case: &Case,
    descriptor: &Descriptor,
    planned: Vec<Slice>,
    mut visit: impl FnMut(&[SliceImage<'_>]) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let record = case.record();
    let channels = record.channels.len();
    let mut rest = planned.into_iter().peekable();
    while let Some(first) = rest.peek() {
        if interrupt::requested() {
            return Ok(false);
        }
        let (plane, start) = (first.plane, first.index);
        let axis = slices::axes(plane)[0];
        let section: usize =
            record.shape_zyx.iter().product::<usize>() / record.shape_zyx[axis].max(1) * channels;
        let chunk = case.chunk_zyx()[axis];
        let depth = (SLAB_VOXELS / section.max(1)).clamp(1, chunk);
        // slabs end where chunks of the shards end, so that no chunk is decoded twice without need
        let end = if depth == chunk { (start / chunk + 1) * chunk } else { start + depth };
        let mut group = Vec::new();
        while let Some(slice) = rest.next_if(|s| s.plane == plane && s.index >= start && s.index < end) {
            group.push(slice);
        }
        let last = group.last().map_or(start, |s| s.index);
        let mut slab = Region::whole(record.shape_zyx);
        (slab.lo[axis], slab.hi[axis]) = (start as i64, last as i64 + 1);
        let voxels = case.read_image(&slab)?;
        let pixels: Vec<Vec<f32>> =
            group.iter().map(|slice| cut(&voxels, &slab, &slice.region(), channels)).collect();
        drop(voxels);
        let images: Vec<SliceImage<'_>> = group
            .iter()
            .zip(&pixels)
            .map(|(slice, pixels)| SliceImage { descriptor, record, slice, pixels })
            .collect();
        visit(&images)?;
    }
    Ok(true)
}

/// The voxels of `region` from those of the slab around it, `[channel, z, y, x]` both.
fn cut(voxels: &[f32], slab: &Region, region: &Region, channels: usize) -> Vec<f32> {
    let (from, shape) = (slab.shape(), region.shape());
    let offset: [usize; 3] = std::array::from_fn(|a| (region.lo[a] - slab.lo[a]).unsigned_abs() as usize);
    let mut out = Vec::with_capacity(region.voxels() * channels);
    for c in 0..channels {
        for z in 0..shape[0] {
            for y in 0..shape[1] {
                let start = ((c * from[0] + z + offset[0]) * from[1] + y + offset[1]) * from[2] + offset[2];
                out.extend_from_slice(&voxels[start..start + shape[2]]);
            }
        }
    }
    out
}
