//! Operations on label maps: exact Euclidean distances, connected components, and instances from affinities or boundary
//! maps.
//!
//! Volumes are flat slices in C order with axes z, y, x: voxel `(z, y, x)` of a volume of shape `[nz, ny, nx]` stands at
//! `(z * ny + y) * nx + x`. Affinities have a channel in front; see [`affinities`].

pub mod affinities;
pub mod agglomerate;
pub mod blocks;
pub mod components;
pub mod demands;
mod disjoint;
pub mod distance;
mod error;
pub mod fragments;
mod grid;
pub mod instances;
pub mod kernighan_lin;
pub mod maxima;
pub mod method;
pub mod multicut;
pub mod mutex;
pub mod numbering;
pub mod region_graph;
pub mod samples;
pub mod smooth;
mod stitch;
pub mod storage;
pub mod targets;
pub mod watershed;
pub mod window;

pub use affinities::{Affinities, Combine};
pub use blocks::instances_in_blocks;
pub use components::{Components, Connectivity, label_components};
pub use distance::{distance_at, distance_to_nearest, squared_distance_to_nearest};
pub use error::{LabelMapError, Result};
pub use instances::{Evidence, Instances, instances};
pub use method::Method;
pub use region_graph::RegionGraph;

/// Fails unless `found` elements fill `shape_zyx`.
pub(crate) fn expect_volume(found: usize, shape_zyx: [usize; 3]) -> Result<()> {
    let expected = shape_zyx.iter().try_fold(1_usize, |product, n| product.checked_mul(*n));
    if expected == Some(found) { Ok(()) } else { Err(LabelMapError::Length { found, shape_zyx }) }
}
