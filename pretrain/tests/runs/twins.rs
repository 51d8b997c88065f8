//! One image, or one subject, under several names.

use crate::support::{Study, run, text};
use clap::Parser as _;
use data_manifests::Descriptor;
use data_manifests::descriptor::Raw;
use data_manifests::phantom::{Kind, Size};
use data_manifests::seen::Seen;
use networks::weights;
use patches::ShardStore;
use serde_json::json;
use stage::message::counted;
use stage::{Context, ExitStatus};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use test_peers::Ended;

/// Shards of a phantom's raw files under another name, from a table of them; a second column of images is a second channel.
fn named(study: &Study, kind: Kind, name: &str, table: &str) -> PathBuf {
    let mut descriptor: Descriptor = kind.descriptor(Size::Small);
    let raw = study.path(match kind {
        Kind::Em => "raw-em",
        _ => "raw-ct",
    });
    let raw = raw.join(descriptor.raw.folder());
    fs_err::write(raw.join(format!("{name}.csv")), table).unwrap();
    descriptor.name = name.into();
    if table.contains("image_1") {
        descriptor.channels = vec!["CT".into(), "CT later".into()];
    }
    descriptor.raw = serde_json::from_value::<Raw>(
        json!({"layout": "table", "folder": descriptor.raw.folder(), "file": format!("{name}.csv")}),
    )
    .unwrap();
    (descriptor.train_cases, descriptor.test_cases) = (None, None);
    descriptor.labels = None;
    let file = study.path(&format!("{name}.toml"));
    fs_err::write(&file, toml::to_string(&descriptor).unwrap()).unwrap();
    let out = study.path(name);
    let words = ["preprocess", "--dataset", text(&file), "--raw", text(&raw), "--out", text(&out)];
    let status =
        preprocess::run(preprocess::Arguments::parse_from(words), &Context::new("preprocess", true)).unwrap();
    assert_eq!(status, ExitStatus::Done);
    out
}

/// The images of the phantom's CTs, those for testing last.
fn images(study: &Study) -> Vec<String> {
    let raw = study.path("raw-ct").join(Kind::Ct.descriptor(Size::Small).raw.folder());
    let below = |folder: &str| {
        let entries = fs_err::read_dir(raw.join(folder)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
            .collect();
        names.sort();
        names
    };
    [below("imagesTr"), below("imagesTs")].concat()
}

/// `pretrain` of one step on these shards.
fn pretrain(study: &Study, out: &str, shards: &[&Path], more: &[&str]) -> Ended {
    let out = study.path(out);
    let mut words = vec!["--out", text(&out), "--encoder", "resenc", "--steps", "1", "--batch", "4"];
    words.extend(["--patch-zyx", "8,16,16", "--projection-hidden", "16", "--projection-out", "8"]);
    words.extend(shards.iter().flat_map(|shards| ["--shards", text(shards)]));
    words.extend(more);
    run(&words)
}

/// The cases that a run trained on.
fn trained(study: &Study, out: &str) -> Vec<String> {
    let metadata = weights::read_metadata(&study.path(out).join("encoder.safetensors")).unwrap();
    Seen::of_metadata(&metadata).unwrap().datasets.into_values().flat_map(|cases| cases.images).collect()
}

fn ids(plan: &serde_json::Value, dataset: usize) -> Vec<String> {
    let held = plan["datasets"][dataset]["held_out"].as_array().unwrap();
    held.iter().map(|id| id.as_str().unwrap().trim_start_matches("twin-").to_owned()).collect()
}

#[test]
fn images_that_one_data_set_keeps_no_other_trains_on() {
    let study = Study::with(&[Kind::Ct]);
    // none of them for testing
    let rows: Vec<String> = images(&study)
        .iter()
        .map(|image| {
            let name = image.rsplit('/').next().unwrap().split('.').next().unwrap();
            format!("twin-{name},{image}")
        })
        .collect();
    let table = format!("id,image\n{}\n", rows.join("\n"));
    let (own, twin) = (study.path("ct"), named(&study, Kind::Ct, "twin", &table));
    let train = |out: &str, more: &[&str]| pretrain(&study, out, &[&own, &twin], more).expect(0);
    let all = |directory: &Path| ShardStore::open(directory).unwrap().rows().len();
    let tests = all(&own) - Kind::Ct.descriptor(Size::Small).train_cases.unwrap_or(0);
    assert!(tests > 0 && all(&twin) == all(&own));
    let said = train("left-out", &["--test-cases", "leave-out", "--holdout", "0.4"]);
    let left_out = format!(
        "W340 {tests} of {} of twin left out: {tests} by raw files of cases that are kept from training",
        counted(all(&twin), "case")
    );
    assert!(said.contains(&left_out) && said.contains("by raw files of cases that are held out"), "{said}");
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
    pretrain(&study, "seen", &[&twin], &["--test-cases", "use", "--holdout", "0"]).expect(0);
    let init = study.path("seen/encoder.safetensors");
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

#[test]
fn no_case_of_a_subject_is_trained_on_that_is_scored_on_under_another_name() {
    let study = Study::with(&[Kind::Ct]);
    let [a, b, c, d, e] = <[String; 5]>::try_from(images(&study)).unwrap();
    let table = |rows: &[String]| format!("id,image,subject,split\n{}\n", rows.join("\n"));
    let tested = named(
        &study,
        Kind::Ct,
        "tested",
        &table(&[
            format!("t1,{a},P,test"),
            format!("t2,{b},P,train"),
            format!("t3,{c},q,train"),
            // listed twice
            format!("t4,{a},r,train"),
        ]),
    );
    let other = named(
        &study,
        Kind::Ct,
        "other",
        &table(&[
            // a twin of the test case, one of its sibling, and a sibling of each
            format!("o1,{a},s,train"),
            format!("o2,{d},s,train"),
            format!("o3,{b},u,train"),
            format!("o4,{e},u,train"),
            format!("o5,{c},v,train"),
        ]),
    );
    let both = [tested.as_path(), &other];
    let left_out = ["--test-cases", "leave-out", "--holdout", "0"];
    let said = pretrain(&study, "both", &both, &left_out).expect(0);
    for told in [
        "W340 1 of 2 cases of tested left out: 1 by raw files of cases that are kept from training. first t4",
        "W340 4 of 5 cases of other left out: 2 by raw files and 2 by subject of cases that are kept from training",
    ] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(trained(&study, "both"), ["o5", "t3"]);
    // siblings of what is scored on are kept, too, and weights may have seen them under another name
    pretrain(&study, "seen", &[&other], &["--holdout", "0"]).expect(0);
    let init = study.path("seen/encoder.safetensors");
    let said = pretrain(&study, "from-seen", &[&tested], &[&left_out[..], &["--init", text(&init)]].concat());
    let said = said.expect(0);
    assert!(
        said.contains(
            "W338 the weights of --init were trained on 3 of 3 cases of tested that this run keeps"
        ),
        "{said}"
    );
    // nothing but them
    let same =
        named(&study, Kind::Ct, "same", &table(&[format!("s1,{a},w,train"), format!("s2,{d},w,train")]));
    let said = pretrain(&study, "same-out", &[&tested, &same], &left_out).expect(1);
    assert!(
        said.contains("E320 no case of same is left to train on") && said.contains("under other names"),
        "{said}"
    );
}

#[test]
fn subjects_are_held_out_as_a_whole_across_data_sets() {
    let study = Study::with(&[Kind::Ct]);
    let images = images(&study);
    let table = |subject: &dyn Fn(usize) -> usize, letter: &str| {
        let row = |(at, image): (usize, &String)| format!("{letter}{at},{image},{letter}{}\n", subject(at));
        format!("id,image,subject\n{}", images.iter().enumerate().map(row).collect::<String>())
    };
    // of each image one, and of the first two and the next two
    let one = named(&study, Kind::Ct, "one", &table(&|at| at, "a"));
    let two = named(&study, Kind::Ct, "two", &table(&|at| at / 2, "b"));
    let mut told = 0;
    for seed in ["0", "1", "2"] {
        let out = format!("out-{seed}");
        let more = ["--test-cases", "use", "--holdout", "0.2", "--seed", seed];
        let said = pretrain(&study, &out, &[&one, &two], &more).expect(0);
        told += usize::from(
            said.contains("held out: ") && said.contains("by subject of cases that are held out"),
        );
        let plan = study.json(&format!("{out}/plan.json"));
        let held: BTreeSet<String> = [0, 1].iter().flat_map(|dataset| ids(&plan, *dataset)).collect();
        assert!(!held.is_empty());
        for id in trained(&study, &out) {
            let subject = id[1..].parse::<usize>().unwrap() / 2;
            let theirs = held.iter().filter(|held| held[1..].parse::<usize>().unwrap() / 2 == subject);
            assert_eq!(theirs.count(), 0, "{id}: {held:?}");
        }
    }
    assert!(told > 0);
}

#[test]
fn one_channel_of_several_is_the_same_image() {
    let study = Study::with(&[Kind::Ct]);
    let [a, b, c, ..] = <[String; 5]>::try_from(images(&study)).unwrap();
    // a file of its own with the same voxels: an empty member of gzip behind the others
    let empty = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let raw = study.path("raw-ct").join(Kind::Ct.descriptor(Size::Small).raw.folder());
    let [later_a, later_b] = [&a, &b].map(|image| {
        let later = format!("later-{}", image.rsplit('/').next().unwrap());
        let bytes = [fs_err::read(raw.join(image)).unwrap(), empty.to_vec()].concat();
        fs_err::write(raw.join(&later), bytes).unwrap();
        later
    });
    let several = format!("id,image_0,image_1,split\nm1,{a},{later_a},test\nm2,{b},{later_b},train\n");
    let several = named(&study, Kind::Ct, "several", &several);
    let single = named(&study, Kind::Ct, "single", &format!("id,image\ns1,{later_a}\ns2,{c}\n"));
    let more = ["--test-cases", "leave-out", "--holdout", "0"];
    let said = pretrain(&study, "out", &[&several, &single], &more).expect(0);
    assert!(said.contains("W340 1 of 2 cases of single left out: 1 by raw files"), "{said}");
    assert_eq!(trained(&study, "out"), ["m2", "s2"]);
}

#[test]
fn sections_of_a_stack_are_the_same_image_as_the_stack() {
    let study = Study::with(&[Kind::Em]);
    let store = ShardStore::open(&study.path("em")).unwrap();
    let files: Vec<&str> = store.rows().iter().map(|row| row.image.strip_prefix("$RAW/").unwrap()).collect();
    let [a, b] = [files[0], files[1]];
    let parts = format!("id,image,subject\np1,{a}[0:5],a\np2,{a}[5:8],a\n");
    let parts = named(&study, Kind::Em, "parts", &parts);
    let whole = named(&study, Kind::Em, "whole", &format!("id,image\nw1,{a}\nw2,{b}\n"));
    let again = named(
        &study,
        Kind::Em,
        "again",
        &format!("id,image,subject\na1,{a}[0:5],x\na2,{a}[5:8],x\na3,{b},x\na4,{},y\n", files[2]),
    );
    let split = study.path("split.json");
    let of = r#"{"schema": "gtgm/split/1", "seed": 0, "train": ["p1"], "val": ["p2"]}"#;
    fs_err::write(&split, of).unwrap();
    let leave_out = format!("parts={}", text(&split));
    let more = ["--holdout", "0", "--leave-out", &leave_out];
    let said = pretrain(&study, "out", &[&parts, &whole], &more).expect(0);
    assert!(said.contains("W340 1 of 2 cases of whole left out: 1 by raw files"), "{said}");
    // the other side of the split goes on
    assert_eq!(trained(&study, "out"), ["p1", "w2"]);
    // under other names, too; another one of the subject that no split names does not
    pretrain(&study, "both", &[&parts, &again], &more).expect(0);
    assert_eq!(trained(&study, "both"), ["a1", "a4", "p1"]);
    // weights that learnt from the whole have seen its parts, and those of one part not the other
    pretrain(&study, "of-whole", &[&whole], &["--holdout", "0"]).expect(0);
    pretrain(&study, "of-part", &[&parts], &more).expect(0);
    for (init, expected) in [("of-whole", true), ("of-part", false)] {
        let init = study.path(init).join("encoder.safetensors");
        let from = [&more[..], &["--init", text(&init), "--overwrite"]].concat();
        let said = pretrain(&study, "from", &[&parts], &from).expect(0);
        let told =
            said.contains("W338 the weights of --init were trained on 1 of 1 case of parts that this run");
        assert_eq!(told, expected, "{said}");
    }
}
