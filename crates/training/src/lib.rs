//! Losses, views and augmentation, optimisers, schedules, the loop with its checkpoints and record, sliding-window
//! prediction: what pretraining and fine-tuning share.
//!
//! Volumes are `[batch, channel, z, y, x]` throughout. Every random choice is a pure function of (run seed, step, index),
//! see [`random`], so that N + M steps in one go and N steps, a stop, then M steps give the same bytes on one machine.
//!
//! The pieces, bottom up: a [`prefetch::Prefetch`] or another [`step::BatchSource`] yields batches in the order of the
//! steps; a [`step::Task`] turns a batch into a loss; [`run::Session`] drives both with an [`optimizer::Optimizer`] and a
//! [`schedule::LearningRate`], and keeps [`checkpoint`]s and the [`record`].

pub mod augment;
pub mod checkpoint;
pub mod compute;
pub mod error;
pub mod losses;
pub mod optimizer;
pub mod parallel;
pub mod predict;
pub mod prefetch;
pub mod probe;
pub mod processes;
pub mod random;
pub mod record;
pub mod run;
pub mod schedule;
pub mod step;
pub mod views;

pub use error::TrainingError;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, TrainingError>;
