//! The command line of a run; [`crate::cli`] has the whole of it.

use stage::arguments::numbers;
use std::path::PathBuf;

/// Arguments of a run.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "run")]
pub(crate) struct Arguments {
    /// Built-in data set (see 'data-manifests list'), descriptor in TOML, or raw folder with dataset.json
    #[arg(long, value_name = "NAME|FILE|DIR")]
    pub(crate) dataset: String,
    /// The data set's own folder [default: --dataset if that is one, else below $GTGM_RAW or $nnUNet_raw]
    #[arg(long, value_name = "DIR")]
    pub(crate) raw: Option<PathBuf>,
    /// Where the shards go
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Plan by 'preprocess plan', or nnUNetPlans.json: its spacing, patch, intensity rule and resampling apply
    #[arg(long, value_name = "FILE.json")]
    pub(crate) plan: Option<PathBuf>,
    /// Cases worked on at once [default: the cores granted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) workers: Option<u16>,
    /// Memory to stay below, in GiB [default: four fifths of what is available]
    #[arg(long, value_name = "GIB", value_parser = numbers::positive)]
    pub(crate) max_ram: Option<f64>,
    /// Only these cases
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Values in the label files that become other values, such as 255=1
    #[arg(long, value_name = "FROM=TO", value_delimiter = ',', value_parser = replacement)]
    pub(crate) label_map: Vec<(u64, u32)>,
    /// Voxel size of all stacks of slices, z, y, x, in mm; it goes before sidecars and tags
    #[arg(long, value_name = "Z,Y,X", value_parser = spacing)]
    pub(crate) spacing_zyx: Option<[f64; 3]>,
    /// Accept volumes that resampling makes more than 50 times as large, or longer than 4096 voxels
    #[arg(long)]
    pub(crate) allow_large: bool,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn spacing(text: &str) -> Result<[f64; 3], String> {
    let numbers: Vec<f64> =
        text.split(',').map(|part| numbers::positive(part.trim())).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| "expected three positive numbers such as 0.05,0.0046,0.0046".to_owned())
}

pub(crate) fn replacement(text: &str) -> Result<(u64, u32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    parsed.ok_or_else(|| "expected FROM=TO, two whole numbers such as 255=1".to_owned())
}
