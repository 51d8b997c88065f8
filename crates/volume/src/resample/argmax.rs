//! Classes from scores, without scores on the target grid.

use super::grid::Line;
use super::linear::blend_rows;
use super::taps::LinearTaps;
use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::expect_length;
use rayon::prelude::*;

/// The class with the highest of the scores (class, z, y, x) that are interpolated along `lines`; along the axis `apart`
/// the nearest voxel's. Of equal scores the lower class wins.
pub(crate) fn argmax(
    scores: &[f32],
    classes: usize,
    lines: &[Line; 3],
    from_zyx: [usize; 3],
    to_zyx: [usize; 3],
    apart: Option<usize>,
) -> Result<Vec<u16>> {
    expect_length("scores to resample", scores.len(), classes, from_zyx)?;
    if classes > usize::from(u16::MAX) + 1 {
        return Err(VolumeError::TooManyLabels { found: classes as u32 - 1, limit: u16::MAX.into() });
    }
    let taps = |axis: usize| LinearTaps::new(&lines[axis], from_zyx[axis], to_zyx[axis], apart == Some(axis));
    let axes = [taps(0), taps(1), taps(2)];
    let held = BoundingBox::whole(from_zyx);
    let [_, height, width] = to_zyx;
    let mut out = vec![0_u16; crate::voxels(to_zyx)];
    out.par_chunks_mut(height * width).enumerate().for_each_init(
        || (vec![0.0_f32; from_zyx[2] + 1], vec![0.0_f32; width]),
        |(blend, best), (z, target)| {
            for (y, row) in target.chunks_mut(width).enumerate() {
                best.fill(f32::NEG_INFINITY);
                for (class, channel) in scores.chunks_exact(held.voxels()).enumerate() {
                    blend_rows(channel, &held, &axes, z, y, blend);
                    for ((label, best), tap) in row.iter_mut().zip(best.iter_mut()).zip(&axes[2].taps) {
                        let pair = &blend[tap.low as usize..][..2];
                        let score = tap.mix(pair[0], pair[1]);
                        if score > *best {
                            *best = score;
                            *label = class as u16;
                        }
                    }
                }
            }
        },
    );
    Ok(out)
}
