//! Where voxels lie in the world.
//!
//! Rules from the project's binding definitions (geometry): spacing is the norm of the affine's columns, never
//! `pixdim`; two grids are the same if no corner moves by more than a micrometre, or, where voxels are smaller than ten of these, by a tenth of
//! their edge ([`Grid::same_within_mm`]).

use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use nalgebra::{Matrix3, Matrix4, Vector3, Vector4};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest corner displacement between grids of large voxels that count as the same, mm.
const SAME_GEOMETRY_MM: f64 = 1e-3;

/// A voxel grid in the world.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Voxels along z, y, x of the array in C order.
    pub shape_zyx: [usize; 3],
    /// Row-major matrix from the voxel index (x, y, z, 1) to RAS+ world millimetres.
    pub affine: [[f64; 4]; 4],
}

impl Grid {
    /// A checked grid.
    ///
    /// # Errors
    /// An empty axis, an entry that is not finite, a zero column, or columns that (nearly) lie in a plane.
    pub fn new(shape_zyx: [usize; 3], affine: [[f64; 4]; 4]) -> Result<Self> {
        if shape_zyx.contains(&0) {
            return Err(VolumeError::EmptyShape { shape_zyx });
        }
        let fail = |reason: String| Err(VolumeError::Affine { affine, reason });
        if affine.iter().flatten().any(|v| !v.is_finite()) {
            return fail("an entry is not a finite number".to_owned());
        }
        if affine[3] != [0.0, 0.0, 0.0, 1.0] {
            return fail("the last row is not 0 0 0 1".to_owned());
        }
        let grid = Self { shape_zyx, affine };
        for (axis, spacing) in ["z", "y", "x"].iter().zip(grid.spacing_zyx_mm()) {
            if !(spacing > 0.0 && spacing.is_finite()) {
                return fail(format!("the spacing along {axis} is {spacing} mm"));
            }
        }
        let volume = grid.directions().determinant().abs();
        if volume < 1e-3 {
            return fail(format!("its axes nearly lie in one plane (unit volume {volume:.1e})"));
        }
        Ok(grid)
    }

    /// An axis-aligned RAS+ grid with its first voxel at `origin_xyz_mm`.
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn from_spacing(
        shape_zyx: [usize; 3],
        spacing_zyx_mm: [f64; 3],
        origin_xyz_mm: [f64; 3],
    ) -> Result<Self> {
        let [z, y, x] = spacing_zyx_mm;
        let [ox, oy, oz] = origin_xyz_mm;
        Self::new(shape_zyx, [[x, 0.0, 0.0, ox], [0.0, y, 0.0, oy], [0.0, 0.0, z, oz], [0.0, 0.0, 0.0, 1.0]])
    }

    /// Column norms of the affine, z, y, x, in mm.
    pub fn spacing_zyx_mm(&self) -> [f64; 3] {
        [2, 1, 0].map(|column: usize| {
            (0..3).map(|row| self.affine[row][column] * self.affine[row][column]).sum::<f64>().sqrt()
        })
    }

    /// Column norms of the affine, z, y, x, in nm (electron microscopy).
    pub fn spacing_zyx_nm(&self) -> [f64; 3] {
        self.spacing_zyx_mm().map(|mm| mm * 1e6)
    }

    /// World position (RAS+ mm) of a voxel index (x, y, z), fractions allowed.
    pub fn world(&self, voxel_xyz: [f64; 3]) -> [f64; 3] {
        [0, 1, 2].map(|row: usize| {
            let r = self.affine[row];
            r[0] * voxel_xyz[0] + r[1] * voxel_xyz[1] + r[2] * voxel_xyz[2] + r[3]
        })
    }

    /// World positions of the eight corner voxels' centres.
    pub fn corners(&self) -> [[f64; 3]; 8] {
        let far = [2, 1, 0].map(|axis: usize| (self.shape_zyx[axis] - 1) as f64);
        std::array::from_fn(|corner| {
            self.world([0, 1, 2].map(|axis: usize| if corner >> axis & 1 == 1 { far[axis] } else { 0.0 }))
        })
    }

    /// Lowest and highest x, y, z in the world (RAS+ mm) of its voxels' centres.
    pub fn extent_mm(&self) -> [[f64; 3]; 2] {
        let corners = self.corners();
        let over = |of: fn(f64, f64) -> f64| {
            [0, 1, 2].map(|axis: usize| corners.iter().map(|corner| corner[axis]).fold(corners[0][axis], of))
        };
        [over(f64::min), over(f64::max)]
    }

    /// The grid of the sub-volume that begins at `start_zyx`.
    #[must_use]
    pub fn cropped(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Self {
        let origin = self.world([2, 1, 0].map(|axis: usize| start_zyx[axis] as f64));
        let mut affine = self.affine;
        for row in 0..3 {
            affine[row][3] = origin[row];
        }
        Self { shape_zyx, affine }
    }

    /// The same directions and first voxel with other spacing and shape.
    #[must_use]
    pub fn respaced(&self, spacing_zyx_mm: [f64; 3], shape_zyx: [usize; 3]) -> Self {
        let old = self.spacing_zyx_mm();
        let mut affine = self.affine;
        for column in 0..3 {
            let axis = 2 - column;
            // Equal spacing keeps the column's bits.
            if old[axis] != spacing_zyx_mm[axis] {
                for row in affine.iter_mut().take(3) {
                    row[column] = row[column] / old[axis] * spacing_zyx_mm[axis];
                }
            }
        }
        Self { shape_zyx, affine }
    }

    /// Three letters that say where the x, y and z index run to, e.g. `RAS` or `LPS`.
    pub fn axis_codes(&self) -> String {
        let orientation = crate::Orientation::to_canonical(self);
        let inverse = orientation.invert();
        [2, 1, 0]
            .iter()
            .map(|&axis: &usize| {
                let letters = ["IS", "PA", "LR"][inverse.source_axis_zyx()[axis]];
                let forward = usize::from(!inverse.flipped_zyx()[axis]);
                letters.as_bytes()[forward] as char
            })
            .collect()
    }

    /// Unit columns of the affine, as x, y, z directions in the world.
    pub(crate) fn directions(&self) -> Matrix3<f64> {
        let [z, y, x] = self.spacing_zyx_mm();
        let norms = [x, y, z];
        Matrix3::from_fn(|row, column| self.affine[row][column] / norms[column])
    }

    /// Up to such a displacement of a corner, in mm, another grid lies near enough to be taken for this one with a warning: a tenth of the
    /// smallest voxel edge.
    #[must_use]
    pub fn near_within_mm(&self) -> f64 {
        0.1 * self.spacing_zyx_mm().into_iter().fold(f64::INFINITY, f64::min)
    }

    /// Up to such a displacement of a corner, in mm, another grid is the same: a micrometre, and never more than [`Grid::near_within_mm`],
    /// since voxels of electron microscopes are nanometres wide.
    #[must_use]
    pub fn same_within_mm(&self) -> f64 {
        SAME_GEOMETRY_MM.min(self.near_within_mm())
    }

    pub(crate) fn matrix(&self) -> Matrix4<f64> {
        Matrix4::from_fn(|row, column| self.affine[row][column])
    }

    /// The grid with its directions replaced by the nearest orthonormal ones (polar decomposition), spacing and first
    /// voxel kept, and the largest deviation from a right angle in degrees.
    pub(crate) fn orthonormalised(&self) -> (Self, f64) {
        let directions = self.directions();
        let gram = directions.transpose() * directions;
        let skew = gram[(0, 1)].abs().max(gram[(0, 2)].abs()).max(gram[(1, 2)].abs());
        let svd = directions.svd(true, true);
        let (Some(u), Some(v_t)) = (svd.u, svd.v_t) else { return (*self, 0.0) };
        let nearest = u * v_t;
        let [z, y, x] = self.spacing_zyx_mm();
        let norms = [x, y, z];
        let mut affine = self.affine;
        for row in 0..3 {
            for column in 0..3 {
                affine[row][column] = nearest[(row, column)] * norms[column];
            }
        }
        (Self { shape_zyx: self.shape_zyx, affine }, skew.min(1.0).asin().to_degrees())
    }
}

/// Largest displacement in mm between corresponding corner voxels of two grids.
///
/// Each grid's own shape counts, so grids of different shape are never closer than the difference.
pub fn same_geometry(a: &Grid, b: &Grid) -> f64 {
    let distance = |p: &[f64; 3], q: &[f64; 3]| (Vector3::from(*p) - Vector3::from(*q)).norm();
    a.corners().iter().zip(&b.corners()).map(|(p, q)| distance(p, q)).fold(0.0, f64::max)
}

/// A length as text: in mm, or in nm where it is less than a micrometre.
#[must_use]
pub fn length_text(mm: f64) -> String {
    if mm.abs() < 1e-3 { format!("{:.1} nm", mm * 1e6) } else { format!("{mm:.3} mm") }
}

/// Checks that a label lies on its image's grid: shapes equal, corners within [`Grid::same_within_mm`].
///
/// Between that and [`Grid::near_within_mm`] the label is accepted with a warning.
///
/// # Errors
/// [`VolumeError::ShapeMismatch`] or [`VolumeError::GeometryMismatch`].
pub fn check_same_grid(
    image_path: &Path,
    image: &Grid,
    label_path: &Path,
    label: &Grid,
) -> Result<Option<Warning>> {
    if image.shape_zyx != label.shape_zyx {
        return Err(VolumeError::ShapeMismatch {
            image: image_path.into(),
            image_zyx: image.shape_zyx,
            label: label_path.into(),
            label_zyx: label.shape_zyx,
        });
    }
    let corner_mm = same_geometry(image, label);
    let allowed_mm = image.near_within_mm();
    if corner_mm < image.same_within_mm() {
        Ok(None)
    } else if corner_mm <= allowed_mm {
        Ok(Some(Warning::NearlySameGeometry { corner_mm }))
    } else {
        let rotation_deg = rotation_deg(image, label);
        Err(VolumeError::GeometryMismatch {
            image: image_path.into(),
            label: label_path.into(),
            corner_mm,
            rotation_deg,
            allowed_mm,
        })
    }
}

/// Angle in degrees between the axes of two grids.
pub(crate) fn rotation_deg(a: &Grid, b: &Grid) -> f64 {
    let relative = a.directions().transpose() * b.directions();
    ((relative.trace() - 1.0) / 2.0).clamp(-1.0, 1.0).acos().to_degrees()
}

/// Matrix from voxel indices (x, y, z) of `to` to those of `from`.
pub(crate) fn voxel_transform(from: &Grid, to: &Grid) -> Result<Matrix4<f64>> {
    let inverse = from
        .matrix()
        .try_inverse()
        .ok_or_else(|| VolumeError::Affine { affine: from.affine, reason: "it has no inverse".to_owned() })?;
    let mut transform = inverse * to.matrix();
    transform.set_row(3, &Vector4::new(0.0, 0.0, 0.0, 1.0).transpose());
    Ok(transform)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid::from_spacing([4, 5, 6], [3.0, 2.0, 1.5], [10.0, -20.0, 30.0]).unwrap()
    }

    #[test]
    fn spacing_is_the_norm_of_columns_in_array_order() {
        assert_eq!(grid().spacing_zyx_mm(), [3.0, 2.0, 1.5]);
        assert_eq!(grid().spacing_zyx_nm(), [3e6, 2e6, 1.5e6]);
        assert_eq!(grid().world([1.0, 1.0, 1.0]), [11.5, -18.0, 33.0]);
        assert_eq!(grid().axis_codes(), "RAS");
    }

    #[test]
    fn impossible_grids_are_refused() {
        assert!(matches!(
            Grid::from_spacing([0, 1, 1], [1.0; 3], [0.0; 3]),
            Err(VolumeError::EmptyShape { .. })
        ));
        for spacing in [[0.0, 1.0, 1.0], [f64::NAN, 1.0, 1.0]] {
            assert!(matches!(Grid::from_spacing([1; 3], spacing, [0.0; 3]), Err(VolumeError::Affine { .. })));
        }
        let flat = [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        assert!(matches!(Grid::new([2; 3], flat), Err(VolumeError::Affine { .. })));
    }

    #[test]
    fn corner_displacement_decides_between_same_near_and_other() {
        let (image, label) = (Path::new("image.nii.gz"), Path::new("label.nii.gz"));
        let shifted = |mm: f64| {
            let mut other = grid();
            other.affine[0][3] += mm;
            other
        };
        assert_eq!(check_same_grid(image, &grid(), label, &shifted(5e-4)).unwrap(), None);
        let near = check_same_grid(image, &grid(), label, &shifted(0.1)).unwrap().unwrap();
        assert_eq!(near.code(), "W122");
        let other = check_same_grid(image, &grid(), label, &shifted(0.2)).unwrap_err();
        assert_eq!(other.code(), "E120");
        assert!(other.to_string().contains("0.200 mm"), "{other}");
    }

    #[test]
    fn voxels_of_nanometres_have_a_tolerance_of_their_own() {
        let (image, label) = (Path::new("image.nii.gz"), Path::new("label.nii.gz"));
        let grid = Grid::from_spacing([4, 5, 6], [40e-6, 4e-6, 4e-6], [0.0; 3]).unwrap();
        let shifted = |voxels: f64| {
            let mut other = grid;
            other.affine[0][3] += voxels * 4e-6;
            check_same_grid(image, &grid, label, &other)
        };
        assert_eq!(shifted(0.09).unwrap(), None);
        let error = shifted(50.0).unwrap_err();
        assert_eq!(error.code(), "E120");
        assert!(error.to_string().contains("200.0 nm at the far corner"), "{error}");
        assert!(error.to_string().contains("allowed 0.4 nm"), "{error}");
    }

    #[test]
    fn shear_is_removed_and_measured() {
        let mut sheared = grid();
        sheared.affine[0][1] = 2.0 * 0.01_f64.sin();
        sheared.affine[1][1] = 2.0 * 0.01_f64.cos();
        let (snapped, shear_deg) = sheared.orthonormalised();
        assert!((shear_deg - 0.01_f64.to_degrees()).abs() < 1e-9);
        let d = snapped.directions();
        assert!((d.transpose() * d - Matrix3::identity()).norm() < 1e-12);
        assert!(same_geometry(&sheared, &snapped) > 1e-3);
    }
}
