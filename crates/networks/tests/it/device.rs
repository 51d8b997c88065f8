//! Encoders on a GPU beside a CPU, in both orders of axes: each has ways of its own there.

use crate::rule::ramp;
use networks::{Encoder, EncoderConfig, MemoryFormat, ResEncConfig, ResEncSize};
use simulated_gpu::SimulatedGpu;
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor, nn};
use test_peers::test_device;

#[test]
fn encoders_on_a_simulated_device_are_those_of_the_cpu() {
    SimulatedGpu::default().run_ignored("device::");
}

/// The third map in training and in prediction, gradients, and running statistics, after two views. Of later maps batch norms see so few values
/// that a last digit becomes percents.
fn answers(config: &EncoderConfig, format: MemoryFormat, device: Device) -> BTreeMap<String, Tensor> {
    let store = nn::VarStore::new(device);
    let encoder = Encoder::new(&store.root(), config, 3).unwrap();
    format.apply(&store).unwrap();
    let image = ramp(&[2, 1, 8, 48, 40]).to_device(device);
    let views = encoder.forward_views([&image, &(image.flip([3]) * 0.7 + 0.1)], None).unwrap();
    if format == MemoryFormat::ChannelsLast && device.is_cuda() {
        assert!(views.iter().flat_map(|maps| &maps[..3]).all(|map| map.stride()[1] == 1), "{config:?}");
    }
    let [first, second] = views.map(|mut maps| maps.swap_remove(2));
    (first.square().mean(Kind::Float) + &second.sin().mean(Kind::Float)).backward();
    let predicted = tch::no_grad(|| encoder.forward_maps(&image, false).unwrap().swap_remove(2));
    let maps = [("first", first), ("second", second), ("predicted", predicted)];
    let mut answers: BTreeMap<String, Tensor> = maps.map(|(name, map)| (name.to_owned(), map)).into();
    for (name, variable) in store.variables() {
        // the gradient of a bias before a norm, which takes the mean away, is noise
        let noise = name.ends_with("conv.bias");
        // what lies behind the third map has no gradient, and statistics of few values
        let behind = name.starts_with("layer3") || name.starts_with("layer4");
        if !variable.requires_grad() && !behind {
            answers.insert(name, variable);
        } else if variable.grad().defined() && !noise {
            answers.insert(format!("{name}'s gradient"), variable.grad());
        }
    }
    answers.into_iter().map(|(name, tensor)| (name, tensor.detach().to_device(Device::Cpu))).collect()
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn encoders_answer_and_learn_alike() {
    let device = torch_runtime::parse_device(&test_device()).unwrap();
    let topology = ResEncConfig::for_patch([8, 48, 40], [1.0; 3], ResEncSize::Compact).unwrap();
    for config in
        [EncoderConfig::Resnet50 { in_channels: 1 }, EncoderConfig::Resenc { in_channels: 1, topology }]
    {
        for format in [MemoryFormat::ChannelsLast, MemoryFormat::Contiguous] {
            let (there, here) = (answers(&config, format, device), answers(&config, format, Device::Cpu));
            assert!(here.len() > 20 && there.keys().eq(here.keys()));
            for (name, expected) in here {
                let norm = |tensor: &Tensor| tensor.to_kind(Kind::Double).norm().double_value(&[]);
                let apart = norm(&(&there[&name] - &expected)) / norm(&expected).max(1e-9);
                // a GPU's convolutions round to ten bits (TF32)
                assert!(apart < 0.03, "{config:?} {format:?} {name}: {apart}");
            }
        }
    }
}
