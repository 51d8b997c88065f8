//! The command line of a run; [`crate::cli`] has the whole of it.

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
    #[arg(long, value_name = "GIB", value_parser = positive)]
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
    /// Take labels of the image's shape as lying on its grid, whatever their own headers say
    #[arg(long)]
    pub(crate) trust_voxel_grid: bool,
    /// Resample labels that lie on another grid onto that of their image
    #[arg(long, value_name = "HOW", value_enum, conflicts_with = "trust_voxel_grid")]
    pub(crate) align_labels: Option<AlignLabels>,
    /// What NaN and infinite voxels are: an error, or replaced by their channel's smallest value
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Nan::Error)]
    pub(crate) nan: Nan,
    /// Accept volumes that resampling makes more than 50 times as large, or longer than 4096 voxels
    #[arg(long)]
    pub(crate) allow_large: bool,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How labels come onto the grid of their image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlignLabels {
    /// By the nearest voxel, through both affines; 0 outside of the label's volume.
    Nearest,
}

/// Treatment of NaN and infinite voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Nan {
    /// The case fails.
    Error,
    /// The channel's smallest finite value takes their place.
    #[value(name = "fill=min")]
    FillMin,
}

pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("expected a positive number".to_owned()),
    }
}

fn spacing(text: &str) -> Result<[f64; 3], String> {
    let numbers: Vec<f64> = text.split(',').map(|part| positive(part.trim())).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| "expected three positive numbers such as 0.05,0.0046,0.0046".to_owned())
}

fn replacement(text: &str) -> Result<(u64, u32), String> {
    let parsed = text
        .split_once('=')
        .and_then(|(from, to)| Some((from.trim().parse().ok()?, to.trim().parse().ok()?)));
    parsed.ok_or_else(|| "expected FROM=TO, two whole numbers such as 255=1".to_owned())
}
