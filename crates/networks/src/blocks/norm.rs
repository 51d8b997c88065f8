//! Normalisation of each sample by itself.
//!
//! LibTorch's CPU kernels keep mean and deviation in the input's format unless scale and shift are float32. In bfloat16 a
//! mean of three digits can be further from the values than these are from each other: over the two voxels of a coarse map,
//! gradients were wrong by several times their size, and infinite behind a chain of such norms. So what has neither scale
//! nor shift gets ones and zeros in float32 there.

use super::EPSILON;
use super::order::{is_channels_last, plane, volume};
use super::then::Then;
use crate::error::Error;
use crate::init::{Fill, Scope};
use tch::{Device, Kind, Tensor};

/// Instance normalisation with scale and shift, without running statistics; ε 1e-5.
#[derive(Debug)]
pub struct InstanceNorm3d {
    weight: Tensor,
    bias: Tensor,
}

impl InstanceNorm3d {
    /// The scale starts at `scale`: 0 lets a residual branch start as nothing.
    pub(crate) fn new(scope: &Scope<'_>, features: i64, scale: f64) -> Result<Self, Error> {
        Ok(Self {
            weight: scope.parameter("weight", &[features], Fill::Constant(scale))?,
            bias: scope.parameter("bias", &[features], Fill::Constant(0.0))?,
        })
    }

    /// Each sample's each channel to mean 0 and variance 1 over z, y, x, then scaled and shifted, then what follows.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub(crate) fn forward(&self, input: &Tensor, then: Then<'_>) -> Result<Tensor, Error> {
        instance_norm(input, Some([&self.weight, &self.bias]), then)
    }
}

/// Each sample's each channel to mean 0 and variance 1 over z, y, x, ε 1e-5; scaled and shifted where `affine` says, then what follows.
pub(crate) fn instance_norm(
    input: &Tensor,
    affine: Option<[&Tensor; 2]>,
    then: Then<'_>,
) -> Result<Tensor, Error> {
    match then.fused(input, input.size()[0], affine.map(|[weight, bias]| (weight, bias)))? {
        Some(normalised) => Ok(normalised.output),
        None => instance_norm_in_parts(input, affine, then),
    }
}

/// By LibTorch's operations, one after the other.
fn instance_norm_in_parts(
    input: &Tensor,
    affine: Option<[&Tensor; 2]>,
    then: Then<'_>,
) -> Result<Tensor, Error> {
    let (batch, channels, z, y, x) = input.size5()?;
    let neutral = neutral(input, channels, affine.is_some())?;
    let (weight, bias) = pair(affine, neutral.as_ref());
    if is_channels_last(input)? {
        // LibTorch's instance norm brings the input into the order of axes first; its batch norm does not, and over a batch of
        // one sample it is the same.
        let normalised: Vec<Tensor> = input
            .f_split(1, 0)?
            .iter()
            .map(|sample| batch_norm(sample, weight.zip(bias), None, By::Batch(0.0), Then::NOTHING))
            .collect::<Result<_, _>>()?;
        return then.follow(Tensor::f_cat(&normalised, 0)?);
    }
    if input.device() == Device::Cpu {
        // The same numbers from the kernel for groups of one channel, which is a third faster on CPU.
        return then.follow(input.f_contiguous()?.f_group_norm(channels, weight, bias, EPSILON, true)?);
    }
    // What LibTorch's instance norm does, whose answer is a view.
    let shaped = |maps: &Tensor| Ok(maps.f_contiguous()?.f_view([1, batch * channels, z, y, x])?);
    let of_samples = |vector: Option<&Tensor>| vector.map(|vector| vector.f_repeat([batch])).transpose();
    let (weight, bias) = (of_samples(weight)?, of_samples(bias)?);
    let affine = weight.as_ref().zip(bias.as_ref());
    let normalised = batch_norm(&shaped(input)?, affine, None, By::Batch(0.0), Then::NOTHING)?;
    Ok(then.follow_shaped(normalised, shaped)?.f_view([batch, channels, z, y, x])?)
}

/// Whose statistics a batch norm takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    Running,
    /// The running ones, if there are any, move towards these by a share of the way.
    Batch(f64),
}

/// LibTorch's batch norm: each feature to mean 0 and variance 1, then scaled and shifted by `affine`, then what follows.
pub(super) fn batch_norm(
    input: &Tensor,
    affine: Option<(&Tensor, &Tensor)>,
    running: Option<(&Tensor, &Tensor)>,
    by: By,
    then: Then<'_>,
) -> Result<Tensor, Error> {
    let (train, momentum) = match by {
        By::Running => (false, 0.0),
        By::Batch(share) => (true, share),
    };
    let (weight, bias) = affine.unzip();
    let (mean, variance) = running.unzip();
    let normalised =
        |input: &Tensor| input.f_batch_norm(weight, bias, mean, variance, train, momentum, EPSILON, true);
    if input.device() != Device::Cpu && is_channels_last(input)? {
        // LibTorch's batch norm has kernels for this order on a GPU, which it takes for two axes of space only; three go through
        // kernels for any order
        volume(&then.follow_shaped(normalised(&plane(input)?)?, plane)?, input.size5()?)
    } else {
        then.follow(normalised(input)?)
    }
}

/// Each position's features to mean 0 and variance 1, ε 1e-5; then scaled and shifted where `affine` says.
///
/// # Shapes
/// input and output: `[…, features]`.
pub(crate) fn layer_norm(
    input: &Tensor,
    features: i64,
    affine: Option<[&Tensor; 2]>,
) -> Result<Tensor, Error> {
    let neutral = neutral(input, features, affine.is_some())?;
    let (weight, bias) = pair(affine, neutral.as_ref());
    Ok(input.f_layer_norm(features, weight, bias, EPSILON, true)?)
}

/// Ones and zeros where statistics would otherwise be kept in a short format.
fn neutral(input: &Tensor, features: i64, has_affine: bool) -> Result<Option<[Tensor; 2]>, Error> {
    if has_affine || input.device() != Device::Cpu || input.kind() == Kind::Float {
        return Ok(None);
    }
    let options = (Kind::Float, Device::Cpu);
    Ok(Some([Tensor::f_ones([features], options)?, Tensor::f_zeros([features], options)?]))
}

fn pair<'a>(
    affine: Option<[&'a Tensor; 2]>,
    neutral: Option<&'a [Tensor; 2]>,
) -> (Option<&'a Tensor>, Option<&'a Tensor>) {
    affine
        .or_else(|| neutral.map(|[weight, bias]| [weight, bias]))
        .map(|[weight, bias]| (weight, bias))
        .unzip()
}

/// Layer normalisation over the last axis; ε 1e-5.
#[derive(Debug)]
pub struct LayerNorm {
    features: i64,
    affine: Option<(Tensor, Tensor)>,
}

impl LayerNorm {
    pub(crate) fn new(scope: &Scope<'_>, features: i64, affine: bool) -> Result<Self, Error> {
        let affine = if affine {
            Some((
                scope.parameter("weight", &[features], Fill::Constant(1.0))?,
                scope.parameter("bias", &[features], Fill::Constant(0.0))?,
            ))
        } else {
            None
        };
        Ok(Self { features, affine })
    }

    /// `[…, features]` → the same shape.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        layer_norm(input, self.features, self.affine.as_ref().map(|(weight, bias)| [weight, bias]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest difference of the gradient in bfloat16 from that of the same values in float32, relative to the latter.
    fn error(values: &Tensor, norm: impl Fn(&Tensor) -> Tensor) -> f64 {
        let short = values.to_kind(Kind::BFloat16);
        let places = Tensor::arange(values.numel() as i64, (Kind::Float, Device::Cpu)).reshape(values.size());
        let upstream = (places * 1.7).sin().to_kind(Kind::BFloat16);
        let gradient = |kind: Kind| {
            let input = short.to_kind(kind).detach().set_requires_grad(true);
            (norm(&input) * upstream.to_kind(kind)).sum(Kind::Float).backward();
            input.grad().to_kind(Kind::Float)
        };
        let exact = gradient(Kind::Float);
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        largest(&(gradient(Kind::BFloat16) - &exact)) / largest(&exact)
    }

    #[test]
    fn gradients_in_bf16_are_near_where_a_map_has_two_voxels_far_from_zero() {
        // two voxels of each channel are 1 to 4 steps of the format apart, which are 1/64 there: odd ones have no mean in it
        let pairs: Vec<f32> = (0..24u8)
            .flat_map(|channel| {
                let first = 2.5 + f32::from(channel) / 64.0;
                [first, first + f32::from(1 + channel % 4) / 64.0]
            })
            .collect();
        let values = Tensor::from_slice(&pairs).view([1, 24, 1, 2, 1]);
        let found = error(&values, |input| instance_norm(input, None, Then::NOTHING).unwrap());
        assert!(found < 0.01, "{found}");
        let found = error(&values, |input| {
            let last = input.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3]);
            assert!(is_channels_last(&last).unwrap());
            instance_norm(&last, None, Then::NOTHING).unwrap()
        });
        assert!(found < 0.01, "channels last: {found}");
        let plain =
            error(&values, |input| input.group_norm(24, None::<Tensor>, None::<Tensor>, EPSILON, true));
        assert!(plain > 1.0, "LibTorch's own is good enough now: {plain}");
        let found = error(&values.reshape([24, 2]), |input| layer_norm(input, 2, None).unwrap());
        assert!(found < 0.01, "{found}");
    }
    #[test]
    fn maps_of_two_axes_are_normalised_like_those_of_three() {
        for size in [[2, 5, 3, 4, 6], [1, 4, 1, 3, 2], [3, 2, 2, 1, 1], [1, 3, 2, 2, 2]] {
            let [n, c, z, y, x] = size;
            let map = |phase: f64| {
                let values = Tensor::arange(n * c * z * y * x, (Kind::Double, Device::Cpu)) * 1.3 + phase;
                values.sin().view([n, z, y, x, c]).permute([0, 4, 1, 2, 3])
            };
            let answers = |norm: &dyn Fn(&Tensor) -> Tensor| {
                let input = map(0.0).set_requires_grad(true);
                let output = norm(&input);
                (&output * map(2.0)).sum(Kind::Double).backward();
                (output, input.grad())
            };
            assert!(is_channels_last(&map(0.0)).unwrap(), "{size:?}");
            let (there, back) =
                answers(&|input| batch_norm(input, None, None, By::Batch(0.0), Then::NOTHING).unwrap());
            let (flat, flat_back) = answers(&|input| {
                let plane = plane(input).unwrap();
                assert!(plane.permute([0, 2, 3, 1]).is_contiguous());
                let flat = batch_norm(&plane, None, None, By::Batch(0.0), Then::NOTHING).unwrap();
                volume(&flat, (n, c, z, y, x)).unwrap()
            });
            assert_eq!((flat.stride(), flat_back.stride()), (map(0.0).stride(), map(0.0).stride()));
            assert!((there - flat).abs().max().double_value(&[]) < 1e-12, "{size:?}");
            assert!((back - flat_back).abs().max().double_value(&[]) < 1e-12, "{size:?}");
        }
    }
}
