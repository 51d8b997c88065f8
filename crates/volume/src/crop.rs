//! Cropping to the foreground and back.

use crate::error::{Result, VolumeError};
use crate::expect_length;
use serde::{Deserialize, Serialize};

/// A half-open box of voxels, `start` included and `end` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundingBox {
    /// First voxel z, y, x.
    pub start_zyx: [usize; 3],
    /// One past the last voxel z, y, x.
    pub end_zyx: [usize; 3],
}

/// What counts as foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Foreground {
    /// Voxels that are not 0 in some channel (MRI with the head stripped, labels).
    NonZero,
    /// Voxels above the smallest value of their channel, in some channel (CT whose background is -1024).
    AboveMinimum,
}

impl BoundingBox {
    /// The whole of a volume.
    pub fn whole(shape_zyx: [usize; 3]) -> Self {
        Self { start_zyx: [0; 3], end_zyx: shape_zyx }
    }

    /// Extent z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end_zyx[axis] - self.start_zyx[axis])
    }

    /// The box grown by `margin_zyx` voxels on each side, within a volume of `shape_zyx`.
    #[must_use]
    pub fn with_margin(&self, margin_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Self {
        Self {
            start_zyx: std::array::from_fn(|axis| self.start_zyx[axis].saturating_sub(margin_zyx[axis])),
            end_zyx: std::array::from_fn(|axis| (self.end_zyx[axis] + margin_zyx[axis]).min(shape_zyx[axis])),
        }
    }

    fn check(&self, shape_zyx: [usize; 3]) -> Result<()> {
        let inside = (0..3)
            .all(|axis| self.start_zyx[axis] < self.end_zyx[axis] && self.end_zyx[axis] <= shape_zyx[axis]);
        if inside {
            Ok(())
        } else {
            Err(VolumeError::OutsideVolume { start_zyx: self.start_zyx, end_zyx: self.end_zyx, shape_zyx })
        }
    }
}

/// The smallest box around the foreground of an image (c, z, y, x).
///
/// # Errors
/// [`VolumeError::EmptyForeground`] if there is none, [`VolumeError::Length`] if the data has another shape.
pub fn foreground_box(
    data: &[f32],
    channels: usize,
    shape_zyx: [usize; 3],
    foreground: Foreground,
) -> Result<BoundingBox> {
    expect_length("image to crop", data.len(), channels, shape_zyx)?;
    let [depth, height, width] = shape_zyx;
    let mut found: Option<BoundingBox> = None;
    for channel in data.chunks_exact(depth * height * width) {
        let background = match foreground {
            Foreground::NonZero => 0.0,
            Foreground::AboveMinimum => channel.iter().copied().fold(f32::INFINITY, f32::min),
        };
        for (line, row) in channel.chunks_exact(width).enumerate() {
            let Some(first) = row.iter().position(|v| *v != background) else { continue };
            let last = row.iter().rposition(|v| *v != background).unwrap_or(first);
            let at = [line / height, line % height];
            let bounds = found.get_or_insert(BoundingBox {
                start_zyx: [at[0], at[1], first],
                end_zyx: [at[0] + 1, at[1] + 1, last + 1],
            });
            for (axis, (low, high)) in [(at[0], at[0]), (at[1], at[1]), (first, last)].into_iter().enumerate()
            {
                bounds.start_zyx[axis] = bounds.start_zyx[axis].min(low);
                bounds.end_zyx[axis] = bounds.end_zyx[axis].max(high + 1);
            }
        }
    }
    found.ok_or(VolumeError::EmptyForeground {
        shape_zyx,
        criterion: match foreground {
            Foreground::NonZero => "other than 0",
            Foreground::AboveMinimum => "above the minimum",
        },
    })
}

/// Cuts a box out of an array (c, z, y, x); labels have one channel.
///
/// # Errors
/// A box that is empty or does not lie in the volume; a length that does not fit.
pub fn crop<T: Copy>(
    data: &[T],
    channels: usize,
    shape_zyx: [usize; 3],
    bounds: &BoundingBox,
) -> Result<Vec<T>> {
    expect_length("array to crop", data.len(), channels, shape_zyx)?;
    bounds.check(shape_zyx)?;
    let mut out = Vec::with_capacity(channels * crate::voxels(bounds.shape()));
    for (start, length) in rows(channels, shape_zyx, bounds) {
        out.extend_from_slice(&data[start..start + length]);
    }
    Ok(out)
}

/// Puts a cropped array back into a volume of `shape_zyx`, with `fill` around it.
///
/// # Errors
/// As [`crop`].
pub fn uncrop<T: Copy>(
    data: &[T],
    channels: usize,
    shape_zyx: [usize; 3],
    bounds: &BoundingBox,
    fill: T,
) -> Result<Vec<T>> {
    bounds.check(shape_zyx)?;
    expect_length("array to put back", data.len(), channels, bounds.shape())?;
    let mut out = vec![fill; channels * crate::voxels(shape_zyx)];
    let mut rest = data;
    for (start, length) in rows(channels, shape_zyx, bounds) {
        let (row, after) = rest.split_at(length);
        out[start..start + length].copy_from_slice(row);
        rest = after;
    }
    Ok(out)
}

/// First element and length of each row of the box in the whole array.
fn rows(
    channels: usize,
    [depth, height, width]: [usize; 3],
    bounds: &BoundingBox,
) -> impl Iterator<Item = (usize, usize)> {
    let BoundingBox { start_zyx: start, end_zyx: end } = *bounds;
    (0..channels).flat_map(move |c| {
        (start[0]..end[0]).flat_map(move |z| {
            (start[1]..end[1])
                .map(move |y| (((c * depth + z) * height + y) * width + start[2], end[2] - start[2]))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_box_is_tight_over_all_channels() {
        let mut data = vec![0.0_f32; 2 * 4 * 5 * 6];
        let at = |c: usize, z: usize, y: usize, x: usize| ((c * 4 + z) * 5 + y) * 6 + x;
        data[at(0, 1, 2, 3)] = 1.0;
        data[at(1, 2, 1, 4)] = -1.0;
        let found = foreground_box(&data, 2, [4, 5, 6], Foreground::NonZero).unwrap();
        assert_eq!(found, BoundingBox { start_zyx: [1, 1, 3], end_zyx: [3, 3, 5] });
        assert_eq!(
            found.with_margin([1, 1, 2], [4, 5, 6]),
            BoundingBox { start_zyx: [0, 0, 1], end_zyx: [4, 4, 6] }
        );
    }

    #[test]
    fn air_is_background_and_nothing_is_an_error() {
        let mut data = vec![-1024.0_f32; 27];
        let empty = foreground_box(&data, 1, [3; 3], Foreground::AboveMinimum).unwrap_err();
        assert_eq!(empty.code(), "E133");
        data[13] = 40.0;
        let found = foreground_box(&data, 1, [3; 3], Foreground::AboveMinimum).unwrap();
        assert_eq!(found, BoundingBox { start_zyx: [1; 3], end_zyx: [2; 3] });
    }

    #[test]
    fn boxes_outside_are_refused() {
        let outside = BoundingBox { start_zyx: [0; 3], end_zyx: [1, 1, 4] };
        assert!(crop(&[0_u8; 27], 1, [3; 3], &outside).is_err());
        let empty = BoundingBox { start_zyx: [1; 3], end_zyx: [1, 2, 2] };
        assert!(crop(&[0_u8; 27], 1, [3; 3], &empty).is_err());
    }

    proptest! {
        #[test]
        fn uncrop_undoes_crop_of_what_was_foreground(
            (shape, start, extent) in [1..6_usize, 1..6_usize, 1..6_usize].prop_flat_map(|shape| {
                let start = shape.map(|n| 0..n);
                (Just(shape), start, [1..6_usize, 1..6_usize, 1..6_usize])
            }),
            channels in 1..3_usize,
        ) {
            let bounds = BoundingBox {
                start_zyx: start,
                end_zyx: std::array::from_fn(|axis| (start[axis] + extent[axis]).min(shape[axis])),
            };
            let inside = |i: usize| {
                let at = [i / (shape[1] * shape[2]) % shape[0], i / shape[2] % shape[1], i % shape[2]];
                (0..3).all(|axis| (bounds.start_zyx[axis]..bounds.end_zyx[axis]).contains(&at[axis]))
            };
            let data: Vec<u32> = (0..channels * shape.iter().product::<usize>())
                .map(|i| if inside(i) { i as u32 + 1 } else { 0 })
                .collect();
            let cropped = crop(&data, channels, shape, &bounds).unwrap();
            prop_assert!(cropped.iter().all(|v| *v > 0));
            prop_assert_eq!(uncrop(&cropped, channels, shape, &bounds, 0).unwrap(), data);
        }
    }
}
