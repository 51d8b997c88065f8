//! The steps of one image, for its labels and for the way back.

use crate::crop::{self, BoundingBox};
use crate::error::Result;
use crate::geometry::Grid;
use crate::orientation::Orientation;
use crate::resample::{
    self, Label, LabelRule, Labeller, Nearest, Resampling, Vote, axis_lines, half_pixel_lines, separate_axis,
};
use crate::voxels::{InMemory, Part, Voxels};
use serde::{Deserialize, Serialize};

/// The steps that were taken with one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// The stored grid.
    pub source: Grid,
    /// Axis order and flips to canonical RAS+.
    pub orientation: Orientation,
    /// The canonical grid.
    pub canonical: Grid,
    /// The convention of resampling.
    pub resampling: Resampling,
    /// The spacing asked for, mm.
    pub spacing_zyx_mm: [f64; 3],
    /// What was resampled of the canonical grid: all of it, or by the nnunet convention the box of voxels that are not 0.
    pub part: BoundingBox,
    /// The grid after resampling.
    pub resampled: Grid,
    /// What was kept of it: the foreground, or by the nnunet convention all of it.
    pub bounds: BoundingBox,
}

impl Steps {
    /// The steps of an image that lies already as networks take it: none.
    pub fn identity(grid: Grid) -> Self {
        Self {
            source: grid,
            orientation: Orientation::IDENTITY,
            canonical: grid,
            resampling: Resampling::default(),
            spacing_zyx_mm: grid.spacing_zyx_mm(),
            part: BoundingBox::whole(grid.shape_zyx),
            resampled: grid,
            bounds: BoundingBox::whole(grid.shape_zyx),
        }
    }

    /// The grid of network input.
    pub fn grid(&self) -> Grid {
        self.resampled.cropped(self.bounds.start_zyx, self.bounds.shape())
    }

    /// The grid of the part that was resampled.
    pub(super) fn part_grid(&self) -> Grid {
        self.canonical.cropped(self.part.start_zyx, self.part.shape())
    }

    /// Takes labels on the stored grid the same way: nearest voxel, or by the nnunet convention a linear vote.
    ///
    /// # Errors
    /// A length that does not fit the stored grid.
    pub fn labels<T: Label>(&self, labels: &[T]) -> Result<Vec<T>> {
        let canonical = InMemory::oriented(labels, 1, self.source.shape_zyx, self.orientation)?;
        self.label_region(&canonical, &BoundingBox::whole(self.bounds.shape()))
    }

    /// A box of [`Steps::labels`], from labels that are read in canonical orientation.
    ///
    /// # Errors
    /// A box that does not lie in [`Steps::grid`]; labels of another shape; reading.
    pub fn label_region<T: Label>(&self, labels: &dyn Voxels<T>, bounds: &BoundingBox) -> Result<Vec<T>> {
        bounds.check(self.bounds.shape())?;
        let wanted = bounds.shifted(self.bounds.start_zyx);
        let part = Part::new(labels, self.part)?;
        let (from, to) = (self.part.shape(), self.resampled.shape_zyx);
        match self.resampling {
            Resampling::Linear => {
                let lines = axis_lines(&self.part_grid(), &self.resampled)?;
                resample::region(&Nearest::new(&lines, from, to), &part, 0, &wanted)
            }
            Resampling::Nnunet => {
                let apart = separate_axis(self.canonical.spacing_zyx_mm(), self.spacing_zyx_mm);
                let kernel = Vote::new(&half_pixel_lines(from, to), from, to, apart);
                resample::region(&kernel, &part, 0, &wanted)
            }
        }
    }

    /// Takes scores slab by slab along z and makes labels of them on the stored grid; outside of what was kept 0.
    ///
    /// Scores are interpolated linearly; by the nnunet convention along an axis apart the nearest slice counts, where
    /// the spacing of the network decides first, as in nnU-Net's export.
    ///
    /// # Shapes
    /// Scores: class or region, z, y, x on [`Steps::grid`]; labels: z, y, x on the stored grid.
    ///
    /// # Errors
    /// More than 65536 classes.
    pub fn labels_in_slabs(&self, rule: LabelRule) -> Result<LabelSlabs<'_>> {
        let (covered, labeller) = match self.resampling {
            Resampling::Linear => {
                let covered = self.covered();
                let part = self.canonical.cropped(covered.start_zyx, covered.shape());
                let (from, lines) = (self.grid(), axis_lines(&self.grid(), &part)?);
                (covered, Labeller::new(rule, &lines, from.shape_zyx, part.shape_zyx, None)?)
            }
            Resampling::Nnunet => {
                let (from, to) = (self.resampled.shape_zyx, self.part.shape());
                let apart = separate_axis(self.spacing_zyx_mm, self.canonical.spacing_zyx_mm());
                (self.part, Labeller::new(rule, &half_pixel_lines(from, to), from, to, apart)?)
            }
        };
        Ok(LabelSlabs { steps: self, covered, labeller })
    }

    /// The canonical voxels whose centres lie in the foreground box, half a resampled voxel around its outer voxels
    /// included; at least one voxel.
    fn covered(&self) -> BoundingBox {
        let (old, new) = (self.canonical.spacing_zyx_mm(), self.resampled.spacing_zyx_mm());
        let mut covered = BoundingBox::whole(self.canonical.shape_zyx);
        for axis in 0..3 {
            let n = self.canonical.shape_zyx[axis];
            // resampling keeps the first voxel's centre in place
            let ratio = new[axis] / old[axis];
            let low = (self.bounds.start_zyx[axis] as f64 - 0.5) * ratio;
            let high = (self.bounds.end_zyx[axis] as f64 - 0.5) * ratio;
            let start = if self.bounds.start_zyx[axis] == 0 { 0 } else { low.ceil().max(0.0) as usize };
            let whole = self.bounds.end_zyx[axis] == self.resampled.shape_zyx[axis];
            let end = if whole { n } else { high.floor() as usize + 1 };
            covered.start_zyx[axis] = start.min(n - 1);
            covered.end_zyx[axis] = end.clamp(covered.start_zyx[axis] + 1, n);
        }
        covered
    }
}

/// Scores on [`Steps::grid`] on their way to labels on the stored grid; see [`Steps::labels_in_slabs`].
///
/// Memory: the labels, 2 bytes per voxel of the stored grid, and the last sections of the scores.
#[derive(Debug)]
pub struct LabelSlabs<'a> {
    pub(super) steps: &'a Steps,
    /// The canonical voxels that get labels of scores.
    pub(super) covered: BoundingBox,
    pub(super) labeller: Labeller,
}

impl LabelSlabs<'_> {
    /// Takes the scores of the next sections: class or region, z, y, x.
    ///
    /// # Errors
    /// A length that is no whole number of sections, or more sections than there are.
    pub fn push(&mut self, scores: &[f32]) -> Result<()> {
        self.labeller.push(scores)
    }

    /// The label at each voxel of the stored grid, z, y, x; 0 outside of what was kept.
    ///
    /// # Errors
    /// Sections that never came.
    pub fn finish(self) -> Result<Vec<u16>> {
        let labels = self.labeller.finish()?;
        let whole = crop::uncrop(&labels, 1, self.steps.canonical.shape_zyx, &self.covered, 0)?;
        drop(labels);
        Ok(self.steps.orientation.invert().apply(&whole, self.steps.canonical.shape_zyx)?.0)
    }
}
