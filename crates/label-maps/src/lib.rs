//! Operations on label maps: exact Euclidean distances and connected components.
//!
//! Volumes are flat slices in C order with axes z, y, x: voxel `(z, y, x)` of a volume of shape `[nz, ny, nx]` stands at
//! `(z * ny + y) * nx + x`.

pub mod components;
pub mod distance;
mod error;

pub use components::{Components, Connectivity, label_components};
pub use distance::{distance_at, distance_to_nearest, squared_distance_to_nearest};
pub use error::{LabelMapError, Result};

/// Fails unless `found` elements fill `shape_zyx`.
pub(crate) fn expect_volume(found: usize, shape_zyx: [usize; 3]) -> Result<()> {
    let expected = shape_zyx.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    if expected == Some(found) { Ok(()) } else { Err(LabelMapError::Length { found, shape_zyx }) }
}
