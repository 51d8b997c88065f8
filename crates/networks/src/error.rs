//! What can go wrong in networks and with their weights.

use std::path::PathBuf;
use tch::TchError;
use thiserror::Error as ThisError;

/// An error of a network, its configuration or its weights.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that describes no network.
    #[error("network configuration: {field} is {found}, expected {expected}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
    },
    /// An input that the network cannot take.
    #[error("input of shape {found:?} to {network}: expected {expected}")]
    Input {
        /// The network.
        network: &'static str,
        /// The input's shape.
        found: Vec<i64>,
        /// What the network takes.
        expected: String,
    },
    /// Too few samples for batch statistics.
    #[error(
        "batch normalisation over {found} value(s) per feature, at least {minimum} are needed: use a larger batch, \
         layer normalisation in heads, or larger patches where an encoder's maps are single voxels"
    )]
    SmallBatch {
        /// Values per feature.
        found: i64,
        /// The fewest that give statistics.
        minimum: i64,
    },
    /// Two variables of one name; tch would rename the second silently.
    #[error("two variables are named {name}: give each network its own path in the VarStore")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A group of processes failed.
    #[error("{0}")]
    Group(#[source] torch_runtime::Error),
    /// A file could not be read or written; the text names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file that is no valid safetensors file.
    #[error(
        "{path}: not a safetensors file that can be read: {reason}. It is damaged or was cut short: fetch or make it again"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file of `torch.save`.
    #[error(
        "{path}: PyTorch's own format, which may run code when it is read. Convert it once: python \
         crates/networks/pth_to_safetensors.py {path} out.safetensors (see docs/pretrain.md)"
    )]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// Weights that are not numbers.
    #[error(
        "{path}: tensor {name} holds NaN or infinity: the training that wrote it diverged; use an earlier file"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Weights of another network, where exactly this network's were expected.
    #[error("{path}: weights of another network: {differences}")]
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// The first differences, found against expected.
        differences: String,
    },
    /// Too few of the network's weights are in the file.
    #[error(
        "{path}: only {found} of {expected} tensors match ({share} %, at least {minimum:.0} % wanted); first \
         difference: {first}. Use weights of the same architecture, or train from scratch"
    )]
    TooFewWeights {
        /// The file.
        path: PathBuf,
        /// Tensors loaded.
        found: usize,
        /// Tensors that could be loaded.
        expected: usize,
        /// The share in percent, rounded down.
        share: usize,
        /// The smallest share that is accepted, in percent.
        minimum: f64,
        /// The first tensor that was not loaded, and why.
        first: String,
    },
    /// A pretrained text encoder or captioner that cannot be used.
    #[error("{what} {path}: {reason}")]
    Pretrained {
        /// What it should be.
        what: &'static str,
        /// Its directory or file.
        path: PathBuf,
        /// What is wrong and what to do.
        reason: String,
    },
    /// No text encoder was found.
    #[error(
        "no text encoder: looked for {looked}. Run `make setup`, which installs one into .venv, or pass \
         --text-encoder DIR (a BERT in Hugging Face layout)"
    )]
    NoTextEncoder {
        /// Where it was looked for.
        looked: String,
    },
    /// LibTorch refused.
    #[error("LibTorch: {0}")]
    Torch(String),
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Torch(torch_runtime::first_line(&error))
    }
}
