//! Several prediction directories, as of the folds of a cross-validation, scored as one.

use crate::world::{World, run};
use data_manifests::Manifest;
use serde_json::json;
use stage::ExitStatus;

/// A finished prediction directory of these validation cases, and of a test case that all models predict.
fn fold(world: &World, name: &str, ids: &[&str]) {
    let directory = world.path(name);
    fs_err::create_dir_all(&directory).unwrap();
    let mut table = "id,split,file,image,label\n".to_owned();
    let mut cases = Vec::new();
    for (id, split) in ids.iter().map(|id| (*id, "val")).chain([("c", "test")]) {
        let file = format!("{id}.nii.gz");
        fs_err::copy(world.path(&format!("predictions/{file}")), directory.join(&file)).unwrap();
        table.push_str(&format!("{id},{split},{file},$RAW/imagesTr/{file},$RAW/labelsTr/{file}\n"));
        cases.push([id, split]);
    }
    fs_err::write(directory.join("predictions.csv"), table).unwrap();
    let predict =
        Manifest::new("predict", "0.1.0", "finetune", &json!({"cases": cases}), Vec::new()).unwrap();
    predict.finish(&directory, |_| "prediction").unwrap();
}

#[test]
fn validation_cases_of_folds_are_scored_as_one() {
    let world = World::new();
    fold(&world, "fold0", &["a"]);
    fold(&world, "fold1", &["b"]);
    let [raw, first, second, out] =
        ["raw", "fold0", "fold1", "scores"].map(|name| world.path(name).display().to_string());
    let words = ["score", "--references", &raw, "--dataset", "msd04-hippocampus", "--out", &out];
    let score = |more: &[&str]| run(&[&words[..], more].concat()).0;
    assert_eq!(score(&["--predictions", &first, &second, "--split", "val"]).unwrap(), ExitStatus::Done);
    let summary = world.summary();
    let cases: Vec<&str> = summary.metric_per_case.iter().map(|case| case.case.as_str()).collect();
    assert_eq!(cases, ["a", "b"]);
    assert_eq!(summary.metric_per_case[1].prediction_file.as_deref(), Some("b.nii.gz"));
    // one voxel of four is off in b
    assert_eq!(summary.mean["1"]["Dice"], Some((1.0 + 0.75) / 2.0));
    let manifest = Manifest::load(&world.path("scores"), "score").unwrap();
    assert_eq!(manifest.inputs.iter().filter(|input| input.role == "predictions").count(), 2);

    // a case that both have would count twice
    let error = score(&["--predictions", &first, &second]).unwrap_err().to_string();
    assert!(error.starts_with("E506 case c: two directories of --predictions"), "{error}");
    assert!(error.contains("--split val"), "{error}");
    // folders of other programs do not say which cases they were to hold
    let plain = world.path("predictions").display().to_string();
    let error = score(&["--predictions", &first, &plain]).unwrap_err().to_string();
    assert!(error.starts_with("E010"), "{error}");
}
