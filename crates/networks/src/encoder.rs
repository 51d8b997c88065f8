//! Any image encoder.

use crate::blocks::Statistics;
use crate::config::EncoderConfig;
use crate::error::Error;
use crate::resenc::ResEncEncoder;
use crate::resnet::ResNet50;
use crate::swin::SwinUnetrEncoder;
use tch::{Tensor, nn};
use torch_runtime::Group;

/// An image encoder: a volume to feature maps and one vector.
#[derive(Debug)]
pub enum Encoder {
    /// GTGM's 3-D ResNet-50.
    Resnet50(ResNet50),
    /// nnU-Net's residual encoder.
    Resenc(ResEncEncoder),
    /// SwinUNETR's transformer and the block on its coarsest state.
    SwinUnetr(Box<SwinUnetrEncoder>),
}

impl Encoder {
    /// Builds the encoder of `config` at `path`, values drawn from `seed`. The residual encoder's names begin with
    /// `encoder.` below `path`, those of ResNet-50 and SwinUNETR have no prefix, as in the files of their authors.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(path: &nn::Path<'_>, config: &EncoderConfig, seed: u64) -> Result<Self, Error> {
        config.validate()?;
        match config {
            EncoderConfig::Resnet50 { in_channels } => {
                ResNet50::new(path, *in_channels, seed).map(Self::Resnet50)
            }
            EncoderConfig::Resenc { in_channels, topology } => {
                ResEncEncoder::new(path, *in_channels, topology, seed).map(Self::Resenc)
            }
            EncoderConfig::SwinUnetr { in_channels, transformer } => {
                SwinUnetrEncoder::new(path, *in_channels, transformer, seed)
                    .map(|network| Self::SwinUnetr(Box::new(network)))
            }
        }
    }

    /// One vector per volume: the last feature map's mean over space.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, out_features]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_features(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        match self {
            Self::Resnet50(network) => network.forward_features(input, Statistics::of(train)),
            Self::Resenc(network) => network.forward_features(input),
            Self::SwinUnetr(network) => network.forward_features(input),
        }
    }

    /// Feature maps, finest first.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`; see [`ResNet50::forward_maps`], [`ResEncEncoder::forward_maps`] and
    /// [`SwinUnetrEncoder::forward_maps`].
    ///
    /// # Errors
    /// As for [`Encoder::forward_features`].
    pub fn forward_maps(&self, input: &Tensor, train: bool) -> Result<Vec<Tensor>, Error> {
        self.maps(input, Statistics::of(train))
    }

    /// As [`Encoder::forward_maps`] in training, batch statistics being those of the batches of all processes of `group`, if there is one: all call it.
    ///
    /// # Errors
    /// As for [`Encoder::forward_features`], and when a process is lost.
    pub fn forward_maps_over(&self, input: &Tensor, group: Option<&Group>) -> Result<Vec<Tensor>, Error> {
        self.maps(input, Statistics::Batch(group))
    }

    /// As [`Encoder::forward_maps_over`], for one of so many pieces of a batch: all pieces together move running statistics as far as the batch would. Without a
    /// number nothing moves: for a pass that is made again.
    ///
    /// # Errors
    /// As for [`Encoder::forward_maps_over`].
    pub fn forward_piece(
        &self,
        input: &Tensor,
        group: Option<&Group>,
        pieces: Option<usize>,
    ) -> Result<Vec<Tensor>, Error> {
        self.maps(input, Statistics::of_piece(group, pieces))
    }

    /// As [`Encoder::forward_maps_over`], for two views of the same patches: what a call for each would give, up to the last digits, in less time.
    ///
    /// # Shapes
    /// views: each `[batch, in_channels, z, y, x]`; the maps of each.
    ///
    /// # Errors
    /// As for [`Encoder::forward_features`], and for views of different sizes.
    pub fn forward_views(
        &self,
        [first, second]: [&Tensor; 2],
        group: Option<&Group>,
    ) -> Result<[Vec<Tensor>; 2], Error> {
        // A GPU is busy with one view, and behind each batch norm, which sees one view, both would be copied to be together again.
        if matches!(self, Self::Resnet50(_)) && first.device().is_cuda() {
            return Ok([self.forward_maps_over(first, group)?, self.forward_maps_over(second, group)?]);
        }
        let rows = [first.size()[0], second.size()[0]];
        let maps = self.maps(&Tensor::f_cat(&[first, second], 0)?, Statistics::Halves(group))?;
        let mut apart = [Vec::with_capacity(maps.len()), Vec::with_capacity(maps.len())];
        for map in maps {
            let of_views = map.f_split_with_sizes(rows.as_slice(), 0)?;
            apart.iter_mut().zip(of_views).for_each(|(maps, map)| maps.push(map));
        }
        Ok(apart)
    }

    fn maps(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Vec<Tensor>, Error> {
        match self {
            Self::Resnet50(network) => network.forward_maps(input, statistics),
            Self::Resenc(network) => network.forward_maps(input),
            Self::SwinUnetr(network) => network.forward_maps(input),
        }
    }

    /// Features in the vector of [`Encoder::forward_features`].
    pub fn out_features(&self) -> i64 {
        match self {
            Self::Resnet50(_) => ResNet50::OUT_FEATURES,
            Self::Resenc(network) => network.out_features(),
            Self::SwinUnetr(network) => network.out_features(),
        }
    }
}
