//! Both views of a batch at once against one after the other.

use crate::rule::ramp;
use networks::{Encoder, EncoderConfig, MemoryFormat, ResEncConfig, ResEncSize};
use tch::{Device, Kind, Tensor, nn};

/// Features, gradients and buffers after one step over two views.
fn step(config: &EncoderConfig, format: MemoryFormat, at_once: bool) -> (Tensor, Vec<(String, Tensor)>) {
    let store = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&store.root(), config, 3).unwrap();
    format.apply(&store).unwrap();
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
        let apart = |found: &Tensor, expected: &Tensor| {
            let scale = expected.abs().max().double_value(&[]).max(1e-6);
            (found - expected).abs().max().double_value(&[]) / scale
        };
        let is_statistic = |name: &str| name.contains("running") || name.contains("num_batches");
        // In channels-last order what follows a norm is one operation with it.
        let [plain, last] = [MemoryFormat::Contiguous, MemoryFormat::ChannelsLast].map(|format| {
            let (at_once, in_turn) = (step(&config, format, true), step(&config, format, false));
            assert!(at_once.0.allclose(&in_turn.0, 1e-3, 1e-4, false));
            for ((name, found), (_, expected)) in at_once.1.iter().zip(&in_turn.1) {
                let apart = apart(found, expected);
                let limit = if is_statistic(name) { 1e-5 } else { 1e-2 };
                assert!(apart < limit, "{format:?}, {name}: {apart}");
            }
            at_once
        });
        // Gradients behind so many norms over few values are no measure: in float64 they differ from both by a tenth.
        assert!(apart(&last.0, &plain.0) < 1e-3);
        for ((name, found), (_, expected)) in
            last.1.iter().zip(&plain.1).filter(|((name, _), _)| is_statistic(name))
        {
            assert!(apart(found, expected) < 1e-4, "{name}: {}", apart(found, expected));
        }
    }
}
