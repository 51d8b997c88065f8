//! Where the labels of a case lie.

use crate::treatment::{AlignLabels, Treatment};
use std::path::Path;
use volume::resample::{Alignment, Coverage, Label};
use volume::{Grid, VolumeError, Warning};

/// How labels lie to their image.
pub(crate) struct Place {
    /// The labels' grid, or their image's where the two are the same.
    pub(crate) grid: Grid,
    /// The way to the image's grid, where the two are not the same.
    pub(crate) alignment: Option<Alignment>,
    coverage: Coverage,
    /// Of two that are nearly the same.
    nearly: Option<Warning>,
}

impl Place {
    /// Compares the grid of a label with that of its image, both as stored.
    pub(crate) fn of(
        treatment: Treatment,
        (image_path, image): (&Path, &Grid),
        (path, grid): (&Path, &Grid),
    ) -> Result<Self, VolumeError> {
        // the shape is compared in any case
        let believed =
            if treatment.trust_voxel_grid { Grid { affine: image.affine, ..*grid } } else { *grid };
        let coverage = Coverage::default();
        match (volume::check_same_grid(image_path, image, path, &believed), treatment.align_labels) {
            (Ok(nearly), _) => Ok(Self { grid: *image, alignment: None, coverage, nearly }),
            (
                Err(VolumeError::ShapeMismatch { .. } | VolumeError::GeometryMismatch { .. }),
                Some(AlignLabels::Nearest),
            ) => {
                let alignment = Some(Alignment::new(image_path, image, path, grid)?);
                Ok(Self { grid: *grid, alignment, coverage, nearly: None })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Looks at planes as stored, of which `first` is the index of the first.
    pub(super) fn see<T: Label>(&mut self, first: usize, planes: &[T]) {
        if let Some(alignment) = &self.alignment {
            self.coverage += alignment.cover(first, planes);
        }
    }

    pub(super) fn warning(&self) -> Option<Warning> {
        let aligned = self.alignment.as_ref().map(|alignment| alignment.warning(self.coverage));
        aligned.or_else(|| self.nearly.clone())
    }
}
