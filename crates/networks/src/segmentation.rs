//! Any segmentation network.

use crate::blocks::Statistics;
use crate::config::NetworkConfig;
use crate::error::Error;
use crate::resenc::ResEncUNet;
use crate::resunet::{ResUNet50, ResUNetOptions};
use crate::swin::SwinUnetr;
use tch::{Tensor, nn};

/// A segmentation network: a volume to logits per class and voxel.
#[derive(Debug)]
pub enum SegmentationNetwork {
    /// GTGM's U-Net on ResNet-50, with attention on its skips or without.
    Resunet50(ResUNet50),
    /// nnU-Net's residual-encoder U-Net.
    Resenc(ResEncUNet),
    /// SwinUNETR.
    SwinUnetr(Box<SwinUnetr>),
}

impl SegmentationNetwork {
    /// Builds the network of `config` at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(path: &nn::Path<'_>, config: &NetworkConfig, seed: u64) -> Result<Self, Error> {
        config.validate()?;
        match config {
            NetworkConfig::Resunet50 { in_channels, classes, decoder_norm } => {
                let options = ResUNetOptions { attention: None, decoder_norm: *decoder_norm };
                ResUNet50::new(path, *in_channels, *classes, options, seed).map(Self::Resunet50)
            }
            NetworkConfig::Attresunet50 { in_channels, classes, decoder_norm } => {
                let attention = Some(ResUNetOptions::ATTENTION_WEIGHTS);
                let options = ResUNetOptions { attention, decoder_norm: *decoder_norm };
                ResUNet50::new(path, *in_channels, *classes, options, seed).map(Self::Resunet50)
            }
            NetworkConfig::Resenc { in_channels, classes, topology } => {
                ResEncUNet::new(path, *in_channels, *classes, topology, seed).map(Self::Resenc)
            }
            NetworkConfig::SwinUnetr { in_channels, classes, transformer } => {
                SwinUnetr::new(path, *in_channels, *classes, transformer, seed)
                    .map(|network| Self::SwinUnetr(Box::new(network)))
            }
        }
    }

    /// Logits at the input's resolution.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, classes, z, y, x]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_t(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        match self {
            Self::Resunet50(network) => network.forward_t(input, train),
            Self::Resenc(network) => network.forward_t(input),
            Self::SwinUnetr(network) => network.forward_t(input),
        }
    }

    /// Logits for deep supervision, the input's resolution first; one element for networks without. Layers for coarser
    /// logits get no gradient from [`SegmentationNetwork::forward_t`]. `statistics` are those of batch norms, where there are such.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`; output i: `[batch, classes, …]` at the resolution of encoder stage i.
    ///
    /// # Errors
    /// As for [`SegmentationNetwork::forward_t`].
    pub fn forward_deep(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Vec<Tensor>, Error> {
        match self {
            Self::Resunet50(network) => Ok(vec![network.forward(input, statistics)?]),
            Self::Resenc(network) => network.forward_deep(input),
            Self::SwinUnetr(network) => Ok(vec![network.forward_t(input)?]),
        }
    }
}
