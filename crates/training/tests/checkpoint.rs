//! Checkpoint files: bytes, damage, fall-back.
#![expect(clippy::unwrap_used, reason = "test code")]

use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Device, Kind, Tensor};
use training::checkpoint::{Best, Contents, Folder, Keep, Notes, RunState, Which, Window, read, write};
use training::optimizer::{Optimizer, OptimizerOptions, Rule};

use training::{Result, TrainingError};

fn state(step: u64) -> RunState {
    RunState {
        step,
        seed: u64::MAX,
        skipped: 1,
        skipped_in_a_row: 0,
        smoothed_score: Some(0.1 + 0.2),
        best: Some(Best { step: 3, score: 1.0 / 3.0 }),
        window: Window { sums: BTreeMap::from([("loss".to_owned(), (std::f64::consts::PI, 2))]) },
        computed_on: "a CPU with 2 threads".to_owned(),
        validated_not_finite: true,
        validation_due: true,
    }
}

fn model() -> Vec<(String, Tensor)> {
    let kinds = [
        Kind::Float,
        Kind::Double,
        Kind::Half,
        Kind::BFloat16,
        Kind::Int64,
        Kind::Int,
        Kind::Int16,
        Kind::Int8,
        Kind::Uint8,
        Kind::Bool,
    ];
    let mut model: Vec<(String, Tensor)> = kinds
        .into_iter()
        .map(|kind| {
            (format!("a.{kind:?}"), (Tensor::arange(6, (Kind::Float, Device::Cpu)) - 1.0).abs().to_kind(kind))
        })
        .collect();
    let strided = Tensor::arange(24, (Kind::Float, Device::Cpu)).view([2, 3, 4]).permute([2, 0, 1]);
    model.push(("strided".to_owned(), strided));
    model.push(("scalar".to_owned(), Tensor::from(2.5f32)));
    model.push(("empty".to_owned(), Tensor::zeros([0, 3], (Kind::Float, Device::Cpu))));
    model
}

fn save(path: &Path) -> String {
    let (plan, model) = (json!({"text": "\"content_sha256\":\"", "n": 1}), model());
    // keys of the file's own are not to be had
    let notes = Notes::from(
        [("citation", "\"content_sha256\":\""), ("plan", "mine"), ("version", "1")]
            .map(|(k, t)| (k.to_owned(), t.to_owned())),
    );
    let contents = Contents { model: &model, optimizer: &[], plan: &plan, state: &state(9), notes: &notes };
    write(path, &contents).unwrap()
}

#[test]
fn what_was_written_is_read_back_and_bytes_repeat() {
    let directory = tempfile::tempdir().unwrap();
    let (a, b) = (directory.path().join("a"), directory.path().join("b"));
    let digest = save(&a);
    assert_eq!(digest, save(&b));
    assert_eq!(fs_err::read(&a).unwrap(), fs_err::read(&b).unwrap());
    let found = read(&a).unwrap();
    assert_eq!((found.state.clone(), found.content_sha256.as_str()), (state(9), digest.as_str()));
    assert_eq!(found.plan["text"], "\"content_sha256\":\"");
    assert_eq!(found.model.len(), model().len());
    for (name, expected) in model() {
        let tensor = &found.model[&name];
        assert_eq!((tensor.size(), tensor.kind()), (expected.size(), expected.kind()), "{name}");
        assert!(tensor.equal(&expected), "{name}");
    }
    let bytes = fs_err::read(&a).unwrap();
    let metadata = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!((metadata["version"].as_str(), metadata["citation"].as_str()), ("1", "\"content_sha256\":\""));
    // another reader of the format agrees
    let other = Tensor::read_safetensors(&a);
    assert!(other.is_ok(), "{other:?}");
}

#[test]
fn every_truncation_and_any_flipped_byte_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.safetensors");
    save(&path);
    let whole = fs_err::read(&path).unwrap();
    let damaged = |bytes: &[u8]| {
        stage::atomic::write(&path, bytes).unwrap();
        let result = read(&path);
        let error = result.err()?;
        assert!(error.to_string().contains("c.safetensors"), "{error}");
        assert_eq!(error.code(), "E307");
        Some(())
    };
    for length in (0..whole.len()).step_by(whole.len() / 60).chain([whole.len() - 1]) {
        assert!(damaged(&whole[..length]).is_some(), "cut to {length}");
    }
    for place in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        assert!(damaged(&bytes).is_some(), "byte {place}");
    }
    assert!(damaged(&[whole.as_slice(), b"x"].concat()).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_are_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        stage::atomic::write(&path, &bytes).unwrap();
        prop_assert!(read(&path).is_err());
    }
}

fn variables() -> Vec<(String, Tensor)> {
    let tensor = |shape: &[i64]| Tensor::full(shape, 0.5, (Kind::Float, Device::Cpu));
    vec![
        ("conv.weight".to_owned(), tensor(&[2, 1, 3, 3, 3]).set_requires_grad(true)),
        ("norm.running_mean".to_owned(), tensor(&[2])),
    ]
}

fn saved_twice(directory: &Path) -> Folder {
    let folder = Folder::new(directory);
    for step in [1, 2] {
        put(&folder, Which::Latest, step, Keep::Latest);
    }
    folder
}

fn put(folder: &Folder, which: Which, step: u64, keep: Keep) {
    let variables = variables();
    let mut optimizer = Optimizer::new(OptimizerOptions::new(Rule::adamw(), 0.0), &variables).unwrap();
    variables[0].1.square().sum(Kind::Float).backward();
    optimizer.step(0.1).unwrap();
    let contents = Contents {
        model: &variables,
        optimizer: &optimizer.state(),
        plan: &json!({}),
        state: &state(step),
        notes: &Notes::new(),
    };
    folder.save(which, &contents, keep).unwrap();
}

fn step_of(folder: &Folder) -> Result<(u64, bool)> {
    folder.load_latest().map(|loaded| (loaded.checkpoint.state.step, loaded.warning.is_some()))
}

#[test]
fn a_damaged_latest_falls_back_to_its_predecessor_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let folder = saved_twice(directory.path());
    assert_eq!(step_of(&folder).unwrap(), (2, false));
    let latest = folder.path(Which::Latest);
    let whole = fs_err::read(&latest).unwrap();
    stage::atomic::write(&latest, &whole[..whole.len() / 2]).unwrap();
    let loaded = folder.load_latest().unwrap();
    let warning = loaded.warning.unwrap();
    assert_eq!((loaded.checkpoint.state.step, warning.code), (1, "W307"));
    assert!(warning.to_string().contains("checkpoint_prev.safetensors (step 1)"), "{warning}");
    // a kill between the two renames
    fs_err::remove_file(&latest).unwrap();
    assert_eq!(step_of(&folder).unwrap(), (1, true));
    stage::atomic::write(&folder.path(Which::Previous), b"").unwrap();
    assert!(matches!(step_of(&folder), Err(TrainingError::NoUsableCheckpoint { .. })));
    fs_err::remove_file(folder.path(Which::Previous)).unwrap();
    assert!(matches!(step_of(&folder), Err(TrainingError::NothingToResume { .. })));
}

#[test]
fn a_damaged_checkpoint_never_takes_the_place_of_a_whole_one() {
    let directory = tempfile::tempdir().unwrap();
    let folder = saved_twice(directory.path());
    stage::atomic::write(&folder.path(Which::Latest), b"damaged").unwrap();
    put(&folder, Which::Latest, 3, Keep::Previous);
    assert_eq!(step_of(&folder).unwrap(), (3, false));
    stage::atomic::write(&folder.path(Which::Latest), b"damaged again").unwrap();
    assert_eq!(step_of(&folder).unwrap(), (1, true));
}

#[test]
fn what_a_run_left_before_it_could_be_resumed_is_not_the_next_ones() {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::new(directory.path());
    put(&folder, Which::Best, 1, Keep::Latest);
    assert!(!folder.has_run());
    training::run::Session::start(directory.path(), json!({}), 0, variables()).unwrap();
    assert!(!folder.path(Which::Best).exists());
}

#[test]
fn no_other_file_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    saved_twice(directory.path());
    let mut names: Vec<String> = fs_err::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["checkpoint_latest.safetensors", "checkpoint_prev.safetensors"]);
}

#[test]
fn weights_of_another_network_are_listed_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let folder = saved_twice(directory.path());
    let checkpoint = folder.load_latest().unwrap().checkpoint;
    let names: Vec<&String> = checkpoint.optimizer.keys().collect();
    assert_eq!(names, ["conv.weight/m", "conv.weight/updates", "conv.weight/v"]);
    let mut variables = variables();
    checkpoint.restore_model(&variables).unwrap();
    variables[0].1 = Tensor::zeros([1, 2], (Kind::Float, Device::Cpu));
    let (name, _) = variables.pop().unwrap();
    variables.push(("new.weight".to_owned(), Tensor::zeros([1], (Kind::Float, Device::Cpu))));
    let text = checkpoint.restore_model(&variables).unwrap_err().to_string();
    assert!(text.contains("expected [1, 2]"), "{text}");
    assert!(text.contains("new.weight: missing") && text.contains(&format!("{name}: unknown")), "{text}");
}
