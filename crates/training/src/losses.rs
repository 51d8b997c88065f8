//! Training objectives.
//!
//! Pretraining: image-text contrast ([`contrastive`]), redundancy reduction between two views ([`redundancy`]) and their
//! weighted sum ([`pretrain`]). Fine-tuning: soft Dice with cross-entropy ([`dice_ce`]). All compute in float32, whatever
//! the precision of the network, and leave autocast to the caller's forward pass.

pub mod contrastive;
pub mod dice_ce;
pub mod pretrain;
pub mod redundancy;
