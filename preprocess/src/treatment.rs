//! What a run does with every case, beyond what the data set's descriptor says.

use clap::ValueEnum;
use patches::Layout;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use volume::intensity::NonFinite;

/// The flags of a run that decide what becomes of every case; planning measures with them too.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Flags {
    /// Take labels of the image's shape as lying on its grid, whatever their own headers say
    #[arg(long)]
    trust_voxel_grid: bool,
    /// Resample labels that lie on another grid onto that of their image
    #[arg(long, value_name = "HOW", value_enum, conflicts_with = "trust_voxel_grid")]
    align_labels: Option<AlignLabels>,
    /// What NaN and infinite voxels are: an error, or replaced by their channel's smallest value
    #[arg(long, value_name = "RULE", value_enum, default_value_t = Nan::Error)]
    nan: Nan,
    /// Lossless compression of images: lz4 is read fastest, zstd takes less room on disk
    #[arg(long, value_name = "CODEC", value_enum, default_value_t = Compression::Lz4)]
    compression: Compression,
}

impl Flags {
    /// What they say.
    pub(crate) fn treatment(self) -> Treatment {
        Treatment {
            non_finite: match self.nan {
                Nan::Error => NonFinite::Error,
                Nan::FillMin => NonFinite::FillMin,
            },
            trust_voxel_grid: self.trust_voxel_grid,
            align_labels: self.align_labels,
            compression: self.compression,
        }
    }
}

/// How all cases are treated; a part of the manifest's parameters. Manifests from before there was a choice lack it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Treatment {
    pub(crate) non_finite: NonFinite,
    /// Labels of the image's shape lie on its grid.
    pub(crate) trust_voxel_grid: bool,
    /// What becomes of labels on another grid; without it they are refused.
    #[serde(default)]
    pub(crate) align_labels: Option<AlignLabels>,
    #[serde(default)]
    pub(crate) compression: Compression,
}

impl Treatment {
    /// What decides a case's bytes. Cases that were made before there was a choice keep their digest.
    pub(crate) fn values(self) -> serde_json::Result<Vec<Value>> {
        let mut values =
            vec![serde_json::to_value(self.non_finite)?, serde_json::to_value(self.trust_voxel_grid)?];
        values.extend(self.align_labels.map(serde_json::to_value).transpose()?);
        if self.compression != Compression::default() {
            values.push(serde_json::to_value(self.compression)?);
        }
        Ok(values)
    }

    /// How arrays are cut and compressed.
    pub(crate) fn layout(self) -> Layout {
        let measured = Layout::default();
        match self.compression {
            Compression::Lz4 => measured,
            Compression::Zstd => Layout { image: patches::Compression::Zstd { level: 5 }, ..measured },
        }
    }
}

/// How labels come onto the grid of their image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlignLabels {
    /// By the nearest voxel, through both affines; 0 outside of the label's volume.
    Nearest,
}

/// Compression of images; `docs/shards.md` has the measurements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compression {
    /// Byte-shuffled LZ4 by Blosc: read fastest.
    #[default]
    Lz4,
    /// Plain Zstandard, of the codecs that Zarr v3 itself names: fewer bytes.
    Zstd,
}

/// Treatment of NaN and infinite voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Nan {
    /// The case fails.
    Error,
    /// The channel's smallest finite value takes their place.
    #[value(name = "fill=min")]
    FillMin,
}
