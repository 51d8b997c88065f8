//! The 3-D ResNet-50 of GTGM.
//!
//! Names, strides and padding follow the published encoder (state-dict names of torchvision's layout; the stride of a
//! block sits in its 3×3×3 convolution). The depth axis is first halved in layer2.

use crate::blocks::{BatchNorm, Conv3d, ConvShape, Statistics, Then, check_input, global_mean, max_pool};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use tch::{Tensor, nn};

/// Blocks in layer1 to layer4.
const BLOCKS: [usize; 4] = [3, 4, 6, 3];
/// Output channels of a block over its inner channels.
const EXPANSION: i64 = 4;

/// A 3-D ResNet-50 without its classifier.
#[derive(Debug)]
pub struct ResNet50 {
    in_channels: i64,
    stem: Stem,
    layers: Vec<Layer>,
}

impl ResNet50 {
    /// Features in the pooled vector.
    pub const OUT_FEATURES: i64 = 2048;
    /// How many voxels along z, y, x one of the deepest map stands for.
    pub const REDUCTION_ZYX: [i64; 3] = [8, 32, 32];

    /// Builds it at `path` for images of `in_channels` channels, values drawn from `seed`.
    ///
    /// # Errors
    /// For fewer than one channel, and when a name is taken.
    pub fn new(path: &nn::Path<'_>, in_channels: i64, seed: u64) -> Result<Self, Error> {
        at_least_one("in_channels", in_channels)?;
        let scope = Scope::new(path, seed);
        let stem = Stem::new(&scope.sub("conv1"), &scope.sub("bn1"), in_channels)?;
        let layers = (0..BLOCKS.len())
            .map(|index| Layer::new(&scope.sub(format!("layer{}", index + 1)), index))
            .collect::<Result<_, _>>()?;
        Ok(Self { in_channels, stem, layers })
    }

    /// The five feature maps x1 … x5 with 64, 256, 512, 1024 and 2048 channels.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`; x1, x2: sizes over (1, 4, 4); x3: (2, 8, 8); x4: (4, 16, 16);
    /// x5: (8, 32, 32), each halving rounded up.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_maps(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Vec<Tensor>, Error> {
        check_input("ResNet-50", input, self.in_channels, [1; 3])?;
        maps(&self.stem, &self.layers, input, statistics)
    }

    /// The mean of x5 over space.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, 2048]`.
    ///
    /// # Errors
    /// As for [`ResNet50::forward_maps`].
    pub fn forward_features(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        pooled(&self.forward_maps(input, statistics)?)
    }
}

/// x1 and then the output of each layer.
pub(crate) fn maps(
    stem: &Stem,
    layers: &[Layer],
    input: &Tensor,
    statistics: Statistics<'_>,
) -> Result<Vec<Tensor>, Error> {
    let mut maps = Vec::with_capacity(layers.len() + 1);
    let mut current = stem.forward(input, statistics)?;
    for layer in layers {
        let next = layer.forward(&current, statistics)?;
        maps.push(std::mem::replace(&mut current, next));
    }
    maps.push(current);
    Ok(maps)
}

/// The spatial mean of the last of `maps`.
pub(crate) fn pooled(maps: &[Tensor]) -> Result<Tensor, Error> {
    global_mean(maps.last().ok_or_else(no_stages)?)
}

/// A network without stages, which no configuration that passed its checks describes.
pub(crate) fn no_stages() -> Error {
    Error::Config { field: "features", found: "empty".to_owned(), expected: "at least one stage".to_owned() }
}

/// The convolution before the first layer, its norm and the pooling.
#[derive(Debug)]
pub(crate) struct Stem {
    convolution: Conv3d,
    norm: BatchNorm,
}

impl Stem {
    pub(crate) fn new(convolution: &Scope<'_>, norm: &Scope<'_>, in_channels: i64) -> Result<Self, Error> {
        let shape = ConvShape {
            input: in_channels,
            output: 64,
            kernel_zyx: [3, 7, 7],
            stride_zyx: [1, 2, 2],
            bias: false,
        };
        Ok(Self {
            convolution: Conv3d::new(convolution, shape, ConvInit::KaimingFanOut)?,
            norm: BatchNorm::new(norm, 64, true)?,
        })
    }

    pub(crate) fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        max_pool(&self.norm.forward_then(&self.convolution.forward(input)?, statistics, Then::RELU)?)
    }
}

/// A run of bottleneck blocks at one resolution.
#[derive(Debug)]
pub(crate) struct Layer(Vec<Bottleneck>);

impl Layer {
    /// The `index`-th layer (from 0) of ResNet-50.
    pub(crate) fn new(scope: &Scope<'_>, index: usize) -> Result<Self, Error> {
        let inner = 64_i64 << index;
        let mut input = if index == 0 { 64 } else { inner / 2 * EXPANSION };
        let mut blocks = Vec::with_capacity(BLOCKS[index]);
        for block in 0..BLOCKS[index] {
            let stride = if block == 0 && index > 0 { 2 } else { 1 };
            blocks.push(Bottleneck::new(&scope.sub(block), input, inner, stride)?);
            input = inner * EXPANSION;
        }
        Ok(Self(blocks))
    }

    pub(crate) fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        // else LibTorch would bring every weight into the order of the maps, again in every pass
        let input = if self.is_contiguous() { input.f_contiguous()? } else { input.shallow_clone() };
        self.0.iter().try_fold(input, |current, block| block.forward(&current, statistics))
    }

    /// Whether the weights are in the order of axes; those of one voxel are in either.
    fn is_contiguous(&self) -> bool {
        self.0.iter().all(|block| block.branch.iter().all(|(convolution, _)| convolution.is_contiguous()))
    }
}

/// 1×1×1, 3×3×3 and 1×1×1 convolutions beside a shortcut.
#[derive(Debug)]
struct Bottleneck {
    branch: [(Conv3d, BatchNorm); 3],
    downsample: Option<(Conv3d, BatchNorm)>,
}

impl Bottleneck {
    fn new(scope: &Scope<'_>, input: i64, inner: i64, stride: i64) -> Result<Self, Error> {
        let pair = |convolution: Scope<'_>, norm: Scope<'_>, input, output, kernel, stride| {
            let shape =
                ConvShape { input, output, kernel_zyx: [kernel; 3], stride_zyx: [stride; 3], bias: false };
            Ok::<_, Error>((
                Conv3d::new(&convolution, shape, ConvInit::KaimingFanOut)?,
                BatchNorm::new(&norm, output, true)?,
            ))
        };
        let output = inner * EXPANSION;
        let downsample = if stride != 1 || input != output {
            let scope = scope.sub("downsample");
            Some(pair(scope.sub(0), scope.sub(1), input, output, 1, stride)?)
        } else {
            None
        };
        Ok(Self {
            branch: [
                pair(scope.sub("conv1"), scope.sub("bn1"), input, inner, 1, 1)?,
                pair(scope.sub("conv2"), scope.sub("bn2"), inner, inner, 3, stride)?,
                pair(scope.sub("conv3"), scope.sub("bn3"), inner, output, 1, 1)?,
            ],
            downsample,
        })
    }

    fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        let [first, second, third] = &self.branch;
        let step = |(convolution, norm): &(Conv3d, BatchNorm), input: &Tensor, then: Then<'_>| {
            norm.forward_then(&convolution.forward(input)?, statistics, then)
        };
        let current = step(first, input, Then::RELU)?;
        let current = step(second, &current, Then::RELU)?;
        let shortcut = match &self.downsample {
            Some(downsample) => step(downsample, input, Then::NOTHING)?,
            None => input.shallow_clone(),
        };
        step(third, &current, Then::RELU.after_adding(&shortcut))
    }
}
