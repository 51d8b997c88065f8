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

impl BoundingBox {
    /// The whole of a volume.
    pub fn whole(shape_zyx: [usize; 3]) -> Self {
        Self { start_zyx: [0; 3], end_zyx: shape_zyx }
    }

    /// Extent z, y, x.
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end_zyx[axis] - self.start_zyx[axis])
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        crate::voxels(self.shape())
    }

    /// The same box seen from a volume in which this one's origin lies at `by_zyx`.
    #[must_use]
    pub fn shifted(&self, by_zyx: [usize; 3]) -> Self {
        Self {
            start_zyx: std::array::from_fn(|axis| self.start_zyx[axis] + by_zyx[axis]),
            end_zyx: std::array::from_fn(|axis| self.end_zyx[axis] + by_zyx[axis]),
        }
    }

    /// The smallest box around this one and another.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        Self {
            start_zyx: std::array::from_fn(|axis| self.start_zyx[axis].min(other.start_zyx[axis])),
            end_zyx: std::array::from_fn(|axis| self.end_zyx[axis].max(other.end_zyx[axis])),
        }
    }

    pub(crate) fn check(&self, shape_zyx: [usize; 3]) -> Result<()> {
        let inside = (0..3)
            .all(|axis| self.start_zyx[axis] < self.end_zyx[axis] && self.end_zyx[axis] <= shape_zyx[axis]);
        if inside {
            Ok(())
        } else {
            Err(VolumeError::OutsideVolume { start_zyx: self.start_zyx, end_zyx: self.end_zyx, shape_zyx })
        }
    }
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

/// Cuts a box out of an array (c, z, y, x) in place; its memory is not returned.
///
/// # Errors
/// As [`crop`].
pub(crate) fn crop_in_place<T: Copy>(
    data: &mut Vec<T>,
    channels: usize,
    shape_zyx: [usize; 3],
    bounds: &BoundingBox,
) -> Result<()> {
    expect_length("array to crop", data.len(), channels, shape_zyx)?;
    bounds.check(shape_zyx)?;
    let mut end = 0;
    for (start, length) in rows(channels, shape_zyx, bounds) {
        // a row never moves backwards over one that is still to come
        data.copy_within(start..start + length, end);
        end += length;
    }
    data.truncate(end);
    Ok(())
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
    fn boxes_move_and_join() {
        let found = BoundingBox { start_zyx: [1, 1, 3], end_zyx: [3, 3, 5] };
        assert_eq!(found.voxels(), 8);
        assert_eq!(found.shifted([1, 0, 2]), BoundingBox { start_zyx: [2, 1, 5], end_zyx: [4, 3, 7] });
        assert_eq!(
            found.joined(&BoundingBox { start_zyx: [2, 0, 4], end_zyx: [3, 1, 9] }),
            BoundingBox { start_zyx: [1, 0, 3], end_zyx: [3, 3, 9] }
        );
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
            let mut in_place = data.clone();
            crop_in_place(&mut in_place, channels, shape, &bounds).unwrap();
            prop_assert_eq!(&in_place, &cropped);
            prop_assert!(cropped.iter().all(|v| *v > 0));
            prop_assert_eq!(uncrop(&cropped, channels, shape, &bounds, 0).unwrap(), data);
        }
    }
}
