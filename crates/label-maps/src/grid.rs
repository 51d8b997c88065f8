//! Places in a volume, and pairs of voxels an offset apart.

/// Place of voxel `i`.
pub(crate) fn place(i: usize, [_, ny, nx]: [usize; 3]) -> [usize; 3] {
    [i / (ny * nx), i / nx % ny, i % nx]
}

/// The pairs (p, p + offset) of which both voxels lie in a volume.
#[derive(Debug, Clone)]
pub(crate) struct Pairs {
    /// Where p begins along each axis.
    start: [usize; 3],
    /// One past the last p along each axis.
    end: [usize; 3],
    shape: [usize; 3],
    /// From p to p + offset in the flat slice.
    pub(crate) step: isize,
}

impl Pairs {
    pub(crate) fn new(shape: [usize; 3], offset: [isize; 3]) -> Self {
        Self::within(shape, offset, [0; 3], shape)
    }

    /// Only the pairs whose p lies between `start` and `end`.
    pub(crate) fn within(shape: [usize; 3], offset: [isize; 3], start: [usize; 3], end: [usize; 3]) -> Self {
        let axis = |a: usize| {
            let low = start[a].max(offset[a].min(0).unsigned_abs());
            let high = end[a].min(shape[a].saturating_sub(offset[a].max(0).unsigned_abs()));
            (low, high.max(low))
        };
        let [z, y, x] = [axis(0), axis(1), axis(2)];
        let [_, ny, nx] = shape.map(|n| n as isize);
        // where the offset is longer than the volume there is no pair, and the step is never used
        let step =
            offset[0].wrapping_mul(ny * nx).wrapping_add(offset[1].wrapping_mul(nx)).wrapping_add(offset[2]);
        Self { start: [z.0, y.0, x.0], end: [z.1, y.1, x.1], shape, step }
    }

    /// Sections that hold a p.
    pub(crate) fn sections(&self) -> std::ops::Range<usize> {
        self.start[0]..self.end[0]
    }

    /// The runs of p along x in section `z`, as places in the flat slice; none where the section holds no p.
    pub(crate) fn rows(&self, z: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let [_, ny, nx] = self.shape;
        let (first, last) = (self.start[2], self.end[2]);
        let rows = if self.sections().contains(&z) { self.start[1]..self.end[1] } else { 0..0 };
        rows.map(move |y| (z * ny + y) * nx).map(move |row| row + first..row + last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_are_those_inside(
            shape in [1_usize..5, 1_usize..5, 1_usize..5],
            offset in [-5_isize..6, -5_isize..6, -5_isize..6],
        ) {
            let pairs = Pairs::new(shape, offset);
            let found: Vec<(usize, usize)> = (0..shape[0])
                .flat_map(|z| pairs.rows(z).flatten())
                .map(|p| (p, p.checked_add_signed(pairs.step).unwrap()))
                .collect();
            let mut expected = Vec::new();
            for p in 0..shape.iter().product() {
                let at = place(p, shape);
                let partner: Vec<Option<usize>> = (0..3)
                    .map(|a| at[a].checked_add_signed(offset[a]).filter(|i| *i < shape[a]))
                    .collect();
                if let [Some(z), Some(y), Some(x)] = partner[..] {
                    expected.push((p, (z * shape[1] + y) * shape[2] + x));
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}
