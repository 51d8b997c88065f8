//! The U-Net on ResNet-50 with its additions.

use crate::rule::ramp;
use networks::weights::{LoadOptions, load, save};
use networks::{DecoderNorm, Encoder, EncoderConfig, NetworkConfig, SegmentationNetwork};
use std::collections::BTreeMap;
use tch::{Device, Tensor, nn};

fn plain() -> NetworkConfig {
    NetworkConfig::Resunet50 { in_channels: 1, classes: 2, decoder_norm: DecoderNorm::None }
}

fn attending(decoder_norm: DecoderNorm) -> NetworkConfig {
    NetworkConfig::Attresunet50 { in_channels: 1, classes: 2, decoder_norm }
}

fn build(config: &NetworkConfig, seed: u64) -> (nn::VarStore, SegmentationNetwork) {
    let store = nn::VarStore::new(Device::Cpu);
    let network = SegmentationNetwork::new(&store.root(), config, seed).unwrap();
    (store, network)
}

fn parameters(store: &nn::VarStore) -> usize {
    store.trainable_variables().iter().map(Tensor::numel).sum()
}

/// Names of the four skips' attention.
fn of_attention() -> Vec<String> {
    let parts =
        ["gate", "key.bias", "key.weight", "query.bias", "query.weight", "value.bias", "value.weight"];
    (1..=4).flat_map(|level| parts.map(|part| format!("attention{level}.{part}"))).collect()
}

#[test]
fn with_a_closed_gate_the_skips_are_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let (store, network) = build(&plain(), 3);
    let (attending, attention) = build(&attending(DecoderNorm::None), 3);
    // the published number, and a gate for each skip
    assert_eq!(parameters(&attending), parameters(&store) + 1_727_760 + 4);
    let _guard = tch::no_grad_guard();
    // Running statistics move away from their start. Sizes that no stride divides.
    let input = ramp(&[2, 1, 5, 43, 50]);
    let _ = network.forward_t(&input, true).unwrap();
    let output = network.forward_t(&input, false).unwrap();
    assert_eq!(output.size(), [2, 2, 5, 43, 50]);

    save(&store, &path, &BTreeMap::new()).unwrap();
    let report = load(&attending, &path, &LoadOptions::partial(0.5)).unwrap();
    assert_eq!((report.adapted.len(), report.skipped.len()), (0, 0), "{report}");
    assert_eq!(report.missing, of_attention());
    assert_eq!(attention.forward_t(&input, false).unwrap(), output);

    // open, they matter; and the other way the rest still fits
    for (name, variable) in attending.variables() {
        if name.ends_with(".gate") {
            let _ = variable.shallow_clone().fill_(1.0);
        }
    }
    assert_ne!(attention.forward_t(&input, false).unwrap(), output);
    save(&attending, &path, &BTreeMap::new()).unwrap();
    let report = load(&store, &path, &LoadOptions::partial(1.0)).unwrap();
    let skipped: Vec<&String> = report.skipped.iter().map(|skipped| &skipped.name).collect();
    assert_eq!(skipped, of_attention().iter().collect::<Vec<_>>());
    assert_eq!(network.forward_t(&input, false).unwrap(), output);
}

#[test]
fn norms_of_the_decoder_have_names_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let (store, network) = build(&attending(DecoderNorm::Instance), 3);
    let mut names: Vec<String> =
        store.variables().into_keys().filter(|n| n.starts_with("decoder2.")).collect();
    names.sort();
    let layer = |layer: &str| [format!("decoder2.{layer}.bias"), format!("decoder2.{layer}.weight")];
    assert_eq!(names, ["0", "2", "norm0", "norm2"].map(layer).concat());

    // a pretrained encoder fills what is the encoder's
    let source = nn::VarStore::new(Device::Cpu);
    let config = EncoderConfig::Resnet50 { in_channels: 1 };
    let encoder = Encoder::new(&source.root(), &config, 8).unwrap();
    save(&source, &path, &BTreeMap::new()).unwrap();
    let report = load(&store, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.share(), report.skipped.len(), report.missing.len()), (1.0, 0, 0), "{report}");
    drop((source, encoder));

    let _guard = tch::no_grad_guard();
    let input = ramp(&[1, 1, 4, 32, 32]);
    let output = network.forward_t(&input, false).unwrap();
    assert!(output.isfinite().all().int64_value(&[]) == 1);
    save(&store, &path, &BTreeMap::new()).unwrap();
    let (again, copy) = build(&attending(DecoderNorm::Instance), 4);
    load(&again, &path, &LoadOptions::exact()).unwrap();
    assert_eq!(copy.forward_t(&input, false).unwrap(), output);
}
