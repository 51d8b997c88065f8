//! `finetune sweep`: many runs, one table.
#![expect(clippy::unwrap_used, reason = "test code")]

use pipeline::{Program, run};
use stage::ExitStatus;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A phantom with its shards, and the programs beside each other.
struct Study(TempDir);

impl Study {
    fn new() -> Self {
        let study = Self(tempfile::tempdir().unwrap());
        let ok = |program, words: &[&str]| {
            let ended = run(program, words).unwrap();
            assert_eq!(ended.status, ExitStatus::Done, "{words:?}: {}", ended.messages);
        };
        let at = |name: &str| study.at(name).display().to_string();
        ok(Program::DataManifests, &["phantom", "--out", &at("p"), "--size", "small", "--only", "mri"]);
        let (descriptor, raw) = (at("p/phantom-mri/descriptor.toml"), at("p/phantom-mri/PhantomMRI"));
        ok(Program::Preprocess, &["--dataset", &descriptor, "--raw", &raw, "--out", &at("shards")]);
        for name in ["finetune", "evaluate"] {
            // on another file system there is no link to it
            let (program, place) = (env!("CARGO_BIN_EXE_pipeline"), study.at(name));
            fs_err::hard_link(program, &place)
                .or_else(|_| fs_err::copy(program, &place).map(|_| ()))
                .unwrap();
        }
        study
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sweep(&self, out: &str, train: &[&str]) -> Command {
        let mut command = Command::new(self.at("finetune"));
        command
            .arg("sweep")
            .arg("--shards")
            .arg(self.at("shards"))
            .arg("--raw")
            .arg(self.at("p/phantom-mri/PhantomMRI"));
        command.arg("--out").arg(self.at(out)).args(["--fractions", "0.5,1,1.0", "--seeds", "3,4,3", "--"]);
        command.args(["--network", "resenc", "--validate-every", "0"]).args(train);
        command
            .env("SLURM_CPUS_PER_TASK", "1")
            .env("OMP_NUM_THREADS", "1")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.at(name)).unwrap()
    }
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn is_trained(folder: &Path) -> bool {
    folder.join("model/manifest.json").is_file()
}

#[test]
fn a_sweep_fills_one_table_and_goes_on_where_it_was_stopped() {
    let study = Study::new();
    let output = study.sweep("whole", &["--steps", "1"]).output().unwrap();
    expect(&output, 0);
    let table = study.text("whole/sweep.csv");
    let foreground = |line: &&str| line.contains(",foreground,dice,");
    let lines: Vec<&str> = table.lines().filter(foreground).collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("scratch,0.5,3,2,") && lines[3].starts_with("scratch,1.0,4,3,"), "{table}");
    // the numbers are those of the scores
    let summary: serde_json::Value =
        serde_json::from_str(&study.text("whole/runs/scratch-1-seed4/scores/summary.json")).unwrap();
    let dice =
        summary["gtgm"]["foreground"].as_array().unwrap().iter().find(|m| m["definition"] == "dice").unwrap();
    assert!(lines[3].ends_with(&format!(",{}", dice["mean"])), "{} {dice}", lines[3]);
    // all runs are scored on the same cases
    let val = |name: &str| -> serde_json::Value {
        let split: serde_json::Value =
            serde_json::from_str(&study.text(&format!("whole/runs/{name}/model/split.json"))).unwrap();
        split["val"].clone()
    };
    assert_eq!(val("scratch-0.5-seed3"), val("scratch-1-seed4"));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("| 50 % | 2 | ") && printed.contains("| 100 % | 3 | "), "{printed}");

    let mut child = study.sweep("parts", &["--steps", "1"]).spawn().unwrap();
    let start = Instant::now();
    while !is_trained(&study.at("parts/runs/scratch-0.5-seed3")) {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let said = expect(&child.wait_with_output().unwrap(), 75);
    assert!(said.contains("I306") && said.contains("of 4 runs are done"), "{said}");
    expect(&study.sweep("parts", &["--steps", "1"]).output().unwrap(), 0);
    assert_eq!(study.text("parts/sweep.csv"), table);
    assert_eq!(study.text("parts/sweep.md"), study.text("whole/sweep.md"));
}

#[test]
fn a_run_that_fails_is_named_and_the_program_that_scores_must_be_there() {
    let study = Study::new();
    fs_err::create_dir(study.at("bad")).unwrap();
    fs_err::write(study.at("bad/sweep.csv"), "of an earlier sweep").unwrap();
    let said = expect(&study.sweep("bad", &["--steps", "1", "--network-of-my-own"]).output().unwrap(), 1);
    assert!(
        said.contains("E420 run scratch, 0.5 of the labels, seed 3 failed in 'finetune train'"),
        "{said}"
    );
    assert!(said.contains("E420 no run of the sweep succeeded"), "{said}");
    assert!(!study.at("bad/sweep.csv").exists());
    fs_err::remove_file(study.at("evaluate")).unwrap();
    let said = expect(&study.sweep("bad", &["--steps", "1"]).output().unwrap(), 1);
    assert!(said.contains("E421") && said.contains("--evaluate"), "{said}");
}
