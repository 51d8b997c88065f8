//! What a run writes, and that its encoder is one.

use crate::support::{Study, edited, run, text};
use data_manifests::cases::{self, CaseRow};
use data_manifests::phantom::Kind;
use data_manifests::records::ROWS;
use data_manifests::seen::Seen;
use networks::weights::{self, LoadOptions};
use networks::{EncoderConfig, NetworkConfig, SegmentationNetwork};
use std::collections::BTreeMap;
use tch::{Device, Tensor, nn};

const KINDS: [Kind; 2] = [Kind::Ct, Kind::Mri];

#[test]
fn image_and_text_make_an_encoder_that_segmentation_takes() {
    let study = Study::with(&KINDS);
    let texts = [study.text(Kind::Ct, 5, 1), study.text(Kind::Mri, 4, 2)];
    let texts = [texts[0].as_path(), &texts[1]];
    let settings = ["--steps", "4", "--batch", "6", "--log-every", "1"];
    let said = study.pretrain(&KINDS, &texts, "encoder", &settings).expect(0);
    assert!(said.contains("W311 1 of 10 cases have no report"), "{said}");
    let files = study.verified("encoder");
    for name in
        ["encoder.safetensors", "plan.json", "metrics.jsonl", "timing.jsonl", "checkpoint_final.safetensors"]
    {
        assert!(files.iter().any(|file| file == name), "{name} is not among {files:?}");
    }
    let manifest = study.json("encoder/manifest.json");
    assert_eq!(manifest["stage"], "pretrain");
    assert_eq!(manifest["datasets"], serde_json::json!(["phantom-ct", "phantom-mri"]));
    assert_eq!(manifest["licence"], "CC0-1.0");
    let roles: Vec<_> = manifest["inputs"].as_array().unwrap().iter().map(|i| i["role"].clone()).collect();
    assert_eq!(roles, ["shards", "shards", "text", "text"]);
    for name in ["loss", "vlp_1", "vlp_2", "vlp_chance", "vr", "feature_spread", "texts"] {
        let values = study.recorded("encoder", name);
        assert!(!values.is_empty() && values.iter().all(|value| value.is_finite()), "{name}: {values:?}");
    }

    // without any text in the loop and no plan but the file's, a segmentation network takes all of it
    let file = study.path("encoder/encoder.safetensors");
    let metadata = weights::read_metadata(&file).unwrap();
    let plan: serde_json::Value = serde_json::from_str(&metadata["plan"]).unwrap();
    assert_eq!(plan, study.json("encoder/plan.json"));
    // whoever gets a file of weights alone knows whose images they come from
    for file in ["encoder", "checkpoint_latest", "checkpoint_final"] {
        let notes = weights::read_metadata(&study.path(&format!("encoder/{file}.safetensors"))).unwrap();
        assert_eq!((notes["licence"].as_str(), notes["stage"].as_str()), ("CC0-1.0", "pretrain"), "{file}");
        assert_eq!(notes["version"], env!("CARGO_PKG_VERSION"));
        assert!(notes.contains_key("citation") && notes.contains_key("plan"), "{file}");
    }
    let timing = fs_err::read_to_string(study.path("encoder/timing.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(timing.lines().next().unwrap()).unwrap();
    for name in ["patches_per_second", "batch_seconds", "data_wait", "peak_rss_mib"] {
        assert!(line[name].as_f64().is_some_and(|value| value >= 0.0), "{name}: {line}");
    }
    let config: EncoderConfig = serde_json::from_value(plan["encoder"].clone()).unwrap();
    let EncoderConfig::Resenc { in_channels: 1, topology } = config else { unreachable!("{config:?}") };
    let store = nn::VarStore::new(Device::Cpu);
    let network = NetworkConfig::Resenc { in_channels: 1, classes: 3, topology };
    let _network = SegmentationNetwork::new(&store.root(), &network, 0).unwrap();
    let report = weights::load(&store, &file, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.matched.len(), report.skipped.len(), report.missing.len()), (report.considered, 0, 0));
    assert!(report.considered > 10);

    assert!(study.pretrain(&KINDS, &texts, "encoder", &settings).expect(0).contains("Nothing to do"));
}

#[test]
fn images_alone_serve_the_visual_loss() {
    let study = Study::with(&[Kind::Em]);
    let said =
        study.pretrain(&[Kind::Em], &[], "encoder", &["--steps", "2", "--batch", "4", "--log-every", "1"]);
    assert!(said.expect(0).contains("W311 3 of 3 cases have no report: used for the visual loss only"));
    study.verified("encoder");
    assert!(study.recorded("encoder", "vlp_1").is_empty());
    assert_eq!(study.recorded("encoder", "vr").len(), 2);
    assert_eq!(study.recorded("encoder", "texts"), [0.0, 0.0]);
}

#[test]
fn texts_that_describe_some_cases_each_are_all_used() {
    let study = Study::with(&[Kind::Ct]);
    let reports = study.text(Kind::Ct, 5, 1);
    let table = fs_err::read_to_string(reports.join(ROWS)).unwrap();
    let whole = ["--steps", "3", "--batch", "8", "--patch-zyx", "8,16,16", "--log-every", "1"];
    // the second text names cases that the first does not, and the other way round
    let other = study.text(Kind::Ct, 5, 2);
    for (folder, known) in [(&reports, ["ct_001", "ct_002"]), (&other, ["ct_003", "ct_004"])] {
        let rows = table.lines().map(|line| {
            let is_known =
                line.starts_with("row,") || known.iter().any(|id| line.contains(&format!(",{id},")));
            if is_known { line.to_owned() } else { line.replace(",ct_00", ",no_00") }
        });
        let rows = rows.collect::<Vec<_>>().join("\n");
        edited(folder, |_| fs_err::write(folder.join(ROWS), rows).unwrap());
    }
    let pretrain = |out: &str, more: &[&str]| {
        study.pretrain(&[Kind::Ct], &[&reports, &other], out, &[&whole[..], more].concat()).expect(0)
    };
    pretrain("both", &["--without-report", "skip", "--holdout", "0"]);
    assert_eq!(study.recorded("both", "texts"), [8.0; 3]);
    // and asked about, each case by the text that knows it: two reports of each to choose from
    pretrain("asked", &["--holdout", "0.8", "--validate-every", "3"]);
    let plan = study.json("asked/plan.json");
    let held: Vec<&str> =
        plan["datasets"][0]["held_out"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let known = |ids: &[&str]| ids.iter().filter(|id| held.contains(id)).count();
    assert!(known(&["ct_001", "ct_002"]) > 0 && known(&["ct_003", "ct_004"]) > 0, "{held:?}");
    let candidates = 2 * known(&["ct_001", "ct_002", "ct_003", "ct_004"]);
    assert_eq!(study.recorded("asked", "candidates"), [candidates as f64]);
}

#[test]
fn thin_patches_teach_the_encoder_of_a_network_for_thick_ones() {
    let study = Study::with(&[Kind::Ct]);
    let embedded = study.text(Kind::Ct, 5, 1);
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "3,16,16", "--network-patch-zyx"];
    study.pretrain(&[Kind::Ct], &[&embedded], "encoder", &[&settings[..], &["32,32,32"]].concat()).expect(0);
    let plan = study.json("encoder/plan.json");
    assert_eq!(plan["patch_zyx"], serde_json::json!([3, 16, 16]));
    let config: EncoderConfig = serde_json::from_value(plan["encoder"].clone()).unwrap();
    let EncoderConfig::Resenc { topology, .. } = config else { unreachable!("{config:?}") };
    assert_eq!(topology.strides_zyx, [[1; 3], [2; 3], [2; 3], [2; 3]]);
}

#[test]
fn a_swin_encoder_is_trained_on_patches_that_it_can_halve() {
    let study = Study::with(&[Kind::Ct]);
    let embedded = study.text(Kind::Ct, 5, 1);
    let (shards, out) = (study.path("ct"), study.path("encoder"));
    let words = ["--shards", text(&shards), "--text", text(&embedded), "--out", text(&out), "--steps", "2"];
    let small = ["--batch", "4", "--projection-hidden", "16", "--projection-out", "8", "--log-every", "1"];
    let swin = ["--encoder", "swin-unetr", "--swin-feature-size", "12", "--swin-depths", "1,2,1,1"];
    let patch = ["--patch-zyx", "8,40,64", "--test-cases", "use"];
    run(&[&words[..], &small, &swin, &patch].concat()).expect(0);
    let plan = study.json("encoder/plan.json");
    assert_eq!(plan["patch_zyx"], serde_json::json!([32, 64, 64]));
    let config: EncoderConfig = serde_json::from_value(plan["encoder"].clone()).unwrap();
    let EncoderConfig::SwinUnetr { in_channels: 1, transformer } = config else { unreachable!("{config:?}") };
    assert_eq!((transformer.feature_size, transformer.depths), (12, [1, 2, 1, 1]));
    let store = nn::VarStore::new(Device::Cpu);
    let network = NetworkConfig::SwinUnetr { in_channels: 1, classes: 3, transformer };
    let _network = SegmentationNetwork::new(&store.root(), &network, 0).unwrap();
    let file = study.path("encoder/encoder.safetensors");
    let report = weights::load(&store, &file, &LoadOptions::encoder(1.0)).unwrap();
    assert_eq!((report.matched.len(), report.skipped.len(), report.missing.len()), (report.considered, 0, 0));

    // weights of elsewhere do not say how their patches were merged, and of 32³ voxels one is left
    let bare = study.path("bare.safetensors");
    weights::save_tensors(&weights::read_tensors(&file).unwrap(), &bare, &BTreeMap::new()).unwrap();
    let cube = ["--patch-zyx", "32,32,32", "--test-cases", "use", "--overwrite", "--init", text(&bare)];
    for (merging, is_asked) in [(&[][..], true), (&["--swin-merging", "complete"], false)] {
        let said = run(&[&words[..], &small, &swin, &cube, merging].concat()).expect(0);
        assert!(said.contains("W444 the deepest maps of this swin-unetr are single voxels"), "{said}");
        assert_eq!(said.contains("W450") && said.contains("taken for complete"), is_asked, "{said}");
    }

    let bad = ["--encoder", "swin-unetr", "--swin-feature-size", "10", "--overwrite", "--test-cases", "use"];
    let said = run(&[&words[..], &small, &bad].concat()).expect(1);
    assert!(said.contains("E324") && said.contains("feature_size is 10"), "{said}");
    let said = run(&[&words[..], &["--encoder", "swin-unetr", "--swin-depths", "2,2,2"]].concat()).expect(2);
    assert!(said.contains("four numbers of at least 1"), "{said}");
}

#[test]
fn the_image_text_loss_falls() {
    let study = Study::with(&[Kind::Ct]);
    let text = study.text(Kind::Ct, 5, 1);
    let settings = ["--steps", "60", "--batch", "8", "--patch-zyx", "8,16,16", "--log-every", "10"];
    study.pretrain(&[Kind::Ct], &[&text], "encoder", &settings).expect(0);
    let losses = study.recorded("encoder", "loss");
    assert!(losses[5] < losses[0] - 0.3, "{losses:?}");
}

#[test]
fn values_come_from_a_file_and_flags_win() {
    let study = Study::with(&[Kind::Em]);
    let config = study.path("run.toml");
    let toml = "steps = 9\nbatch = 5\nhead-norm = \"layer\"\npatch_zyx = \"8,16,16\"\nvr-space = \"raw\"\n";
    fs_err::write(&config, toml).unwrap();
    let more = ["--config", text(&config), "--steps", "1"];
    study.pretrain(&[Kind::Em], &[], "encoder", &more).expect(0);
    let plan = study.json("encoder/plan.json");
    assert_eq!((plan["steps"].as_u64(), plan["batch"].as_u64()), (Some(1), Some(5)));
    assert_eq!(plan["patch_zyx"], serde_json::json!([8, 16, 16]));
    assert_eq!((plan["head_norm"].as_str(), plan["loss"]["vr_space"].as_str()), (Some("layer"), Some("raw")));
}

/// A patch that covers its volume lies in one place: answers to the same question would count eightfold.
#[test]
fn patches_are_asked_about_once() {
    let study = Study::with(&[Kind::Ct]);
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "32,48,48", "--holdout", "0.6"];
    study
        .pretrain(&[Kind::Ct], &[], "encoder", &[&settings[..], &["--validate-every", "1"]].concat())
        .expect(0);
    let held_out = study.json("encoder/plan.json")["datasets"][0]["held_out"].as_array().unwrap().len();
    assert!(held_out > 1);
    assert_eq!(study.recorded("encoder", "patches"), [held_out as f64]);
}

#[test]
fn held_out_cases_are_asked_about_and_never_trained_on() {
    let study = Study::with(&KINDS);
    let texts = [study.text(Kind::Ct, 5, 1), study.text(Kind::Mri, 5, 2)];
    let texts = [texts[0].as_path(), &texts[1]];
    let settings = ["--steps", "4", "--batch", "4", "--patch-zyx", "8,16,16", "--holdout", "0.4"];
    let more = ["--validate-every", "2", "--match", "nearest"];
    study.pretrain(&KINDS, &texts, "encoder", &[&settings[..], &more].concat()).expect(0);
    let held: Vec<String> = study.json("encoder/plan.json")["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|d| d["held_out"].as_array().unwrap().clone())
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(held.len(), 4, "{held:?}");
    assert_eq!(study.recorded("encoder", "patches"), [32.0, 32.0], "eight of each");
    // two reports of each held-out case to choose from
    assert_eq!(study.recorded("encoder", "candidates"), [8.0, 8.0]);
    assert_eq!(study.recorded("encoder", "recall_5_chance"), [0.625, 0.625]);
    for name in
        ["recall_1", "recall_5", "recall_10", "median_rank", "effective_rank", "probe_modality", "score"]
    {
        let values = study.recorded("encoder", name);
        assert!(values.len() == 2 && values.iter().all(|value| value.is_finite()), "{name}: {values:?}");
    }
    assert_eq!(study.recorded("encoder", "recall_10"), [1.0, 1.0]);
    assert!(study.verified("encoder").iter().any(|file| file == "checkpoint_best.safetensors"));
    // nothing of them reached a batch: without their files the same weights come out
    let weights = study.bytes("encoder/encoder.safetensors");
    let none = ["--validate-every", "9", "--match", "nearest"];
    let again = study.pretrain(&KINDS, &texts, "again", &[&settings[..], &none].concat()).expect(0);
    assert!(!again.contains("W311"), "{again}");
    assert!(study.bytes("again/encoder.safetensors") == weights, "asking changes nothing");
    // the same words are one answer, wherever they stand: here all reports of MRI, and one of CT
    for (text, most) in [(texts[0], 1), (texts[1], usize::MAX)] {
        let table = fs_err::read_to_string(text.join(ROWS)).unwrap();
        let (mut lines, mut left) = (Vec::new(), most);
        for line in table.lines() {
            let is_asked = held.iter().any(|id| line.contains(&format!(",{id},"))) && left > 0;
            left -= usize::from(is_asked);
            lines.push(if is_asked { format!("{line}the same") } else { line.to_owned() });
        }
        edited(text, |_| fs_err::write(text.join(ROWS), lines.join("\n")).unwrap());
    }
    study.pretrain(&KINDS, &texts, "worded", &[&settings[..], &more].concat()).expect(0);
    assert_eq!(study.recorded("worded", "candidates"), [4.0, 4.0]);
}

#[test]
fn a_batch_in_parts_gives_the_whole_batchs_gradients() {
    let study = Study::with(&[Kind::Ct]);
    let text = study.text(Kind::Ct, 5, 1);
    let settings = ["--steps", "3", "--batch", "8", "--patch-zyx", "8,16,16", "--log-every", "1"];
    study.pretrain(&[Kind::Ct], &[&text], "whole", &settings).expect(0);
    for part in ["3", "4", "1"] {
        let out = format!("parts-of-{part}");
        study
            .pretrain(&[Kind::Ct], &[&text], &out, &[&settings[..], &["--micro-batch", part]].concat())
            .expect(0);
        for name in ["loss", "grad_norm"] {
            let (whole, parts) = (study.recorded("whole", name), study.recorded(&out, name));
            assert_eq!(whole.len(), 3);
            for (a, b) in whole.iter().zip(&parts) {
                assert!((a - b).abs() < 2e-4 * a.abs(), "{name} in parts of {part}: {whole:?}, {parts:?}");
            }
        }
    }
}

#[test]
fn several_wordings_of_a_data_set_take_turns() {
    let study = Study::with(&[Kind::Ct]);
    let texts = [1, 2].map(|seed| study.text(Kind::Ct, 5, seed));
    let settings = ["--steps", "3", "--batch", "6", "--patch-zyx", "8,16,16", "--log-every", "1"];
    let run = |out: &str, texts: &[&std::path::Path]| {
        study.pretrain(&[Kind::Ct], texts, out, &settings).expect(0);
        study.recorded(out, "vlp_1")
    };
    let (one, other) = (run("one", &[&texts[0]]), run("other", &[&texts[1]]));
    let both = run("both", &[&texts[0], &texts[1]]);
    assert!(both.iter().all(|value| value.is_finite()) && both != one && both != other, "{both:?}");
    assert_eq!(study.json("both/plan.json")["texts"].as_array().unwrap().len(), 2);
    study.verified("both");
}

/// Phantoms have two reports each, one of either half: patches that hold both have a report for each of their parts.
#[test]
fn parts_of_patches_are_aligned_with_their_own_reports() {
    let study = Study::with(&[Kind::Ct]);
    let text = study.text(Kind::Ct, 8, 1);
    let settings = ["--steps", "3", "--batch", "6", "--patch-zyx", "16,16,16", "--log-every", "1"];
    let run = |out: &str, more: &[&str]| {
        study.pretrain(&[Kind::Ct], &[&text], out, &[&settings[..], more].concat()).expect(0);
        ["loss", "vlp_parts", "vlp_1"].map(|name| study.recorded(out, name))
    };
    let [whole, of_parts, global] = run("parts", &["--parts", "2", "--parts-weight", "0.5"]);
    assert!(
        of_parts.len() == 3 && of_parts.iter().all(|value| value.is_finite() && *value > 0.0),
        "{of_parts:?}"
    );
    study.verified("parts");
    let [without, none, same] = run("without", &[]);
    assert!(none.is_empty());
    // before the first update both have the same weights
    assert!((global[0] - same[0]).abs() < 1e-5, "{global:?} {same:?}");
    assert!((whole[0] - without[0] - 0.5 * of_parts[0]).abs() < 1e-4, "{whole:?} {without:?} {of_parts:?}");
    let [pieces, ..] = run("pieces", &["--parts", "2", "--parts-weight", "0.5", "--micro-batch", "3"]);
    for (a, b) in whole.iter().zip(&pieces) {
        assert!((a - b).abs() < 2e-4 * a.abs(), "{whole:?} {pieces:?}");
    }
}

#[test]
fn data_sets_are_mixed_as_asked_and_views_are_extended() {
    let study = Study::with(&[Kind::Ct, Kind::Em]);
    let settings = ["--steps", "2", "--batch", "6", "--patch-zyx", "8,16,16", "--log-every", "1"];
    let kinds = [Kind::Ct, Kind::Em];
    let run = |out: &str, more: &[&str]| {
        study.pretrain(&kinds, &[], out, &[&settings[..], more].concat()).expect(0);
        study.verified(out);
        (study.recorded(out, "loss"), study.json(&format!("{out}/plan.json")))
    };
    let (equal, plan) = run("equal", &[]);
    assert_eq!(
        (plan["mix"].as_f64(), plan["views"]["section_perturbations"].as_array().map(Vec::len)),
        (Some(0.0), Some(0))
    );
    let (by_cases, plan) = run("by-cases", &["--mix", "1"]);
    assert_eq!(plan["mix"].as_f64(), Some(1.0));
    let (extended, plan) = run("extended", &["--views", "extended"]);
    assert_eq!(plan["views"]["section_perturbations"].as_array().map(Vec::len), Some(5));
    // the phantoms have as many cases each
    assert_eq!(by_cases, equal);
    assert!(extended.iter().all(|loss| loss.is_finite()) && extended != equal, "{extended:?} {equal:?}");
}

#[test]
fn cases_of_a_later_validation_are_left_out() {
    let study = Study::with(&[Kind::Ct]);
    let rows: Vec<CaseRow> = cases::from_csv(&study.path("ct/cases.csv")).unwrap();
    let labelled: Vec<String> =
        rows.iter().filter(|row| !row.label.is_empty()).map(|row| row.id.clone()).collect();
    let split = study.path("split.json");
    let (val, train) = labelled.split_at(1);
    let val = [val, &["ct_oo1".to_owned()]].concat();
    let stored = serde_json::json!({"schema": "gtgm/split/1", "seed": 0, "train": train, "val": val});
    fs_err::write(&split, stored.to_string()).unwrap();
    let name = rows_name(&study);
    let left_out = format!("{name}={}", text(&split));
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "8,15,16", "--leave-out"];
    let said = study.pretrain(&[Kind::Ct], &[], "encoder", &[&settings[..], &[&left_out]].concat()).expect(0);
    assert!(
        said.contains("W337 1 case of --leave-out not among those of phantom-ct: first ct_oo1"),
        "{said}"
    );
    assert!(said.contains("I324 patches of [8, 16, 16] instead of [8, 15, 16]"), "{said}");
    let plan = study.json("encoder/plan.json");
    assert_eq!(plan["selection"]["left_out"][&name], serde_json::json!(val));
    let other = format!("elsewhere={}", text(&split));
    let said = study.pretrain(&[Kind::Ct], &[], "other", &[&settings[..], &[&other]].concat()).expect(1);
    assert!(said.contains("E337") && said.contains(&format!("Name one of {name}")), "{said}");
    // a fold of nnU-Net's list is the same, once it is named
    let folds = study.path("splits_final.json");
    let list = serde_json::json!([{"train": val, "val": train}, {"train": train, "val": val}]);
    fs_err::write(&folds, list.to_string()).unwrap();
    let fold = |number: &str| format!("{name}={}{number}", text(&folds));
    let said =
        study.pretrain(&[Kind::Ct], &[], "encoder", &[&settings[..], &[&fold("#1")]].concat()).expect(0);
    assert!(said.contains("Nothing to do"), "{said}");
    for (wrong, words) in [("", "name one: DATASET=FILE.json#FOLD"), ("#2", "found 2 folds, numbered from 0")]
    {
        let said =
            study.pretrain(&[Kind::Ct], &[], "other", &[&settings[..], &[&fold(wrong)]].concat()).expect(1);
        assert!(said.contains("E337") && said.contains(words), "{wrong}: {said}");
    }
}

#[test]
fn weights_that_have_seen_what_is_kept_from_training_are_named() {
    let study = Study::with(&[Kind::Ct]);
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "8,16,16"];
    let pretrain = |out: &str, more: &[&str]| {
        study.pretrain(&[Kind::Ct], &[], out, &[&settings[..], more].concat()).expect(0)
    };
    pretrain("all", &["--holdout", "0"]);
    let seen = |out: &str| {
        let file = study.path(out).join("encoder.safetensors");
        Seen::of_metadata(&weights::read_metadata(&file).unwrap()).unwrap()
    };
    let all = &seen("all").datasets["phantom-ct"];
    assert!(all.images.len() == 5 && all.labels.is_empty());
    let init = study.path("all/encoder.safetensors");
    let said = pretrain("some", &["--init", text(&init), "--holdout", "0.2"]);
    assert!(said.contains("W338 the weights of --init were trained on 1 of 1 case of phantom-ct"), "{said}");
    // what was seen before stays seen
    assert_eq!(&seen("some").datasets["phantom-ct"], all);
    let again = study.path("some/checkpoint_final.safetensors");
    assert!(!pretrain("more", &["--init", text(&again), "--holdout", "0"]).contains("W338"));
    pretrain("part", &["--holdout", "0.2"]);
    assert_eq!(seen("part").datasets["phantom-ct"].images.len(), 4);
    let part = study.path("part/encoder.safetensors");
    assert!(!pretrain("same", &["--init", text(&part), "--holdout", "0.2"]).contains("W338"));
}

#[test]
fn weights_without_the_first_convolution_are_told() {
    let study = Study::with(&[Kind::Ct]);
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "8,16,16", "--holdout", "0"];
    study.pretrain(&[Kind::Ct], &[], "whole", &settings).expect(0);
    let mut tensors: BTreeMap<String, Tensor> =
        weights::read_tensors(&study.path("whole/encoder.safetensors")).unwrap().into_iter().collect();
    // under either of its names
    tensors.retain(|name, tensor| !(name.contains("stem") && tensor.dim() == 5));
    let file = study.path("stemless.safetensors");
    weights::save_tensors(&tensors, &file, &BTreeMap::new()).unwrap();
    let said =
        study.pretrain(&[Kind::Ct], &[], "stemless", &[&settings[..], &["--init", text(&file)]].concat());
    let said = said.expect(0);
    let told = said.lines().find(|line| line.contains("W447")).unwrap();
    assert!(
        told.contains("the encoder's first convolution keeps random weights")
            && told.contains("not in the file"),
        "{told}"
    );
}

/// The name of the only data set of a study.
fn rows_name(study: &Study) -> String {
    study.json("ct/manifest.json")["datasets"][0].as_str().unwrap().to_owned()
}
