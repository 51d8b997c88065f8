//! The command line of `finetune instances`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use stage::arguments::numbers;
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "\
Examples:
  finetune instances --predictions affinities --out neurons
  finetune instances --predictions affinities --out neurons-mutex --method mutex-watershed --block 32,512,512 --halo 8,64,64
Label maps lie in HDF5 at /volumes/labels/neuron_ids, in OME-Zarr at labels/neuron_ids: score them with 'evaluate instances'.";

/// Makes objects of affinities.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Instances {
    /// What 'finetune predict' wrote with a model of objects
    #[arg(long, value_name = "DIR")]
    pub(crate) predictions: PathBuf,
    /// Where the label maps go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Remove what an earlier command wrote here of cases that are not among these; without it the command is refused
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Format of the label maps
    #[arg(long, value_enum, default_value = "hdf5")]
    pub(crate) format: StackFormat,
    /// A choice of 'finetune threshold' for the models that predicted, in place of the options of methods, and of how volumes are cut up
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["method", "threshold", "quantile", "strides", "smallest", "block", "halo"])]
    pub(crate) choice: Option<PathBuf>,
    /// How voxels become objects
    #[arg(long, default_value = "mean")]
    pub(crate) method: MethodName,
    /// Where objects end [default: 0.5]: boundary probability (components) or one minus the affinity (mean, quantile) from which on
    /// they stay apart; multicut: the probability at which a border costs nothing
    #[arg(long, value_name = "P", value_parser = numbers::share)]
    pub(crate) threshold: Option<f64>,
    #[command(flatten)]
    pub(crate) details: Details,
    #[command(flatten)]
    pub(crate) pieces: Pieces,
}

/// What some methods ask for beside the threshold.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Details {
    /// Of borders of affinities, the percentile that scores them (quantile)
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) quantile: u8,
    /// Of repulsive affinities, those at every so many voxels along z, y, x (mutex-watershed)
    #[arg(long, value_name = "Z,Y,X", default_value = "1,4,4", value_parser = numbers::edges)]
    pub(crate) strides: [usize; 3],
}

/// How volumes are cut up.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Pieces {
    /// Objects of fewer voxels become background
    #[arg(long, value_name = "VOXELS", default_value_t = 0)]
    pub(crate) smallest: u64,
    /// Voxels of a block along z, y, x, as many as fit into memory at 100 bytes each and those of its affinities
    #[arg(long, value_name = "Z,Y,X", default_value = "32,1024,1024", value_parser = numbers::edges)]
    pub(crate) block: [usize; 3],
    /// Voxels that a block sees of its neighbours
    #[arg(long, value_name = "Z,Y,X", default_value = "4,64,64", value_parser = numbers::triple)]
    pub(crate) halo: [usize; 3],
}

/// How stacks are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StackFormat {
    /// HDF5 in CREMI's layout: ID.h5
    Hdf5,
    /// OME-Zarr 0.5: directories ID.zarr
    Zarr,
}

/// How voxels become objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum MethodName {
    /// Connected components of what is no boundary: the plain baseline
    Components,
    /// Watershed fragments, joined in the order of their borders' mean affinities (waterz; published for inference)
    Mean,
    /// The same by a quantile of the affinities, the median unless told (published in training)
    Quantile,
    /// The mutex watershed, from long-range affinities
    MutexWatershed,
    /// Watershed fragments, joined by a multicut
    Multicut,
}

impl MethodName {
    /// As it is written on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}
