//! Overlap and surface metrics with named definitions, edge-case policies and statistics.
//!
//! Volumes are flat slices in C order with axes z, y, x; lengths are millimetres. Every value carries the id of its
//! definition ([`Definition::id`]), because metrics of the same name differ between programs by more than methods do.

pub mod case;
pub mod definition;
mod error;
pub mod mask;
pub mod overlap;
pub mod policy;
pub mod statistics;
pub mod surface;
pub mod surfel;

pub use case::{ClassScore, Protocol, diagonal_mm, score_case};
pub use definition::{Definition, Measured};
pub use error::{MetricsError, Result};
pub use mask::{Bounds, Mask};
pub use overlap::{ClassCounts, count_overlap};
pub use policy::{Policy, Presence};
pub use surface::SurfaceDistances;
