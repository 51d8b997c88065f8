//! The captioner `blip` over small volumes, with the tiny reference model.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{captions, ct, em, read_png, shards, text_synth, tiny_blip};
use data_manifests::records::{self, Caption};
use data_manifests::{Manifest, rules, verify};
use networks::blip::{Captioner, GreyImage, Search};
use networks::weights::{read_tensors, save_tensors};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Tensor};
use tempfile::tempdir;
use test_peers::{run_script, venv};
use text_synth::captioner::clean::clean;

/// What Transformers makes of pictures.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/networks/tests/it/captions.py");

/// The pictures that `slices --png` wrote, in the order of the plan.
fn pictures(slices: &Path) -> Vec<GreyImage> {
    let plan: Vec<text_synth::slices::Slice> = records::read_lines(&slices.join("slices.jsonl")).unwrap();
    plan.iter()
        .map(|slice| {
            let bytes = fs_err::read(slices.join(format!("png/{}.png", slice.file_stem()))).unwrap();
            let ([height, width], values) = read_png(&bytes);
            GreyImage { height, width, values }
        })
        .collect()
}

fn slices(shards: &Path, out: &Path, stride: &str) -> Vec<GreyImage> {
    let mut command = text_synth();
    command.args(["slices", "--quiet", "--png", "--stride", stride, "--shards"]).arg(shards);
    command.arg("--out").arg(out).assert().success();
    pictures(out)
}

#[test]
fn captions_are_those_of_the_model_on_the_pictures() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("zebra_17"), ct("zebra_18")]);
    tiny_blip(&at("model"));
    let model = at("model");
    let options = |batch: &'static str, beams: &'static str| {
        let model = model.to_str().unwrap();
        let fixed = ["--captioner", "blip", "--blip", model, "--stride", "3", "--max-length", "12"];
        fixed.into_iter().chain(["--batch", batch, "--beams", beams]).map(str::to_owned).collect::<Vec<_>>()
    };
    let run = |out: &str, options: &[String]| {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        captions(&at("shards"), &at(out), &options)
    };
    let all = run("captions", &options("3", "1"));
    assert_eq!(all, run("again", &options("3", "1")));
    // the pictures, one after the other through the model itself
    let seen = slices(&at("shards"), &at("slices"), "3");
    assert_eq!(all.len(), seen.len());
    let captioner = Captioner::open(&model, Device::Cpu).unwrap();
    let search = Search { max_tokens: 12, ..Search::default() };
    for (caption, picture) in all.iter().zip(&seen) {
        let raw = captioner.caption(std::slice::from_ref(picture), "", &search).unwrap().remove(0);
        assert_eq!(caption.caption, clean(&raw));
        assert_eq!(caption.captioner, "blip/1");
        assert!(!caption.caption.contains("zebra") && !caption.caption.is_empty());
    }
    // what was measured stands beside it
    let measured = captions(&at("shards"), &at("measured"), &["--stride", "3"]);
    let facts = |all: &[Caption]| all.iter().map(|c| c.facts.clone()).collect::<Vec<_>>();
    assert_eq!(facts(&all), facts(&measured));
    assert_eq!(
        all.iter().map(|c| &c.id).collect::<Vec<_>>(),
        measured.iter().map(|c| &c.id).collect::<Vec<_>>()
    );

    let manifest = Manifest::load(&at("captions"), "caption").unwrap();
    let files: Vec<_> =
        manifest.inputs.iter().filter(|i| i.role == "captioner").map(|i| i.path.as_str()).collect();
    assert_eq!(files, ["$CAPTIONER/config.json", "$CAPTIONER/model.safetensors", "$CAPTIONER/vocab.txt"]);
    // no manifest holds the place of the model
    let text = fs_err::read_to_string(at("captions").join("manifest.json")).unwrap();
    assert!(!text.contains(model.to_str().unwrap()), "{text}");
    verify::verify(&at("captions")).unwrap();
    assert_eq!(rules::check_directory(&at("captions")).unwrap(), Vec::<String>::new());
    // other weights, beams or lengths are other work
    let work = |out: &str| Manifest::load(&at(out), "caption").unwrap().work;
    run("beams", &options("3", "3"));
    assert_ne!(work("beams"), work("captions"));
    assert_eq!(work("again"), work("captions"));
    let mut reports = text_synth();
    reports.args(["report", "--quiet", "--captions"]).arg(at("captions")).arg("--out").arg(at("reports"));
    reports.assert().success();
}

/// A killed run goes on from what it has said, and gives the bytes of one that was not.
#[test]
fn a_killed_run_goes_on() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a"), ct("b")]);
    tiny_blip(&at("model"));
    let model = at("model");
    let options = ["--captioner", "blip", "--blip", model.to_str().unwrap(), "--max-length", "12"];
    let options = [&options[..], &["--stride", "1", "--batch", "2", "--beams", "3"]].concat();
    captions(&at("shards"), &at("whole"), &options);

    let said = at("killed").join("captioned.jsonl");
    let lines = || fs_err::read(&said).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("text-synth"))
        .args(["caption", "--quiet", "--shards"])
        .arg(at("shards"))
        .arg("--out")
        .arg(at("killed"))
        .args(&options)
        .spawn()
        .unwrap();
    while lines() < 7 {
        assert!(child.try_wait().unwrap().is_none(), "ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!at("killed").join("manifest.json").exists());
    // the kill left half a line
    let whole_lines = lines();
    let mut bytes = fs_err::read(&said).unwrap();
    bytes.extend_from_slice(br#"{"id":"a:ax"#);
    fs_err::write(&said, &bytes).unwrap();
    fs_err::create_dir_all(at("marked")).unwrap();
    let mut text: Vec<String> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    let run = |out: &str| {
        let mut command = text_synth();
        command.args(["caption", "--shards"]).arg(at("shards")).arg("--out").arg(at(out)).args(&options);
        let output = command.assert().success();
        String::from_utf8_lossy(&output.get_output().stderr).into_owned()
    };
    let told = run("killed");
    assert!(
        told.contains(&format!("I207 resumed: {} pictures captioned before.", whole_lines - 1)),
        "{told}"
    );
    for file in ["captions.jsonl", "slices.jsonl", "rejected.jsonl"] {
        let read = |out: &str| fs_err::read(at(out).join(file)).unwrap();
        assert!(read("killed") == read("whole"), "{file}");
    }
    assert!(!said.exists() && verify::verify(&at("killed")).is_ok());

    // what was said is not asked of the model again
    let first: serde_json::Value = serde_json::from_str(&text[1]).unwrap();
    text[1] = serde_json::json!({"id": first["id"], "text": "a text of before"}).to_string();
    fs_err::write(at("marked").join("captioned.jsonl"), text[..3].join("\n") + "\n").unwrap();
    run("marked");
    let marked: Vec<Caption> = records::read_lines(&at("marked").join(records::CAPTIONS)).unwrap();
    assert_eq!(marked[0].caption, "a text of before");
    let whole: Vec<Caption> = records::read_lines(&at("whole").join(records::CAPTIONS)).unwrap();
    assert_eq!(marked[1..], whole[1..]);
}

#[test]
fn pictures_are_prepared_as_by_transformers() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[em("a")]);
    tiny_blip(&at("model"));
    let seen = slices(&at("shards"), &at("slices"), "2");
    let raw: BTreeMap<String, Tensor> = seen
        .iter()
        .enumerate()
        .map(|(i, p)| {
            (i.to_string(), Tensor::from_slice(&p.values).reshape([p.height as i64, p.width as i64]))
        })
        .collect();
    save_tensors(&raw, &at("model").join("images.safetensors"), &BTreeMap::new()).unwrap();
    let Some(python) = venv("python") else { return };
    if run_script(std::process::Command::new(python).arg(SCRIPT).arg(at("model"))).is_none() {
        return;
    }
    let expected = read_tensors(&at("model").join("expected.safetensors")).unwrap();
    let prepared = Captioner::open(&at("model"), Device::Cpu).unwrap().prepare(&seen).unwrap();
    // one grey value, for rounding
    let worst = (prepared - &expected["pixels"]).abs().max().double_value(&[]);
    assert!(worst < 1.1 / 255.0 / 0.26, "{worst}");
}

#[test]
fn a_directory_that_is_no_captioner_is_named() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    let fails = |extra: &[&str], code: i32| {
        let mut command = text_synth();
        command.args(["caption", "--captioner", "blip", "--shards"]).arg(at("shards"));
        let output = command.arg("--out").arg(at("captions")).args(extra).assert().failure().code(code);
        String::from_utf8_lossy(&output.get_output().stderr).into_owned()
    };
    let text = fails(&["--blip", at("shards").to_str().unwrap()], 1);
    assert!(text.contains("E222") && text.contains("config.json") && text.contains("Give --blip"), "{text}");
    assert!(fails(&[], 2).contains("--blip <DIR>"));
    // the tiny model has 40 positions
    tiny_blip(&at("model"));
    let text = fails(&["--blip", at("model").to_str().unwrap()], 1);
    assert!(text.contains("E222") && text.contains("at most 40") && text.contains("--max-length"), "{text}");
    assert!(!at("captions").join("manifest.json").exists());
}
