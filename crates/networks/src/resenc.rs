//! nnU-Net's residual-encoder U-Net and its encoder alone (Isensee et al. 2024), with the state-dict names of
//! dynamic-network-architectures.
//!
//! There one tensor has several names (`conv.weight` and `all_modules.0.weight`; `encoder.…` and `decoder.encoder.…`).
//! Here it has the first; [`crate::weights`] writes and reads the others.

use crate::blocks::{Conv3d, ConvShape, ConvTranspose3d, InstanceNorm3d, Then, check_input};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::{ConvInit, Scope};
use crate::resnet::{no_stages, pooled};
use crate::topology::ResEncConfig;
use tch::{Tensor, nn};

/// The encoder: a stem and stages of residual blocks.
#[derive(Debug)]
pub struct ResEncEncoder {
    in_channels: i64,
    out_features: i64,
    divisor_zyx: [i64; 3],
    stem: ConvNorm,
    stages: Vec<Vec<Block>>,
}

impl ResEncEncoder {
    /// Builds it at `path` under the name `encoder`, values drawn from `seed`.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(
        path: &nn::Path<'_>,
        in_channels: i64,
        config: &ResEncConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        at_least_one("in_channels", in_channels)?;
        config.validate()?;
        let scope = Scope::new(path, seed).sub("encoder");
        let first = config.features[0];
        let shape = ConvShape {
            input: in_channels,
            output: first,
            kernel_zyx: config.kernels_zyx[0],
            stride_zyx: [1; 3],
            bias: true,
        };
        let stem = ConvNorm::new(&scope.sub("stem").sub("convs").sub(0), shape, 1.0)?;
        let mut input = first;
        let mut stages = Vec::with_capacity(config.features.len());
        for (stage, output) in config.features.iter().copied().enumerate() {
            let scope = scope.sub("stages").sub(stage).sub("blocks");
            let mut blocks = Vec::with_capacity(config.blocks[stage]);
            for block in 0..config.blocks[stage] {
                let shape = ConvShape {
                    input,
                    output,
                    kernel_zyx: config.kernels_zyx[stage],
                    stride_zyx: if block == 0 { config.strides_zyx[stage] } else { [1; 3] },
                    bias: true,
                };
                blocks.push(Block::new(&scope.sub(block), shape)?);
                input = output;
            }
            stages.push(blocks);
        }
        Ok(Self {
            in_channels,
            out_features: input,
            divisor_zyx: config.required_divisor_zyx(),
            stem,
            stages,
        })
    }

    /// Features in the pooled vector.
    pub fn out_features(&self) -> i64 {
        self.out_features
    }

    /// The output of every stage, finest first.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`; stage s: `[batch, features[s], ⌈z / strides up to s⌉, …]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_maps(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        check_input("the residual encoder", input, self.in_channels, [1; 3])?;
        let mut current = self.stem.forward(input, Then::LEAKY_RELU)?;
        let mut maps = Vec::with_capacity(self.stages.len());
        for blocks in &self.stages {
            for block in blocks {
                current = block.forward(&current)?;
            }
            maps.push(current.shallow_clone());
        }
        Ok(maps)
    }

    /// The mean of the last stage over space.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, out_features]`.
    ///
    /// # Errors
    /// As for [`ResEncEncoder::forward_maps`].
    pub fn forward_features(&self, input: &Tensor) -> Result<Tensor, Error> {
        pooled(&self.forward_maps(input)?)
    }
}

/// The whole U-Net: the encoder, and a decoder with a segmentation layer at each of its resolutions.
#[derive(Debug)]
pub struct ResEncUNet {
    encoder: ResEncEncoder,
    /// Coarsest first.
    decoder: Vec<DecoderStage>,
}

#[derive(Debug)]
struct DecoderStage {
    up: ConvTranspose3d,
    convolutions: Vec<ConvNorm>,
    segmentation: Conv3d,
}

impl ResEncUNet {
    /// Builds it at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For a configuration that describes no network, and when a name is taken.
    pub fn new(
        path: &nn::Path<'_>,
        in_channels: i64,
        classes: i64,
        config: &ResEncConfig,
        seed: u64,
    ) -> Result<Self, Error> {
        at_least_one("classes", classes)?;
        let encoder = ResEncEncoder::new(path, in_channels, config, seed)?;
        let scope = Scope::new(path, seed).sub("decoder");
        let mut decoder = Vec::with_capacity(config.decoder_convs.len());
        for (stage, convolutions) in config.decoder_convs.iter().copied().enumerate() {
            let below = config.features.len() - 1 - stage;
            let (coarse, fine) = (config.features[below], config.features[below - 1]);
            let stride_zyx = config.strides_zyx[below];
            let up =
                ConvShape { input: coarse, output: fine, kernel_zyx: stride_zyx, stride_zyx, bias: true };
            let shape = |input| ConvShape {
                input,
                output: fine,
                kernel_zyx: config.kernels_zyx[below - 1],
                stride_zyx: [1; 3],
                bias: true,
            };
            let names = scope.sub("stages").sub(stage).sub("convs");
            decoder.push(DecoderStage {
                up: ConvTranspose3d::new(
                    &scope.sub("transpconvs").sub(stage),
                    up,
                    [0; 3],
                    ConvInit::LeakyHe,
                )?,
                convolutions: (0..convolutions)
                    .map(|index| {
                        // The first sees the skip beside what comes from below.
                        ConvNorm::new(&names.sub(index), shape(if index == 0 { 2 * fine } else { fine }), 1.0)
                    })
                    .collect::<Result<_, _>>()?,
                segmentation: Conv3d::new(
                    &scope.sub("seg_layers").sub(stage),
                    ConvShape { output: classes, kernel_zyx: [1; 3], ..shape(fine) },
                    ConvInit::LeakyHe,
                )?,
            });
        }
        Ok(Self { encoder, decoder })
    }

    /// The encoder.
    pub fn encoder(&self) -> &ResEncEncoder {
        &self.encoder
    }

    /// Logits at the input's resolution.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`, output: `[batch, classes, z, y, x]`.
    ///
    /// # Errors
    /// For inputs of another shape, and when LibTorch refuses.
    pub fn forward_t(&self, input: &Tensor) -> Result<Tensor, Error> {
        let last = self.decoder.len() - 1;
        let mut logits = self.run(input, |stage| stage == last)?;
        logits.pop().ok_or_else(no_stages)
    }

    /// Logits of every decoder stage for deep supervision, the input's resolution first.
    ///
    /// # Shapes
    /// input: `[batch, in_channels, z, y, x]`; output i: `[batch, classes, …]` at the resolution of encoder stage i.
    ///
    /// # Errors
    /// As for [`ResEncUNet::forward_t`].
    pub fn forward_deep(&self, input: &Tensor) -> Result<Vec<Tensor>, Error> {
        let mut logits = self.run(input, |_| true)?;
        logits.reverse();
        Ok(logits)
    }

    /// Logits of the decoder stages that `wanted` selects, coarsest first.
    fn run(&self, input: &Tensor, wanted: impl Fn(usize) -> bool) -> Result<Vec<Tensor>, Error> {
        check_input("the residual U-Net", input, self.encoder.in_channels, self.encoder.divisor_zyx)?;
        let mut skips = self.encoder.forward_maps(input)?;
        let mut current = skips.pop().ok_or_else(no_stages)?;
        let mut logits = Vec::new();
        for (index, (stage, skip)) in self.decoder.iter().zip(skips.into_iter().rev()).enumerate() {
            current = Tensor::f_cat(&[stage.up.forward(&current)?, skip], 1)?;
            for convolution in &stage.convolutions {
                current = convolution.forward(&current, Then::LEAKY_RELU)?;
            }
            if wanted(index) {
                logits.push(stage.segmentation.forward(&current)?);
            }
        }
        Ok(logits)
    }
}

/// A convolution and its norm.
#[derive(Debug)]
struct ConvNorm {
    convolution: Conv3d,
    norm: InstanceNorm3d,
}

impl ConvNorm {
    fn new(scope: &Scope<'_>, shape: ConvShape, scale: f64) -> Result<Self, Error> {
        Ok(Self {
            convolution: Conv3d::new(&scope.sub("conv"), shape, ConvInit::LeakyHe)?,
            norm: InstanceNorm3d::new(&scope.sub("norm"), shape.output, scale)?,
        })
    }

    fn forward(&self, input: &Tensor, then: Then<'_>) -> Result<Tensor, Error> {
        self.norm.forward(&self.convolution.forward(input)?, then)
    }
}

/// Two convolutions beside a shortcut, which is pooled where the block strides and projected where channels change.
#[derive(Debug)]
struct Block {
    first: ConvNorm,
    second: ConvNorm,
    pooling: Option<[i64; 3]>,
    projection: Option<ConvNorm>,
}

impl Block {
    fn new(scope: &Scope<'_>, shape: ConvShape) -> Result<Self, Error> {
        let pooling = (shape.stride_zyx != [1; 3]).then_some(shape.stride_zyx);
        let projection = if shape.input == shape.output {
            None
        } else {
            let shape = ConvShape { kernel_zyx: [1; 3], stride_zyx: [1; 3], bias: false, ..shape };
            // The pooling takes the first index where there is one.
            Some(ConvNorm::new(&scope.sub("skip").sub(usize::from(pooling.is_some())), shape, 1.0)?)
        };
        let second = ConvShape { input: shape.output, stride_zyx: [1; 3], ..shape };
        Ok(Self {
            first: ConvNorm::new(&scope.sub("conv1"), shape, 1.0)?,
            // Scale 0: at the start the block is its shortcut, as nnU-Net has it.
            second: ConvNorm::new(&scope.sub("conv2"), second, 0.0)?,
            pooling,
            projection,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor, Error> {
        let mut shortcut = match self.pooling {
            Some(size) => {
                // as many voxels as the convolutions leave of an odd size
                let sizes = input.size();
                let size: [i64; 3] = std::array::from_fn(|axis| size[axis].min(sizes[axis + 2]));
                input.f_avg_pool3d(size, size, 0, true, true, None)?
            }
            None => input.shallow_clone(),
        };
        if let Some(projection) = &self.projection {
            shortcut = projection.forward(&shortcut, Then::NOTHING)?;
        }
        let inner = self.first.forward(input, Then::LEAKY_RELU)?;
        self.second.forward(&inner, Then::LEAKY_RELU.after_adding(&shortcut))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ResEncSize;
    use tch::{Device, Kind};

    #[test]
    fn anisotropic_nets_keep_shapes_and_refuse_what_does_not_divide() {
        let config = ResEncConfig::for_patch([8, 32, 32], [4.0, 1.0, 1.0], ResEncSize::Compact).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let net = ResEncUNet::new(&store.root(), 2, 3, &config, 1).unwrap();
        let input = Tensor::ones([2, 2, 8, 32, 32], (Kind::Float, Device::Cpu));
        let deep = net.forward_deep(&input).unwrap();
        assert_eq!(deep.len(), config.features.len() - 1);
        assert_eq!(deep[0].size(), [2, 3, 8, 32, 32]);
        assert_eq!(deep[1].size()[2..], [8, 16, 16]);
        let whole = net.forward_t(&input).unwrap();
        assert!(whole.allclose(&deep[0], 1e-6, 1e-6, false));
        let text = net.forward_t(&input.narrow(4, 0, 30)).unwrap_err().to_string();
        assert!(text.contains("30") && text.contains("multiples of"), "{text}");
        assert!(net.forward_t(&input.narrow(1, 0, 1)).is_err());
        // without a decoder nothing has to fit
        let config = ResEncConfig::for_patch([32; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let encoder = ResEncEncoder::new(&store.root().sub("odd"), 1, &config, 1).unwrap();
        let odd = Tensor::ones([1, 1, 3, 32, 30], (Kind::Float, Device::Cpu));
        let sizes: Vec<Vec<i64>> =
            encoder.forward_maps(&odd).unwrap().iter().map(|map| map.size()[2..].to_vec()).collect();
        assert_eq!(sizes, [[3, 32, 30], [2, 16, 15], [1, 8, 8], [1, 4, 4]]);
    }

    #[test]
    fn every_weight_of_deep_supervision_gets_a_gradient() {
        let config = ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let net = ResEncUNet::new(&store.root(), 1, 2, &config, 1).unwrap();
        let input = Tensor::randn([1, 1, 16, 16, 16], (Kind::Float, Device::Cpu));
        let loss =
            net.forward_deep(&input).unwrap().iter().map(|t| t.square().mean(Kind::Float)).sum::<Tensor>();
        loss.backward();
        for (name, tensor) in store.variables() {
            assert!(tensor.grad().defined(), "{name}");
        }
        assert_eq!(net.encoder().out_features(), 64);
    }
}
