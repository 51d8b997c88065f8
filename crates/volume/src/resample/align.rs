//! Labels onto the grid of their image, whatever way the two grids lie to each other.

use super::SCRATCH_BYTES;
use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::geometry::{Grid, rotation_deg, same_geometry, voxel_transform};
use crate::orientation::Orientation;
use crate::voxels::{Voxels, check_request};
use crate::warning::Warning;
use std::path::Path;

/// Half a voxel, less what rounding may add to a place exactly between two voxels.
const HALF: f64 = 0.5 - 1e-6;
/// Least memory of one read.
const LEAST_BYTES: usize = 1 << 20;

/// How the grid of a label lies to that of its image: any rotation, shear, flips, spacing and shape.
///
/// Each voxel of the image takes the label voxel in whose extent its centre lies: the nearest along the label's axes, and
/// 0 outside of the label's volume, which reaches half a voxel beyond its outer centres. Places between two voxels (to
/// 10⁻⁶ of a voxel) belong to the one with the lower index in canonical orientation, so that neither rounding nor the
/// order in which a file stores its voxels decides.
#[derive(Debug, Clone)]
pub struct Alignment {
    /// Both as stored.
    label: Grid,
    image: Grid,
    /// Canonical shapes.
    label_zyx: [usize; 3],
    image_zyx: [usize; 3],
    image_to_label: Map,
    stored_to_image: Map,
    /// Largest distance between corresponding corners, and angle between the axes, both in canonical orientation.
    corner_mm: f64,
    rotation_deg: f64,
}

/// Voxels of a label that are not 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// All of them.
    pub labelled: u64,
    /// Those whose centre lies outside of the image's volume.
    pub outside: u64,
}

impl Alignment {
    /// Both grids as stored.
    ///
    /// # Errors
    /// [`VolumeError::NoOverlap`] if no voxel of the image would get its value from the label.
    pub fn new(image_path: &Path, image: &Grid, label_path: &Path, label: &Grid) -> Result<Self> {
        let this = Self::of(image, label)?;
        if this.overlaps() {
            return Ok(this);
        }
        Err(VolumeError::NoOverlap {
            image: image_path.into(),
            image_mm: image.extent_mm(),
            label: label_path.into(),
            label_mm: label.extent_mm(),
        })
    }

    fn of(image: &Grid, label: &Grid) -> Result<Self> {
        let canonical = |grid: &Grid| Orientation::to_canonical(grid).apply_to_grid(grid);
        let (turned, target) = (canonical(label), canonical(image));
        Ok(Self {
            label: *label,
            image: *image,
            label_zyx: turned.shape_zyx,
            image_zyx: target.shape_zyx,
            image_to_label: Map::new(&turned, &target)?,
            stored_to_image: Map::new(&target, label)?,
            corner_mm: same_geometry(&turned, &target),
            rotation_deg: rotation_deg(&turned, &target),
        })
    }

    fn overlaps(&self) -> bool {
        let [depth, height, width] = self.image_zyx;
        (0..depth).any(|z| {
            (0..height).any(|y| {
                let row = self.image_to_label.row(z, y);
                (0..width).any(|x| row.nearest(x, self.label_zyx).is_some())
            })
        })
    }

    /// What somebody should know of a label that was brought onto its image's grid.
    pub fn warning(&self, coverage: Coverage) -> Warning {
        Warning::LabelAligned {
            corner_mm: self.corner_mm,
            rotation_deg: self.rotation_deg,
            label_zyx: self.label.shape_zyx,
            image_zyx: self.image.shape_zyx,
            labelled: coverage.labelled,
            outside: coverage.outside,
        }
    }

    /// Counts in planes of the label as stored, of which `first` is the index of the first.
    pub fn cover<T: Copy + Default + PartialEq>(&self, first: usize, planes: &[T]) -> Coverage {
        let [_, height, width] = self.label.shape_zyx;
        let mut found = Coverage::default();
        for (i, values) in planes.chunks_exact(width).enumerate() {
            let row = self.stored_to_image.row(first + i / height, i % height);
            for (x, _) in values.iter().enumerate().filter(|(_, value)| **value != T::default()) {
                found.labelled += 1;
                found.outside += u64::from(row.nearest(x, self.image_zyx).is_none());
            }
        }
        found
    }
}

impl std::ops::AddAssign for Coverage {
    fn add_assign(&mut self, other: Self) {
        self.labelled += other.labelled;
        self.outside += other.outside;
    }
}

/// A label on the grid of its image, made while it is read; both in canonical orientation.
///
/// Memory of one read beside the box that it returns: [`SCRATCH_BYTES`] over the number of threads, or 1 MiB if that is
/// more, whatever the spacings and the number of classes.
#[derive(Clone, Copy)]
pub struct Aligned<'a, T> {
    source: &'a dyn Voxels<T>,
    alignment: &'a Alignment,
    /// Bytes of the label that may be held at a time.
    budget: usize,
}

impl<'a, T: Copy + Default> Aligned<'a, T> {
    /// `source` is the label in canonical orientation.
    ///
    /// # Errors
    /// Another shape than that of the label's grid.
    pub fn new(source: &'a dyn Voxels<T>, alignment: &'a Alignment) -> Result<Self> {
        let shape = source.shape_zyx();
        if shape != alignment.label_zyx {
            let (found, expected) = (crate::voxels(shape), crate::voxels(alignment.label_zyx));
            return Err(VolumeError::Length { what: "label to align", found, expected });
        }
        let budget = (SCRATCH_BYTES / rayon::current_num_threads()).max(LEAST_BYTES);
        Ok(Self { source, alignment, budget })
    }

    /// The label voxels that a box of the image can need, if it needs any.
    fn source_box(&self, part: &BoundingBox) -> Option<BoundingBox> {
        let (mut low, mut high) = ([f64::INFINITY; 3], [f64::NEG_INFINITY; 3]);
        for corner in 0..8_usize {
            let [z, y, x] = std::array::from_fn(|axis| {
                if corner >> axis & 1 == 0 { part.start_zyx[axis] } else { part.end_zyx[axis] - 1 }
            });
            let place = self.alignment.image_to_label.row(z, y).at(x);
            for axis in 0..3 {
                low[axis] = low[axis].min(place[axis]);
                high[axis] = high[axis].max(place[axis]);
            }
        }
        let mut found = BoundingBox::whole(self.alignment.label_zyx);
        for axis in 0..3 {
            // a voxel more on either side than exact arithmetic needs
            found.start_zyx[axis] = (low[axis] - 1.0).max(0.0) as usize;
            found.end_zyx[axis] = ((high[axis] + 2.0).max(0.0) as usize).min(found.end_zyx[axis]);
        }
        (0..3).all(|axis| found.start_zyx[axis] < found.end_zyx[axis]).then_some(found)
    }

    /// Fills the box `part` of `out`, which is the box `bounds`; halves it until its source fits into the budget.
    fn fill(&self, channel: usize, part: &BoundingBox, bounds: &BoundingBox, out: &mut [T]) -> Result<()> {
        // outside of the label it is 0 already
        let Some(held) = self.source_box(part) else { return Ok(()) };
        let shape = part.shape();
        let longest = (0..3).filter(|axis| shape[*axis] > 1).max_by_key(|axis| shape[*axis]);
        if let Some(axis) = longest
            && held.voxels().saturating_mul(size_of::<T>()) > self.budget
        {
            let (mut low, mut high) = (*part, *part);
            low.end_zyx[axis] = part.start_zyx[axis] + shape[axis] / 2;
            high.start_zyx[axis] = low.end_zyx[axis];
            self.fill(channel, &low, bounds, out)?;
            return self.fill(channel, &high, bounds, out);
        }
        let values = self.source.read(channel, &held)?;
        let ([_, rows, columns], [_, height, width]) = (held.shape(), bounds.shape());
        let [z0, y0, x0] = held.start_zyx;
        for z in part.start_zyx[0]..part.end_zyx[0] {
            for y in part.start_zyx[1]..part.end_zyx[1] {
                let row = self.alignment.image_to_label.row(z, y);
                let at = ((z - bounds.start_zyx[0]) * height + y - bounds.start_zyx[1]) * width;
                let at = at + part.start_zyx[2] - bounds.start_zyx[2];
                for (value, x) in out[at..at + shape[2]].iter_mut().zip(part.start_zyx[2]..) {
                    if let Some([lz, ly, lx]) = row.nearest(x, self.alignment.label_zyx) {
                        *value = values[((lz - z0) * rows + ly - y0) * columns + lx - x0];
                    }
                }
            }
        }
        Ok(())
    }
}

impl<T: Copy + Default> Voxels<T> for Aligned<'_, T> {
    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.alignment.image_zyx
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<T>> {
        check_request(channel, self.channels(), bounds, self.shape_zyx())?;
        let mut out = vec![T::default(); bounds.voxels()];
        self.fill(channel, bounds, bounds, &mut out)?;
        Ok(out)
    }
}

/// From the voxels of one grid to places in another, z, y, x; the last column is the offset.
#[derive(Debug, Clone, Copy)]
struct Map([[f64; 4]; 3]);

impl Map {
    fn new(to: &Grid, from: &Grid) -> Result<Self> {
        let matrix = voxel_transform(to, from)?;
        Ok(Self(std::array::from_fn(|row| {
            [matrix[(2 - row, 2)], matrix[(2 - row, 1)], matrix[(2 - row, 0)], matrix[(2 - row, 3)]]
        })))
    }

    fn row(&self, z: usize, y: usize) -> Row {
        Row(self.0.map(|m| [m[0] * z as f64 + m[1] * y as f64 + m[3], m[2]]))
    }
}

/// The places of a row of voxels: start and step along z, y, x.
#[derive(Debug, Clone, Copy)]
struct Row([[f64; 2]; 3]);

impl Row {
    /// The place of voxel `x`; the same bits whatever box it is made for.
    fn at(&self, x: usize) -> [f64; 3] {
        self.0.map(|[start, step]| start + step * x as f64)
    }

    /// The voxel of a volume of `shape_zyx` in whose extent that place lies.
    fn nearest(&self, x: usize, shape_zyx: [usize; 3]) -> Option<[usize; 3]> {
        let place = self.at(x).map(|at| at + HALF);
        let inside = place.iter().zip(shape_zyx).all(|(at, n)| *at >= 0.0 && *at < n as f64);
        inside.then(|| place.map(|at| at as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orientation::tests::orientations;
    use crate::voxels::InMemory;
    use nalgebra::{Matrix3, Rotation3, Vector3};
    use proptest::prelude::*;

    type Shape = [usize; 3];

    fn grid(shape_zyx: Shape, angles: [f64; 3], spacing: [f64; 3], shear: f64, origin: [f64; 3]) -> Grid {
        let turn = Rotation3::from_euler_angles(angles[0], angles[1], angles[2]);
        let mut skew = Matrix3::identity();
        skew[(0, 1)] = shear;
        let linear = turn.matrix() * skew * Matrix3::from_diagonal(&Vector3::from(spacing));
        let mut affine = [[0.0, 0.0, 0.0, 1.0]; 4];
        for row in 0..3 {
            for column in 0..3 {
                affine[row][column] = linear[(row, column)];
            }
            affine[row][3] = origin[row];
        }
        affine[3] = [0.0, 0.0, 0.0, 1.0];
        Grid::new(shape_zyx, affine).unwrap()
    }

    fn grids() -> impl Strategy<Value = Grid> {
        let shape = [1..14_usize, 1..14_usize, 1..14_usize];
        let turns = prop_oneof![Just([0.0; 3]), [-3.1..3.1, -1.5..1.5, -3.1..3.1]];
        let spacing = prop_oneof![Just([1.0; 3]), [0.3..3.0, 0.3..3.0, 0.3..3.0]];
        let origin = [-6.0..6.0, -6.0..6.0, -6.0..6.0];
        (shape, turns, spacing, prop_oneof![Just(0.0), -0.4..0.4], origin, orientations()).prop_map(
            |(shape, turns, spacing, shear, origin, o)| {
                o.apply_to_grid(&grid(shape, turns, spacing, shear, origin))
            },
        )
    }

    fn ids(shape: Shape) -> Vec<u64> {
        (0..crate::voxels(shape) as u64).map(|i| u64::MAX - i).collect()
    }

    /// For each voxel of the image as stored the label in whose extent its centre lies, found by trying all along each axis
    /// and 0 outside; `None` where that is a matter of rounding.
    fn by_trying(label: &Grid, image: &Grid, data: &[u64]) -> Vec<Option<u64>> {
        let inverse = label.matrix().try_inverse().unwrap();
        let [depth, height, width] = image.shape_zyx;
        let voxel = |i: usize| [i / (height * width), i / width % height, i % width];
        let value = |[z, y, x]: Shape| {
            let [wx, wy, wz] = image.world([x as f64, y as f64, z as f64]);
            let place = inverse * nalgebra::Vector4::new(wx, wy, wz, 1.0);
            let mut index = 0;
            let mut outside = false;
            for axis in 0..3 {
                let (at, n) = (place[2 - axis], label.shape_zyx[axis]);
                if ((at - 0.5) - (at - 0.5).round()).abs() < 2e-6 {
                    return None;
                }
                match (0..n).find(|i| (at - *i as f64).abs() < 0.5) {
                    Some(found) => index = index * n + found,
                    None => outside = true,
                }
            }
            Some(if outside { 0 } else { data[index] })
        };
        (0..depth * height * width).map(|i| value(voxel(i))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn boxes_are_what_trying_all_voxels_gives(
            (label, image) in (grids(), grids()),
            (extent, budget) in (1..9_usize, prop_oneof![Just(0), Just(400), Just(1 << 20)]),
        ) {
            let data = ids(label.shape_zyx);
            let turn = Orientation::to_canonical(&image);
            let expected = turn.apply(&by_trying(&label, &image, &data), image.shape_zyx).unwrap().0;

            let alignment = Alignment::of(&image, &label).unwrap();
            let source = InMemory::oriented(&data, 1, label.shape_zyx, Orientation::to_canonical(&label)).unwrap();
            let aligned = Aligned { budget, ..Aligned::new(&source, &alignment).unwrap() };
            let shape = aligned.shape_zyx();
            prop_assert_eq!(shape, turn.shape(image.shape_zyx));
            let whole = aligned.read(0, &BoundingBox::whole(shape)).unwrap();
            for (found, expected) in whole.iter().zip(&expected) {
                prop_assert!(expected.is_none_or(|expected| expected == *found));
            }
            prop_assert_eq!(alignment.overlaps(), whole.iter().any(|id| *id != 0));
            let start_zyx = shape.map(|n| n / 3);
            let end_zyx = std::array::from_fn(|axis| (start_zyx[axis] + extent).min(shape[axis]));
            let bounds = BoundingBox { start_zyx, end_zyx };
            let part = aligned.read(0, &bounds).unwrap();
            prop_assert_eq!(part, crate::crop::crop(&whole, 1, shape, &bounds).unwrap());

            // the same question the other way round: which label voxels lie in no voxel of the image
            let there = vec![1; image.shape_zyx.iter().product()];
            let inside = by_trying(&image, &label, &there);
            let certain = inside.iter().filter(|found| **found == Some(0)).count() as u64;
            let unsure = inside.iter().filter(|found| found.is_none()).count() as u64;
            let plane = label.shape_zyx[1] * label.shape_zyx[2];
            let mut covered = Coverage::default();
            for (z, values) in data.chunks_exact(plane).enumerate() {
                covered += alignment.cover(z, values);
            }
            prop_assert_eq!(covered, alignment.cover(0, &data));
            prop_assert_eq!(covered.labelled, data.len() as u64);
            prop_assert!((certain..=certain + unsure).contains(&covered.outside));
        }
    }

    fn row(n: usize, spacing: f64, origin: f64) -> Grid {
        Grid::from_spacing([1, 1, n], [1.0, 1.0, spacing], [origin, 0.0, 0.0]).unwrap()
    }

    fn labels_of(label: &Grid, image: &Grid) -> Vec<u64> {
        let alignment = Alignment::of(image, label).unwrap();
        let data: Vec<u64> = (1..=label.shape_zyx[2] as u64).collect();
        let source = InMemory::oriented(&data, 1, label.shape_zyx, Orientation::to_canonical(label)).unwrap();
        let aligned = Aligned::new(&source, &alignment).unwrap();
        aligned.read(0, &BoundingBox::whole(aligned.shape_zyx())).unwrap()
    }

    #[test]
    fn voxels_reach_half_a_voxel_around_their_centres() {
        // four voxels of 0.5 mm lie in two of 1 mm, whose outer halves count
        assert_eq!(labels_of(&row(2, 1.0, 0.0), &row(6, 0.5, -0.75)), [0, 1, 1, 2, 2, 0]);
    }

    #[test]
    fn ties_go_to_the_lower_canonical_index_however_the_label_is_stored() {
        let image = row(4, 1.0, -0.5);
        let label = row(3, 1.0, 0.0);
        assert_eq!(labels_of(&label, &image), [0, 1, 2, 3]);
        let mut flipped = label;
        flipped.affine[0][0] = -1.0;
        flipped.affine[0][3] = 2.0;
        assert_eq!(labels_of(&flipped, &image), [0, 3, 2, 1]);
        // what rounding does to a tie decides nothing
        for noise in [-1e-9, 1e-9] {
            assert_eq!(labels_of(&row(3, 1.0, noise), &image), [0, 1, 2, 3]);
        }
    }

    #[test]
    fn how_far_it_was_off_does_not_depend_on_the_order_of_storage() {
        let image = grid([4, 5, 6], [0.0; 3], [1.0, 2.0, 3.0], 0.0, [0.0; 3]);
        let label = grid([4, 5, 6], [0.0, 0.0, 0.1], [1.0, 2.0, 3.0], 0.0, [0.0; 3]);
        let plain = Alignment::of(&image, &label).unwrap();
        assert!((plain.rotation_deg - 0.1_f64.to_degrees()).abs() < 1e-9);
        let mut reversed = label;
        for row in 0..3 {
            reversed.affine[row][3] += 5.0 * label.affine[row][0];
            reversed.affine[row][0] *= -1.0;
        }
        let turned = Alignment::of(&image, &reversed).unwrap();
        assert!((turned.corner_mm - plain.corner_mm).abs() < 1e-9 && plain.corner_mm > 0.5);
        assert!((turned.rotation_deg - plain.rotation_deg).abs() < 1e-6);
    }

    #[test]
    fn a_label_beside_its_image_is_refused() {
        let fail = |origin| {
            let (image, label) = (row(4, 1.0, 0.0), row(3, 1.0, origin));
            Alignment::new(Path::new("a.nii"), &image, Path::new("b.nii"), &label).err()
        };
        assert!(fail(3.4).is_none() && fail(-2.4).is_none());
        let error = fail(3.6).unwrap();
        assert_eq!(error.code(), "E123");
        let text = error.to_string();
        assert!(text.contains("b.nii lies within 3.6…5.6, 0.0…0.0, 0.0…0.0, a.nii within 0.0…3.0"), "{text}");
    }

    #[test]
    fn a_label_of_another_shape_than_its_grid_is_refused() {
        let alignment = Alignment::of(&row(4, 1.0, 0.0), &row(3, 1.0, 0.0)).unwrap();
        let data = [0_u32; 4];
        let source = InMemory::new(&data, 1, [1, 1, 4]).unwrap();
        assert!(Aligned::new(&source, &alignment).is_err());
    }
}
