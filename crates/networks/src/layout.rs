//! The order in memory of a network's convolution weights, which decides that of its feature maps.

use crate::config::{EncoderKind, NetworkKind};
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tch::{Device, Tensor, nn};
use torch_runtime::Precision;

/// Order of the axes of 5-D tensors in memory; values, shapes and files are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryFormat {
    /// Batch, channel, z, y, x.
    #[default]
    Contiguous,
    /// Batch, z, y, x, channel: convolutions are faster, and on a CPU most norms are one operation with the sum and the rectifier behind them. There
    /// the last layer of a ResNet-50 stays contiguous.
    ChannelsLast,
}

/// From so many values on, reordering a weight's gradient in every pass costs a CPU more than the order gains: those of the last layer of a
/// ResNet-50 (512 × 512 × 3 × 3 × 3), whose feature maps are small.
const LARGE_KERNEL: usize = 4 << 20;

impl MemoryFormat {
    /// What was measured to be faster for an encoder.
    #[must_use]
    pub fn faster(encoder: EncoderKind, device: Device, precision: Precision) -> Self {
        match encoder {
            EncoderKind::Resnet50 => Self::ChannelsLast,
            EncoderKind::Resenc if device == Device::Cpu && precision == Precision::Fp32 => {
                Self::ChannelsLast
            }
            EncoderKind::Resenc | EncoderKind::SwinUnetr => Self::Contiguous,
        }
    }

    /// What was measured to be faster for a segmentation network; contiguous where nothing was.
    #[must_use]
    pub fn faster_for_segmentation(network: NetworkKind, device: Device, precision: Precision) -> Self {
        match network {
            NetworkKind::Resenc => Self::faster(EncoderKind::Resenc, device, precision),
            NetworkKind::Resunet50 | NetworkKind::Attresunet50 | NetworkKind::SwinUnetr => Self::Contiguous,
        }
    }

    /// Brings all 5-D variables of a store into this order. LibTorch's convolutions take the order of their weights for
    /// their outputs. Call it before an optimiser is made.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn apply(self, store: &nn::VarStore) -> Result<(), Error> {
        let _guard = tch::no_grad_guard();
        let variables = store.variables();
        let kept: BTreeSet<&str> = variables
            .iter()
            .filter(|(_, v)| v.dim() == 5 && v.numel() >= LARGE_KERNEL && !v.device().is_cuda())
            .map(|(name, _)| layer(name))
            .collect();
        for (name, variable) in variables.iter().filter(|(_, variable)| variable.dim() == 5) {
            let data = variable.detach();
            let stays = kept.contains(layer(name));
            let ordered = match self {
                Self::ChannelsLast if !stays => channels_last(&data)?,
                _ => data.f_contiguous()?,
            };
            variable.shallow_clone().f_set_data(&ordered)?;
        }
        Ok(())
    }
}

/// The weight in this order, which its strides tell even where there is one channel only, as in the first layer: LibTorch's convolutions go by them.
fn channels_last(weight: &Tensor) -> Result<Tensor, Error> {
    let (output, input, z, y, x) = weight.size5()?;
    let strides = [z * y * x * input, 1, y * x * input, x * input, input];
    let mut ordered =
        Tensor::f_empty_strided([output, input, z, y, x], strides, (weight.kind(), weight.device()))?;
    ordered.f_copy_(weight)?;
    Ok(ordered)
}

/// `layer4` of `layer4.0.conv2.weight` and of `layer4.0.downsample.0.weight`: what has one order, or maps would be reordered in between.
fn layer(name: &str) -> &str {
    let end = name
        .match_indices('.')
        .map(|(at, _)| at)
        .find(|at| name[..*at].ends_with(|c: char| c.is_ascii_digit()));
    &name[..end.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Encoder, EncoderConfig, ResEncConfig, ResEncSize};
    use tch::Kind;

    #[test]
    fn instance_norms_follow_the_order_and_change_no_value() {
        let topology = ResEncConfig::for_patch([8, 32, 32], [1.0; 3], ResEncSize::Compact).unwrap();
        let config = EncoderConfig::Resenc { in_channels: 1, topology };
        tch::manual_seed(1);
        let input = Tensor::randn([3, 1, 8, 32, 32], (Kind::Float, Device::Cpu));
        let step = |format: MemoryFormat| {
            let store = nn::VarStore::new(Device::Cpu);
            let encoder = Encoder::new(&store.root(), &config, 3).unwrap();
            format.apply(&store).unwrap();
            let maps = encoder.forward_maps(&input, true).unwrap();
            maps.iter().map(|map| map.square().mean(Kind::Float)).sum::<Tensor>().backward();
            let mut gradients: Vec<(String, Tensor)> =
                store.variables().into_iter().map(|(name, v)| (name, v.grad())).collect();
            gradients.sort_by(|a, b| a.0.cmp(&b.0));
            (maps, gradients)
        };
        let (plain, last) = (step(MemoryFormat::Contiguous), step(MemoryFormat::ChannelsLast));
        assert!(plain.0[1].is_contiguous() && last.0[1].stride()[1] == 1);
        // the one operation for norms takes these, not those
        let taken = |maps: &[Tensor]| torch_runtime::Normalisation::takes(&maps[1]).unwrap();
        assert!(taken(&last.0) && !taken(&plain.0));
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        let apart = |a: &Tensor, b: &Tensor, floor: f64| largest(&(a - b)) / largest(b).max(floor);
        assert!(plain.0.iter().zip(&last.0).all(|(a, b)| apart(b, a, 1e-6) < 1e-4));
        // a bias before a norm has no gradient but what rounding leaves of sums of such numbers
        let of_all = plain.1.iter().map(|(_, gradient)| largest(gradient)).fold(0.0, f64::max);
        for ((name, a), (_, b)) in plain.1.iter().zip(&last.1) {
            let difference = apart(b, a, 1e-3 * of_all);
            assert!(difference < 1e-3, "{name}: {difference}");
        }
    }

    #[test]
    fn the_order_changes_no_value() {
        let store = nn::VarStore::new(Device::Cpu);
        let config = EncoderConfig::Resnet50 { in_channels: 1 };
        let encoder = Encoder::new(&store.root(), &config, 3).unwrap();
        tch::manual_seed(1);
        let input = Tensor::randn([2, 1, 8, 64, 64], (Kind::Float, Device::Cpu));
        let maps = encoder.forward_maps(&input, false).unwrap();
        let weight = |store: &nn::VarStore| store.variables()["layer2.0.conv2.weight"].shallow_clone();
        let before = weight(&store);
        let values = before.copy();
        MemoryFormat::ChannelsLast.apply(&store).unwrap();
        // the variable itself was reordered: whoever holds it sees that
        assert_eq!(before.stride(), weight(&store).stride());
        assert_eq!(before.stride()[1], 1);
        assert!(before.equal(&values) && before.requires_grad());
        let again = encoder.forward_maps(&input, false).unwrap();
        assert_eq!(again[2].stride()[1], 1, "maps follow the weights");
        assert!(store.variables()["layer4.1.conv2.weight"].is_contiguous() && again[4].is_contiguous());
        for (a, b) in maps.iter().zip(&again) {
            assert!(a.allclose(b, 1e-3, 1e-4 * a.abs().max().double_value(&[]), false));
        }
        again[4].sum(Kind::Float).backward();
        assert_eq!(before.grad().stride(), before.stride());
        MemoryFormat::Contiguous.apply(&store).unwrap();
        assert!(weight(&store).is_contiguous());
    }
}
