//! Any box of a result, in pieces that need bounded memory, on all threads.

use crate::crop::BoundingBox;
use crate::error::Result;
use crate::voxels::Voxels;
use rayon::prelude::*;
use std::ops::Range;

/// Temporary memory of one call beside its result, in bytes, on up to eight threads.
pub const SCRATCH_BYTES: usize = 64 << 20;
/// What each of more threads gets.
const THREAD_BYTES: usize = 8 << 20;

/// One kind of resampling between two shapes.
pub(crate) trait Kernel: Sync {
    /// Voxels of the source.
    type In: Copy + Default + Send + Sync;
    /// Voxels of the result.
    type Out: Copy + Default + Send + Sync;

    /// Shape of the result, z, y, x.
    fn target_zyx(&self) -> [usize; 3];

    /// The source voxels that a box of the result needs.
    fn source_box(&self, tile: &BoundingBox) -> BoundingBox;

    /// Bytes of temporary memory for a box of the result that needs the box `held` of the source, source included.
    fn scratch(&self, held: &BoundingBox, tile: &BoundingBox) -> usize;

    /// Computes a box of the result from the box `held` of the source.
    fn fill(
        &self,
        source: &[Self::In],
        held: &BoundingBox,
        tile: &BoundingBox,
        out: &mut Rows<'_, Self::Out>,
    );
}

/// The rows of a box, found by their place in the whole volume.
pub(crate) struct Rows<'a, T> {
    data: &'a mut [T],
    bounds: BoundingBox,
}

impl<T> Rows<'_, T> {
    /// The voxels `x` of row (z, y).
    pub(super) fn row(&mut self, z: usize, y: usize, x: Range<usize>) -> &mut [T] {
        let [_, height, width] = self.bounds.shape();
        let start = self.bounds.start_zyx;
        let first = ((z - start[0]) * height + y - start[1]) * width;
        &mut self.data[first + x.start - start[2]..first + x.end - start[2]]
    }
}

/// A box of the result, z, y, x.
pub(crate) fn region<K: Kernel>(
    kernel: &K,
    source: &dyn Voxels<K::In>,
    channel: usize,
    bounds: &BoundingBox,
) -> Result<Vec<K::Out>> {
    bounds.check(kernel.target_zyx())?;
    let mut out = vec![K::Out::default(); bounds.voxels()];
    fill(kernel, source, channel, bounds, &mut out)?;
    Ok(out)
}

/// The whole of each channel of a volume in memory.
pub(super) fn channels<K: Kernel>(
    kernel: &K,
    data: &[K::In],
    from_zyx: [usize; 3],
    out: &mut [K::Out],
) -> Result<()> {
    let (source, _) = super::whole(data, from_zyx)?;
    let bounds = BoundingBox::whole(kernel.target_zyx());
    for (channel, out) in out.chunks_exact_mut(bounds.voxels()).enumerate() {
        fill(kernel, &source, channel, &bounds, out)?;
    }
    Ok(())
}

fn fill<K: Kernel>(
    kernel: &K,
    source: &dyn Voxels<K::In>,
    channel: usize,
    bounds: &BoundingBox,
    out: &mut [K::Out],
) -> Result<()> {
    let [depth, height, width] = bounds.shape();
    let threads = rayon::current_num_threads();
    let budget = (SCRATCH_BYTES / threads).max(THREAD_BYTES);
    // Slabs much thinner than what they need around them would mostly read.
    let one = BoundingBox { end_zyx: bounds.start_zyx.map(|at| at + 1), ..*bounds };
    let around = kernel.source_box(&one).shape()[0];
    let thickness = depth.div_ceil(2 * threads).max(around / 3).max(1);
    out.par_chunks_mut(thickness * height * width).enumerate().try_for_each(|(number, data)| {
        let mut slab = *bounds;
        slab.start_zyx[0] += number * thickness;
        slab.end_zyx[0] = (slab.start_zyx[0] + thickness).min(bounds.end_zyx[0]);
        tiles(kernel, source, channel, &slab, budget, &mut Rows { data, bounds: slab })
    })
}

/// Fills a box, halved along its longest axis (in source voxels) until it needs no more than `budget` bytes.
fn tiles<K: Kernel>(
    kernel: &K,
    source: &dyn Voxels<K::In>,
    channel: usize,
    tile: &BoundingBox,
    budget: usize,
    out: &mut Rows<'_, K::Out>,
) -> Result<()> {
    let held = kernel.source_box(tile);
    let shape = tile.shape();
    let longest = (0..3).filter(|axis| shape[*axis] > 1).max_by_key(|axis| held.shape()[*axis]);
    match longest {
        Some(axis) if kernel.scratch(&held, tile) > budget => {
            let middle = tile.start_zyx[axis] + shape[axis] / 2;
            let (mut low, mut high) = (*tile, *tile);
            low.end_zyx[axis] = middle;
            high.start_zyx[axis] = middle;
            tiles(kernel, source, channel, &low, budget, out)?;
            tiles(kernel, source, channel, &high, budget, out)
        }
        _ => {
            kernel.fill(&source.read(channel, &held)?, &held, tile, out);
            Ok(())
        }
    }
}

/// The box of three ranges.
pub(super) fn bounds_of([z, y, x]: [Range<usize>; 3]) -> BoundingBox {
    BoundingBox { start_zyx: [z.start, y.start, x.start], end_zyx: [z.end, y.end, x.end] }
}

/// The ranges of a box.
pub(super) fn ranges(bounds: &BoundingBox) -> [Range<usize>; 3] {
    std::array::from_fn(|axis| bounds.start_zyx[axis]..bounds.end_zyx[axis])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A region with no memory to spare: one voxel at a time.
    pub(crate) fn in_pieces<K: Kernel>(
        kernel: &K,
        source: &dyn Voxels<K::In>,
        bounds: &BoundingBox,
        out: &mut [K::Out],
    ) {
        let mut rows = Rows { data: out, bounds: *bounds };
        tiles(kernel, source, 0, bounds, 0, &mut rows).unwrap();
    }
}
