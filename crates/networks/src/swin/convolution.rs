//! The convolutional blocks beside the transformer: MONAI's `UnetrBasicBlock` and `UnetrUpBlock`.

use crate::blocks::{Conv3d, ConvShape, ConvTranspose3d, Then, instance_norm};
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use tch::Tensor;

/// Two convolutions beside a shortcut, which is projected where channels change. Instance norms without scale and
/// shift, LeakyReLU 0.01.
#[derive(Debug)]
pub(super) struct ResBlock {
    first: Conv3d,
    second: Conv3d,
    projection: Option<Conv3d>,
}

impl ResBlock {
    pub(super) fn new(scope: &Scope<'_>, input: i64, output: i64) -> Result<Self, Error> {
        let convolution = |name: &str, input: i64, kernel: i64| {
            let shape = ConvShape { input, output, kernel_zyx: [kernel; 3], stride_zyx: [1; 3], bias: false };
            Conv3d::new(&scope.sub(name).sub("conv"), shape, ConvInit::Torch)
        };
        Ok(Self {
            first: convolution("conv1", input, 3)?,
            second: convolution("conv2", output, 3)?,
            projection: (input != output).then(|| convolution("conv3", input, 1)).transpose()?,
        })
    }

    /// `[batch, input, z, y, x]` → `[batch, output, z, y, x]`. Over a single voxel an instance norm gives 0, and the
    /// block is its shortcut.
    pub(super) fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        let step = |convolution: &Conv3d, input: &Tensor, then: Then<'_>| {
            instance_norm(&convolution.forward(input)?, None, then)
        };
        let inner = step(&self.first, input, Then::LEAKY_RELU)?;
        let shortcut = match &self.projection {
            Some(projection) => step(projection, input, Then::NOTHING)?,
            None => input.shallow_clone(),
        };
        step(&self.second, &inner, Then::LEAKY_RELU.after_adding(&shortcut))
    }
}

/// A transposed convolution to twice the resolution, and a block over it and a skip.
#[derive(Debug)]
pub(super) struct UpBlock {
    up: ConvTranspose3d,
    block: ResBlock,
}

impl UpBlock {
    pub(super) fn new(scope: &Scope<'_>, input: i64, output: i64) -> Result<Self, Error> {
        let shape = ConvShape { input, output, kernel_zyx: [2; 3], stride_zyx: [2; 3], bias: false };
        Ok(Self {
            up: ConvTranspose3d::new(&scope.sub("transp_conv").sub("conv"), shape, [0; 3], ConvInit::Torch)?,
            block: ResBlock::new(&scope.sub("conv_block"), 2 * output, output)?,
        })
    }

    /// input: `[batch, input, z, y, x]`; skip and output: `[batch, output, 2z, 2y, 2x]`.
    pub(super) fn forward(&self, input: &Tensor, skip: &Tensor) -> Result<Tensor, Error> {
        self.block.forward(&Tensor::f_cat(&[&self.up.forward(input)?, skip], 1)?)
    }
}
