//! `finetune sweep`: many runs, one table.
#![expect(clippy::unwrap_used, reason = "test code")]

use pipeline::{Program, run};
use stage::ExitStatus;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
        self.sweep_with(out, &[], train)
    }

    /// Also with options of the sweep's own.
    fn sweep_with(&self, out: &str, own: &[&str], train: &[&str]) -> Command {
        let mut command = Command::new(self.at("finetune"));
        command
            .arg("sweep")
            .arg("--shards")
            .arg(self.at("shards"))
            .arg("--raw")
            .arg(self.at("p/phantom-mri/PhantomMRI"));
        command.arg("--out").arg(self.at(out)).args(["--fractions", "0.5,1,1.0", "--seeds", "3,4,3"]);
        command.args(own).args(["--", "--network", "resenc", "--validate-every", "0"]).args(train);
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
    assert!(lines[3].ends_with(&format!(",{},0,", dice["mean"])), "{} {dice}", lines[3]);
    let header = "start,fraction,seed,train_cases,class,definition,mean,infinite,mean_with_diagonal";
    assert_eq!(table.lines().next(), Some(header));
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
    wait_for(&mut child, || is_trained(&study.at("parts/runs/scratch-0.5-seed3")));
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let said = expect(&child.wait_with_output().unwrap(), 75);
    assert!(said.contains("I306") && said.contains("of 4 runs done"), "{said}");
    expect(&study.sweep("parts", &["--steps", "1"]).output().unwrap(), 0);
    assert_eq!(study.text("parts/sweep.csv"), table);
    assert_eq!(study.text("parts/sweep.md"), study.text("whole/sweep.md"));
}

/// Waits until the sweep has come so far.
#[track_caller]
fn wait_for(child: &mut Child, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_a_finished_sweep_wrote_outlives_repeated_and_refused_ones() {
    let study = Study::new();
    let steps = ["--steps", "1"];
    expect(&study.sweep("out", &steps).output().unwrap(), 0);
    let files = ["out/sweep.csv", "out/sweep.md", "out/split.json"];
    let before = files.map(|file| study.text(file));
    let unchanged = || assert_eq!(files.map(|file| study.text(file)), before);

    // stopped while it looks at what is done
    let mut child = study.sweep("out", &steps).spawn().unwrap();
    let second = study.at("out/runs/scratch-0.5-seed4/model/report.json");
    fs_err::remove_file(&second).unwrap();
    wait_for(&mut child, || second.is_file());
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    expect(&child.wait_with_output().unwrap(), 75);
    unchanged();

    let said = expect(&study.sweep("out", &["--steps", "4"]).output().unwrap(), 1);
    assert!(
        said.contains("E307") && said.contains("run scratch, 50 % of the labels, seed 3 is finished"),
        "{said}"
    );
    assert!(said.contains("run 1 of 4") && !said.contains("run 2 of 4"), "{said}");
    unchanged();

    let said = expect(&study.sweep_with("out", &["--split-seed", "5"], &steps).output().unwrap(), 1);
    assert!(said.contains("E420 the runs that are here share another split"), "{said}");
    assert!(!said.contains("run 1 of 4"), "{said}");
    unchanged();

    // what another run of the same options adds stands beside them
    expect(&study.sweep_with("out", &["--fractions", "0.2"], &steps).output().unwrap(), 0);
    assert!(study.text("out/sweep.csv").len() > before[0].len());
    // and all anew, where that is asked for
    expect(&study.sweep("out", &["--steps", "2", "--overwrite"]).output().unwrap(), 0);
    assert_ne!(study.text("out/sweep.csv"), before[0]);
}

#[test]
fn the_command_of_a_killed_sweep_saves_and_ends_and_the_next_sweep_waits_for_it() {
    let study = Study::new();
    let train = ["--steps", "15", "--checkpoint-every", "1"];
    let mut child = study.sweep("out", &train).spawn().unwrap();
    let model = study.at("out/runs/scratch-0.5-seed3/model");
    wait_for(&mut child, || model.join("checkpoint_latest.safetensors").is_file());
    child.kill().unwrap();
    child.wait().unwrap();
    // a moment later nobody writes there any more, and the run is not done
    let start = Instant::now();
    let lock = || fs_err::read(model.join(".lock")).unwrap();
    while !lock().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "{}", String::from_utf8_lossy(&lock()));
        std::thread::sleep(Duration::from_millis(20));
    }
    let report: serde_json::Value =
        serde_json::from_str(&study.text("out/runs/scratch-0.5-seed3/model/report.json")).unwrap();
    assert_eq!(report["status"], "interrupted");
    assert!(!is_trained(&study.at("out/runs/scratch-0.5-seed3")));

    // somebody has it for a while
    let held = fs_err::OpenOptions::new().write(true).open(model.join(".lock")).unwrap();
    held.file().lock().unwrap();
    held.file().set_modified(std::time::SystemTime::now()).unwrap();
    let repeated = study.sweep("out", &["--steps", "15", "--checkpoint-every", "40"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    drop(held);
    let said = expect(&repeated.wait_with_output().unwrap(), 0);
    assert!(said.contains("I443 a command of an earlier sweep still writes"), "{said}");
    assert!(said.contains("resuming after step") && !said.contains("E162"), "{said}");
}

#[test]
fn options_that_no_run_accepts_are_refused_once() {
    let study = Study::new();
    for (words, why) in [(&["--seed", "4"][..], "--seed"), (&["--network-of-my-own"], "--network-of-my-own")]
    {
        let said = expect(&study.sweep("out", &[&["--steps", "1"], words].concat()).output().unwrap(), 1);
        assert!(said.contains("E420 the options after --") && said.contains(why), "{said}");
        assert!(!said.contains("run 1 of 4"), "{said}");
    }
    assert!(!study.at("out/split.json").exists());
}

#[test]
fn a_run_that_fails_is_named_and_the_program_that_scores_must_be_there() {
    let study = Study::new();
    let said = expect(&study.sweep("bad", &["--steps", "1", "--lr=-1"]).output().unwrap(), 1);
    assert!(
        said.contains("E420 run scratch, 50 % of the labels, seed 3 failed in 'finetune train'"),
        "{said}"
    );
    assert!(said.contains("E420 no run of the sweep succeeded"), "{said}");
    assert!(!study.at("bad/sweep.csv").exists());
    fs_err::remove_file(study.at("evaluate")).unwrap();
    let said = expect(&study.sweep("bad", &["--steps", "1"]).output().unwrap(), 1);
    assert!(said.contains("E421") && said.contains("--evaluate"), "{said}");
}
