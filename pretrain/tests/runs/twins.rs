//! One image in two data sets.

use crate::support::{Study, run, text};
use clap::Parser as _;
use data_manifests::Descriptor;
use data_manifests::descriptor::Raw;
use data_manifests::phantom::{Kind, Size};
use serde_json::json;
use stage::Context;
use stage::message::counted;
use std::path::{Path, PathBuf};

/// Shards of the same files under other names, none of them for testing.
fn renamed(study: &Study) -> PathBuf {
    let raw = study.path("raw-ct").join(Kind::Ct.descriptor(Size::Small).raw.folder());
    let mut descriptor: Descriptor = Kind::Ct.descriptor(Size::Small);
    descriptor.name = "twin".into();
    let mut cases = Vec::new();
    for folder in ["imagesTr", "imagesTs"] {
        for entry in fs_err::read_dir(raw.join(folder)).unwrap() {
            let image = entry.unwrap().file_name().into_string().unwrap();
            let id = format!("twin-{}", image.split('.').next().unwrap());
            cases.push(json!({"id": id, "image": format!("{folder}/{image}")}));
        }
    }
    let folder = descriptor.raw.folder().to_owned();
    descriptor.raw =
        serde_json::from_value::<Raw>(json!({"layout": "table", "folder": folder, "cases": cases})).unwrap();
    (descriptor.train_cases, descriptor.test_cases) = (None, None);
    let file = study.path("twin.toml");
    fs_err::write(&file, toml::to_string(&descriptor).unwrap()).unwrap();
    let out = study.path("twin");
    let words = ["preprocess", "--dataset", text(&file), "--raw", text(&raw), "--out", text(&out)];
    preprocess::run(preprocess::Arguments::parse_from(words), &Context::new("preprocess", true)).unwrap();
    out
}

fn ids(plan: &serde_json::Value, dataset: usize) -> Vec<String> {
    let held = plan["datasets"][dataset]["held_out"].as_array().unwrap();
    held.iter().map(|id| id.as_str().unwrap().trim_start_matches("twin-").to_owned()).collect()
}

#[test]
fn images_that_one_data_set_keeps_no_other_trains_on() {
    let study = Study::with(&[Kind::Ct]);
    let (own, twin) = (study.path("ct"), renamed(&study));
    let train = |out: &str, more: &[&str]| {
        let out = study.path(out);
        let mut words = vec!["--out", text(&out), "--encoder", "resenc", "--steps", "1", "--batch", "4"];
        words.extend(["--patch-zyx", "8,16,16", "--shards", text(&own), "--shards", text(&twin)]);
        words.extend(more);
        run(&words).expect(0)
    };
    let all = |directory: &Path| patches::ShardStore::open(directory).unwrap().rows().len();
    let tests = all(&own) - Kind::Ct.descriptor(Size::Small).train_cases.unwrap_or(0);
    assert!(tests > 0 && all(&twin) == all(&own));
    let said = train("left-out", &["--test-cases", "leave-out", "--holdout", "0.4"]);
    let left_out = format!(
        "W340 {} of twin with images of cases that another data set keeps from training",
        counted(tests, "case")
    );
    assert!(said.contains(&left_out) && said.contains("that another data set holds out"), "{said}");
    let plan = study.json("left-out/plan.json");
    let (mut of_own, mut of_twin) = (ids(&plan, 0), ids(&plan, 1));
    of_own.sort();
    of_twin.sort();
    assert!(!of_own.is_empty() && of_own == of_twin, "{of_own:?} {of_twin:?}");
    for dataset in 0..2 {
        let trained = plan["datasets"][dataset]["trained"].as_u64().unwrap() as usize;
        assert_eq!(trained + of_own.len(), all(&own) - tests);
    }
    // weights that have seen them under their other name have seen what is kept
    let shards = ["--shards", text(&twin), "--test-cases", "use", "--holdout", "0"];
    let seen = study.path("seen");
    let words = ["--out", text(&seen), "--encoder", "resenc", "--steps", "1", "--batch", "4"];
    run(&[&words[..], &["--patch-zyx", "8,16,16"], &shards].concat()).expect(0);
    let init = seen.join("encoder.safetensors");
    let said = train("from-seen", &["--test-cases", "leave-out", "--holdout", "0", "--init", text(&init)]);
    for name in ["phantom-ct", "twin"] {
        let kept = format!(
            "W338 the weights of --init were trained on {tests} of {} of {name}",
            counted(tests, "case")
        );
        assert!(said.contains(&kept), "{said}");
    }
    // where nothing is kept, nothing is said
    let said = train("used", &["--test-cases", "use", "--holdout", "0"]);
    assert!(!said.contains("W340"), "{said}");
}
