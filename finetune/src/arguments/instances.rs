//! The command line of `finetune instances`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use stage::Message;
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
    /// they stay apart, so that more joins more; multicut: its β, one minus the boundary probability at which a border costs nothing, so that
    /// more joins less. The mutex watershed has none
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
    /// Of borders of affinities, the percentile that scores them (quantile) [default: 50]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=99))]
    pub(crate) quantile: Option<u8>,
    /// Of repulsive affinities, those at every so many voxels along z, y, x (mutex-watershed) [default: 1,4,4]
    #[arg(long, value_name = "Z,Y,X", value_parser = numbers::edges)]
    pub(crate) strides: Option<[usize; 3]>,
}

impl Details {
    pub(crate) fn quantile(self) -> u8 {
        self.quantile.unwrap_or(50)
    }

    pub(crate) fn strides(self) -> [usize; 3] {
        self.strides.unwrap_or([1, 4, 4])
    }

    /// Refuses what is asked for and of none of the methods (`E434`).
    pub(crate) fn refuse_idle(self, methods: &[MethodName]) -> Result<(), Message> {
        let given = [
            ("--quantile", self.quantile.is_some(), MethodName::Quantile),
            ("--strides", self.strides.is_some(), MethodName::MutexWatershed),
        ];
        match given.into_iter().find(|(_, given, of)| *given && !methods.contains(of)) {
            None => Ok(()),
            Some((option, _, of)) => {
                let text = format!("{option} is an option of the method {}", of.name());
                Err(Message::error("E434", text).fix(format!("Leave out {option}, or choose that method")))
            }
        }
    }
}

/// How volumes are cut up.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Pieces {
    /// Objects of fewer voxels become background
    #[arg(long, value_name = "VOXELS", default_value_t = 0)]
    pub(crate) smallest: u64,
    /// Voxels of a block along z, y, x; as many as there are cores are in memory at once, with their halos, at 80 bytes a voxel and 4 for each affinity
    /// (mutex-watershed: 8 more for each that --strides leaves). Fewer work at once where memory is short (W452)
    #[arg(long, value_name = "Z,Y,X", default_value = "32,1024,1024", value_parser = numbers::edges)]
    pub(crate) block: [usize; 3],
    /// Voxels that a block sees of its neighbours [default: 4,64,64, but no more than the block]
    #[arg(long, value_name = "Z,Y,X", value_parser = numbers::triple)]
    pub(crate) halo: Option<[usize; 3]>,
}

impl Pieces {
    pub(crate) fn halo(self) -> [usize; 3] {
        self.halo.unwrap_or(std::array::from_fn(|axis| [4, 64, 64][axis].min(self.block[axis])))
    }
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
