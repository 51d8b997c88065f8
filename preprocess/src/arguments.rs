//! The command line.

use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  preprocess --dataset msd04-hippocampus --raw data/Task04_Hippocampus --out runs/hippocampus/shards
  preprocess --dataset my-data.toml --raw data/mine --out shards --only case_01,case_07
  preprocess --dataset cremi-a --raw data/CREMI --out shards --dry-run";

/// Raw volumes to shards
///
/// Reads a data set in place, brings every volume to canonical orientation, target spacing and normalised intensities,
/// crops it to its foreground and writes Zarr v3 shards with a manifest. Run it again after an interruption: finished
/// cases are kept.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "preprocess", version, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    pub(crate) common: stage::Common,
    /// Built-in data set, or a descriptor in TOML (see 'data-manifests list')
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) dataset: String,
    /// The data set's own folder
    #[arg(long, value_name = "DIR")]
    pub(crate) raw: PathBuf,
    /// Where the shards go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Cases worked on at once [default: the cores granted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
    /// Memory to stay below, in GiB [default: four fifths of what is available]
    #[arg(long, value_name = "GIB")]
    pub(crate) max_ram: Option<f64>,
    /// Only these cases
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Put the channel's smallest value in the place of NaN and infinite voxels, which are an error otherwise
    #[arg(long)]
    pub(crate) fill_non_finite: bool,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl stage::run::HasCommon for Arguments {
    fn common(&self) -> &stage::Common {
        &self.common
    }
}
