//! Each network on rule-made weights.

use crate::rule::{compare, fill, json, ramp_of};
use networks::blocks::Statistics;
use networks::{
    Encoder, EncoderConfig, NetworkConfig, ResEncConfig, ResNet50, ResUNet50, ResUNetOptions,
    SegmentationNetwork, SwinConfig, SwinMerging,
};
use serde_json::Value;
use tch::{Device, Tensor, nn};

fn shape(value: &Value) -> Vec<i64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn parameters(store: &nn::VarStore) -> usize {
    store.trainable_variables().iter().map(Tensor::numel).sum()
}

#[test]
fn resnet50_matches_the_published_network() {
    let golden = json("net_resnet50_3d.json");
    let store = nn::VarStore::new(Device::Cpu);
    let network = ResNet50::new(&store.root(), 1, 0).unwrap();
    assert_eq!(parameters(&store), 46_142_528);
    fill(&store, &golden, str::to_owned, str::to_owned);
    let _guard = tch::no_grad_guard();
    let input = ramp_of(&golden["input"]);
    let output = network.forward_features(&input, Statistics::Running).unwrap();
    assert_eq!(output.size(), shape(&golden["output_shape"]));
    compare(&output, &golden["output"]);

    let sizes: Vec<Vec<i64>> = network
        .forward_maps(
            &Tensor::zeros([1, 1, 18, 40, 40], (tch::Kind::Float, Device::Cpu)),
            Statistics::Running,
        )
        .unwrap()
        .iter()
        .map(|map| map.size()[1..].to_vec())
        .collect();
    let expected = [[64, 18, 10, 10], [256, 18, 10, 10], [512, 9, 5, 5], [1024, 5, 3, 3], [2048, 3, 2, 2]];
    assert_eq!(sizes, expected);
}

#[test]
fn resunet50_matches_the_published_network() {
    let golden = json("net_resunet50_3d.json");
    let classes = golden["output_shape"][1].as_i64().unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let network = ResUNet50::new(&store.root(), 1, classes, ResUNetOptions::default(), 0).unwrap();
    // 145,115,778 with two classes; a class more has 64 weights and a bias.
    assert_eq!(parameters(&store) as i64, 145_115_778 + 65 * (classes - 2));
    fill(&store, &golden, str::to_owned, str::to_owned);
    let _guard = tch::no_grad_guard();
    let input = ramp_of(&golden["input"]);
    let output = network.forward_t(&input, false).unwrap();
    assert_eq!(output.size(), shape(&golden["output_shape"]));
    compare(&output, &golden["logits_before_activation"]);
    // Sizes that no stride divides.
    let odd = network.forward_t(&input.narrow(2, 0, 7).narrow(3, 0, 35).narrow(4, 0, 50), false).unwrap();
    assert_eq!(odd.size()[2..], [7, 35, 50]);
}

/// The golden's topology, from its state dict's shapes and the words of `config`.
fn topology(golden: &Value) -> ResEncConfig {
    let entries = golden["state_dict"].as_object().unwrap();
    let count = |prefix: &dyn Fn(usize) -> String| {
        (0..).take_while(|n| entries.keys().any(|k| k.starts_with(&prefix(*n)))).count()
    };
    let stages = count(&|stage| format!("encoder.stages.{stage}."));
    let weight =
        |stage: usize| shape(&entries[&format!("encoder.stages.{stage}.blocks.0.conv1.conv.weight")]);
    let triple = |sizes: &[i64]| [sizes[0], sizes[1], sizes[2]];
    ResEncConfig {
        features: (0..stages).map(|stage| weight(stage)[0]).collect(),
        strides_zyx: (0..stages)
            .map(|stage| {
                // A transposed convolution's kernel is the stride that it undoes.
                if stage == 0 {
                    [1; 3]
                } else {
                    triple(
                        &shape(&entries[&format!("decoder.transpconvs.{}.weight", stages - 1 - stage)])[2..],
                    )
                }
            })
            .collect(),
        kernels_zyx: (0..stages).map(|stage| triple(&weight(stage)[2..])).collect(),
        blocks: (0..stages)
            .map(|stage| count(&|block| format!("encoder.stages.{stage}.blocks.{block}.")))
            .collect(),
        decoder_convs: (0..stages - 1)
            .map(|stage| count(&|conv| format!("decoder.stages.{stage}.convs.{conv}.")))
            .collect(),
    }
}

fn canonical(name: &str) -> String {
    let name =
        name.strip_prefix("decoder.encoder.").map_or(name.to_owned(), |rest| format!("encoder.{rest}"));
    name.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
}

/// The name under which PyTorch's state dict lists the tensor last.
fn last(name: &str) -> String {
    let name = if name.starts_with("encoder.") { format!("decoder.{name}") } else { name.to_owned() };
    name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")
}

#[test]
fn residual_unet_matches_nnunet() {
    let golden = json("net_resenc_unet_nnunet.json");
    let classes = golden["output_shape"][1].as_i64().unwrap();
    let config = NetworkConfig::Resenc { in_channels: 1, classes, topology: topology(&golden) };
    let store = nn::VarStore::new(Device::Cpu);
    let network = SegmentationNetwork::new(&store.root(), &config, 0).unwrap();
    fill(&store, &golden, canonical, last);
    let _guard = tch::no_grad_guard();
    let input = ramp_of(&golden["input"]);
    let output = network.forward_t(&input, false).unwrap();
    assert_eq!(output.size(), shape(&golden["output_shape"]));
    compare(&output, &golden["output"]);

    // The encoder alone has the same names below the same path, and gives the same features.
    let alone = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&alone.root(), &config.encoder(), 5).unwrap();
    let whole = store.variables();
    for (name, variable) in alone.variables() {
        variable.shallow_clone().copy_(&whole[&name]);
    }
    let SegmentationNetwork::Resenc(network) = &network else { panic!("another network") };
    let features = encoder.forward_features(&input, false).unwrap();
    assert_eq!(features.size(), [1, encoder.out_features()]);
    assert!(features.allclose(&network.encoder().forward_features(&input).unwrap(), 1e-5, 1e-6, false));
}

/// The golden's configuration, from its state dict's shapes.
fn swin(golden: &Value) -> SwinConfig {
    let entries = golden["state_dict"].as_object().unwrap();
    let depth = |stage: usize| {
        let block = |block: usize| format!("swinViT.layers{}.0.blocks.{block}.norm1.weight", stage + 1);
        (0..).take_while(|index| entries.contains_key(&block(*index))).count()
    };
    SwinConfig {
        feature_size: shape(&entries["swinViT.patch_embed.proj.weight"])[0],
        depths: [0, 1, 2, 3].map(depth),
        merging: SwinMerging::Complete,
    }
}

#[test]
fn swin_unetr_matches_monai() {
    let golden = json("net_swin_unetr_monai.json");
    let classes = golden["output_shape"][1].as_i64().unwrap();
    let config = NetworkConfig::SwinUnetr { in_channels: 1, classes, transformer: swin(&golden) };
    let store = nn::VarStore::new(Device::Cpu);
    let network = SegmentationNetwork::new(&store.root(), &config, 0).unwrap();
    let positions: Vec<Tensor> = store.variables().into_values().filter(|t| !t.is_floating_point()).collect();
    assert_eq!(positions.len(), 8);
    fill(&store, &golden, str::to_owned, str::to_owned);
    let _guard = tch::no_grad_guard();
    let input = ramp_of(&golden["input"]);
    let SegmentationNetwork::SwinUnetr(unetr) = &network else { panic!("another network") };
    let states = unetr.encoder().hidden_states(&input).unwrap();
    assert_eq!(states[4].size(), shape(&golden["bottleneck_shape"]));
    compare(&states[4], &golden["bottleneck"]);
    let output = network.forward_t(&input, false).unwrap();
    assert_eq!(output.size(), shape(&golden["output_shape"]));
    compare(&output, &golden["output"]);
}

#[test]
fn swin_unetr_has_the_published_sizes() {
    let published = SwinConfig { depths: [2, 4, 2, 2], ..SwinConfig::default() };
    let count = |transformer: SwinConfig, in_channels, classes| {
        let store = nn::VarStore::new(Device::Cpu);
        let config = NetworkConfig::SwinUnetr { in_channels, classes, transformer };
        SegmentationNetwork::new(&store.root(), &config, 0).unwrap();
        let names = store.variables();
        let swin = names.iter().filter(|(name, t)| name.starts_with("swinViT.") && t.requires_grad());
        (swin.map(|(_, tensor)| tensor.numel()).sum::<usize>(), parameters(&store))
    };
    let encoder = nn::VarStore::new(Device::Cpu);
    let config = EncoderConfig::SwinUnetr { in_channels: 1, transformer: published.clone() };
    Encoder::new(&encoder.root(), &config, 0).unwrap();
    // The published encoder has 41.7 million with a gradient, 768·2048 + 2048 of them in its last layer.
    assert_eq!(parameters(&encoder), 8_312_046 + 2 * 27 * 768 * 768);
    assert_eq!(count(SwinConfig::default(), 1, 14).1, 62_187_296);
    assert_eq!(count(published, 1, 1), (8_312_046, 8_312_046 + 54_124_657));
}

#[test]
fn seeds_alone_decide_the_start() {
    let build = |seed: u64| {
        let store = nn::VarStore::new(Device::Cpu);
        let topology = ResEncConfig::for_patch([16; 3], [1.0; 3], networks::ResEncSize::Compact).unwrap();
        let config = EncoderConfig::Resenc { in_channels: 1, topology };
        Encoder::new(&store.root(), &config, seed).unwrap();
        store
            .variables()
            .into_iter()
            .map(|(name, tensor)| (name, tensor.abs().sum(tch::Kind::Double).double_value(&[])))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    assert_eq!(build(1), build(1));
    assert_ne!(build(1), build(2));
}

#[test]
fn two_networks_at_one_path_are_refused() {
    let store = nn::VarStore::new(Device::Cpu);
    ResNet50::new(&store.root(), 1, 0).unwrap();
    let text = ResNet50::new(&store.root(), 1, 0).unwrap_err().to_string();
    assert!(text.contains("conv1.weight"), "{text}");
    assert!(store.variables().keys().all(|name| !name.contains("__")));
}
