//! The guide's Python does what it says: our files are loaded by the packages that it names, and nothing is missing or unexpected.

use networks::weights::save;
use networks::{
    Encoder, EncoderConfig, NetworkConfig, ResEncConfig, ResEncSize, SegmentationNetwork, SwinConfig,
    SwinMerging,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tch::{Device, nn};
use test_peers::{python, run_script};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pretrain.md");

/// The blocks of Python in the guide.
fn blocks() -> Vec<String> {
    let text = fs_err::read_to_string(GUIDE).unwrap();
    let starts = text.split("```python\n").skip(1);
    starts.map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
}

/// What a block says that it prints, line by line.
fn promised(block: &str) -> Vec<&str> {
    let prints = block.lines().filter(|line| line.starts_with("print("));
    prints.map(|line| line.rsplit_once("  # ").unwrap().1).collect()
}

/// Runs the block that mentions `marker` behind the first one, in a folder with files.
fn run(marker: &str, modules: &str, folder: &Path) {
    let blocks = blocks();
    let block = blocks.iter().find(|block| block.contains(marker)).unwrap();
    let Some(python) = python(modules) else { return };
    let script = format!("{}\n{block}", blocks[0]);
    let mut command = Command::new(python);
    let Some(said) = run_script(command.args(["-W", "ignore", "-c", &script]).current_dir(folder)) else {
        return;
    };
    let said = String::from_utf8(said.stdout).unwrap();
    let promised = promised(block);
    assert!(!promised.is_empty());
    assert_eq!(said.lines().collect::<Vec<_>>(), promised, "{marker}");
}

fn encoder(config: &EncoderConfig, folder: &Path) {
    let store = nn::VarStore::new(Device::Cpu);
    let _encoder = Encoder::new(&store.root(), config, 3).unwrap();
    let metadata = BTreeMap::from([("plan".to_owned(), json!({ "encoder": config }).to_string())]);
    save(&store, &folder.join("encoder.safetensors"), &metadata).unwrap();
}

#[test]
fn encoders_load_as_the_guide_has_it() {
    let folder = tempfile::tempdir().unwrap();
    encoder(&EncoderConfig::Resnet50 { in_channels: 2 }, folder.path());
    run("import resnet50", "monai.networks.nets", folder.path());
    let topology = ResEncConfig::for_patch([8, 32, 32], [3.0, 1.0, 1.0], ResEncSize::Compact).unwrap();
    encoder(&EncoderConfig::Resenc { in_channels: 2, topology }, folder.path());
    run("import ResidualEncoder\n", "dynamic_network_architectures", folder.path());
    let transformer = SwinConfig { feature_size: 12, depths: [2; 4], merging: SwinMerging::Complete };
    encoder(&EncoderConfig::SwinUnetr { in_channels: 2, transformer }, folder.path());
    run("import SwinUNETR", "monai.networks.nets, einops", folder.path());
}

#[test]
fn a_model_loads_as_the_guide_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let topology = ResEncConfig::for_patch([8, 32, 32], [3.0, 1.0, 1.0], ResEncSize::Compact).unwrap();
    let config = NetworkConfig::Resenc { in_channels: 2, classes: 3, topology };
    let store = nn::VarStore::new(Device::Cpu);
    let _network = SegmentationNetwork::new(&store.root(), &config, 3).unwrap();
    let metadata = BTreeMap::from([("plan".to_owned(), json!({ "network": config }).to_string())]);
    save(&store, &folder.path().join("model.safetensors"), &metadata).unwrap();
    run("import ResidualEncoderUNet", "dynamic_network_architectures", folder.path());
}
