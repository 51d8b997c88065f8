//! Boxes of voxels, and how a volume is cut into them.

use crate::{LabelMapError, Result};
use serde::{Deserialize, Serialize};

/// A box of voxels of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First voxel along z, y, x.
    pub start_zyx: [usize; 3],
    /// Voxels along z, y, x.
    pub shape_zyx: [usize; 3],
}

impl Window {
    /// One past the last voxel along z, y, x.
    #[must_use]
    pub fn end_zyx(&self) -> [usize; 3] {
        [0, 1, 2].map(|a| self.start_zyx[a] + self.shape_zyx[a])
    }

    /// Number of voxels.
    #[must_use]
    pub fn voxels(&self) -> usize {
        self.shape_zyx.iter().product()
    }

    fn between(start_zyx: [usize; 3], end_zyx: [usize; 3]) -> Self {
        Self { start_zyx, shape_zyx: [0, 1, 2].map(|a| end_zyx[a].saturating_sub(start_zyx[a])) }
    }

    /// The window with `halo_zyx` more voxels on each side, as far as the volume goes.
    pub(crate) fn grown(&self, halo_zyx: [usize; 3], volume_zyx: [usize; 3]) -> Self {
        let end = self.end_zyx();
        Self::between(
            [0, 1, 2].map(|a| self.start_zyx[a].saturating_sub(halo_zyx[a])),
            [0, 1, 2].map(|a| volume_zyx[a].min(end[a] + halo_zyx[a])),
        )
    }

    /// What two windows share; without voxels where they share nothing.
    pub(crate) fn shared(&self, other: &Self) -> Self {
        let (end, other_end) = (self.end_zyx(), other.end_zyx());
        Self::between(
            [0, 1, 2].map(|a| self.start_zyx[a].max(other.start_zyx[a])),
            [0, 1, 2].map(|a| end[a].min(other_end[a])),
        )
    }

    /// The window as seen from the first voxel of `outer`, which holds it.
    pub(crate) fn within(&self, outer: &Self) -> Self {
        Self { start_zyx: [0, 1, 2].map(|a| self.start_zyx[a] - outer.start_zyx[a]), ..*self }
    }

    /// The window's rows in a volume of shape `outer_zyx`, as ranges of its flat slice.
    pub(crate) fn rows(&self, outer_zyx: [usize; 3]) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let ([z0, y0, x0], [nz, ny, nx]) = (self.start_zyx, self.shape_zyx);
        (z0..z0 + nz)
            .flat_map(move |z| (y0..y0 + ny).map(move |y| (z * outer_zyx[1] + y) * outer_zyx[2] + x0))
            .map(move |row| row..row + nx)
    }

    /// The voxels of this window out of `values`, which fill `outer_zyx`.
    pub(crate) fn cut<T: Copy>(&self, values: &[T], outer_zyx: [usize; 3]) -> Vec<T> {
        let mut out = Vec::with_capacity(self.voxels());
        self.rows(outer_zyx).for_each(|row| out.extend_from_slice(&values[row]));
        out
    }
}

/// How a volume is cut into blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// Voxels of a block along z, y, x; blocks at the far rims are smaller.
    pub block_zyx: [usize; 3],
    /// Voxels that a block sees of its neighbours on each side; at most as many as a block has.
    pub halo_zyx: [usize; 3],
    /// How blocks are stitched.
    pub stitch: Stitch,
}

/// How the instances of neighbouring blocks become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stitch {
    /// By the method's own rule. Agglomeration and multicut: blocks make fragments only, and one region graph of the whole
    /// volume decides all borders, those between blocks like all others. Components: by their voxels at the blocks' faces,
    /// which is exact. The mutex watershed has no such rule.
    Rule,
    /// By overlap: each block makes instances with its halo, and where a block's halo covers a neighbour, two instances
    /// become one if each is what the other overlaps most, and they share at least this part of the smaller one's voxels
    /// there.
    Overlap {
        /// Share in hundredths, 1 to 100.
        percent: u8,
    },
}

impl Blocks {
    /// Fails on values without a meaning.
    ///
    /// # Errors
    /// A block without voxels, a halo beyond the block, a share of nothing, a halo of nothing where blocks are stitched by overlap.
    pub fn check(&self) -> Result<()> {
        if self.block_zyx.contains(&0) {
            return Err(LabelMapError::parameter("block_zyx", "at least 1 along each axis", self.block_zyx));
        }
        if (0..3).any(|a| self.halo_zyx[a] > self.block_zyx[a]) {
            return Err(LabelMapError::parameter(
                "halo_zyx",
                "at most the block along each axis",
                self.halo_zyx,
            ));
        }
        match self.stitch {
            Stitch::Overlap { percent: 0 | 101.. } => {
                Err(LabelMapError::parameter("percent", "1 to 100", self.stitch))
            }
            Stitch::Overlap { .. } if self.halo_zyx == [0; 3] => Err(LabelMapError::parameter(
                "halo_zyx",
                "above 0 along some axis, where blocks are stitched by overlap",
                self.halo_zyx,
            )),
            _ => Ok(()),
        }
    }

    /// Fails where blocks of a volume that are stitched by what they share share nothing along some axis: no object would go on across it.
    pub(crate) fn check_overlap(&self, volume_zyx: [usize; 3]) -> Result<()> {
        let counts = self.counts(volume_zyx);
        let parts = |a: usize| counts[a] > 1 && self.halo_zyx[a] == 0;
        if matches!(self.stitch, Stitch::Overlap { .. }) && (0..3).any(parts) {
            return Err(LabelMapError::parameter(
                "halo_zyx",
                "above 0 along every axis that is cut, where blocks are stitched by overlap",
                self.halo_zyx,
            ));
        }
        Ok(())
    }

    /// Blocks along z, y, x.
    #[must_use]
    pub fn counts(&self, volume_zyx: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|a| volume_zyx[a].div_ceil(self.block_zyx[a]))
    }

    /// Shape of the largest window that is read at once: a block with its halo, or the volume where that is one block.
    pub(crate) fn largest_seen(&self, volume_zyx: [usize; 3]) -> [usize; 3] {
        let counts = self.counts(volume_zyx);
        // blocks in the middle have a halo on both sides, those of an axis with two blocks on one
        [0, 1, 2].map(|a| {
            (self.block_zyx[a] + counts[a].saturating_sub(1).min(2) * self.halo_zyx[a]).min(volume_zyx[a])
        })
    }

    /// The block at a place in the grid of blocks.
    pub(crate) fn at(&self, grid_zyx: [usize; 3], volume_zyx: [usize; 3]) -> Window {
        let start = [0, 1, 2].map(|a| grid_zyx[a] * self.block_zyx[a]);
        Window::between(start, [0, 1, 2].map(|a| volume_zyx[a].min(start[a] + self.block_zyx[a])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_stitched_by_overlap_overlaps_wherever_it_is_cut() {
        let of =
            |halo_zyx, stitch| Blocks { block_zyx: [3, 64, 64], halo_zyx, stitch }.check_overlap([8, 64, 64]);
        let overlap = Stitch::Overlap { percent: 50 };
        assert!(of([0, 8, 8], overlap).unwrap_err().to_string().contains("halo_zyx"));
        // nothing is cut along y and x
        assert!(of([1, 0, 0], overlap).is_ok() && of([0; 3], Stitch::Rule).is_ok());
    }

    proptest! {
        #[test]
        fn blocks_cover_each_voxel_once(
            volume in [1_usize..9, 1_usize..9, 1_usize..9], block_zyx in [1_usize..9, 1_usize..9, 1_usize..9],
        ) {
            let blocks = Blocks { block_zyx, halo_zyx: [0; 3], stitch: Stitch::Rule };
            let [cz, cy, cx] = blocks.counts(volume);
            let mut seen = vec![0_u8; volume.iter().product()];
            for i in 0..cz * cy * cx {
                let block = blocks.at(crate::grid::place(i, [cz, cy, cx]), volume);
                block.rows(volume).flatten().for_each(|p| seen[p] += 1);
            }
            prop_assert!(seen.iter().all(|n| *n == 1));
        }
    }

    #[test]
    fn windows_grow_share_and_cut() {
        let window = Window { start_zyx: [1, 2, 3], shape_zyx: [2, 2, 2] };
        let grown = window.grown([1, 1, 9], [4, 4, 6]);
        assert_eq!(grown, Window { start_zyx: [0, 1, 0], shape_zyx: [4, 3, 6] });
        assert_eq!(window.within(&grown).start_zyx, [1, 1, 3]);
        assert_eq!(grown.shared(&window), window);
        let far = Window { start_zyx: [3, 0, 0], shape_zyx: [1, 1, 1] };
        assert_eq!(window.shared(&far).voxels(), 0);
        let values: Vec<usize> = (0..96).collect();
        assert_eq!(window.cut(&values, [4, 4, 6]), [39, 40, 45, 46, 63, 64, 69, 70]);
    }

    #[test]
    fn wrong_layouts_are_named() {
        let said = |block: usize, halo: usize, stitch| {
            Blocks { block_zyx: [block; 3], halo_zyx: [halo; 3], stitch }.check().unwrap_err().to_string()
        };
        assert!(said(0, 0, Stitch::Rule).starts_with("`block_zyx`"));
        assert!(said(4, 5, Stitch::Rule).starts_with("`halo_zyx` must be at most the block"));
        assert!(said(4, 0, Stitch::Overlap { percent: 50 }).starts_with("`halo_zyx` must be above 0"));
        assert!(said(4, 1, Stitch::Overlap { percent: 0 }).starts_with("`percent` must be 1 to 100"));
    }
}
