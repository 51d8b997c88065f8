//! Overlap, surface, topology and lesion metrics with named definitions, edge-case policies and statistics.
//!
//! Volumes are flat slices in C order with axes z, y, x; lengths are millimetres. Every value carries the id of its
//! definition ([`Definition::id`]), because metrics of the same name differ between programs by more than methods do.

pub mod border;
pub mod case;
pub mod contingency;
pub mod definition;
pub mod edges;
mod error;
pub mod instances;
pub mod lesions;
pub mod mask;
pub mod overlap;
pub mod paired;
pub mod policy;
pub mod ranking;
pub mod skeleton;
pub mod statistics;
pub mod surface;
pub mod surfel;
pub mod target;

pub use border::{border_mask, border_masks};
pub use case::{ClassScore, Protocol, diagonal_mm, score_case};
pub use contingency::{Contingency, Table};
pub use definition::{Basis, Definition, Kind, Matching, Measured};
pub use edges::EdgeDistances;
pub use error::{MetricsError, Result};
pub use instances::{AdaptedRand, InstanceScores, NamedScore};
pub use lesions::Lesions;
pub use mask::{Bounds, Mask};
pub use overlap::{ClassCounts, count_overlap};
pub use policy::{Policy, Presence};
pub use skeleton::{centreline_dice, skeletonise};
pub use surface::SurfaceDistances;
pub use target::Target;
