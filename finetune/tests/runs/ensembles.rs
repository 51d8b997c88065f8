//! Folds, models that predict together, and what a model tells of itself.

use crate::support::{Study, command, run, text};
use data_manifests::phantom::Kind;
use data_manifests::splits::NNUNET_FILE;
use std::collections::BTreeSet;

/// Standard output of a run that ends well.
fn printed(words: &[&str]) -> String {
    let output = command(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn folds_predict_together() {
    let study = Study::new(Kind::Mri);
    let quick = ["--from-scratch", "--validate-every", "0"];
    let mut validated = BTreeSet::new();
    for fold in ["0", "1"] {
        let name = format!("fold{fold}");
        study
            .train(
                &name,
                2,
                &[&quick[..], &["--folds", "2", "--fold", fold, "--split-seed", "4", "--seed", fold]]
                    .concat(),
            )
            .expect(0);
        let split = study.json(&format!("{name}/split.json"));
        validated.extend(split["val"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    let folds = ["fold0", "fold1"].map(|name| study.path(name));
    let raw = study.raw();
    let predict = |models: &[&str], out: &str, more: &[&str]| {
        let out = study.path(out);
        let words =
            [&["predict", "--input", text(&raw), "--out", text(&out), "--model"], models, more].concat();
        run(&words)
    };
    let [first, second] = [text(&folds[0]), text(&folds[1])];
    // what validates in one fold trained in the other: only test cases are nobody's
    predict(&[first, second], "both", &[]).expect(0);
    study.verified("both");
    let table = study.table("both");
    assert!(table.values().all(|row| row[0] == "test") && !table.is_empty());
    let manifest = study.json("both/manifest.json");
    let models =
        manifest["inputs"].as_array().unwrap().iter().filter(|input| input["role"] == "model").count();
    assert_eq!(models, 2);
    predict(&[first, second], "train", &["--cases", "train"]).expect(0);
    assert_eq!(study.table("train").into_keys().collect::<BTreeSet<_>>(), validated);
    // the mean of two equal models is the model
    predict(&[first], "one", &["--cases", "test"]).expect(0);
    predict(&[first, first], "twice", &["--cases", "test"]).expect(0);
    predict(&[second], "other", &["--cases", "test"]).expect(0);
    let file = &table.values().next().unwrap()[1];
    let map = |out: &str| study.bytes(&format!("{out}/{file}"));
    assert_eq!(map("one"), map("twice"));
    assert!(map("one") != map("other") && map("one") != map("both"));

    // a clean-up for both is chosen on the validation cases of each
    let said = predict(&[first, second], "none", &["--cases", "val"]).expect(1);
    assert!(said.contains("E414") && said.contains("folds of a cross-validation"), "{said}");
    predict(&[first], "val0", &["--cases", "val"]).expect(0);
    predict(&[second], "val1", &["--cases", "val"]).expect(0);
    let choice = study.path("clean-up.json");
    let clean_up = |models: &[&str], predictions: &[&str]| {
        let predictions = predictions.iter().map(|name| study.path(name)).collect::<Vec<_>>();
        let predictions: Vec<&str> = predictions.iter().map(|path| text(path)).collect();
        let words = ["clean-up", "--references", text(&raw), "--out", text(&choice), "--model"];
        run(&[&words[..], models, &["--predictions"], &predictions[..]].concat())
    };
    let said = clean_up(&[first, second], &["both"]).expect(1);
    assert!(said.contains("E423 no validation case") && said.contains("of each model alone"), "{said}");
    let said = clean_up(&[first, second], &["val0"]).expect(1);
    assert!(said.contains("E423 these predictions are of other models"), "{said}");
    let said = clean_up(&[first, first], &["val0", "val0"]).expect(1);
    assert!(said.contains("E423") && said.contains("for validation in two of these directories"), "{said}");
    clean_up(&[second, first], &["val0", "val1"]).expect(0);
    assert_eq!(study.json("clean-up.json")["cases"], validated.len());
    let with = ["--cases", "test", "--clean-up", text(&choice)];
    predict(&[first, second], "clean", &with).expect(0);
    let said = predict(&[first], "clean-one", &with).expect(1);
    assert!(said.contains("E423 this choice was made for other models"), "{said}");

    // the file of nnU-Net gives the same folds
    let members = data_manifests::splits::members(
        &data_manifests::cases::from_csv(&study.shards().join("cases.csv")).unwrap(),
        None,
    );
    let splits = data_manifests::splits::cross_validation(&members, 2, 4).unwrap();
    let list = study.path(NNUNET_FILE);
    data_manifests::splits::save_nnunet(&splits, &list).unwrap();
    let of_file = ["--split", text(&list)];
    study.train("again", 1, &[&quick[..], &of_file, &["--fold", "1"]].concat()).expect(0);
    assert_eq!(study.json("again/split.json")["val"], study.json("fold1/split.json")["val"]);
    let said = study.train("bad", 1, &[&quick[..], &of_file, &["--fold", "2"]].concat()).expect(1);
    assert!(said.contains("E412") && said.contains("found 2 folds"), "{said}");
    let said = study.train("bad", 1, &[&quick[..], &of_file].concat()).expect(1);
    assert!(said.contains("E412") && said.contains("name a --fold"), "{said}");
    let said = study.train("bad", 1, &[&quick[..], &["--folds", "2", "--fold", "2"]].concat()).expect(1);
    assert!(said.contains("E402") && said.contains("from 0 to 1"), "{said}");

    // models of different data sets
    let other = Study::new(Kind::Ct);
    other.model();
    let said = predict(&[first, text(&other.path("model"))], "mixed", &[]).expect(1);
    assert!(said.contains("E418 models with different data sets"), "{said}");
}

#[test]
fn a_model_tells_what_it_is() {
    let study = Study::new(Kind::Mri);
    study.train("model", 2, &["--from-scratch", "--validate-every", "1", "--seed", "9"]).expect(0);
    let model = study.path("model");
    let told = printed(&["info", text(&model)]);
    for part in [
        "resenc, ",
        " million parameters",
        "random weights",
        "2 steps of 2 patches, fp32, seed 9",
        "pooled, at step 2",
        "0 background",
        "learnt from    phantom-mri: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let json: serde_json::Value = serde_json::from_str(&printed(&["info", text(&model), "--json"])).unwrap();
    assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(json["training"]["plan"]["steps"], 2);
    assert_eq!(json["seen"]["datasets"]["phantom-mri"]["labels"], json["training"]["plan"]["train"]);
    // the file alone
    let file = study.path("alone.safetensors");
    fs_err::copy(model.join("model.safetensors"), &file).unwrap();
    assert!(printed(&["info", text(&file)]).contains("not told: the file lies alone"));
    let said = run(&["info", text(&study.encoder())]).expect(1);
    assert!(said.contains("E410"), "{said}");
}
