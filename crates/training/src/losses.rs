//! Training objectives.
//!
//! Pretraining: image-text contrast ([`contrastive`]), redundancy reduction between two views ([`redundancy`]) and their
//! weighted sum ([`pretrain`]). Fine-tuning: soft Dice with cross-entropy of classes ([`dice_ce`]) and of regions
//! that may overlap ([`regions`]), both also over whole volumes ([`pooled`]), balanced binary losses on affinities ([`affinity`]). All compute in float32, whatever
//! the precision of their inputs (those of pretraining in float64 where the inputs are): call them after the guard of an autocast forward pass is dropped, since autocast would
//! turn their matrix products back into bfloat16.

pub mod affinity;
pub mod contrastive;
pub mod dice_ce;
pub mod pooled;
pub mod pretrain;
pub mod redundancy;
pub mod regions;

use tch::{Kind, Tensor};

/// float64 as it is, everything else as float32.
fn wide(x: &Tensor) -> Tensor {
    if x.kind() == Kind::Double { x.shallow_clone() } else { x.to_kind(Kind::Float) }
}
