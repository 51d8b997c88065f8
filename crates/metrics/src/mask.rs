//! Binary masks cut to a bounding box.

use crate::{MetricsError, Result};
use std::borrow::Cow;

/// A half-open box of voxels, z, y, x.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// First voxel along each axis.
    pub start_zyx: [usize; 3],
    /// One past the last voxel along each axis.
    pub end_zyx: [usize; 3],
}

impl Bounds {
    /// The box of one voxel.
    #[must_use]
    pub fn of_voxel(zyx: [usize; 3]) -> Self {
        Self { start_zyx: zyx, end_zyx: zyx.map(|i| i + 1) }
    }

    /// Grows the box so that it holds a voxel.
    pub fn include(&mut self, zyx: [usize; 3]) {
        for ((start, end), i) in self.start_zyx.iter_mut().zip(&mut self.end_zyx).zip(zyx) {
            *start = (*start).min(i);
            *end = (*end).max(i + 1);
        }
    }

    /// Extent along z, y, x.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.end_zyx[axis] - self.start_zyx[axis])
    }
}

/// Number of voxels, `None` when it does not fit.
pub(crate) fn voxels(shape_zyx: [usize; 3]) -> Option<usize> {
    shape_zyx.iter().try_fold(1_usize, |product, n| product.checked_mul(*n))
}

pub(crate) fn expect_volume(what: &'static str, found: usize, shape_zyx: [usize; 3]) -> Result<()> {
    if voxels(shape_zyx) == Some(found) {
        Ok(())
    } else {
        Err(MetricsError::Length { what, found, shape_zyx })
    }
}

/// Fails unless both masks have one shape.
pub(crate) fn expect_same_shape(reference: &Mask, prediction: &Mask) -> Result<()> {
    if reference.shape_zyx == prediction.shape_zyx {
        Ok(())
    } else {
        Err(MetricsError::Shape { prediction: prediction.shape_zyx, reference: reference.shape_zyx })
    }
}

/// A binary volume, axes z, y, x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    voxels: Vec<bool>,
    shape_zyx: [usize; 3],
}

impl Mask {
    /// A mask of `shape_zyx`.
    ///
    /// # Errors
    /// A slice that does not fill the shape.
    pub fn new(voxels: Vec<bool>, shape_zyx: [usize; 3]) -> Result<Self> {
        expect_volume("the mask", voxels.len(), shape_zyx)?;
        Ok(Self { voxels, shape_zyx })
    }

    /// The voxels of `labels` (z, y, x of `shape_zyx`) inside `bounds` for which `inside` holds.
    ///
    /// # Errors
    /// A slice that does not fill the shape, or bounds that do not lie in it.
    pub fn cut<T: Copy>(
        labels: &[T],
        shape_zyx: [usize; 3],
        bounds: Bounds,
        inside: impl Fn(T) -> bool,
    ) -> Result<Self> {
        expect_volume("the label map", labels.len(), shape_zyx)?;
        let within =
            (0..3).all(|a| bounds.start_zyx[a] <= bounds.end_zyx[a] && bounds.end_zyx[a] <= shape_zyx[a]);
        if !within {
            return Err(MetricsError::Bounds { found: bounds, shape_zyx });
        }
        let cut = bounds.shape_zyx();
        let mut voxels = Vec::with_capacity(cut.iter().product());
        for z in bounds.start_zyx[0]..bounds.end_zyx[0] {
            for y in bounds.start_zyx[1]..bounds.end_zyx[1] {
                let row = (z * shape_zyx[1] + y) * shape_zyx[2];
                let row = &labels[row + bounds.start_zyx[2]..row + bounds.end_zyx[2]];
                voxels.extend(row.iter().map(|v| inside(*v)));
            }
        }
        Ok(Self { voxels, shape_zyx: cut })
    }

    /// The part of the mask inside `bounds`; the mask itself where they are its own.
    ///
    /// # Errors
    /// Bounds that do not lie in the mask.
    pub(crate) fn within(&self, bounds: Bounds) -> Result<Cow<'_, Self>> {
        if bounds == (Bounds { start_zyx: [0; 3], end_zyx: self.shape_zyx }) {
            return Ok(Cow::Borrowed(self));
        }
        Ok(Cow::Owned(Self::cut(&self.voxels, self.shape_zyx, bounds, |inside| inside)?))
    }

    /// Shape, z, y, x.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    /// The voxels in C order.
    #[must_use]
    pub fn voxels(&self) -> &[bool] {
        &self.voxels
    }

    /// Smallest box that holds all voxels of the mask, `None` when it is empty.
    #[must_use]
    pub fn bounds(&self) -> Option<Bounds> {
        let [_, ny, nx] = self.shape_zyx;
        let mut bounds: Option<Bounds> = None;
        for (row, line) in self.voxels.chunks(nx.max(1)).enumerate() {
            let first = line.iter().position(|v| *v);
            let last = line.iter().rposition(|v| *v);
            for x in first.into_iter().chain(last) {
                let place = [row / ny, row % ny, x];
                bounds.get_or_insert(Bounds::of_voxel(place)).include(place);
            }
        }
        bounds
    }
}
