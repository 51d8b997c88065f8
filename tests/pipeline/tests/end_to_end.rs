//! Phantoms through every stage: what each hands over, interruptions, and refusals.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::{Manifest, verify};
use networks::weights;
use pipeline::{Ended, Program, run};
use stage::ExitStatus;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

fn ok(program: Program, words: &[&str]) -> Ended {
    let ended = run(program, words).unwrap();
    assert_eq!(ended.status, ExitStatus::Done, "{words:?}: {}", ended.messages);
    ended
}

/// A folder with names as strings.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Phantoms of these kinds, their shards and, where asked for, their texts.
    fn prepare(&self, kinds: &[(&str, &str)], text: bool) {
        let only: Vec<&str> = kinds.iter().map(|(kind, _)| *kind).collect();
        let words = ["phantom", "--out", &self.at("phantom"), "--size", "small", "--only", &only.join(",")];
        ok(Program::DataManifests, &words);
        for (kind, _) in kinds {
            let (descriptor, raw) = (self.descriptor(kind), self.raw(kind));
            let shards = self.at(&format!("{kind}/shards"));
            ok(Program::Preprocess, &["--dataset", &descriptor, "--raw", &raw, "--out", &shards]);
            if text {
                let [captions, reports, text] =
                    ["captions", "reports", "text"].map(|name| self.at(&format!("{kind}/{name}")));
                ok(
                    Program::TextSynth,
                    &["caption", "--shards", &shards, "--out", &captions, "--captioner", "measure"],
                );
                ok(
                    Program::TextSynth,
                    &["report", "--captions", &captions, "--out", &reports, "--writer", "template"],
                );
                ok(Program::TextSynth, &["embed", "--reports", &reports, "--out", &text]);
            }
        }
    }

    fn descriptor(&self, kind: &str) -> String {
        self.at(&format!("phantom/phantom-{kind}/descriptor.toml"))
    }

    fn raw(&self, kind: &str) -> String {
        self.at(&format!("phantom/phantom-{kind}/Phantom{}", kind.to_uppercase()))
    }

    fn verified(&self, name: &str) {
        assert_eq!(verify::verify(&self.path(name)).unwrap(), Vec::<String>::new(), "{name}");
    }
}

fn train_words<'a>(shards: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words =
        vec!["train", "--shards", shards, "--out", out, "--network", "resenc", "--validate-every", "0"];
    words.extend(["--log-every", "1", "--checkpoint-every", "2"]);
    words.extend(more);
    words
}

#[test]
fn three_modalities_from_raw_files_to_a_report() {
    let folder = Folder::new();
    let kinds = [("ct", "ct"), ("mri", "mri"), ("em", "em")];
    folder.prepare(&kinds, true);
    let encoder = folder.at("encoder");
    let mut words: Vec<String> = Vec::new();
    for (kind, _) in kinds {
        words.extend(["--shards".into(), folder.at(&format!("{kind}/shards"))]);
        words.extend(["--text".into(), folder.at(&format!("{kind}/text"))]);
    }
    let rest = [
        "--out",
        &encoder,
        "--encoder",
        "resenc",
        "--steps",
        "2",
        "--batch",
        "4",
        "--patch-zyx",
        "8,16,16",
        "--test-cases",
        "leave-out",
    ];
    words.extend(rest.map(str::to_owned));
    ok(Program::Pretrain, &words.iter().map(String::as_str).collect::<Vec<_>>());
    folder.verified("encoder");
    let weights_file = folder.at("encoder/encoder.safetensors");

    let mut scores = Vec::new();
    for (kind, _) in kinds {
        let [shards, model, predictions, score] =
            ["shards", "model", "predictions", "scores"].map(|name| folder.at(&format!("{kind}/{name}")));
        ok(
            Program::Finetune,
            &train_words(&shards, &model, &["--encoder-weights", &weights_file, "--steps", "2"]),
        );
        let report: serde_json::Value =
            serde_json::from_slice(&fs_err::read(Path::new(&model).join("load_report.json")).unwrap())
                .unwrap();
        let missing = report["missing"].as_array().unwrap();
        assert!(missing.is_empty(), "{kind}: {missing:?}");
        let adapted = report["adapted"].as_array().unwrap().len();
        assert_eq!(adapted > 0, kind == "mri", "only the stem of the four-channel data set is adapted");

        let raw = folder.raw(kind);
        ok(
            Program::Finetune,
            &["predict", "--model", &model, "--input", &raw, "--out", &predictions, "--overlap", "0"],
        );
        assert_predictions_lie_on_their_images(Path::new(&predictions), Path::new(&raw));
        let descriptor = folder.descriptor(kind);
        let words = [
            "score",
            "--references",
            &raw,
            "--predictions",
            &predictions,
            "--dataset",
            &descriptor,
            "--out",
            &score,
        ];
        ok(Program::Evaluate, &words);
        // whatever the format of label maps of stacks, they have the same scores
        for format in ["hdf5", "zarr"].into_iter().filter(|_| kind == "em") {
            let [maps, other] = ["maps", "others"].map(|name| folder.at(&format!("{kind}/{name}-{format}")));
            let words = ["predict", "--model", &model, "--input", &raw, "--out", &maps, "--overlap", "0"];
            ok(Program::Finetune, &[&words[..], &["--format", format]].concat());
            let words = ["score", "--references", &raw, "--predictions", &maps, "--dataset", &descriptor];
            ok(Program::Evaluate, &[&words[..], &["--out", &other]].concat());
            let [one, other] =
                [&score, &other].map(|s| fs_err::read_to_string(Path::new(s).join("metrics.csv")).unwrap());
            assert_eq!(one, other, "{format}");
        }
        for name in ["shards", "captions", "reports", "text", "model", "predictions", "scores"] {
            folder.verified(&format!("{kind}/{name}"));
        }
        scores.push(score);
    }
    let out = folder.at("report");
    let words: Vec<&str> =
        ["report", "--out", &out, "--runs"].into_iter().chain(scores.iter().map(String::as_str)).collect();
    ok(Program::Evaluate, &words);
    folder.verified("report");
    let html = fs_err::read_to_string(folder.path("report/report.html")).unwrap();
    for name in ["phantom-ct", "phantom-mri", "phantom-em"] {
        assert!(html.contains(name), "{name} is missing in the report");
    }
}

/// A language model that says what the caption says, and who said it.
struct ModelB;

impl Respond for ModelB {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body["model"], "B");
        let user = body["messages"][1]["content"].as_str().unwrap();
        let marks = ["Description:\n", "Slice reports, in order:\n"];
        let said = marks.iter().find_map(|mark| user.split_once(mark)).unwrap().1.lines().next().unwrap();
        let text = format!("In the words of another model this slice is described as follows. {said}");
        ResponseTemplate::new(200).set_body_json(serde_json::json!({
            "model": "B",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        }))
    }
}

/// Only reports, vectors and further pretraining steps are new: shards and captions stay as they are, and the encoder goes on from
/// the old one's weights.
#[test]
fn another_language_model_needs_no_other_stage_again() {
    let folder = Folder::new();
    folder.prepare(&[("ct", "ct")], true);
    let at = |name: &str| folder.at(&format!("ct/{name}"));
    let [shards, captions, text] = ["shards", "captions", "text"].map(at);
    let pretrain = |text: &str, out: &str, more: &[&str]| {
        let mut words =
            vec!["--shards", &shards, "--text", text, "--out", out, "--encoder", "resenc", "--steps", "2"];
        words.extend(["--batch", "4", "--patch-zyx", "8,16,16", "--test-cases", "leave-out"]);
        words.extend(more);
        ok(Program::Pretrain, &words)
    };
    let first = folder.at("encoder");
    pretrain(&text, &first, &[]);
    let untouched =
        || [&shards, &captions].map(|stage| data_manifests::digest::tree(Path::new(stage)).unwrap());
    let before = untouched();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(MockServer::start());
    runtime.block_on(Mock::given(method("POST")).respond_with(ModelB).mount(&server));
    let [reports, text_b, base] = [at("reports-b"), at("text-b"), format!("{}/v1", server.uri())];
    let words = [
        "report",
        "--captions",
        &captions,
        "--out",
        &reports,
        "--writer",
        "api",
        "--model",
        "B",
        "--base-url",
        &base,
    ];
    ok(Program::TextSynth, &words);
    ok(Program::TextSynth, &["embed", "--reports", &reports, "--out", &text_b]);
    let (old, second) = (folder.at("encoder/encoder.safetensors"), folder.at("encoder-b"));
    pretrain(&text_b, &second, &["--init", &old]);

    assert_eq!(untouched(), before);
    for name in ["ct/reports-b", "ct/text-b", "encoder-b"] {
        folder.verified(name);
    }
    let inputs = Manifest::load_any(Path::new(&second)).unwrap().inputs;
    let init = inputs.iter().find(|input| input.role == "init").unwrap();
    let encoder = Manifest::load_any(Path::new(&first)).unwrap();
    assert!(encoder.outputs.iter().any(|output| output.sha256 == init.sha256));
    // repeated, nothing is asked
    let asked = runtime.block_on(server.received_requests()).unwrap().len();
    ok(Program::TextSynth, &words);
    assert_eq!(runtime.block_on(server.received_requests()).unwrap().len(), asked);
}

fn assert_predictions_lie_on_their_images(predictions: &Path, raw: &Path) {
    let table = fs_err::read_to_string(predictions.join("predictions.csv")).unwrap();
    assert!(table.lines().count() > 1, "{table}");
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let image = cells[3].trim_start_matches("$RAW/");
        if !image.ends_with(".nii.gz") {
            continue;
        }
        let (_, expected, _) = volume::nifti::read_header(raw.join(image)).unwrap();
        let found = volume::scan::read_labels(predictions.join(cells[2])).unwrap().grid;
        assert_eq!(found.shape_zyx, expected.shape_zyx, "{image}");
        assert!(volume::same_geometry(&found, &expected) < 1e-9, "{image}");
    }
}

/// The directory's files that a rerun must reproduce: all but times and what names the run.
fn reproducible(directory: &Path) -> Vec<(String, String)> {
    let manifest = Manifest::load_any(directory).unwrap();
    // events have the time of day
    let clock =
        |path: &str| matches!(path, "timing.jsonl" | "progress.png") || path.starts_with("tensorboard/");
    manifest.outputs.into_iter().filter(|o| !clock(&o.path)).map(|o| (o.path, o.sha256)).collect()
}

#[test]
fn pretraining_continues_to_the_same_bytes() {
    let folder = Folder::new();
    folder.prepare(&[("ct", "ct")], true);
    let (shards, text) = (folder.at("ct/shards"), folder.at("ct/text"));
    let stop = folder.at("stop");
    let words = |out: &str, more: &[&str]| -> Vec<String> {
        let common =
            ["--shards", &shards, "--text", &text, "--out", out, "--encoder", "resenc", "--steps", "5"];
        let rest = ["--batch", "4", "--patch-zyx", "8,16,16", "--log-every", "1", "--checkpoint-every", "2"];
        let rest = rest.iter().chain(&["--test-cases", "leave-out"]);
        common.iter().chain(rest).chain(more).map(|w| (*w).to_owned()).collect()
    };
    let start = |out: &str, more: &[&str]| {
        let words = words(out, more);
        run(Program::Pretrain, &words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let whole = folder.at("whole");
    assert_eq!(start(&whole, &[]).status, ExitStatus::Done);

    let parts = folder.at("parts");
    fs_err::write(&stop, "").unwrap();
    let stopped = start(&parts, &["--stop-file", &stop]);
    assert_eq!(stopped.status, ExitStatus::Interrupted, "{}", stopped.messages);
    assert!(
        stopped.messages.contains("I306") && !folder.path("parts/manifest.json").exists(),
        "{}",
        stopped.messages
    );
    fs_err::remove_file(&stop).unwrap();
    assert_eq!(start(&parts, &["--stop-file", &stop]).status, ExitStatus::Done);
    assert_eq!(reproducible(Path::new(&whole)), reproducible(Path::new(&parts)));

    // the same command again does nothing; other options are refused, or discard the run when told to
    let before = fs_err::metadata(folder.path("parts/encoder.safetensors")).unwrap().modified().unwrap();
    assert_eq!(start(&parts, &[]).status, ExitStatus::Done);
    assert_eq!(
        fs_err::metadata(folder.path("parts/encoder.safetensors")).unwrap().modified().unwrap(),
        before
    );
    let refused = start(&parts, &["--lr", "0.5"]);
    assert_eq!(refused.status, ExitStatus::Failed);
    assert!(refused.messages.contains("--overwrite"), "{}", refused.messages);
    assert_eq!(start(&parts, &["--lr", "0.5", "--overwrite"]).status, ExitStatus::Done);
    let nothing = start(&folder.at("empty"), &["--resume"]);
    assert!(nothing.messages.contains("nothing to resume"), "{}", nothing.messages);
}

#[test]
fn fine_tuning_learns_nests_fractions_and_refuses_what_does_not_fit() {
    let folder = Folder::new();
    folder.prepare(&[("ct", "ct")], false);
    let shards = folder.at("ct/shards");
    let scratch = |name: &str, more: &[&str]| {
        let out = folder.at(name);
        let words = train_words(&shards, &out, &[]);
        let words: Vec<&str> =
            words.into_iter().chain(["--from-scratch"]).chain(more.iter().copied()).collect();
        run(Program::Finetune, &words).unwrap()
    };
    assert_eq!(scratch("all", &["--steps", "30", "--lr", "0.003"]).status, ExitStatus::Done);
    let losses: Vec<f64> = fs_err::read_to_string(folder.path("all/metrics.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[25..]) < 0.8 * mean(&losses[..5]), "{losses:?}");

    assert_eq!(scratch("few", &["--steps", "1", "--fraction", "0.01"]).status, ExitStatus::Done);
    let train = |name: &str| -> Vec<String> {
        let plan: serde_json::Value =
            serde_json::from_slice(&fs_err::read(folder.path(&format!("{name}/plan.json"))).unwrap())
                .unwrap();
        serde_json::from_value(plan["train"].clone()).unwrap()
    };
    let (all, few) = (train("all"), train("few"));
    assert!(few.len() == 1 && all.len() > 1 && all[..1] == few[..], "{few:?} {all:?}");

    let wrong = folder.at("resnet.safetensors");
    let store = std::collections::BTreeMap::from([(
        "plan".to_owned(),
        r#"{"encoder":{"kind":"resnet50","in_channels":1}}"#.to_owned(),
    )]);
    weights::save_tensors(&std::collections::BTreeMap::new(), Path::new(&wrong), &store).unwrap();
    let out = folder.at("refused");
    let refused =
        run(Program::Finetune, &train_words(&shards, &out, &["--encoder-weights", &wrong, "--steps", "1"]))
            .unwrap();
    assert_eq!(refused.status, ExitStatus::Failed);
    assert!(refused.messages.contains("E401"), "{}", refused.messages);
}

#[test]
fn a_bad_image_is_named_and_the_others_are_predicted() {
    let folder = Folder::new();
    folder.prepare(&[("ct", "ct")], false);
    let (shards, model) = (folder.at("ct/shards"), folder.at("model"));
    ok(Program::Finetune, &train_words(&shards, &model, &["--from-scratch", "--steps", "1"]));
    let raw = folder.raw("ct");
    let listing = fs_err::read_dir(Path::new(&raw).join("imagesTs")).unwrap();
    let mut tests: Vec<PathBuf> = listing.map(|e| e.unwrap().path()).collect();
    tests.sort();
    let bytes = fs_err::read(&tests[0]).unwrap();
    let bad = folder.path("truncated.nii.gz");
    fs_err::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let out = folder.at("predictions");
    let inputs = [tests[0].to_str().unwrap(), bad.to_str().unwrap()];
    let ended = run(
        Program::Finetune,
        &["predict", "--model", &model, "--out", &out, "--overlap", "0", "--input", inputs[0], inputs[1]],
    )
    .unwrap();
    assert_eq!(ended.status, ExitStatus::Partial, "{}", ended.messages);
    assert!(ended.messages.contains("E101 case truncated"), "{}", ended.messages);
    folder.verified("predictions");
    let Some(name) = tests[0].file_name() else { panic!("no name") };
    assert!(folder.path("predictions").join(name).is_file());
}
