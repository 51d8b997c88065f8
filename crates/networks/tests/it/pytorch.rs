//! PyTorch loads our files with `strict=True` and computes the same; what it writes is loaded here.

use crate::rule::ramp;
use networks::weights::{LoadOptions, load, save, save_tensors};
use networks::{
    DecoderNorm, Encoder, EncoderConfig, NetworkConfig, ResEncConfig, ResEncSize, ResUNet50, ResUNetOptions,
    SegmentationNetwork, SwinConfig, SwinMerging,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tch::{Device, Kind, Tensor, nn};
use test_peers::{run_script, venv};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/load_in_pytorch.py");

fn check(kind: &str, directory: &Path, store: &nn::VarStore) {
    let Some(python) = venv("python") else { return };
    if run_script(Command::new(python).arg(SCRIPT).arg(kind).arg(directory)).is_some() {
        load(store, &directory.join("again.safetensors"), &LoadOptions::exact()).unwrap();
    }
}

/// Stores weights, an input, the output for it and what it takes to compare gradients.
fn store_case(
    directory: &Path,
    store: &nn::VarStore,
    topology: Option<serde_json::Value>,
    input: Tensor,
    output: Tensor,
    gradients: BTreeMap<String, Tensor>,
) {
    let topology = topology.map(|topology| topology.to_string()).unwrap_or_default();
    let metadata = BTreeMap::from([("topology".to_owned(), topology)]);
    save(store, &directory.join("weights.safetensors"), &metadata).unwrap();
    let mut case = BTreeMap::from([("input".to_owned(), input), ("output".to_owned(), output.detach())]);
    case.extend(gradients);
    save_tensors(&case, &directory.join("case.safetensors"), &BTreeMap::new()).unwrap();
}

#[test]
fn monai_takes_the_resnet() {
    let directory = tempfile::tempdir().unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&store.root(), &EncoderConfig::Resnet50 { in_channels: 2 }, 3).unwrap();
    let input = ramp(&[2, 2, 6, 37, 40]);
    let _guard = tch::no_grad_guard();
    // Running statistics and counters move away from their start.
    let _ = encoder.forward_features(&input, true).unwrap();
    let output = encoder.forward_features(&input, false).unwrap();
    store_case(directory.path(), &store, None, input, output, BTreeMap::new());
    check("resnet50", directory.path(), &store);
}

#[test]
fn nnunets_library_takes_the_residual_unet() {
    for (size, patch) in [(ResEncSize::Compact, [8, 32, 32]), (ResEncSize::Full, [16, 64, 64])] {
        let directory = tempfile::tempdir().unwrap();
        let topology = ResEncConfig::for_patch(patch, [3.0, 1.0, 1.0], size).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let config = NetworkConfig::Resenc { in_channels: 2, classes: 3, topology: topology.clone() };
        let network = SegmentationNetwork::new(&store.root(), &config, 3).unwrap();
        let _guard = tch::no_grad_guard();
        // Residual branches start at nothing: move every weight, so that all of them count.
        for (name, variable) in store.variables() {
            let shift = crate::rule::weight(&name, &variable.size()) * 0.1;
            let _ = variable.shallow_clone().f_add_(&shift).unwrap();
        }
        let input = ramp(&[1, 2, patch[0], patch[1], patch[2]]);
        let output = network.forward_t(&input, false).unwrap();
        store_case(
            directory.path(),
            &store,
            Some(serde_json::json!(topology)),
            input,
            output,
            BTreeMap::new(),
        );
        check("resenc", directory.path(), &store);
    }
}

/// What pretraining hands on, without a decoder.
#[test]
fn their_libraries_take_encoders_alone() {
    let topology = ResEncConfig::for_patch([8, 32, 32], [1.0; 3], ResEncSize::Compact).unwrap();
    let transformer = SwinConfig { feature_size: 12, depths: [2; 4], merging: SwinMerging::Complete };
    for (kind, described, config, shape) in [
        (
            "resenc-encoder",
            serde_json::json!(topology),
            EncoderConfig::Resenc { in_channels: 2, topology: topology.clone() },
            [2, 2, 8, 32, 32],
        ),
        (
            "swin-encoder",
            serde_json::json!(transformer),
            EncoderConfig::SwinUnetr { in_channels: 2, transformer: transformer.clone() },
            [2, 2, 32, 32, 64],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let encoder = Encoder::new(&store.root(), &config, 3).unwrap();
        let _guard = tch::no_grad_guard();
        for (name, variable) in store.variables() {
            if variable.is_floating_point() {
                let shift = crate::rule::weight(&name, &variable.size()) * 0.1;
                let _ = variable.shallow_clone().f_add_(&shift).unwrap();
            }
        }
        let input = ramp(&shape);
        let output = encoder.forward_features(&input, false).unwrap();
        store_case(directory.path(), &store, Some(described), input, output, BTreeMap::new());
        check(kind, directory.path(), &store);
    }
}

/// Patches whose maps have windows that shift, shrink and are padded, along one axis and not along another.
#[test]
fn monai_takes_the_swin_unetr() {
    for (merging, size) in [
        (SwinMerging::Complete, [32, 64, 96]),
        (SwinMerging::Complete, [96, 32, 32]),
        (SwinMerging::Published, [32, 32, 64]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let transformer = SwinConfig { feature_size: 12, depths: [2, 4, 2, 2], merging };
        let config =
            NetworkConfig::SwinUnetr { in_channels: 2, classes: 3, transformer: transformer.clone() };
        let store = nn::VarStore::new(Device::Cpu);
        let network = SegmentationNetwork::new(&store.root(), &config, 3).unwrap();
        let _guard = tch::no_grad_guard();
        // Biases of position start near nothing, and norms at 1 and 0: move every weight, so that all of them count.
        for (name, variable) in store.variables() {
            if variable.is_floating_point() {
                let scale = if name.ends_with("bias_table") { 3.0 } else { 0.1 };
                let shift = crate::rule::weight(&name, &variable.size()) * scale;
                let _ = variable.shallow_clone().f_add_(&shift).unwrap();
            }
        }
        let input = ramp(&[2, 2, size[0], size[1], size[2]]);
        let output = network.forward_t(&input, false).unwrap();
        store_case(
            directory.path(),
            &store,
            Some(serde_json::json!(transformer)),
            input,
            output,
            BTreeMap::new(),
        );
        check("swin-unetr", directory.path(), &store);
    }
}

/// The published network, mended, on a size that no stride divides: x1 and x2 have fewer keys than voxels, x3 and x4 as
/// many. In float64, since ReLUs that rounding turns over move gradients by a percent, in PyTorch too.
#[test]
fn plain_pytorch_takes_the_resunet_with_attention() {
    let weights = 100_000;
    let directory = tempfile::tempdir().unwrap();
    let options = ResUNetOptions { attention: Some(weights), decoder_norm: DecoderNorm::Instance };
    let mut store = nn::VarStore::new(Device::Cpu);
    let network = ResUNet50::new(&store.root(), 2, 3, options, 3).unwrap();
    let input = ramp(&[2, 2, 6, 45, 52]);
    let single = tch::no_grad(|| {
        for (name, variable) in store.variables() {
            let mut variable = variable.shallow_clone();
            if name.ends_with(".gate") {
                let _ = variable.f_fill_(0.7).unwrap();
            } else if name.contains(".query.") || name.contains(".key.") {
                // far from a mean over all voxels
                let _ = variable.f_mul_scalar_(3.0).unwrap();
            } else if name.contains(".norm") {
                let _ = variable.f_add_(&crate::rule::weight(&name, &variable.size())).unwrap();
            }
        }
        // Running statistics move away from their start.
        let _ = network.forward_t(&input, true).unwrap();
        network.forward_t(&input, false).unwrap()
    });
    store.double();
    let input = input.to_kind(Kind::Double);
    let output = network.forward_t(&input, false).unwrap();
    let spread = output.std(true).double_value(&[]);
    assert!(single.to_kind(Kind::Double).allclose(&output, 1e-4, 1e-4 * spread, false));
    let upstream = ramp(&output.size()).to_kind(Kind::Double);
    (&output * &upstream).sum(Kind::Double).backward();
    let attention = (1..=4).flat_map(|level| {
        ["gate", "query.weight", "key.weight", "value.weight"].map(|part| format!("attention{level}.{part}"))
    });
    let others = ["encoder1.0.weight", "encoder3.0.conv2.weight", "upconv2.weight", "decoder1.norm0.weight"];
    let variables = store.variables();
    let mut gradients: BTreeMap<String, Tensor> = attention
        .chain(others.map(str::to_owned))
        .map(|name| (format!("gradient.{name}"), variables[&name].grad()))
        .collect();
    gradients.insert("upstream".to_owned(), upstream);
    let topology = Some(serde_json::json!({"weights": weights}));
    store_case(directory.path(), &store, topology, input, output, gradients);
    check("attresunet50", directory.path(), &store);
}

/// Files of `torch.save` as others write them: a state dict below another name, tensors under two names, and more than tensors.
const SAVE: &str = r#"
import sys, torch
from safetensors.torch import load_file
weights = load_file(sys.argv[1])
for name in list(weights):
    if name.startswith("encoder."):
        weights["decoder." + name] = weights[name]
torch.save({"epoch": torch.tensor(3), "network_weights": weights, "loss": torch.tensor(0.5)}, sys.argv[2])
torch.save({"logging": Exception("not a tensor"), "state_dict": weights}, sys.argv[3])
torch.save({"epoch": 3}, sys.argv[4])
"#;

#[test]
fn files_of_torch_save_are_converted_once() {
    let Some(python) = venv("python") else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/pth_to_safetensors.py");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let topology = ResEncConfig::for_patch([8, 32, 32], [3.0, 1.0, 1.0], ResEncSize::Compact).unwrap();
    let config = NetworkConfig::Resenc { in_channels: 1, classes: 2, topology };
    let network = |seed| {
        let store = nn::VarStore::new(Device::Cpu);
        SegmentationNetwork::new(&store.root(), &config, seed).unwrap();
        store
    };
    let (source, target) = (network(1), network(2));
    save(&source, &path("w.safetensors"), &BTreeMap::new()).unwrap();
    let files = ["w.safetensors", "plain.pth", "more.pth", "none.pth"].map(path);
    run_script(Command::new(&python).args(["-c", SAVE]).args(&files)).unwrap();
    let out = path("out.safetensors");
    let convert = |file: &Path, more: &[&str]| {
        let ended = Command::new(&python).arg(script).arg(file).arg(&out).args(more).output().unwrap();
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let same = |store: &nn::VarStore| {
        let (a, b) = (source.variables(), store.variables());
        a.iter().all(|(name, tensor)| tensor.equal(&b[name]))
    };
    assert!(!same(&target));
    assert_eq!(convert(&files[1], &[]).0, Some(0));
    load(&target, &out, &LoadOptions::partial(1.0)).unwrap();
    assert!(same(&target));
    let (code, said) = convert(&files[2], &[]);
    assert!(code == Some(1) && said.contains("--trust"), "{said}");
    assert_eq!(convert(&files[2], &["--trust"]).0, Some(0));
    let (code, said) = convert(&files[3], &[]);
    assert!(code == Some(1) && said.contains("no state dict, only: epoch"), "{said}");
    // what is no file of PyTorch, and half of one
    let (pointer, half) = (path("pointer.pth"), path("half.pth"));
    fs_err::write(&pointer, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let whole = fs_err::read(&files[1]).unwrap();
    fs_err::write(&half, &whole[..whole.len() / 2]).unwrap();
    for (file, expected) in [(&pointer, "is no file of PyTorch"), (&half, "cannot be read, fetch it again")] {
        let (code, said) = convert(file, &[]);
        let is_one_line = said.trim().lines().count() == 1;
        assert!(code == Some(1) && said.contains(expected) && is_one_line, "{said}");
    }
}
