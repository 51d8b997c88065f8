//! Encoder and labelled shards to a segmentation model, and images to label maps on their own grids.
//!
//! Memory: training holds a few batches, the network, its optimiser state and activations; prediction one image, its
//! class scores (8 bytes per class and voxel of the resampled foreground box) and the label map.

mod arguments;
mod model;
mod predict;
mod sampling;
mod task;
mod train;

pub use arguments::Arguments;

use arguments::Command;
use stage::{Context, ExitStatus};

/// Runs the command.
///
/// # Errors
/// Fails when inputs cannot be used, training diverges, or the output cannot be written.
pub fn run(arguments: Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    match arguments.command {
        Command::Train(train) => train::run(&train, context),
        Command::Predict(predict) => predict::run(&predict, context),
    }
}
