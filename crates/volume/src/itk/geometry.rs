//! Where ITK's formats place voxels.

use crate::error::Result;
use crate::geometry::Grid;
use crate::nifti::snapped;
use crate::warning::Warning;
use std::path::Path;

/// Axes in the file's order (x, y, z).
pub(super) struct Placement {
    /// For each axis its direction times the voxel size, mm, along the space's axes.
    pub(super) axes: [[f64; 3]; 3],
    /// Centre of the first voxel, mm.
    pub(super) origin: [f64; 3],
    /// Signs that turn the space's axes to RAS+.
    pub(super) to_ras: [f64; 3],
}

/// Left, posterior, superior, as ITK has it.
pub(super) const LPS: [f64; 3] = [-1.0, -1.0, 1.0];

impl Placement {
    /// The grid; `form` is the header's name of the axes.
    ///
    /// # Errors
    /// Axes without length, or nearly in one plane.
    pub(super) fn grid(
        &self,
        path: &Path,
        shape_zyx: [usize; 3],
        form: &str,
    ) -> Result<(Grid, Option<Warning>)> {
        let row = |i: usize| {
            let [x, y, z] = [0, 1, 2].map(|axis: usize| self.axes[axis][i] * self.to_ras[i]);
            // adding 0 turns -0 to 0
            [x, y, z, self.origin[i] * self.to_ras[i]].map(|v| v + 0.0)
        };
        let affine = [row(0), row(1), row(2), [0.0, 0.0, 0.0, 1.0]];
        let grid = Grid::new(shape_zyx, affine).map_err(|error| error.in_file(path))?;
        Ok(snapped(grid, form))
    }
}
