//! `finetune train`.

use crate::support::{Study, plan_of, ran, recorded, replace_label, run, text};
use data_manifests::phantom::Kind;
use data_manifests::seen::{self, Seen};
use networks::{EncoderConfig, SwinConfig, SwinMerging, weights};
use patches::ShardStore;
use std::collections::{BTreeMap, HashMap};
use tch::Tensor;

#[test]
fn a_run_from_scratch_writes_a_whole_stage_once() {
    let study = Study::new(Kind::Ct);
    let settings = ["--from-scratch", "--validate-every", "2", "--log-every", "1"];
    let said = study.train("model", 4, &settings).expect(0);
    assert!(said.contains("3 training cases (all of the labels), 1 validation case"), "{said}");
    let files = study.verified("model");
    let names =
        ["model.safetensors", "plan.json", "split.json", "metrics.jsonl", "checkpoint_final.safetensors"];
    for name in names.into_iter().chain(["validation.png"]) {
        assert!(files.iter().any(|file| file == name), "{name} is not among {files:?}");
    }
    assert!(!files.iter().any(|file| file == "load_report.json"));
    let metrics = study.path("model/metrics.jsonl");
    assert_eq!(recorded(&metrics, "step", "loss").len(), 4);
    for value in ["score", "score_smoothed", "loss"] {
        let found = recorded(&metrics, "validation", value);
        assert!(found.len() == 2 && found.iter().all(|value| *value > 0.0), "{value}: {found:?}");
    }
    assert_eq!(study.json("model/report.json")["status"], "done");

    let before = study.bytes("model/manifest.json");
    assert!(study.train("model", 4, &settings).expect(0).contains("Nothing to do"));
    // a command that is refused leaves the finished stage as it is
    let other = ["--from-scratch", "--validate-every", "2", "--log-every", "1", "--lr", "0.5"];
    let said = study.train("model", 4, &other).expect(1);
    assert!(said.contains("E307") && said.contains("lr") && said.contains("--overwrite"), "{said}");
    assert!(said.contains("model.safetensors --with-decoder") && !said.contains("--init"), "{said}");
    assert_eq!(study.bytes("model/manifest.json"), before);
    let said = study.train("model", 4, &[&other[..], &["--overwrite"]].concat()).expect(0);
    assert!(!said.contains("resuming"), "{said}");
    study.verified("model");
    assert_ne!(study.bytes("model/manifest.json"), before);
    // a run that does not validate does not keep another's picture
    study.train("model", 1, &["--from-scratch", "--validate-every", "0", "--overwrite"]).expect(0);
    assert!(!study.verified("model").iter().any(|file| file == "validation.png"));
}

#[test]
fn a_model_of_another_data_set_hands_on_its_encoder() {
    let (one, other) = (Study::new(Kind::Ct), Study::new(Kind::Mri));
    one.model();
    for file in ["model.safetensors", "checkpoint_final.safetensors"] {
        let file = one.path("model").join(file);
        let more = ["--encoder-weights", text(&file), "--validate-every", "0", "--overwrite"];
        let said = other.train("model", 1, &more).expect(0);
        // one channel to four, other classes
        assert!(said.contains("1 adapted") && said.contains("0 missing (100 %"), "{said}");
        let topology = |study: &Study| study.json("model/plan.json")["model"]["network"]["topology"].clone();
        assert_eq!(topology(&one), topology(&other));
    }
}

#[test]
fn a_model_hands_on_its_decoder_where_that_is_asked_for() {
    let (one, other) = (Study::new(Kind::Ct), Study::new(Kind::Mri));
    one.model();
    let model = one.path("model/model.safetensors");
    let start = ["--encoder-weights", text(&model), "--with-decoder", "--validate-every", "0"];
    // so small a step changes nothing but zeros
    let equal =
        |a: &Tensor, b: &Tensor| a.size() == b.size() && (a - b).abs().max().double_value(&[]) < 1e-20;
    let still = [&start[..], &["--lr", "1e-30", "--weight-decay", "0"]].concat();
    let said = one.train("same", 1, &still).expect(0);
    assert!(said.contains("0 skipped, 0 missing (100 %"), "{said}");
    let [before, after] =
        ["model", "same"].map(|out| weights::read_tensors(&one.path(out).join("model.safetensors")).unwrap());
    assert!(before.iter().all(|(name, tensor)| equal(tensor, &after[name])));

    // as many scores of other meaning are drawn anew, too
    let twin = Study::edited(Kind::Ct, |descriptor, _| {
        descriptor.labels.as_mut().unwrap().classes[1] = "something else".to_owned();
    });
    let said = twin.train("twin", 1, &still).expect(0);
    assert!(said.contains("I440 the file's model scores other classes"), "{said}");
    let found = weights::read_tensors(&twin.path("twin/model.safetensors")).unwrap();
    for (name, tensor) in &before {
        assert_eq!(equal(tensor, &found[name]), !name.starts_with("decoder.seg_layers."), "{name}");
    }

    // other channels are adapted, scores of other classes are drawn anew, and both are reported
    let said = other.train("other", 1, &still).expect(0);
    assert!(said.contains("1 adapted"), "{said}");
    let found = weights::read_tensors(&other.path("other/model.safetensors")).unwrap();
    let (mut same, mut changed) = (0, Vec::new());
    for (name, tensor) in before.iter().filter(|(name, _)| name.starts_with("decoder.stages")) {
        same += usize::from(equal(tensor, &found[name]));
    }
    let report = other.json("other/load_report.json");
    for skipped in report["skipped"].as_array().unwrap() {
        changed.push(skipped["name"].as_str().unwrap().to_owned());
    }
    assert!(same > 10 && !changed.is_empty(), "{same} {changed:?}");
    assert!(changed.iter().all(|name| name.contains("seg_layers")), "{changed:?}");

    let encoder = one.encoder();
    let said = one.train("none", 1, &["--encoder-weights", text(&encoder), "--with-decoder"]).expect(1);
    assert!(said.contains("E401 the file holds no decoder"), "{said}");
}

#[test]
fn options_without_a_say_are_refused() {
    let study = Study::new(Kind::Ct);
    study.model();
    let split = study.path("model/split.json");
    let said =
        study.train("seeded", 1, &["--from-scratch", "--split", text(&split), "--split-seed", "3"]).expect(1);
    assert!(
        said.contains("E412 the split cannot be used") && said.contains("Leave --split-seed out"),
        "{said}"
    );
    for factor in ["nan", "-1", "inf"] {
        let option = format!("--encoder-lr-factor={factor}");
        assert!(study.train("factor", 1, &["--from-scratch", &option]).expect(2).contains("expected 0 or"));
    }
    // mirror images along no axis
    let said = study.predict("mirrored", &[&study.raw()], &["--mirror"]).expect(0);
    assert!(
        said.contains("I441 --mirror does nothing: phantom-ct permits mirror images along no axis"),
        "{said}"
    );
}

#[test]
fn validation_cases_that_the_encoder_has_seen_are_counted() {
    let study = Study::new(Kind::Mri);
    study.model();
    let val: Vec<String> = serde_json::from_value(study.json("model/split.json")["val"].clone()).unwrap();
    let encoder = study.encoder();
    let plan = weights::read_metadata(&encoder).unwrap()["plan"].clone();
    let tensors = weights::read_tensors(&encoder).unwrap();
    let name = study.json("model/plan.json")["model"]["descriptor"]["name"].as_str().unwrap().to_owned();
    let train = |seen: Option<&Seen>| {
        let mut metadata = BTreeMap::from([("plan".to_owned(), plan.clone())]);
        metadata.extend(seen.map(|seen| (seen::KEY.to_owned(), seen.text().unwrap())));
        weights::save_tensors(&tensors, &encoder, &metadata).unwrap();
        let more = ["--encoder-weights", text(&encoder), "--validate-every", "0", "--overwrite"];
        study.train("again", 1, &more).expect(0)
    };
    let mut seen = Seen::default();
    let unknown = HashMap::new();
    seen.add("another", &val, &unknown, false);
    let said = train(Some(&seen));
    assert!(!said.contains("W431") && !said.contains("I438"), "{said}");
    // the same files, whatever the data set is called
    let shards = ShardStore::open(&study.path("shards")).unwrap();
    let mut renamed = Seen::default();
    renamed.add("another", &val, &shards.images(), false);
    let wanted =
        |n: usize| format!("W431 the encoder was pretrained on the images of {n} of {n} validation case");
    let said = train(Some(&renamed));
    assert!(said.contains(&wanted(val.len())), "{said}");
    // and as earlier versions wrote it down
    let joined = shards.images().into_values().filter_map(|image| image.joined).collect();
    let said = train(Some(&Seen { files: joined, ..Seen::default() }));
    assert!(said.contains(&wanted(val.len())), "{said}");
    assert!(train(None).contains("I438 the encoder's file does not say which cases"));
    seen.add(&name, &val, &unknown, false);
    let said = train(Some(&seen));
    assert!(said.contains(&wanted(val.len())) && said.contains("--leave-out"), "{said}");
    // and who starts from this model is told so, too
    let inherited = weights::read_metadata(&study.path("again/model.safetensors")).unwrap();
    assert_eq!(Seen::of_metadata(&inherited).unwrap().among(&name, &val, &unknown), [val.len(), 0]);

    // a model of the same data set that was trained on what is validated now
    for file in ["model.safetensors", "checkpoint_final.safetensors"] {
        let file = study.path("model").join(file);
        let train = |seed: &str| {
            let more = [
                "--encoder-weights",
                text(&file),
                "--validate-every",
                "0",
                "--overwrite",
                "--split-seed",
                seed,
            ];
            study.train("again", 1, &more).expect(0)
        };
        assert!(!train("0").contains("W431"));
        let other = (1..20).map(|seed| train(&seed.to_string())).find(|said| said.contains("W431"));
        let said = other.expect("a seed whose validation case is another one");
        assert!(
            said.contains("W431 the encoder comes from a model that was trained on 1 of 1 validation case"),
            "{said}"
        );
    }
}

#[test]
fn an_encoder_of_one_channel_is_adapted_to_four() {
    let study = Study::new(Kind::Mri);
    let encoder = study.encoder();
    let settings = ["--encoder-weights", text(&encoder), "--encoder-lr-factor", "0.1"];
    let said = study.train("model", 2, &settings).expect(0);
    assert!(said.contains("1 adapted, 0 skipped, 0 missing (100 %"), "{said}");
    let files = study.verified("model");
    assert!(files.iter().any(|file| file == "load_report.json"));
    let report = study.json("model/load_report.json");
    assert_eq!(report["adapted"][0]["how"], "1 image channel(s) spread over 4");
    assert_eq!(report["path"], "encoder.safetensors");
    let plan = study.json("model/plan.json");
    assert_eq!(plan["model"]["network"]["in_channels"], 4);
    assert_eq!(plan["optimizer"]["lr_factors"]["encoder"], 0.1);
    assert!(study.json("model/manifest.json")["inputs"][1]["role"] == "encoder");
}

#[test]
fn a_swin_encoder_starts_a_swin_unetr_of_its_own_shape() {
    let study = Study::new(Kind::Mri);
    let transformer = SwinConfig { feature_size: 12, depths: [1, 1, 1, 1], merging: SwinMerging::Published };
    let encoder = study.encoder_of(&EncoderConfig::SwinUnetr { in_channels: 1, transformer });
    let (shards, out) = (study.shards(), study.path("model"));
    let words = ["train", "--shards", text(&shards), "--out", text(&out), "--network", "swin-unetr"];
    let more = ["--encoder-weights", text(&encoder), "--encoder-lr-factor", "0.1", "--steps", "1"];
    let short = ["--batch", "1", "--validate-every", "0"];
    let said = run(&[&words[..], &more, &short].concat()).expect(0);
    assert!(said.contains("1 adapted, 0 skipped, 0 missing (100 %"), "{said}");
    let plan = study.json("model/plan.json");
    assert_eq!(plan["model"]["network"]["transformer"]["feature_size"], 12);
    assert_eq!(plan["model"]["network"]["transformer"]["merging"], "published");
    assert_eq!(plan["optimizer"]["lr_factors"], serde_json::json!({"encoder10": 0.1, "swinViT": 0.1}));
    let patch: Vec<u64> = serde_json::from_value(plan["model"]["patch_zyx"].clone()).unwrap();
    assert!(patch.iter().all(|size| size % 32 == 0), "{patch:?}");
    study.verified("model");

    // weights of elsewhere do not say how their patches were merged
    let bare = study.path("bare.safetensors");
    weights::save_tensors(&weights::read_tensors(&encoder).unwrap(), &bare, &BTreeMap::new()).unwrap();
    let shape = [
        "--swin-feature-size",
        "12",
        "--swin-depths",
        "1,1,1,1",
        "--overwrite",
        "--encoder-weights",
        text(&bare),
    ];
    for (merging, is_asked) in [(&[][..], true), (&["--swin-merging", "published"], false)] {
        let said = run(&[&words[..], &short, &["--steps", "1"], &shape, merging].concat()).expect(0);
        assert_eq!(said.contains("W450") && said.contains("taken for complete"), is_asked, "{said}");
    }

    let said = run(&[&words[..], &more, &["--swin-depths", "2,2,2,2", "--overwrite"]].concat()).expect(1);
    insta::assert_snapshot!(said.lines().find(|line| line.contains("E449")).unwrap().trim(), @"E449 --swin-depths asks for another network than the encoder's. the encoder has [1, 1, 1, 1]. Leave out --swin-depths: the network takes the encoder's shape; or pretrain an encoder with it.");
    let said = run(&[&words[..], &more, &["--size", "full", "--overwrite"]].concat()).expect(1);
    assert!(said.contains("E449 --size is an option of --network resenc, not of swin-unetr"), "{said}");

    let other = study.path("scratch");
    let scratch = ["--from-scratch", "--steps", "1", "--swin-feature-size", "20"];
    let said = run(&[&words[..4], &[text(&other)], &words[5..], &scratch].concat()).expect(1);
    assert!(said.contains("E416") && said.contains("feature_size is 20"), "{said}");
    let said = run(&[&words[..6], &["resenc"], &more].concat()).expect(1);
    assert!(
        said.contains("E401 the encoder is a swin-unetr") && said.contains("Use --network swin-unetr"),
        "{said}"
    );
}

#[test]
#[ignore = "trains 147 million weights: make test-long"]
fn long_a_resunet_with_attention_trains_and_is_built_again() {
    let study = Study::new(Kind::Ct);
    let (shards, out) = (study.shards(), study.path("model"));
    let words = ["train", "--shards", text(&shards), "--out", text(&out), "--network", "attresunet50"];
    let more = ["--from-scratch", "--decoder-norm", "instance", "--encoder-lr-factor", "0.1"];
    // one copy more of its 147 million weights, where AdamW has two
    let short = ["--steps", "1", "--batch", "1", "--validate-every", "0", "--optimizer", "sgd"];
    run(&[&words[..], &more, &short].concat()).expect(0);
    let plan = study.json("model/plan.json");
    let network = serde_json::json!(
        {"kind": "attresunet50", "in_channels": 1, "classes": 3, "decoder_norm": "instance"}
    );
    assert_eq!(plan["model"]["network"], network);
    assert_eq!(plan["optimizer"]["lr_factors"], serde_json::json!({"encoder": 0.1}));
    study.predict("predictions", &[&study.raw()], &["--cases", "val"]).expect(0);
}

#[test]
fn a_batch_norm_over_one_value_is_refused_before_an_earlier_run_is_touched() {
    let study = Study::edited(Kind::Ct, |descriptor, _| descriptor.grid.patch_zyx = [8, 32, 32]);
    let once = ["--from-scratch", "--steps", "1", "--batch", "1", "--validate-every", "0", "--overwrite"];
    ran(study.train_command("model", &once)).expect(0);
    let said = ran(study.train_network("resunet50", "model", &once)).expect(1);
    assert!(said.contains("E454 the deepest batch norms of resunet50 see 1 value of each feature"), "{said}");
    study.verified("model");
}

#[test]
fn training_lowers_the_loss() {
    let study = Study::new(Kind::Ct);
    let settings = ["--from-scratch", "--log-every", "5", "--validate-every", "0", "--lr", "3e-3"];
    study.train("model", 40, &settings).expect(0);
    let losses = recorded(&study.path("model/metrics.jsonl"), "step", "loss");
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..2]), mean(&losses[6..]));
    assert!(last < first - 0.1, "{losses:?}");
}

#[test]
fn fractions_hold_at_least_one_case_and_nest() {
    let study = Study::new(Kind::Ct);
    let cases = |fraction: &str| -> Vec<String> {
        let out = format!("model-{fraction}");
        study.train(&out, 1, &["--from-scratch", "--validate-every", "0", "--fraction", fraction]).expect(0);
        serde_json::from_value(study.json(&format!("{out}/plan.json"))["train"].clone()).unwrap()
    };
    let (least, some, all) = (cases("0.01"), cases("0.7"), cases("1"));
    assert_eq!([least.len(), some.len(), all.len()], [1, 2, 3]);
    assert!(some.starts_with(&least) && all.starts_with(&some));
    let said = study.train("none", 1, &["--from-scratch", "--fraction", "0"]).expect(2);
    assert!(said.contains("expected a number above 0 and at most 1"), "{said}");
}

#[test]
fn a_run_that_diverges_hands_no_model_on() {
    let study = Study::new(Kind::Ct);
    let settings = ["--from-scratch", "--lr", "1e9", "--validate-every", "1"];
    // the same command ends in the same way, again
    for _ in 0..2 {
        let said = study.train("model", 3, &settings).expect(1);
        assert!(said.contains("E302 the run diverged and ends at step 3 without a model"), "{said}");
        assert!(said.contains("--lr"), "{said}");
    }
    let records = fs_err::read_to_string(study.path("model/metrics.jsonl")).unwrap();
    let last = records.lines().rfind(|line| line.contains("\"validation\"")).unwrap();
    assert!(last.contains("\"not_finite_cases\":1.0") && !last.contains("score"), "{records}");
    assert!(study.path("model/checkpoint_latest.safetensors").is_file());
    for name in ["model.safetensors", "manifest.json", "checkpoint_final.safetensors"] {
        assert!(!study.path("model").join(name).exists(), "{name}");
    }
}

#[test]
fn a_class_that_is_absent_is_named() {
    // one of four cases keeps class 2: it trains or validates, never both
    let study = Study::edited(Kind::Ct, |_, raw| replace_label(raw, 1, 2, 1));
    let said = study.train("model", 1, &["--from-scratch", "--validate-every", "0"]).expect(0);
    assert_eq!(said.matches("W403").count(), 1, "{said}");
    assert!(said.contains("there is no 'lesion' in the labels of"), "{said}");
    assert!(!said.contains("'organ'"), "{said}");
    // without any voxel of it, more labels are no remedy
    let study = Study::edited(Kind::Ct, |_, raw| replace_label(raw, 0, 2, 1));
    let said =
        study.train("model", 1, &["--from-scratch", "--validate-every", "0", "--fraction", "0.4"]).expect(0);
    assert!(
        said.contains(
            "W403 there is no 'lesion' in the labels of 1 training case. The model cannot learn it."
        ),
        "{said}"
    );
    assert!(
        said.contains("W403 there is no 'lesion' in the labels of 1 validation case. It gets no score."),
        "{said}"
    );
    assert!(!said.contains("larger --fraction"), "{said}");
}

#[test]
fn what_does_not_fit_is_refused_by_code() {
    let study = Study::new(Kind::Ct);
    let encoder = study.encoder();
    let (shards, out) = (study.shards(), study.path("refused"));
    let train = |more: &[&str]| {
        let words = ["train", "--shards", text(&shards), "--out", text(&out), "--steps", "1"];
        run(&[&words[..], more].concat()).expect(1)
    };
    let said = train(&["--network", "resunet50", "--encoder-weights", text(&encoder)]);
    assert!(
        said.contains("E401 the encoder is a resenc, and --network resunet50 takes a resnet50"),
        "{said}"
    );
    assert!(said.contains("Use --network resenc"), "{said}");
    let resnet = study.path("resnet.safetensors");
    let plan = plan_of(&EncoderConfig::Resnet50 { in_channels: 1 });
    let tensors = BTreeMap::from([("conv1.weight".to_owned(), Tensor::from_slice(&[1f32]))]);
    weights::save_tensors(&tensors, &resnet, &plan).unwrap();
    let said = train(&["--network", "resenc", "--encoder-weights", text(&resnet)]);
    assert!(said.contains("E401") && said.contains("Use --network resunet50"), "{said}");
    // numbers that are none: no other network and no lower share would help
    let mut broken: BTreeMap<String, Tensor> = weights::read_tensors(&encoder).unwrap().into_iter().collect();
    let stem = "encoder.stem.convs.0.conv.weight";
    let shape = broken[stem].size();
    broken.insert(stem.to_owned(), Tensor::full(&shape, f64::NAN, (tch::Kind::Float, tch::Device::Cpu)));
    let other = study.path("other.safetensors");
    weights::save_tensors(&broken, &other, &BTreeMap::new()).unwrap();
    let said = train(&["--network", "resenc", "--encoder-weights", text(&other)]);
    assert!(said.contains("E401") && said.contains("the file is damaged"), "{said}");
    assert!(!said.contains("--minimum-match"), "{said}");
    // a first convolution of another shape is left as it was drawn, and that is said
    let wider: Vec<i64> = shape.iter().enumerate().map(|(axis, n)| if axis < 2 { *n } else { 7 }).collect();
    broken.insert(stem.to_owned(), Tensor::zeros(&wider, (tch::Kind::Float, tch::Device::Cpu)));
    weights::save_tensors(&broken, &other, &BTreeMap::new()).unwrap();
    let stemless = ["--network", "resenc", "--encoder-weights", text(&other), "--validate-every", "0"];
    let said = study.train("stemless", 1, &stemless[2..]).expect(0);
    assert!(said.contains("W447") && said.contains(&format!("expected {shape:?}")), "{said}");
    assert!(said.contains("0 missing, 1 unfit (9"), "{said}");
    let said = train(&["--network", "resenc", "--from-scratch", "--affinities", "nearest"]);
    assert!(said.contains("E411 --affinities is of labels that are objects"), "{said}");
    // weights of other origin: what fits decides
    weights::save_tensors(&tensors, &resnet, &BTreeMap::new()).unwrap();
    let said = train(&["--network", "resenc", "--encoder-weights", text(&resnet)]);
    assert!(said.contains("E401") && said.contains("0 of "), "{said}");
    let said = train(&["--network", "resenc", "--encoder-weights", text(&study.path("absent"))]);
    assert!(said.contains("absent"), "{said}");

    let split = study.path("split.json");
    fs_err::write(&split, r#"{"schema":"gtgm/split/1","seed":0,"train":["nobody"],"val":["no one"]}"#)
        .unwrap();
    let said = train(&["--network", "resenc", "--from-scratch", "--split", text(&split)]);
    assert!(said.contains("E412") && said.contains("2 ids are no labelled case"), "{said}");
    fs_err::write(&split, "nonsense").unwrap();
    let said = train(&["--network", "resenc", "--from-scratch", "--split", text(&split)]);
    assert!(said.contains("E412") && said.contains("split.json is no split"), "{said}");
    assert_eq!(study.json("refused/report.json")["status"], "failed");

    let foreign = study.path("foreign");
    fs_err::create_dir(&foreign).unwrap();
    fs_err::write(foreign.join("thesis.tex"), "").unwrap();
    let said = study.train("foreign", 1, &["--from-scratch"]).expect(1);
    assert!(said.contains("E165") && said.contains("thesis.tex"), "{said}");

    let words = ["train", "--shards", "a", "--out", "b", "--steps", "1"];
    run(&words).expect(2);
    run(&[&words[..], &["--from-scratch", "--foreground-share", "1.5"]].concat()).expect(2);
    run(&[&words[..], &["--from-scratch", "--wall-minutes", "-1"]].concat()).expect(2);
}

#[test]
fn a_damaged_shard_is_named_before_training() {
    let study = Study::new(Kind::Ct);
    let cases = fs_err::read_dir(study.shards().join("cases")).unwrap();
    for case in cases {
        let part = case.unwrap().path().join("foreground/c.0.0");
        if part.is_file() {
            fs_err::remove_file(part).unwrap();
        }
    }
    let said = study.train("model", 2, &["--from-scratch"]).expect(1);
    assert!(said.contains("E301 case ") && said.contains("Run preprocess again"), "{said}");
}

#[test]
fn values_come_from_a_file_and_flags_win() {
    let study = Study::new(Kind::Ct);
    let config = study.path("run.toml");
    let toml =
        "[train]\nnetwork = \"resenc\"\nsteps = 3\nfrom-scratch = true\nvalidate_every = 0\nbatch = 1\n";
    fs_err::write(&config, toml).unwrap();
    let (shards, out) = (study.shards(), study.path("model"));
    let words = ["train", "--config", text(&config), "--shards", text(&shards), "--out", text(&out)];
    run(&[&words[..], &["--steps", "1"]].concat()).expect(0);
    let plan = study.json("model/plan.json");
    assert_eq!((plan["steps"].as_u64(), plan["batch"].as_u64()), (Some(1), Some(1)));
    fs_err::write(&config, "[train]\nstep = 3\n").unwrap();
    assert!(run(&words).expect(2).contains("unknown key 'step'"));
}

#[test]
fn all_cases_train_where_none_is_kept() {
    let study = Study::new(Kind::Ct);
    let said =
        study.train("all", 2, &["--from-scratch", "--val-share", "0", "--validate-every", "1"]).expect(0);
    assert!(said.contains("I445") && said.contains("0 validation cases"), "{said}");
    study.verified("all");
    let split = study.json("all/split.json");
    assert_eq!((split["val"].as_array().unwrap().len(), split["train"].as_array().unwrap().len()), (0, 4));
    let record = String::from_utf8(study.bytes("all/metrics.jsonl")).unwrap();
    assert!(!record.contains("validation"), "{record}");
    let patience = ["--from-scratch", "--val-share", "0", "--patience", "2"];
    let said = study.train("stopped", 2, &patience).expect(1);
    assert!(said.contains("E426"), "{said}");
    // test images remain to be predicted
    let (model, raw, out) = (study.path("all"), study.raw(), study.path("predictions"));
    run(&["predict", "--model", text(&model), "--input", text(&raw), "--out", text(&out)]).expect(0);
    assert!(study.table("predictions").values().all(|row| row[0] == "test"));
}
