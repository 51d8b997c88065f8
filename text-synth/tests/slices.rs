//! The plan of slices and their pictures.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{Volume, captions, ct, em, read_png, shards, text_synth};
use data_manifests::{Manifest, rules, verify};
use std::path::Path;
use tempfile::tempdir;

fn run(shards: &Path, out: &Path, extra: &[&str]) -> String {
    let mut command = text_synth();
    command.args(["slices", "--shards"]).arg(shards).arg("--out").arg(out).args(extra);
    String::from_utf8_lossy(&command.assert().success().get_output().stderr).into_owned()
}

#[test]
fn pictures_are_those_of_the_plan_of_captions() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a"), Volume { id: "b 2", ..ct("b 2") }]);
    let options = ["--stride", "4", "--plane", "axial,coronal", "--seed", "3"];
    run(&at("shards"), &at("plan"), &options);
    assert!(!at("plan").join("png").exists());
    let with_png: Vec<_> = options.iter().copied().chain(["--png"]).collect();
    run(&at("shards"), &at("slices"), &with_png);
    captions(&at("shards"), &at("captions"), &options);
    for other in ["plan", "captions"] {
        let lines = |d: &str| fs_err::read_to_string(at(d).join("slices.jsonl")).unwrap();
        assert_eq!(lines("slices"), lines(other));
    }
    let manifest = Manifest::load(&at("slices"), "slices").unwrap();
    let pictures: Vec<_> = manifest.outputs.iter().filter(|o| o.role == "picture").collect();
    assert_eq!(pictures.len() as u64, manifest.counts["slices"]);
    assert!(pictures.iter().all(|p| p.path.starts_with("png/") && !p.path.contains(' ')), "{pictures:?}");
    verify::verify(&at("slices")).unwrap();
    assert_eq!(rules::check_directory(&at("slices")).unwrap(), Vec::<String>::new());

    // 12 sections of 5 mm by 80 columns of 3 mm
    let coronal = manifest.outputs.iter().find(|o| o.path.contains("a_coronal")).unwrap();
    assert_eq!(read_png(&fs_err::read(at("slices").join(&coronal.path)).unwrap()).0, [20, 80]);
    let axial = manifest.outputs.iter().find(|o| o.path.contains("a_axial")).unwrap();
    let (shape, values) = read_png(&fs_err::read(at("slices").join(&axial.path)).unwrap());
    assert_eq!(shape, [60, 80]);
    // the window -150 … 250 HU: air black, the spine (at the back, so below) white, fat darker than soft tissue
    let grey = |y: usize, x: usize| values[(59 - y) * 80 + 79 - x];
    assert_eq!((grey(0, 0), grey(16, 40)), (0, 255));
    assert!(grey(30, 6) < 50 && grey(30, 50) > 110, "{} {}", grey(30, 6), grey(30, 50));
    assert!(run(&at("shards"), &at("slices"), &with_png).contains("Nothing to do"));
}

#[test]
fn an_interrupted_run_keeps_its_pictures_and_another_plan_does_not() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[em("a")]);
    let out = at("slices");
    run(&at("shards"), &out, &["--png", "--stride", "1"]);
    let work = Manifest::load(&out, "slices").unwrap().work;
    // as a kill leaves it: no manifest, the marker, some pictures, half a file
    fs_err::remove_file(out.join("manifest.json")).unwrap();
    stage::atomic::write(&out.join(".work"), work.as_bytes()).unwrap();
    let (kept, lost) = (out.join("png/a_axial_0_0.png"), out.join("png/a_axial_2_1.png"));
    let bytes = fs_err::read(&lost).unwrap();
    fs_err::remove_file(&lost).unwrap();
    let before = fs_err::metadata(&kept).unwrap().modified().unwrap();
    run(&at("shards"), &out, &["--png", "--stride", "1"]);
    assert_eq!(fs_err::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(fs_err::read(&lost).unwrap(), bytes);
    verify::verify(&out).unwrap();
    let finished = fs_err::read(out.join("manifest.json")).unwrap();
    for (options, said) in [
        (&["--png", "--stride", "4"][..], "--stride 1 → 4"),
        (&["--png"], "--stride 1 → the data set's"),
        (&["--png", "--stride", "1", "--seed", "3"], "--seed 0 → 3"),
        (&["--stride", "1"], "--png true → false"),
    ] {
        let mut command = text_synth();
        command.args(["slices", "--shards"]).arg(at("shards")).arg("--out").arg(&out).args(options);
        let output = command.assert().failure().code(1);
        let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(text.contains("E212 slices of other options are here. ") && text.contains(said), "{text}");
        assert!(text.contains("or replace them with --overwrite."), "{text}");
    }
    assert!(fs_err::read(out.join("manifest.json")).unwrap() == finished && kept.is_file());
    run(&at("shards"), &out, &["--png", "--stride", "4", "--overwrite"]);
    assert!(fs_err::read_dir(out.join("png")).unwrap().count() == 2);
    run(&at("shards"), &out, &["--stride", "4", "--overwrite"]);
    assert!(!out.join("png").exists());
    // an output directory with other things in it is left alone
    stage::atomic::write(&out.join("notes.txt"), b"mine").unwrap();
    let mut command = text_synth();
    command.args(["slices", "--shards"]).arg(at("shards")).arg("--out").arg(&out).arg("--png");
    let output = command.assert().failure().code(1);
    assert!(String::from_utf8_lossy(&output.get_output().stderr).contains("E165"));
    assert!(out.join("notes.txt").is_file());
}
