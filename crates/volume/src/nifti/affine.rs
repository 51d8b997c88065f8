//! Which of a header's three geometries counts.
//!
//! `sform_code > 0` → sform; else `qform_code > 0` → qform (qfac 0 means +1); else `pixdim` without orientation. A
//! sheared matrix is replaced by the nearest rotation (polar decomposition) where a corner moves by more than
//! [`Grid::same_within_mm`].

use super::header::Header;
use crate::error::{Result, VolumeError};
use crate::geometry::{Grid, same_geometry};
use crate::warning::Warning;
use std::path::Path;

/// The grid of a header, with what had to be decided or repaired.
///
/// # Errors
/// Voxel size zero, NaN or missing in the chosen form or in `pixdim`; an affine without inverse.
pub(super) fn grid(path: &Path, header: &Header) -> Result<(Grid, Vec<Warning>)> {
    let shape_zyx = header.shape_zyx();
    let mut warnings = Vec::new();
    let (pixdim_xyz, scale) = sizes(path, header, &mut warnings)?;
    let scaled = |m: [[f64; 4]; 3]| {
        let rows = m.map(|row| row.map(|v| v * scale));
        [rows[0], rows[1], rows[2], [0.0, 0.0, 0.0, 1.0]]
    };
    let in_file = |error: VolumeError| error.in_file(path);
    let qform = || Grid::new(shape_zyx, scaled(quaternion_form(header, pixdim_xyz)));
    let (name, chosen) = if header.sform_code > 0 {
        let chosen = Grid::new(shape_zyx, scaled(header.srow)).map_err(in_file)?;
        if header.qform_code > 0 {
            // sform wins in any case: an impossible qform is no reason to refuse the file.
            match qform().map(|qform| same_geometry(&chosen, &qform)) {
                Ok(corner_mm) if corner_mm > chosen.same_within_mm() => {
                    warnings.push(Warning::FormsDisagree { corner_mm });
                }
                Ok(_) => {}
                Err(VolumeError::Affine { reason, .. }) => warnings.push(Warning::QformUnusable { reason }),
                Err(error) => return Err(in_file(error)),
            }
        }
        ("sform", chosen)
    } else if header.qform_code > 0 {
        ("qform", qform().map_err(in_file)?)
    } else {
        warnings.push(Warning::NoOrientation);
        let [x, y, z] = pixdim_xyz;
        let rows = [[x, 0.0, 0.0, 0.0], [0.0, y, 0.0, 0.0], [0.0, 0.0, z, 0.0]];
        ("pixdim", Grid::new(shape_zyx, scaled(rows)).map_err(in_file)?)
    };
    let affine_zyx_mm = chosen.spacing_zyx_mm();
    let [x, y, z] = pixdim_xyz;
    let pixdim_zyx_mm = [z * scale, y * scale, x * scale];
    let differs = (0..3).any(|axis| {
        let extent = (affine_zyx_mm[axis] - pixdim_zyx_mm[axis]).abs() * shape_zyx[axis] as f64;
        shape_zyx[axis] > 1 && extent > (1e-2 * affine_zyx_mm[axis]).max(chosen.same_within_mm())
    });
    if differs {
        warnings.push(Warning::PixdimDiffers { pixdim_zyx_mm, affine_zyx_mm });
    }
    let (grid, repaired) = snapped(chosen, name);
    warnings.extend(repaired);
    Ok((grid, warnings))
}

/// The grid itself, or where a corner moves by more than [`Grid::same_within_mm`] the nearest without shear; `form` is
/// what the header calls its matrix.
pub(crate) fn snapped(chosen: Grid, form: &str) -> (Grid, Option<Warning>) {
    let (snapped, shear_deg) = chosen.orthonormalised();
    let corner_mm = same_geometry(&chosen, &snapped);
    if corner_mm < chosen.same_within_mm() {
        return (chosen, None);
    }
    (snapped, Some(Warning::NotOrthonormal { form: form.to_owned(), shear_deg, corner_mm }))
}

/// Checked `pixdim` (x, y, z, in the file's unit) and the factor from that unit to mm.
fn sizes(path: &Path, header: &Header, warnings: &mut Vec<Warning>) -> Result<([f64; 3], f64)> {
    let mut sizes = [1.0; 3];
    for (axis, size) in sizes.iter_mut().enumerate() {
        let found = header.pixdim[axis + 1].abs();
        // Files of two dimensions often leave the third size at 0; one slice has no spacing to get wrong.
        if axis >= header.dims.len() {
            *size = if found > 0.0 && found.is_finite() { found } else { 1.0 };
        } else if found > 0.0 && found.is_finite() {
            *size = found;
        } else {
            return Err(VolumeError::Spacing {
                path: path.into(),
                found: format!(
                    "pixdim is {} along {} (x,y,z: {}, {}, {})",
                    header.pixdim[axis + 1],
                    ['x', 'y', 'z'][axis],
                    header.pixdim[1],
                    header.pixdim[2],
                    header.pixdim[3]
                ),
            });
        }
    }
    let (scale, unit) = match header.xyzt_units & 7 {
        1 => (1000.0, "metre"),
        3 => (1e-3, "micrometre"),
        _ => return Ok((sizes, 1.0)),
    };
    warnings.push(Warning::Unit { unit: unit.to_owned() });
    Ok((sizes, scale))
}

/// Matrix of the quaternion form (nifti1.h, method 2), rows x, y, z.
fn quaternion_form(header: &Header, [dx, dy, dz]: [f64; 3]) -> [[f64; 4]; 3] {
    let [mut b, mut c, mut d] = header.quaternion;
    let rest = 1.0 - (b * b + c * c + d * d);
    let a = if rest < 1e-7 {
        // Rounding, or a rotation by 180 degrees: normalise b, c, d.
        let norm = (b * b + c * c + d * d).sqrt();
        (b, c, d) = (b / norm, c / norm, d / norm);
        0.0
    } else {
        rest.sqrt()
    };
    let dz = if header.pixdim[0] < 0.0 { -dz } else { dz };
    let [x, y, z] = header.quaternion_offset;
    [
        [(a * a + b * b - c * c - d * d) * dx, 2.0 * (b * c - a * d) * dy, 2.0 * (b * d + a * c) * dz, x],
        [2.0 * (b * c + a * d) * dx, (a * a + c * c - b * b - d * d) * dy, 2.0 * (c * d - a * b) * dz, y],
        [2.0 * (b * d - a * c) * dx, 2.0 * (c * d + a * b) * dy, (a * a + d * d - b * b - c * c) * dz, z],
    ]
}
