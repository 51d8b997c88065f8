//! Training steps in both number formats.

use crate::rule::ramp;
use networks::{
    DecoderNorm, Encoder, EncoderConfig, NetworkConfig, ResEncConfig, ResEncSize, ResUNet50, ResUNetOptions,
    SegmentationNetwork, Statistics, SwinConfig,
};
use tch::{Device, Kind, Tensor, nn};
use torch_runtime::Precision;

/// Loss and gradient norm of one step.
fn step(store: &nn::VarStore, precision: Precision, forward: impl Fn() -> Tensor) -> (f64, f64) {
    let loss = {
        let _guard = precision.autocast(Device::Cpu).unwrap();
        forward().to_kind(Kind::Float).square().mean(Kind::Float)
    };
    for mut variable in store.trainable_variables() {
        variable.zero_grad();
    }
    loss.backward();
    let squares: f64 = store
        .trainable_variables()
        .iter()
        .map(|variable| {
            let gradient = variable.grad();
            assert!(gradient.defined());
            assert_eq!(gradient.kind(), Kind::Float);
            gradient.square().sum(Kind::Double).double_value(&[])
        })
        .sum();
    (loss.double_value(&[]), squares.sqrt())
}

fn compare(store: &nn::VarStore, forward: impl Fn() -> Tensor) {
    let full = step(store, Precision::Fp32, &forward);
    let half = step(store, Precision::Bf16, &forward);
    for (full, half) in [(full.0, half.0), (full.1, half.1)] {
        assert!(full > 0.0 && (full - half).abs() < 0.1 * full, "fp32 {full}, bf16 {half}");
    }
}

#[test]
fn the_residual_unet_trains_in_bf16() {
    let store = nn::VarStore::new(Device::Cpu);
    let topology = ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap();
    let config = NetworkConfig::Resenc { in_channels: 1, classes: 2, topology };
    let network = SegmentationNetwork::new(&store.root(), &config, 1).unwrap();
    let input = ramp(&[2, 1, 16, 16, 16]);
    compare(&store, || {
        let logits = network.forward_deep(&input, Statistics::of(true)).unwrap();
        Tensor::cat(&logits.iter().map(|logits| logits.reshape(-1)).collect::<Vec<_>>(), 0)
    });
}

#[test]
fn the_resnet_trains_in_bf16() {
    let store = nn::VarStore::new(Device::Cpu);
    let config = EncoderConfig::Resnet50 { in_channels: 1 };
    let encoder = Encoder::new(&store.root(), &config, 1).unwrap();
    let input = ramp(&[4, 1, 8, 48, 48]);
    compare(&store, || encoder.forward_features(&input, true).unwrap());
}

#[test]
fn the_swin_unetr_trains_in_bf16() {
    let store = nn::VarStore::new(Device::Cpu);
    let transformer = SwinConfig { feature_size: 12, ..SwinConfig::default() };
    let config = NetworkConfig::SwinUnetr { in_channels: 1, classes: 2, transformer };
    let network = SegmentationNetwork::new(&store.root(), &config, 1).unwrap();
    let input = ramp(&[1, 1, 32, 64, 32]);
    compare(&store, || network.forward_t(&input, true).unwrap());
}

#[test]
fn the_resunet_with_attention_trains_in_bf16() {
    let store = nn::VarStore::new(Device::Cpu);
    let options = ResUNetOptions { attention: Some(100_000), decoder_norm: DecoderNorm::Instance };
    let network = ResUNet50::new(&store.root(), 1, 2, options, 1).unwrap();
    {
        let _guard = tch::no_grad_guard();
        for (name, variable) in store.variables() {
            if name.ends_with(".gate") {
                let _ = variable.shallow_clone().fill_(0.5);
            }
        }
    }
    let input = ramp(&[2, 1, 5, 64, 50]);
    compare(&store, || network.forward_t(&input, true).unwrap());
}
