//! Layers from which the networks are built, with PyTorch's names, defaults and initialisation.
//!
//! Everything takes `[batch, channels, z, y, x]` unless said otherwise.

mod norm;
mod order;
mod pool;

use crate::error::Error;
use crate::init::{ConvInit, Fill, Scope};
use tch::{Device, Kind, Tensor};
use torch_runtime::{Autocast, Group, sum_over_processes};

use norm::{By, batch_norm};
pub use norm::{InstanceNorm3d, LayerNorm};
pub(crate) use norm::{instance_norm, layer_norm};
pub(crate) use pool::max_pool;

/// ε of every normalisation here, PyTorch's default.
const EPSILON: f64 = 1e-5;

/// How far the running statistics move towards those of a batch.
const MOMENTUM: f64 = 0.1;

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

/// What a batch normalisation normalises by.
#[derive(Debug, Clone, Copy)]
pub enum Statistics<'a> {
    /// The running statistics: prediction.
    Running,
    /// Those of the batch, towards which the running ones move: training. Of a group the batch is that of all its processes.
    Batch(Option<&'a Group>),
    /// Likewise, while the running ones move by this share of the way instead of by the momentum; by none of it they stay, and the batch is not counted.
    Moving(Option<&'a Group>, f64),
    /// Those of each half of the batch by itself, as if the halves came one after the other: two views of the same patches.
    Halves(Option<&'a Group>),
}

impl Statistics<'_> {
    /// Those of training by one process, or of prediction.
    #[must_use]
    pub fn of(train: bool) -> Self {
        if train { Self::Batch(None) } else { Self::Running }
    }
}

impl<'a> Statistics<'a> {
    /// Those of one of so many pieces of a batch, which together move the running ones as far as one batch does; none: of a piece that will come
    /// again, which moves nothing.
    pub(crate) fn of_piece(group: Option<&'a Group>, pieces: Option<usize>) -> Self {
        let share = pieces.map_or(0.0, |pieces| 1.0 - (1.0 - MOMENTUM).powf(1.0 / pieces.max(1) as f64));
        Self::Moving(group, share)
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
    pub fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        match statistics {
            Statistics::Running => self.normalised(input, None),
            Statistics::Batch(group) => self.forward(input, Statistics::Moving(group, MOMENTUM)),
            Statistics::Moving(None, share) => self.normalised(input, Some(share)),
            Statistics::Moving(Some(group), share) => self.normalised_over(input, group, share),
            Statistics::Halves(group) => {
                let half = input.size()[0] / 2;
                let halves = input.f_split_with_sizes([half, half].as_slice(), 0)?;
                let normalised: Vec<Tensor> = halves
                    .iter()
                    .map(|half| self.forward(half, Statistics::Batch(group)))
                    .collect::<Result<_, _>>()?;
                Ok(Tensor::f_cat(&normalised, 0)?)
            }
        }
    }

    /// Counts a batch that has so many values of each feature, if it moves the running statistics.
    fn count(&self, values: i64, share: f64) -> Result<(), Error> {
        if values < 2 {
            return Err(Error::SmallBatch { found: values, minimum: 2 });
        }
        if share == 0.0 {
            return Ok(());
        }
        let _ = self.batches.shallow_clone().f_add_scalar_(1)?;
        Ok(())
    }

    /// By the statistics of the batches of all processes, each of which has as many samples.
    fn normalised_over(&self, input: &Tensor, group: &Group, share: f64) -> Result<Tensor, Error> {
        let size = input.size();
        let axes: Vec<i64> = (0..size.len() as i64).filter(|axis| *axis != 1).collect();
        let shape: Vec<i64> =
            size.iter().enumerate().map(|(axis, n)| if axis == 1 { *n } else { 1 }).collect();
        let values = values_of_a_feature(&size) * group.size() as i64;
        self.count(values, share)?;
        // sums of halves would lose what makes a variance
        let kind = if input.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let over = |x: &Tensor| -> Result<Tensor, Error> {
            let sum = x.f_sum_dim_intlist(axes.as_slice(), false, kind)?;
            Ok(sum_over_processes(group, &sum).map_err(Error::Group)?.f_div_scalar(values)?)
        };
        let x = input.f_to_kind(kind)?;
        let mean = over(&x)?;
        let centred = x.f_sub(&mean.f_view(shape.as_slice())?)?;
        let variance = over(&centred.f_square()?)?;
        if share > 0.0 {
            let _guard = tch::no_grad_guard();
            let unbiased = variance.f_mul_scalar(values as f64 / (values - 1) as f64)?;
            for (running, batch) in [(&self.running_mean, &mean), (&self.running_var, &unbiased)] {
                let batch = batch.f_to_kind(running.kind())?;
                let _moved = running.shallow_clone().f_lerp_(&batch, share)?;
            }
        }
        let scale = variance.f_add_scalar(EPSILON)?.f_rsqrt()?;
        let (scale, shift) = match &self.affine {
            Some((weight, bias)) => (scale.f_mul(weight)?, Some(bias)),
            None => (scale, None),
        };
        let mut output = centred.f_mul(&scale.f_view(shape.as_slice())?)?;
        if let Some(bias) = shift {
            output = output.f_add(&bias.f_view(shape.as_slice())?)?;
        }
        Ok(output.f_to_kind(input.kind())?)
    }

    /// In training by the batch, towards which the running statistics move by a share.
    fn normalised(&self, input: &Tensor, share: Option<f64>) -> Result<Tensor, Error> {
        let affine = self.affine.as_ref().map(|(weight, bias)| (weight, bias));
        let running = (&self.running_mean, &self.running_var);
        let Some(share) = share else {
            return batch_norm(input, affine, Some(running), By::Running);
        };
        self.count(values_of_a_feature(&input.size()), share)?;
        // without any, so that values that are not finite leave these alone, too
        let running = (share > 0.0).then_some(running);
        batch_norm(input, affine, running, By::Batch(share))
    }
}

/// How many values of each feature `[batch, features, …]` has.
fn values_of_a_feature(size: &[i64]) -> i64 {
    size.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, n)| n).product()
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

    #[test]
    fn pieces_of_a_batch_move_running_statistics_as_far_as_the_batch() {
        let values = (Tensor::arange(8 * 3 * 4, (Kind::Double, Device::Cpu)) * 0.7).sin() * 2.0 + 1.0;
        let input = values.view([8, 3, 4, 1, 1]);
        let moved = |pieces: i64, again: bool| {
            let store = nn::VarStore::new(Device::Cpu);
            let norm = BatchNorm::new(&Scope::new(&store.root(), 1), 3, true).unwrap();
            for piece in input.to_kind(Kind::Float).chunk(pieces, 0) {
                let first = norm.forward(&piece, Statistics::of_piece(None, None)).unwrap();
                if again {
                    let second = norm.forward(&piece, Statistics::of_piece(None, Some(pieces as usize)));
                    assert_eq!(first, second.unwrap());
                }
            }
            (norm.running_mean.copy(), norm.batches.int64_value(&[]))
        };
        let (start, whole) = (moved(2, false), moved(1, true));
        assert_eq!((start.0.abs().max().double_value(&[]), start.1), (0.0, 0));
        assert_eq!(whole.1, 1);
        // of the whole way a tenth, whatever the number of pieces
        let expected = input.mean_dim([0_i64, 2, 3, 4].as_slice(), false, Kind::Float) * MOMENTUM;
        assert!((&whole.0 - &expected).abs().max().double_value(&[]) < 1e-6);
        let pieces = moved(4, true);
        assert!((&pieces.0 - &expected).abs().max().double_value(&[]) < 0.02, "{pieces:?} {expected:?}");
    }

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
