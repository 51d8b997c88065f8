//! Weights in and out of our own networks.

use networks::weights::{
    self, LoadOptions, load, read_metadata, read_tensors, save, save_canonical, save_tensors, save_where,
};
use networks::{
    Encoder, EncoderConfig, NetworkConfig, ResEncConfig, ResEncSize, SegmentationNetwork, SwinConfig,
    SwinMerging,
};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

fn small() -> ResEncConfig {
    ResEncConfig {
        features: vec![4, 8, 8],
        strides_zyx: vec![[1; 3], [1, 2, 2], [2; 3]],
        kernels_zyx: vec![[1, 3, 3], [3; 3], [3; 3]],
        blocks: vec![1, 2, 1],
        decoder_convs: vec![1, 2],
    }
}

fn unet(in_channels: i64, classes: i64, seed: u64) -> (nn::VarStore, SegmentationNetwork) {
    let store = nn::VarStore::new(Device::Cpu);
    let config = NetworkConfig::Resenc { in_channels, classes, topology: small() };
    let network = SegmentationNetwork::new(&store.root(), &config, seed).unwrap();
    (store, network)
}

fn encoder(config: &EncoderConfig, seed: u64) -> (nn::VarStore, Encoder) {
    let store = nn::VarStore::new(Device::Cpu);
    let encoder = Encoder::new(&store.root(), config, seed).unwrap();
    (store, encoder)
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

fn same(left: &nn::VarStore, right: &nn::VarStore) -> bool {
    let right = right.variables();
    left.variables().iter().all(|(name, tensor)| *tensor == right[name])
}

#[test]
fn what_is_saved_is_loaded_and_the_bytes_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/model.safetensors");
    let (store, network) = unet(1, 3, 1);
    let plan = BTreeMap::from([
        ("plan".to_owned(), r#"{"patch_zyx":[4,8,8]}"#.to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ]);
    save(&store, &path, &plan).unwrap();
    let bytes = fs_err::read(&path).unwrap();
    save(&store, &path, &plan).unwrap();
    assert_eq!(fs_err::read(&path).unwrap(), bytes);
    let metadata = read_metadata(&path).unwrap();
    assert_eq!((metadata["plan"].as_str(), metadata["format"].as_str()), (plan["plan"].as_str(), "pt"));
    assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);

    for canonical in [false, true] {
        if canonical {
            save_canonical(&store, &path, &plan).unwrap();
            assert!(fs_err::metadata(&path).unwrap().len() * 2 < bytes.len() as u64);
        }
        let (other, copy) = unet(1, 3, 2);
        assert!(!same(&store, &other));
        let report = load(&other, &path, &LoadOptions::exact()).unwrap();
        assert!(same(&store, &other));
        assert!(report.adapted.is_empty() && report.skipped.is_empty() && report.missing.is_empty());
        let input = Tensor::randn([1, 1, 4, 8, 8], (Kind::Float, Device::Cpu));
        assert_eq!(network.forward_t(&input, false).unwrap(), copy.forward_t(&input, false).unwrap());
        assert!(other.trainable_variables().iter().all(Tensor::requires_grad));
    }
}

#[test]
fn counters_and_running_statistics_travel() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encoder.safetensors");
    let config = EncoderConfig::Resnet50 { in_channels: 1 };
    let (store, network) = encoder(&config, 1);
    let input = Tensor::randn([2, 1, 4, 16, 16], (Kind::Float, Device::Cpu));
    for _ in 0..3 {
        let _guard = tch::no_grad_guard();
        let _ = network.forward_features(&input, true).unwrap();
    }
    save(&store, &path, &none()).unwrap();
    let tensors = read_tensors(&path).unwrap();
    assert_eq!(tensors["layer4.2.bn3.num_batches_tracked"].int64_value(&[]), 3);
    assert_eq!(tensors["layer4.2.bn3.num_batches_tracked"].size(), [0_i64; 0]);

    // The same encoder inside the U-Net, under its other names.
    let whole = nn::VarStore::new(Device::Cpu);
    let config =
        NetworkConfig::Resunet50 { in_channels: 1, classes: 2, decoder_norm: networks::DecoderNorm::None };
    SegmentationNetwork::new(&whole.root(), &config, 3).unwrap();
    let report = load(&whole, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.share(), report.skipped.len()), (1.0, 0));
    let (left, right) = (store.variables(), whole.variables());
    assert_eq!(left["layer4.2.bn3.running_var"], right["encoder5.2.bn3.running_var"]);
    assert_eq!(left["conv1.weight"], right["encoder1.0.weight"]);
    assert_eq!(left["bn1.num_batches_tracked"], right["encoder1.1.num_batches_tracked"]);
    assert!(left["bn1.running_mean"].abs().max().double_value(&[]) > 0.0);
}

#[test]
fn encoders_move_into_networks_with_other_channels() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pretrained.safetensors");
    let (source, _) = encoder(&EncoderConfig::Resenc { in_channels: 1, topology: small() }, 1);
    networks::ProjectionHead::new(&(source.root() / "proj_v"), 8, 8, 4, networks::HeadNorm::Layer, 1)
        .unwrap();
    // As a wrapped training run writes it.
    let wrapped: BTreeMap<String, Tensor> =
        source.variables().into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    save_tensors(&wrapped, &path, &none()).unwrap();

    let (target, _) = unet(4, 3, 2);
    let report = load(&target, &path, &LoadOptions::encoder(0.9)).unwrap();
    assert!((report.share() - 1.0).abs() < 1e-12);
    assert_eq!(report.adapted.len(), 1);
    assert!(report.skipped.iter().all(|skipped| skipped.name.contains("proj_v")), "{report}");
    assert!(!report.skipped.is_empty());
    let stem = "encoder.stem.convs.0.conv.weight";
    let (before, after) = (&source.variables()[stem], &target.variables()[stem]);
    assert_eq!(after.size()[1], 4);
    assert!(after.sum_dim_intlist(1, true, Kind::Float).allclose(before, 1e-5, 1e-7, false));
    let text = report.to_string();
    assert!(text.contains("1 adapted") && text.contains("1 image channel(s) spread over 4"), "{text}");

    // Only the encoder's own file has exactly the encoder.
    save_where(&source, &path, &none(), weights::is_encoder).unwrap();
    let (copy, _) = encoder(&EncoderConfig::Resenc { in_channels: 1, topology: small() }, 9);
    load(&copy, &path, &LoadOptions::exact()).unwrap();
}

#[test]
fn layers_that_a_network_lacks_are_told_however_well_it_is_filled() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deeper.safetensors");
    let config = |blocks: Vec<usize>| EncoderConfig::Resenc {
        in_channels: 1,
        topology: ResEncConfig { blocks, ..small() },
    };
    let (deeper, _network) = encoder(&config(vec![1, 3, 1]), 1);
    save(&deeper, &path, &none()).unwrap();
    let (own, _network) = encoder(&config(vec![1, 2, 1]), 2);
    let report = load(&own, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert!((report.share() - 1.0).abs() < 1e-12, "{report}");
    assert!(
        report.unplaced.iter().all(|name| name.starts_with("encoder.stages.1.blocks.2.")),
        "{:?}",
        report.unplaced
    );
    let said = report.other_encoder().unwrap();
    assert!(said.contains("first encoder.stages.1.blocks.2."), "{said}");
    // a decoder is no encoder's
    let (whole, _network) = unet(1, 3, 3);
    save(&whole, &path, &none()).unwrap();
    let report = load(&own, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert!(report.other_encoder().is_none() && !report.skipped.is_empty(), "{report}");
}

#[test]
fn a_swin_encoder_fills_its_part_of_the_segmentation_network() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("encoder.safetensors");
    let transformer = SwinConfig { feature_size: 12, depths: [2, 1, 1, 1], merging: SwinMerging::Published };
    let config = EncoderConfig::SwinUnetr { in_channels: 1, transformer: transformer.clone() };
    let (source, pretrained) = encoder(&config, 1);
    save(&source, &path, &none()).unwrap();
    assert!(source.variables().keys().all(|name| weights::is_encoder(name)));

    let network = |in_channels, seed| {
        let store = nn::VarStore::new(Device::Cpu);
        let config = NetworkConfig::SwinUnetr { in_channels, classes: 3, transformer: transformer.clone() };
        let network = SegmentationNetwork::new(&store.root(), &config, seed).unwrap();
        (store, network)
    };
    let (target, unetr) = network(1, 2);
    let skip = "encoder2.layer.conv1.conv.weight";
    let before = target.variables()[skip].copy();
    let report = load(&target, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.share(), report.skipped.len(), report.missing.len()), (1.0, 0, 0), "{report}");
    assert_eq!(target.variables()[skip], before);
    let SegmentationNetwork::SwinUnetr(unetr) = &unetr else { panic!("another network") };
    let input = Tensor::randn([1, 1, 32, 32, 64], (Kind::Float, Device::Cpu));
    let features = pretrained.forward_features(&input, false).unwrap();
    assert_eq!(unetr.encoder().forward_features(&input).unwrap(), features);

    // More channels, names without the transformer's prefix, and the published layer behind the pooling.
    let mut bare: BTreeMap<String, Tensor> = source
        .variables()
        .into_iter()
        .map(|(name, tensor)| (format!("module.{}", name.trim_start_matches("swinViT.")), tensor))
        .collect();
    bare.insert("module.linear.weight".to_owned(), Tensor::zeros([4, 192], (Kind::Float, Device::Cpu)));
    save_tensors(&bare, &path, &none()).unwrap();
    let (target, _) = network(4, 2);
    let report = load(&target, &path, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.adapted.len(), report.skipped.len()), (1, 1), "{report}");
    assert_eq!(report.adapted[0].name, "swinViT.patch_embed.proj.weight");
    assert_eq!(report.skipped[0].name, "module.linear.weight");

    // Positions are constants: they may be absent and must not differ.
    let mut tensors: BTreeMap<String, Tensor> = source.variables().into_iter().collect();
    let index = "swinViT.layers1.0.blocks.1.attn.relative_position_index";
    tensors.remove(index);
    save_tensors(&tensors, &path, &none()).unwrap();
    load(&source, &path, &LoadOptions::exact()).unwrap();
    tensors.insert(index.to_owned(), Tensor::zeros([343, 343], (Kind::Int64, Device::Cpu)));
    save_tensors(&tensors, &path, &none()).unwrap();
    assert!(refused(&source, &path, &LoadOptions::exact()).contains(index));
}

#[test]
fn other_number_formats_are_converted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("half.safetensors");
    let (store, _) = unet(1, 2, 1);
    for kind in [Kind::Half, Kind::BFloat16, Kind::Double] {
        let cast = store.variables().into_iter().map(|(name, tensor)| (name, tensor.to_kind(kind))).collect();
        save_tensors(&cast, &path, &none()).unwrap();
        let (other, _) = unet(1, 2, 2);
        load(&other, &path, &LoadOptions::exact()).unwrap();
        let others = other.variables();
        for (name, tensor) in store.variables() {
            assert_eq!(others[&name].kind(), Kind::Float);
            assert!(others[&name].allclose(&tensor, 1e-2, 1e-3, false), "{name}");
        }
    }
}

fn refused(store: &nn::VarStore, path: &Path, options: &LoadOptions) -> String {
    let before: BTreeMap<String, Tensor> =
        store.variables().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
    let text = load(store, path, options).unwrap_err().to_string();
    assert!(store.variables().iter().all(|(name, tensor)| *tensor == before[name]), "variables changed");
    assert!(text.contains(&path.display().to_string()), "{text}");
    text
}

#[test]
fn weights_that_do_not_fit_are_refused_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let (store, _) = unet(1, 3, 1);
    save(&store, &path, &none()).unwrap();

    let (classes, _) = unet(1, 4, 2);
    let text = refused(&classes, &path, &LoadOptions::exact());
    assert!(
        text.contains("decoder.seg_layers.0.weight: shape [3, 8, 1, 1, 1], expected [4, 8, 1, 1, 1]"),
        "{text}"
    );
    assert!(text.contains("and 1 more"), "{text}");
    let report = load(&classes, &path, &LoadOptions::partial(0.8)).unwrap();
    assert_eq!((report.skipped.len(), report.missing.len(), report.considered - report.loaded()), (4, 0, 4));

    let (other, _) = encoder(
        &EncoderConfig::Resenc {
            in_channels: 1,
            topology: ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap(),
        },
        1,
    );
    let text = refused(&other, &path, &LoadOptions::encoder(0.5));
    assert!(text.contains("tensors match") && text.contains("shape"), "{text}");
    let resnet = encoder(&EncoderConfig::Resnet50 { in_channels: 1 }, 1).0;
    let text = refused(&resnet, &path, &LoadOptions::encoder(0.0));
    assert!(text.contains("only 0 of"), "{text}");

    let mut spoilt: BTreeMap<String, Tensor> = store.variables().into_iter().collect();
    let name = "decoder.seg_layers.0.bias".to_owned();
    spoilt.insert(name, Tensor::from_slice(&[0.0_f32, f32::NAN, 0.0]));
    save_tensors(&spoilt, &path, &none()).unwrap();
    let text = refused(&store, &path, &LoadOptions::exact());
    assert!(text.contains("decoder.seg_layers.0.bias") && text.contains("NaN"), "{text}");
}

#[test]
fn files_that_are_no_weights_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("w.safetensors");
    let (store, _) = unet(1, 2, 1);
    let text = refused(&store, &path, &LoadOptions::exact());
    assert!(text.contains("No such file"), "{text}");
    save(&store, &path, &none()).unwrap();
    let whole = fs_err::read(&path).unwrap();
    for length in [0, 5, 100, whole.len() - 1] {
        let file = tempfile::NamedTempFile::new_in(directory.path()).unwrap();
        std::io::Write::write_all(&mut file.as_file(), &whole[..length]).unwrap();
        let file = file.into_temp_path();
        let text = refused(&store, &file, &LoadOptions::exact());
        assert!(text.contains("not a safetensors file") && text.contains("cut short"), "{length}: {text}");
    }
    for start in [&b"PK\x03\x04rest"[..], b"\x80\x02rest"] {
        fs_err::write(&path, start).unwrap();
        let text = refused(&store, &path, &LoadOptions::exact());
        assert!(text.contains("pth_to_safetensors.py"), "{text}");
    }
}
