//! Sections through a volume, addressed by canonical voxels however the volume is stored.

use volume::Orientation;

/// Where a volume's voxels lie in the canonical array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) orientation: Orientation,
    /// As stored.
    pub(super) shape_zyx: [usize; 3],
}

impl Stored {
    /// The stored voxel of a canonical one.
    fn voxel(&self, canonical_zyx: [usize; 3]) -> [usize; 3] {
        let (axes, flipped) = (self.orientation.source_axis_zyx(), self.orientation.flipped_zyx());
        let mut voxel = [0; 3];
        for (axis, index) in canonical_zyx.into_iter().enumerate() {
            let last = self.shape_zyx[axes[axis]] - 1;
            voxel[axes[axis]] = if flipped[axis] { last - index.min(last) } else { index.min(last) };
        }
        voxel
    }
}

/// The voxels of a plane across a canonical axis.
#[derive(Debug)]
pub(super) struct Section<T> {
    stored: Stored,
    /// The stored axis that the plane lies across, and where.
    across: usize,
    index: usize,
    /// Rows and columns along the other two stored axes.
    values: Vec<T>,
}

impl<T: Copy> Section<T> {
    /// The value at a canonical voxel of the plane.
    pub(super) fn at(&self, canonical_zyx: [usize; 3]) -> T {
        let voxel = self.stored.voxel(canonical_zyx);
        let [row, column] = others(self.across);
        self.values[voxel[row] * self.stored.shape_zyx[column] + voxel[column]]
    }

    pub(super) fn values(&self) -> &[T] {
        &self.values
    }
}

/// The axes beside one.
fn others(across: usize) -> [usize; 2] {
    [[1, 2], [0, 2], [0, 1]][across]
}

/// Cuts the three planes through a canonical voxel out of a volume whose stored z-planes come one after the other.
pub(super) struct Cutter<T> {
    sections: [Section<T>; 3],
    next: usize,
}

impl<T: Copy> Cutter<T> {
    pub(super) fn new(stored: Stored, through_zyx: [usize; 3]) -> Self {
        let voxel = stored.voxel(through_zyx);
        let axes = stored.orientation.source_axis_zyx();
        let section = |axis: usize| {
            let across = axes[axis];
            let [rows, columns] = others(across).map(|a| stored.shape_zyx[a]);
            let values = Vec::with_capacity(rows * columns);
            Section { stored, across, index: voxel[across], values }
        };
        Self { sections: [0, 1, 2].map(section), next: 0 }
    }

    /// Takes whole stored z-planes, in order.
    pub(super) fn add(&mut self, planes: &[T]) {
        for section in &mut self.sections {
            let [_, height, width] = section.stored.shape_zyx;
            for (i, plane) in planes.chunks_exact((height * width).max(1)).enumerate() {
                match section.across {
                    0 if self.next + i == section.index => section.values.extend_from_slice(plane),
                    0 => {}
                    1 => section.values.extend_from_slice(&plane[section.index * width..][..width]),
                    _ => section.values.extend(plane.iter().skip(section.index).step_by(width)),
                }
            }
        }
        let [_, height, width] = self.sections[0].stored.shape_zyx;
        self.next += planes.len() / (height * width).max(1);
    }

    /// The planes across canonical z, y and x.
    pub(super) fn finish(self) -> [Section<T>; 3] {
        self.sections
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use volume::Grid;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_section_is_a_part_of_the_canonical_volume(
            permutation in prop::sample::select(vec![[0usize, 1, 2], [2, 0, 1], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 1, 0]]),
            flips in prop::array::uniform3(any::<bool>()),
            shape in prop::array::uniform3(1usize..6),
            pick in prop::array::uniform3(0.0f64..1.0),
        ) {
            let mut affine = [[0.0; 4]; 4];
            for column in 0..3 {
                affine[permutation[column]][column] = if flips[column] { -1.0 } else { 1.0 };
            }
            affine[3][3] = 1.0;
            let grid = Grid::new(shape, affine).unwrap();
            let orientation = Orientation::to_canonical(&grid);
            let data: Vec<u32> = (0..shape.iter().product::<usize>() as u32).collect();
            let (whole, canonical) = orientation.apply(&data, shape).unwrap();
            let through: [usize; 3] = std::array::from_fn(|a| (pick[a] * canonical[a] as f64) as usize);
            let mut cutter = Cutter::new(Stored { orientation, shape_zyx: shape }, through);
            let plane = shape[1] * shape[2];
            cutter.add(&data[..plane]);
            cutter.add(&data[plane..]);
            for (axis, section) in cutter.finish().iter().enumerate() {
                for z in 0..canonical[0] {
                    for y in 0..canonical[1] {
                        for x in 0..canonical[2] {
                            let at = [z, y, x];
                            if at[axis] == through[axis] {
                                prop_assert_eq!(section.at(at), whole[(z * canonical[1] + y) * canonical[2] + x]);
                            }
                        }
                    }
                }
            }
        }
    }
}
