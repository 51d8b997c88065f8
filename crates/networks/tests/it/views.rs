//! Both views of a batch at once against one after the other.

use crate::rule::ramp;
use networks::{Encoder, EncoderConfig, ResEncConfig, ResEncSize};
use tch::{Device, Kind, Tensor, nn};

/// Features, gradients and buffers after one step over two views.
fn step(config: &EncoderConfig, at_once: bool) -> (Tensor, Vec<(String, Tensor)>) {
    let store = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&store.root(), config, 3).unwrap();
    let first = ramp(&[4, 1, 8, 48, 48]);
    let second = first.flip([2, 3]) * 0.7 + 0.1;
    let views = if at_once {
        encoder.forward_views([&first, &second], None).unwrap()
    } else {
        [&first, &second].map(|view| encoder.forward_maps(view, true).unwrap())
    };
    let features = Tensor::cat(&views.map(|mut maps| maps.pop().unwrap()), 0);
    features.square().mean(Kind::Float).backward();
    let mut state: Vec<(String, Tensor)> = store
        .variables()
        .into_iter()
        .map(|(name, variable)| match variable.requires_grad() {
            true => (format!("{name}'s gradient"), variable.grad()),
            false => (name, variable),
        })
        .collect();
    state.sort_by(|a, b| a.0.cmp(&b.0));
    (features.detach(), state)
}

#[test]
fn views_at_once_are_as_one_after_the_other() {
    let topology = ResEncConfig::for_patch([8, 48, 48], [1.0; 3], ResEncSize::Compact).unwrap();
    for config in
        [EncoderConfig::Resnet50 { in_channels: 1 }, EncoderConfig::Resenc { in_channels: 1, topology }]
    {
        let (at_once, in_turn) = (step(&config, true), step(&config, false));
        assert!(at_once.0.allclose(&in_turn.0, 1e-3, 1e-4, false));
        for ((name, found), (_, expected)) in at_once.1.iter().zip(&in_turn.1) {
            let scale = expected.abs().max().double_value(&[]).max(1e-6);
            let apart = (found - expected).abs().max().double_value(&[]) / scale;
            assert!(apart < 1e-2, "{name}: {apart}");
            if name.contains("running") || name.contains("num_batches") {
                assert!(apart < 1e-5, "{name}: {apart}");
            }
        }
    }
}
