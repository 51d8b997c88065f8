//! Half-open boxes of voxels.

use serde::{Deserialize, Serialize};

/// A half-open box in voxels, z, y, x; it may reach outside the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First voxel.
    pub lo: [i64; 3],
    /// One past the last voxel.
    pub hi: [i64; 3],
}

impl Region {
    /// The box of `shape` voxels that begins at `lo`.
    #[must_use]
    pub fn at(lo: [i64; 3], shape_zyx: [usize; 3]) -> Self {
        Self { lo, hi: std::array::from_fn(|a| lo[a] + shape_zyx[a] as i64) }
    }

    /// The whole volume.
    #[must_use]
    pub fn whole(shape_zyx: [usize; 3]) -> Self {
        Self::at([0; 3], shape_zyx)
    }

    /// Voxels along z, y, x.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        std::array::from_fn(|a| usize::try_from(self.hi[a] - self.lo[a]).unwrap_or(0))
    }

    /// Number of voxels.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.shape().iter().product()
    }

    /// The box of `shape_zyx` voxels with the same centre; of an odd difference the larger half comes after this box.
    #[must_use]
    pub fn widened(&self, shape_zyx: [usize; 3]) -> Self {
        let own = self.shape();
        let lo = std::array::from_fn(|a| self.lo[a] - (shape_zyx[a] as i64 - own[a] as i64).div_euclid(2));
        Self::at(lo, shape_zyx)
    }

    /// The common part; empty boxes have a shape with a 0.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let lo = std::array::from_fn(|a| self.lo[a].max(other.lo[a]));
        Self { lo, hi: std::array::from_fn(|a| self.hi[a].min(other.hi[a]).max(lo[a])) }
    }

    /// Voxels in common with another box.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> usize {
        self.intersect(other).voxels()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wider_box_keeps_the_first_in_its_middle() {
        let box_ = Region::at([3, 4, 5], [8, 16, 16]);
        let wide = box_.widened([8, 24, 21]);
        assert_eq!((wide.lo, wide.shape()), ([3, 0, 3], [8, 24, 21]));
        assert_eq!(wide.intersect(&box_), box_);
    }
}
