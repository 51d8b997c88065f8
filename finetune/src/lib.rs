//! Encoder and labelled shards to a segmentation model, and images to label maps on their own grids, or to affinities and the objects
//! that these make.
//!
//! Memory: training holds a few batches, the network, its optimiser state and activations; prediction one image
//! (as stored and as network input, 8 bytes per channel and voxel), scores or affinities of as many sections as a window has (4 bytes
//! per class and voxel) and the label map (6 bytes per voxel), and of several the next image, which is read meanwhile, and the last label map,
//! which is written; objects are made block by block (`label_maps::blocks`).

mod arguments;
mod boundary;
mod chosen;
mod clean_up;
mod filling;
mod flaw;
mod info;
mod instances;
mod kept;
mod model;
mod objective;
mod predict;
mod sampling;
mod semantic;
mod sheet;
mod stacks;
mod sweep;
mod task;
mod threshold;
mod train;
mod validation;
mod wording;

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
        Command::Sweep(sweep) => sweep::run(&sweep, arguments.common.quiet, context),
        Command::CleanUp(choice) => clean_up::run(&choice, context),
        Command::Info(info) => info::run(&info, context),
        Command::Instances(instances) => instances::run(&instances, context),
        Command::Threshold(choice) => threshold::run(&choice, context),
    }
}
