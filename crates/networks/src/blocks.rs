//! Layers from which the networks are built, with PyTorch's names, defaults and initialisation.
//!
//! Everything takes `[batch, channels, z, y, x]` unless said otherwise.

mod norm;

use crate::error::Error;
use crate::init::{ConvInit, Fill, Scope};
use tch::Tensor;

pub use norm::{InstanceNorm3d, LayerNorm};
pub(crate) use norm::{instance_norm, layer_norm};

/// ε of every normalisation here, PyTorch's default.
const EPSILON: f64 = 1e-5;

/// A 3-D convolution.
#[derive(Debug)]
pub struct Conv3d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: [i64; 3],
    padding: [i64; 3],
}

/// The shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    pub(crate) input: i64,
    pub(crate) output: i64,
    pub(crate) kernel_zyx: [i64; 3],
    pub(crate) stride_zyx: [i64; 3],
    pub(crate) bias: bool,
}

impl Conv3d {
    /// Padded so that an odd kernel with stride 1 keeps the size; an even one is for strides of its own size.
    pub(crate) fn new(scope: &Scope<'_>, shape: ConvShape, init: ConvInit) -> Result<Self, Error> {
        let [z, y, x] = shape.kernel_zyx;
        let dimensions = [shape.output, shape.input, z, y, x];
        let (weight, bias) = init.fills(&dimensions);
        Ok(Self {
            weight: scope.parameter("weight", &dimensions, weight)?,
            bias: shape.bias.then(|| scope.parameter("bias", &[shape.output], bias)).transpose()?,
            stride: shape.stride_zyx,
            padding: shape.kernel_zyx.map(|size| (size - 1) / 2),
        })
    }

    /// `[batch, input, z, y, x]` → `[batch, output, ⌈z/stride⌉, …]`.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(input.f_conv3d(&self.weight, self.bias.as_ref(), self.stride, self.padding, 1, 1)?)
    }

    /// Whether the weight lies in the order of its axes.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.weight.is_contiguous()
    }
}

/// A transposed 3-D convolution.
#[derive(Debug)]
pub struct ConvTranspose3d {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: [i64; 3],
    padding: [i64; 3],
}

impl ConvTranspose3d {
    /// `padding_zyx` is taken off each side of the output.
    pub(crate) fn new(
        scope: &Scope<'_>,
        shape: ConvShape,
        padding_zyx: [i64; 3],
        init: ConvInit,
    ) -> Result<Self, Error> {
        let [z, y, x] = shape.kernel_zyx;
        let dimensions = [shape.input, shape.output, z, y, x];
        let (weight, bias) = init.fills(&dimensions);
        Ok(Self {
            weight: scope.parameter("weight", &dimensions, weight)?,
            bias: shape.bias.then(|| scope.parameter("bias", &[shape.output], bias)).transpose()?,
            stride: shape.stride_zyx,
            padding: padding_zyx,
        })
    }

    /// `[batch, input, z, y, x]` → `[batch, output, (z − 1)·stride + kernel − 2·padding, …]`.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(input.f_conv_transpose3d(&self.weight, self.bias.as_ref(), self.stride, self.padding, 0, 1, 1)?)
    }
}

/// What a batch normalisation normalises by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// The running statistics: prediction.
    Running,
    /// Those of the batch, towards which the running ones move: training.
    Batch,
    /// Those of each half of the batch by itself, as if the halves came one after the other: two views of the same patches.
    Halves,
}

impl Statistics {
    /// Those of training or of prediction.
    #[must_use]
    pub fn of(train: bool) -> Self {
        if train { Self::Batch } else { Self::Running }
    }
}

/// Batch normalisation with running statistics, as in PyTorch: ε 1e-5, momentum 0.1. For any `[batch, features, …]`.
#[derive(Debug)]
pub struct BatchNorm {
    affine: Option<(Tensor, Tensor)>,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
}

impl BatchNorm {
    pub(crate) fn new(scope: &Scope<'_>, features: i64, affine: bool) -> Result<Self, Error> {
        let affine = if affine {
            Some((
                scope.parameter("weight", &[features], Fill::Constant(1.0))?,
                scope.parameter("bias", &[features], Fill::Constant(0.0))?,
            ))
        } else {
            None
        };
        Ok(Self {
            affine,
            running_mean: scope.buffer("running_mean", &[features], 0.0)?,
            running_var: scope.buffer("running_var", &[features], 1.0)?,
            batches: scope.counter("num_batches_tracked")?,
        })
    }

    /// Normalises; `[batch, features, …]` in and out.
    ///
    /// # Errors
    /// In training with a single value per feature, which has no variance, for halves of an odd batch, and when LibTorch refuses.
    pub fn forward(&self, input: &Tensor, statistics: Statistics) -> Result<Tensor, Error> {
        match statistics {
            Statistics::Running => self.normalised(input, false),
            Statistics::Batch => self.normalised(input, true),
            Statistics::Halves => {
                let half = input.size()[0] / 2;
                let halves = input.f_split_with_sizes([half, half].as_slice(), 0)?;
                let normalised: Vec<Tensor> =
                    halves.iter().map(|half| self.normalised(half, true)).collect::<Result<_, _>>()?;
                Ok(Tensor::f_cat(&normalised, 0)?)
            }
        }
    }

    fn normalised(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        if train {
            let shape = input.size();
            let values: i64 =
                shape.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, n)| n).product();
            if values < 2 {
                return Err(Error::SmallBatch { found: values, minimum: 2 });
            }
            let _ = self.batches.shallow_clone().f_add_scalar_(1)?;
        }
        Ok(input.f_batch_norm(
            self.affine.as_ref().map(|(weight, _)| weight),
            self.affine.as_ref().map(|(_, bias)| bias),
            Some(&self.running_mean),
            Some(&self.running_var),
            train,
            0.1,
            EPSILON,
            true,
        )?)
    }
}

/// A fully connected layer, PyTorch's default initialisation.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(scope: &Scope<'_>, input: i64, output: i64) -> Result<Self, Error> {
        let (weight, bias) = ConvInit::Torch.fills(&[output, input]);
        Ok(Self {
            weight: scope.parameter("weight", &[output, input], weight)?,
            bias: scope.parameter("bias", &[output], bias)?,
        })
    }

    /// `[…, input]` → `[…, output]`.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        Ok(input.f_linear(&self.weight, Some(&self.bias))?)
    }
}

/// The mean over z, y and x: `[batch, channels, z, y, x]` → `[batch, channels]`.
pub(crate) fn global_mean(input: &Tensor) -> Result<Tensor, Error> {
    Ok(input.f_mean_dim([2_i64, 3, 4].as_slice(), false, None)?)
}

/// Checks that `input` is `[batch ≥ 1, channels, z, y, x]` with every size a multiple of `divisor_zyx`.
pub(crate) fn check_input(
    network: &'static str,
    input: &Tensor,
    channels: i64,
    divisor_zyx: [i64; 3],
) -> Result<(), Error> {
    let found = input.size();
    let fits = found.len() == 5
        && found[0] >= 1
        && found[1] == channels
        && found[2..].iter().zip(divisor_zyx).all(|(size, divisor)| *size >= 1 && size % divisor == 0);
    if fits {
        return Ok(());
    }
    let [z, y, x] = divisor_zyx;
    let sizes = if divisor_zyx == [1; 3] {
        String::new()
    } else {
        format!(" with z, y, x multiples of {z}, {y}, {x}")
    };
    Err(Error::Input { network, found, expected: format!("[batch, {channels}, z, y, x]{sizes}") })
}
