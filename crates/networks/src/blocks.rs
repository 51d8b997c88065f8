//! Layers from which the networks are built, with PyTorch's names, defaults and initialisation.
//!
//! Everything takes `[batch, channels, z, y, x]` unless said otherwise.

mod batch;
mod norm;
mod order;
mod pool;
mod then;

use crate::error::Error;
use crate::init::{ConvInit, Scope};
use tch::{Device, Kind, Tensor};
use torch_runtime::Autocast;

pub use batch::{BatchNorm, Statistics};
pub use norm::{InstanceNorm3d, LayerNorm};
pub(crate) use norm::{instance_norm, layer_norm};
pub(crate) use pool::max_pool;
pub(crate) use then::Then;

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
        convolve(input, &self.weight, self.bias.as_ref(), self.stride, self.padding, false)
    }

    /// Whether the weight lies in the order of its axes.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.weight.is_contiguous()
    }
}

/// A convolution, or a transposed one.
fn convolve(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: [i64; 3],
    padding: [i64; 3],
    transposed: bool,
) -> Result<Tensor, Error> {
    let autocasts = || Autocast::is_on(Device::Cpu).map_err(|error| Error::Torch(error.to_string()));
    if input.device() == Device::Cpu && is_wider(weight, padding, input) && autocasts()? {
        // oneDNN 3.10's gradient of such a weight in bfloat16 (without AMX) reads and writes memory that is not its own: some
        // gradients were anything at all, and some runs ended there. In fp32 it is right, and autocast leaves this operator alone.
        let input = input.f_to_kind(Kind::Float)?;
        return Ok(input.f_convolution(weight, bias, stride, padding, [1; 3], transposed, [0; 3], 1)?);
    }
    Ok(if transposed {
        input.f_conv_transpose3d(weight, bias, stride, padding, 0, 1, 1)?
    } else {
        input.f_conv3d(weight, bias, stride, padding, 1, 1)?
    })
}

/// Whether a padded axis of `input` is shorter than the kernel. A single section under a kernel of 3 does not count: hundreds of
/// shapes of it were right, and thin patches have many.
fn is_wider(weight: &Tensor, padding: [i64; 3], input: &Tensor) -> bool {
    let (input, kernel) = (input.size(), weight.size());
    let axes = padding.into_iter().enumerate().filter(|(_, padding)| *padding > 0);
    let mut sizes = axes.map(|(axis, _)| (axis, input[axis + 2], kernel[axis + 2]));
    sizes.any(|(axis, size, kernel)| size < kernel && (axis, size, kernel) != (0, 1, 3))
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
        convolve(input, &self.weight, self.bias.as_ref(), self.stride, self.padding, true)
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

/// The mean over z, y and x: `[batch, channels, z, y, x]` → `[batch, channels]`, of short formats in float32: rounded means hide that features
/// collapse.
pub(crate) fn global_mean(input: &Tensor) -> Result<Tensor, Error> {
    let kind = if input.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    Ok(input.f_mean_dim([2_i64, 3, 4].as_slice(), false, kind)?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tch::nn;

    /// What freed memory held must not come back as a gradient.
    #[test]
    fn maps_smaller_than_the_kernel_have_gradients_in_bf16() {
        let soil = || {
            for voxels in [1 << 12, 1 << 14, 1 << 16, 27 * 32 * 32, 1 << 18, 1 << 20] {
                drop(Tensor::full([voxels], f64::NAN, (Kind::Float, Device::Cpu)));
            }
        };
        for (kernel, stride, size, transposed) in [
            (3, [1, 1, 1], [2, 4, 2], false),
            (3, [2, 2, 2], [4, 1, 3], false),
            (3, [2, 2, 2], [5, 4, 1], false),
            (3, [1, 1, 1], [4, 4, 4], false),
            (3, [1, 1, 1], [1, 4, 5], false),
            (3, [2, 2, 2], [1, 6, 4], false),
            (7, [1, 2, 2], [4, 8, 8], false),
            (3, [1, 1, 1], [2, 4, 4], true),
            (7, [1, 1, 1], [4, 8, 8], true),
        ] {
            let store = nn::VarStore::new(Device::Cpu);
            let scope = Scope::new(&store.root(), 1);
            let shape =
                ConvShape { input: 32, output: 32, kernel_zyx: [kernel; 3], stride_zyx: stride, bias: false };
            let (plain, up) = (
                Conv3d::new(&scope.sub("plain"), shape, ConvInit::Torch).unwrap(),
                ConvTranspose3d::new(&scope.sub("up"), shape, [(kernel - 1) / 2; 3], ConvInit::Torch)
                    .unwrap(),
            );
            let weight = if transposed { &up.weight } else { &plain.weight };
            tch::manual_seed(1);
            let [z, y, x] = size;
            let input = Tensor::randn([2, 32, z, y, x], (Kind::Float, Device::Cpu));
            let gradient = |half: bool| {
                let output = {
                    let _guard = half.then(|| Autocast::bf16(Device::Cpu).unwrap());
                    let output = if transposed { up.forward(&input) } else { plain.forward(&input) };
                    output.unwrap().to_kind(Kind::Float)
                };
                let weights = (Tensor::arange(output.numel() as i64, (Kind::Float, Device::Cpu)) * 0.7).sin();
                let loss = (output.flatten(0, -1) * weights).sum(Kind::Float);
                soil();
                Tensor::run_backward(&[loss], &[weight], false, false).remove(0)
            };
            let full = gradient(false);
            let apart = (gradient(true) - &full).abs().max().double_value(&[]);
            let largest = full.abs().max().double_value(&[]);
            assert!(apart < 0.05 * largest, "{kernel} over {size:?}, transposed: {transposed}: {apart}");
        }
    }
}
