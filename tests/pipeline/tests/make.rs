//! The graph of stages in the `Makefile`: what runs, in which order, and what runs again after a change. Stages are stood in for by a script that
//! notes how it was called and writes what make looks for.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const STAGE: &str = r#"#!/bin/sh
program=${0##*/}
here=${0%/*}
case "$program $1" in
'data-manifests show') exec cat "$2" ;;
'evaluate show') exit ;;
esac
echo "$program $*" >> "$here/log"
code=0
if [ -e "$here/$program.fails" ]; then code=$(cat "$here/$program.fails"); fi
while [ $# -gt 0 ]; do
    if [ "$1" = --out ]; then out=$2; fi
    shift
done
case $code in 0 | 3) ;; *) exit "$code" ;; esac
case $out in *.json) ;; *) mkdir -p "$out"; out=$out/manifest.json ;; esac
echo made >> "$out"
exit "$code"
"#;

const STAGES: [&str; 6] = ["data-manifests", "preprocess", "text-synth", "pretrain", "finetune", "evaluate"];

/// A folder with stages, raw data of two data sets, and what make was told to make of them.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for stage in STAGES {
            place.write(&format!("bin/{stage}"), STAGE);
            fs_err::set_permissions(place.at(&format!("bin/{stage}")), PermissionsExt::from_mode(0o755))
                .unwrap();
        }
        place.write("data/Task04_Hippocampus/imagesTr/a b.nii.gz", "");
        place.write("data/CREMI/sample_A_20160501.hdf", "");
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs_err::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs_err::write(self.at(name), text).unwrap();
    }

    fn make(&self, target: &str, variables: &[&str]) -> Output {
        let mut make = Command::new("make");
        make.arg("--no-print-directory").arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        let told = |name: &str, path: &str| format!("{name}={}", self.at(path).display());
        make.arg(target).args([told("BIN", "bin"), told("OUT", "out"), told("DATA", "data")]).args(variables);
        // of the make that may have started this test, and what it or a user's shell hands down
        let makes_own = ["MAKEFLAGS", "GNUMAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKEFILES"];
        let variables =
            ["BUDGET", "DATASETS", "DEVICE", "ENCODER", "FRACTIONS", "PRECISION", "SEED", "SEEDS"];
        makes_own.iter().chain(&variables).for_each(|name| {
            make.env_remove(name);
        });
        make.output().unwrap()
    }

    /// Runs the pipeline to its end; the stages that ran, without their paths: `finetune train 0.5`.
    #[track_caller]
    fn stages(&self, variables: &[&str]) -> Vec<String> {
        let output = self.make("run-pipeline", variables);
        assert!(output.status.success(), "{}", text(&output));
        self.logged()
    }

    /// The stages that ran since this was asked last.
    fn logged(&self) -> Vec<String> {
        let log = fs_err::read_to_string(self.at("bin/log")).unwrap_or_default();
        if !log.is_empty() {
            fs_err::remove_file(self.at("bin/log")).unwrap();
        }
        log.lines().map(named).collect()
    }
}

/// What a line of the log calls: program, command, share of the labels or cases.
fn named(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let after = |option: &str| Some(*words.get(words.iter().position(|word| *word == option)? + 1)?);
    let command = words.get(1).filter(|word| !word.starts_with('-')).copied();
    let told = after("--fraction").or_else(|| after("--cases"));
    words[..1].iter().copied().chain(command).chain(told).collect::<Vec<_>>().join(" ")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const HIPPOCAMPUS: &str = "DATASETS=msd04-hippocampus";
const TEXTS: [&str; 4] = ["preprocess", "text-synth caption", "text-synth report", "text-synth embed"];
const LEARNT: [&str; 6] = [
    "data-manifests split",
    "pretrain",
    "finetune train 1",
    "finetune predict",
    "evaluate score",
    "evaluate report",
];

fn sorted(stages: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    let mut stages: Vec<String> = stages.into_iter().map(|stage| stage.to_string()).collect();
    stages.sort();
    stages
}

#[test]
fn each_stage_runs_once_and_again_where_what_it_depends_on_changed() {
    let place = Place::new();
    let ran = place.stages(&[HIPPOCAMPUS]);
    assert_eq!(sorted(&ran), sorted(TEXTS.iter().chain(&LEARNT)), "{ran:?}");
    let at = |stage: &str| ran.iter().position(|one| one == stage).unwrap();
    let order = ["preprocess", "text-synth caption", "text-synth report", "text-synth embed", "pretrain"];
    assert!(order.iter().chain(&LEARNT[2..]).map(|stage| at(stage)).is_sorted(), "{ran:?}");
    assert!(at("data-manifests split") < at("pretrain"), "{ran:?}");

    let again = place.make("run-pipeline", &[HIPPOCAMPUS]);
    assert!(text(&again).contains("Nothing to do"), "{}", text(&again));
    assert_eq!(place.logged(), [""; 0]);

    // of texts nothing depends on the seed
    assert_eq!(sorted(place.stages(&[HIPPOCAMPUS, "SEED=1"])), sorted(LEARNT));
    let seeded = [HIPPOCAMPUS, "SEED=1", "PRECISION=bf16"];
    assert_eq!(sorted(place.stages(&seeded)), sorted(&LEARNT[1..]), "the split is the same");
    let half = [HIPPOCAMPUS, "SEED=1", "PRECISION=bf16", "FRACTIONS=0.5 1"];
    let of_half = ["finetune train 0.5", "finetune predict", "evaluate score", "evaluate report"];
    assert_eq!(sorted(place.stages(&half)), sorted(of_half));

    place.write("data/Task04_Hippocampus/imagesTr/c.nii.gz", "");
    let everything = TEXTS.iter().chain(&LEARNT).chain(&of_half[..3]);
    assert_eq!(sorted(place.stages(&half)), sorted(everything), "an image more");
    fs_err::remove_file(place.at("data/Task04_Hippocampus/imagesTr/a b.nii.gz")).unwrap();
    assert_eq!(place.stages(&half).len(), TEXTS.len() + LEARNT.len() + 3, "an image less");
    assert_eq!(place.stages(&half), [""; 0]);
}

#[test]
fn an_interrupted_stage_ends_the_run_which_goes_on_with_it() {
    let place = Place::new();
    place.write("bin/finetune.fails", "75");
    let output = place.make("run-pipeline", &[HIPPOCAMPUS]);
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(place.logged().last().unwrap(), "finetune train 1");
    fs_err::remove_file(place.at("bin/finetune.fails")).unwrap();
    assert_eq!(place.stages(&[HIPPOCAMPUS]), LEARNT[2..]);
}

#[test]
fn cases_that_fail_do_not_end_the_run() {
    let place = Place::new();
    for stage in ["preprocess", "finetune", "evaluate"] {
        place.write(&format!("bin/{stage}.fails"), "3");
    }
    // training and the report know no cases: there, 3 would be an error like another
    let output = place.make("run-pipeline", &[HIPPOCAMPUS]);
    assert!(!output.status.success(), "{}", text(&output));
    assert_eq!(place.logged().last().unwrap(), "finetune train 1");
    fs_err::remove_file(place.at("bin/finetune.fails")).unwrap();
    place.make("run-pipeline", &[HIPPOCAMPUS]);
    assert_eq!(place.logged(), LEARNT[2..], "scores of some cases are reported");
}

#[test]
fn neurons_are_made_by_the_threshold_that_is_best_on_what_was_trained_on() {
    let place = Place::new();
    let objects = [
        "finetune predict train",
        "finetune threshold",
        "finetune instances",
        "evaluate instances",
        "finetune train 1",
        "finetune predict",
        "data-manifests split",
        "pretrain",
        "evaluate report",
    ];
    let ran = place.stages(&["DATASETS=cremi-a"]);
    assert_eq!(sorted(&ran), sorted(TEXTS.iter().chain(&objects)), "{ran:?}");
    let at = |stage: &str| ran.iter().position(|one| one == stage).unwrap();
    assert!(objects[..4].iter().map(|stage| at(stage)).is_sorted(), "{ran:?}");
    assert_eq!(place.stages(&["DATASETS=cremi-a"]), [""; 0]);
}

#[test]
fn data_of_ones_own_go_by_their_descriptors_and_without_labels_end_with_the_encoder() {
    let place = Place::new();
    place.write("data/Mine/a.nii.gz", "");
    place.write("mine.toml", "name = \"mine\"\nfolder = \"Mine\"\n");
    let own = format!("DATASETS={}", place.at("mine.toml").display());
    let output = place.make("run-pipeline", &[&own]);
    assert!(text(&output).contains("No data set has labels."), "{}", text(&output));
    assert_eq!(sorted(place.logged()), sorted(TEXTS.iter().chain(&["pretrain"])));

    place.write("mine.toml", "name = \"mine\"\nfolder = \"Mine\"\nkind = \"classes\"\n");
    let both = format!("{own} msd04-hippocampus");
    let ran = place.stages(&[&both]);
    assert_eq!(ran.iter().filter(|stage| *stage == "pretrain").count(), 1, "one encoder of all: {ran:?}");
    assert_eq!(ran.iter().filter(|stage| *stage == "finetune train 1").count(), 2, "{ran:?}");

    place.write("mine.toml", "name = \"msd04-hippocampus\"\nfolder = \"Mine\"\n");
    let output = place.make("run-pipeline", &[&both]);
    assert!(text(&output).contains("two data sets have one name"), "{}", text(&output));
    fs_err::remove_dir_all(place.at("data/Mine")).unwrap();
    let output = place.make("run-pipeline", &[&own]);
    assert!(text(&output).contains("missing raw data"), "{}", text(&output));
    assert_eq!(place.logged(), [""; 0]);
}

#[test]
fn what_is_wrong_with_the_variables_is_said_before_anything_runs() {
    let place = Place::new();
    let wrong = [
        ("BUDGET=long", "unknown BUDGET 'long': use quick or paper"),
        ("FRACTIONS=0.1 10", "FRACTIONS: '10' is no share above 0 and up to 1"),
        ("FRACTIONS=0", "FRACTIONS: '0' is no share above 0 and up to 1"),
        ("DEVICE=gpu", "unknown DEVICE 'gpu': use cpu, cuda or cuda:N"),
        ("PRECISION=fp16", "unknown PRECISION 'fp16': use fp32 or bf16"),
        ("ENCODER=vit", "unknown ENCODER 'vit': use resenc, resnet50 or swin-unetr"),
        ("DATASETS=msd99", "unknown data set 'msd99'"),
        ("DATA=", "Say where the data sets lie"),
        ("DATA=/no/such/folder", "DATA=/no/such/folder is no folder"),
    ];
    for (variable, says) in wrong {
        let output = place.make("checked", &[variable]);
        assert!(!output.status.success(), "{variable}");
        assert!(text(&output).contains(says), "{variable}: {}", text(&output));
    }
    let output = place.make("checked", &[HIPPOCAMPUS, "FRACTIONS=.5 1", "BUDGET=paper", "DEVICE=cuda:1"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(place.logged(), [""; 0]);
}
