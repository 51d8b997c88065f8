//! The U-Net on the 3-D ResNet-50 that GTGM fine-tunes (`ResUNet` in the published code), with raw logits; and the one with
//! attention on its skips (`ResUNetWithAttention`).

mod attention;
mod config;
mod keys;

use crate::blocks::{Conv3d, ConvShape, ConvTranspose3d, InstanceNorm3d, Statistics, Then, check_input};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use crate::resnet::{Layer, Stem, maps, no_stages};
use attention::SkipAttention;
use tch::{Tensor, nn};

pub use config::{DecoderNorm, ResUNetOptions};

/// Channels of x1 … x5.
const CHANNELS: [i64; 5] = [64, 256, 512, 1024, 2048];

/// ResNet-50 as encoder; a decoder that adds the skips and, as published, has no normalisation (gtgm.md, section 6.1).
///
/// Sizes need not be divisible by the strides: what a transposed convolution gives too much is cropped from the middle,
/// and the last step to full resolution is an adaptive average pooling, which replicates where sizes divide.
///
/// With [`ResUNetOptions::attention`] the skips pass self-attention (section 6.2): x + γ·A v, A = softmax(q kᵀ/√(C/8)).
/// Published are neither the scale nor the gate γ, which starts at 0, nor a bound on the matrix A.
#[derive(Debug)]
pub struct ResUNet50 {
    in_channels: i64,
    stem: Stem,
    layers: Vec<Layer>,
    /// From the deepest to the shallowest.
    steps: Vec<Step>,
    output: Conv3d,
}

impl ResUNet50 {
    /// Builds it at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For fewer than one channel or class, and when a name is taken.
    pub fn new(
        path: &nn::Path<'_>,
        in_channels: i64,
        classes: i64,
        options: ResUNetOptions,
        seed: u64,
    ) -> Result<Self, Error> {
        at_least_one("in_channels", in_channels)?;
        at_least_one("classes", classes)?;
        let scope = Scope::new(path, seed);
        let first = scope.sub("encoder1");
        let stem = Stem::new(&first.sub(0), &first.sub(1), in_channels)?;
        let layers = (0..4)
            .map(|index| Layer::new(&scope.sub(format!("encoder{}", index + 2)), index))
            .collect::<Result<_, _>>()?;
        let steps = (1..=4).rev().map(|level| Step::new(&scope, level, options)).collect::<Result<_, _>>()?;
        let output = Conv3d::new(&scope.sub("output"), same_size(64, classes, 1), ConvInit::Torch)?;
        Ok(Self { in_channels, stem, layers, steps, output })
    }

    /// Logits at the input's resolution.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, classes, z, y, x]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_t(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        self.forward(input, Statistics::of(train))
    }

    /// As [`ResUNet50::forward_t`]; batch norms normalise by `statistics`.
    ///
    /// # Errors
    /// As for [`ResUNet50::forward_t`].
    pub fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        check_input("ResUNet-50", input, self.in_channels, [1; 3])?;
        let mut skips = maps(&self.stem, &self.layers, input, statistics)?;
        let mut current = skips.pop().ok_or_else(no_stages)?;
        for step in &self.steps {
            current = step.up.forward(&current)?;
            if let Some(skip) = skips.pop() {
                let skip = step.attention.as_ref().map_or(Ok(skip.shallow_clone()), |a| a.forward(&skip))?;
                current = crop_to(&current, &skip)?.f_add(&skip)?;
            }
            if skips.is_empty() {
                current = current.f_adaptive_avg_pool3d(&input.size()[2..])?;
            }
            for (convolution, norm) in &step.convolutions {
                current = convolution.forward(&current)?;
                current = match norm {
                    Some(norm) => norm.forward(&current, Then::RELU)?,
                    None => current.f_relu_()?,
                };
            }
        }
        self.output.forward(&current)
    }
}

/// `upconvL`, `attentionL` and `decoderL`: from x(L+1) to the size of xL.
#[derive(Debug)]
struct Step {
    up: ConvTranspose3d,
    attention: Option<SkipAttention>,
    convolutions: [(Conv3d, Option<InstanceNorm3d>); 2],
}

impl Step {
    fn new(scope: &Scope<'_>, level: usize, options: ResUNetOptions) -> Result<Self, Error> {
        let (input, output) = (CHANNELS[level], CHANNELS[level - 1]);
        // The shallowest keeps the resolution: x2 and x1 have the same.
        let (kernel_zyx, stride_zyx, padding_zyx) = match level {
            1 => ([3, 7, 7], [1; 3], [1, 3, 3]),
            _ => ([2; 3], [2; 3], [0; 3]),
        };
        let up = ConvShape { input, output, kernel_zyx, stride_zyx, bias: true };
        let attention =
            |weights| SkipAttention::new(&scope.sub(format!("attention{level}")), output, weights);
        let decoder = scope.sub(format!("decoder{level}"));
        // Numbers as published, whether there are norms or not.
        let convolution = |index: usize| {
            let shape = same_size(output, output, 3);
            let norm = match options.decoder_norm {
                DecoderNorm::None => None,
                DecoderNorm::Instance => {
                    Some(InstanceNorm3d::new(&decoder.sub(format!("norm{index}")), output, 1.0)?)
                }
            };
            Ok::<_, Error>((Conv3d::new(&decoder.sub(index), shape, ConvInit::Torch)?, norm))
        };
        Ok(Self {
            up: ConvTranspose3d::new(&scope.sub(format!("upconv{level}")), up, padding_zyx, ConvInit::Torch)?,
            attention: options.attention.map(attention).transpose()?,
            // Index 1 is the ReLU between them.
            convolutions: [convolution(0)?, convolution(2)?],
        })
    }
}

fn same_size(input: i64, output: i64, kernel: i64) -> ConvShape {
    ConvShape { input, output, kernel_zyx: [kernel; 3], stride_zyx: [1; 3], bias: true }
}

/// The middle of `tensor` in the size of `like`; the odd voxel goes from the end. Since 2·⌈n/2⌉ ≥ n, `tensor` is never
/// the smaller one.
fn crop_to(tensor: &Tensor, like: &Tensor) -> Result<Tensor, Error> {
    let mut cropped = tensor.shallow_clone();
    for (axis, (have, want)) in tensor.size().into_iter().zip(like.size()).enumerate().skip(2) {
        if have != want {
            cropped = cropped.f_narrow(axis as i64, (have - want) / 2, want)?;
        }
    }
    Ok(cropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn cropping_takes_the_odd_voxel_from_the_end() {
        let tensor = Tensor::arange(4, (Kind::Float, Device::Cpu)).reshape([1, 1, 1, 1, 4]);
        let cropped = crop_to(&tensor, &Tensor::zeros([1, 1, 1, 1, 3], (Kind::Float, Device::Cpu))).unwrap();
        assert_eq!(Vec::<f32>::try_from(cropped.reshape(-1)).unwrap(), [0.0, 1.0, 2.0]);
    }
}
