//! A GPU computes what a CPU computes. `make test-gpu` runs these on the first GPU, `GTGM_TEST_DEVICE` says on which device instead; where
//! there is none, a simulated one stands in for it.
#![expect(clippy::unwrap_used, reason = "test code")]

use networks::weights;
use pipeline::{Program, run};
use serde_json::Value;
use stage::ExitStatus;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use test_peers::test_device;

/// A phantom, its shards and reports.
struct Study(TempDir);

impl Study {
    fn new() -> Self {
        // all stages run in this process, the first ones on a CPU: LibTorch looks for its CUDA part once
        torch_runtime::parse_device(&test_device()).unwrap();
        let study = Self(tempfile::tempdir().unwrap());
        let at = |name: &str| study.at(name);
        let only = ["--size", "small", "--only", "ct"];
        study.done(Program::DataManifests, &[&["phantom", "--out", &at("phantom")], &only[..]].concat());
        let (descriptor, raw) = (at("phantom/phantom-ct/descriptor.toml"), study.raw());
        let shards = at("shards");
        study.done(Program::Preprocess, &["--dataset", &descriptor, "--raw", &raw, "--out", &shards]);
        let (captions, reports) = (at("captions"), at("reports"));
        study.done(
            Program::TextSynth,
            &["caption", "--shards", &shards, "--out", &captions, "--captioner", "measure"],
        );
        study.done(
            Program::TextSynth,
            &["report", "--captions", &captions, "--out", &reports, "--writer", "template"],
        );
        study
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn raw(&self) -> String {
        self.at("phantom/phantom-ct/PhantomCT")
    }

    fn done(&self, program: Program, words: &[&str]) {
        let ended = run(program, words).unwrap();
        assert_eq!(ended.status, ExitStatus::Done, "{words:?}: {}", ended.messages);
    }

    fn embed(&self, out: &str, device: &str) {
        let (reports, out) = (self.at("reports"), self.at(out));
        self.done(Program::TextSynth, &["embed", "--reports", &reports, "--out", &out, "--device", device]);
    }

    /// Pretrains a small encoder on a device and gives the exit status.
    fn pretrain(&self, out: &str, device: &str, more: &[&str]) -> ExitStatus {
        let small = ["--encoder", "resenc", "--batch", "4", "--patch-zyx", "8,16,16"];
        self.pretrain_as(out, device, &[&small[..], more].concat())
    }

    fn pretrain_as(&self, out: &str, device: &str, more: &[&str]) -> ExitStatus {
        let (shards, text, out) = (self.at("shards"), self.at("text"), self.at(out));
        let words = ["--shards", &shards, "--text", &text, "--out", &out, "--device", device];
        let words = [&words[..], &["--test-cases", "leave-out", "--log-every", "1"], more].concat();
        let ended = run(Program::Pretrain, &words).unwrap();
        assert_ne!(ended.status, ExitStatus::Failed, "{words:?}: {}", ended.messages);
        ended.status
    }

    fn train(&self, out: &str, more: &[&str]) -> ExitStatus {
        let (shards, out) = (self.at("shards"), self.at(out));
        let words = ["train", "--shards", &shards, "--out", &out, "--network", "resenc", "--lr", "3e-3"];
        let words = [&words[..], &["--validate-every", "0", "--log-every", "1"], more].concat();
        let ended = run(Program::Finetune, &words).unwrap();
        assert_ne!(ended.status, ExitStatus::Failed, "{words:?}: {}", ended.messages);
        ended.status
    }

    /// All labels that a model gives all cases, in the order of their files.
    fn labels(&self, model: &str, out: &str, device: &str, precision: &str) -> Vec<u32> {
        let (model, raw, to) = (self.at(model), self.raw(), self.at(out));
        let words =
            ["predict", "--model", &model, "--input", &raw, "--out", &to, "--cases", "train,val,test"];
        let rest = ["--mirror", "--device", device, "--precision", precision];
        self.done(Program::Finetune, &[&words[..], &rest].concat());
        let listing = fs_err::read_dir(self.path(out)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            listing.filter(|path| path.to_string_lossy().ends_with(".nii.gz")).collect();
        files.sort();
        files.iter().flat_map(|file| volume::scan::read_labels(file).unwrap().data).collect()
    }

    /// The lines of this kind in a run's record.
    fn lines(&self, file: &str, kind: &str) -> Vec<Value> {
        let text = fs_err::read_to_string(self.path(file)).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["kind"] == kind).collect()
    }

    /// What a run on a GPU tells of its memory.
    fn tells_of_memory(&self, run: &str) {
        let lines = self.lines(&format!("{run}/timing.jsonl"), "step");
        let of_gpu = lines.last().unwrap()["peak_gpu_mib"].as_f64();
        assert_eq!(of_gpu.is_some_and(|mib| mib > 1.0), test_device().starts_with("cuda"), "{of_gpu:?}");
    }
}

/// The tests below on a simulated GPU, beside each other.
mod simulated {
    use simulated_gpu::SimulatedGpu;

    const GPU: SimulatedGpu = SimulatedGpu { bytes: None, cores: Some(1) };

    #[test]
    fn texts() {
        GPU.run_ignored("texts_have_the_vectors_of_the_cpu");
    }

    #[test]
    fn an_encoder() {
        GPU.run_ignored("an_encoder_is_questioned_learns_and_goes_on");
    }

    #[test]
    fn resenc() {
        GPU.run_ignored("resenc_learns");
    }

    #[test]
    fn resunet50() {
        GPU.run_ignored("resunet50_learns");
    }

    #[test]
    fn swin_unetr() {
        GPU.run_ignored("swin_unetr_learns");
    }

    #[test]
    fn label_maps() {
        GPU.run_ignored("label_maps_are_those_of_the_cpu");
    }
}

fn tensors(file: &Path) -> Vec<(String, tch::Tensor)> {
    weights::read_tensors(file).unwrap().into_iter().collect()
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn texts_have_the_vectors_of_the_cpu() {
    let study = Study::new();
    study.embed("text", &test_device());
    study.embed("text-cpu", "cpu");
    let [there, here] =
        ["text", "text-cpu"].map(|out| tensors(&study.path(out).join("embeddings.safetensors")).remove(0).1);
    assert_eq!(there.size(), here.size());
    let apart = (there - here).abs().max().double_value(&[]);
    assert!(apart < 1e-4, "{apart}");
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn an_encoder_is_questioned_learns_and_goes_on() {
    let study = Study::new();
    study.embed("text", "cpu");
    // weights that stay as they were drawn give the same answers, if heads keep no statistics: noise differs by kind of device
    let still = ["--lr", "1e-8", "--weight-decay", "0", "--head-norm", "layer", "--steps", "1"];
    let still = [&still[..], &["--holdout", "0.3", "--validate-every", "1"]].concat();
    let asked = [("there", test_device()), ("here", "cpu".to_owned())].map(|(out, device)| {
        study.pretrain(out, &device, &still);
        study.lines(&format!("{out}/metrics.jsonl"), "validation").remove(0)
    });
    // a GPU's convolutions round more (TF32): of eight answers one may change places
    for (name, near) in [("effective_rank", 0.1), ("median_rank", 1.0), ("recall_5", 0.126)] {
        let [there, here] = asked.each_ref().map(|line| line[name].as_f64().unwrap());
        assert!((there - here).abs() <= near, "{name}: {there} {here}");
    }
    // it learns, stops, and goes on; in both number formats
    for precision in ["fp32", "bf16"] {
        let (out, stop) = (format!("learnt-{precision}"), study.at("stop"));
        let more = ["--steps", "6", "--holdout", "0", "--precision", precision, "--stop-file", &stop];
        fs_err::write(&stop, "").unwrap();
        assert_eq!(study.pretrain(&out, &test_device(), &more), ExitStatus::Interrupted);
        fs_err::remove_file(&stop).unwrap();
        assert_eq!(study.pretrain(&out, &test_device(), &more), ExitStatus::Done);
        let losses = study.lines(&format!("{out}/metrics.jsonl"), "step");
        assert!(losses.len() == 6 && losses.iter().all(|line| line["loss"].is_f64()), "{losses:?}");
        study.tells_of_memory(&out);
        // what was learnt there is taken up here
        let encoder = study.at(&format!("{out}/encoder.safetensors"));
        let model = format!("model-{precision}");
        assert_eq!(study.train(&model, &["--steps", "1", "--encoder-weights", &encoder]), ExitStatus::Done);
    }
}

/// An encoder learns and is fine-tuned; `own` are options of both, `more` those of pretraining: each encoder has another choice of what is drawn,
/// computed and compared.
fn learns(network: &str, own: &[&str], more: &[&str], validate_every: &str) {
    let study = Study::new();
    study.embed("text", "cpu");
    let device = test_device();
    let encoder = if network == "resunet50" { "resnet50" } else { network };
    let words = ["--encoder", encoder, "--batch", "4", "--steps", "2", "--validate-every", "1"];
    assert_eq!(study.pretrain_as("encoder", &device, &[&words[..], own, more].concat()), ExitStatus::Done);
    let weights = study.at("encoder/encoder.safetensors");
    let (shards, out) = (study.at("shards"), study.at("model"));
    let words = ["train", "--shards", &shards, "--out", &out, "--network", network, "--steps", "2"];
    let start = ["--encoder-weights", &weights, "--minimum-match", "0.1", "--device", &device];
    let rest = ["--precision", "bf16", "--batch-dice", "--validate-every", validate_every];
    study.done(Program::Finetune, &[&words[..], own, &start, &rest].concat());
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn resenc_learns() {
    let more = ["--patch-zyx", "8,16,16", "--views", "extended", "--precision", "bf16"];
    let heads = ["--visual-heads", "two", "--parts", "2", "--micro-batch", "2"];
    learns("resenc", &[], &[&more[..], &heads].concat(), "2");
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn resunet50_learns() {
    let more = ["--patch-zyx", "8,32,32", "--vr-space", "raw", "--projection-hidden", "64", "--holdout", "0"];
    // each validation keeps a checkpoint of a gigabyte
    learns("resunet50", &[], &more, "0");
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn swin_unetr_learns() {
    let more = ["--patch-zyx", "32,32,32", "--head-norm", "layer", "--precision", "bf16"];
    learns("swin-unetr", &["--swin-feature-size", "12"], &more, "2");
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn label_maps_are_those_of_the_cpu() {
    let study = Study::new();
    let device = test_device();
    let learn =
        ["--from-scratch", "--steps", "40", "--augmentation", "strong", "--ema", "0.9", "--device", &device];
    assert_eq!(study.train("model", &learn), ExitStatus::Done);
    let losses = study.lines("model/metrics.jsonl", "step");
    let mean =
        |part: &[Value]| part.iter().map(|l| l["loss"].as_f64().unwrap()).sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[35..]) < 0.9 * mean(&losses[..5]), "{losses:?}");
    study.tells_of_memory("model");
    let here = study.labels("model", "here", "cpu", "fp32");
    assert!(here.iter().any(|label| *label > 0));
    for (precision, least) in [("fp32", 0.99), ("bf16", 0.97)] {
        let there = study.labels("model", precision, &device, precision);
        assert_eq!(there.len(), here.len());
        let same = there.iter().zip(&here).filter(|(a, b)| a == b).count() as f64 / here.len() as f64;
        assert!(same >= least, "{precision}: {same}");
    }
}
