//! The stages as jobs of a real SLURM, with its own signals, variables and queue: the script of docs/reproduce.md interrupted, at its time limit and
//! cancelled, tasks of srun, and an array.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

mod cluster;

use cluster::{Cluster, Job, alone, until};
use data_manifests::verify;
use networks::weights;
use pipeline::{Program, run};
use serde_json::Value;
use stage::ExitStatus;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tch::{Kind, Tensor};
use test_peers::free_port;

/// The document whose script is run.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reproduce.md");
/// A few dozen small steps, each recorded: enough to be interrupted between two of them.
const SETTINGS: &str =
    "--steps 60 --batch 4 --patch-zyx 8,16,16 --lr 1e-3 --log-every 1 --checkpoint-every 100000";
/// Until a job has begun, and the stage in it its first step.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);
/// Until a job of [`SETTINGS`] is over, queued once more in between.
const ENDS_WITHIN: Duration = Duration::from_secs(150);
/// SLURM looks at time limits twice a minute.
const LIMITED_WITHIN: Duration = Duration::from_secs(90);

/// A cluster, and a phantom's shards and text where the document's script has them.
struct Site {
    cluster: Cluster,
}

impl Site {
    fn new() -> Self {
        let site = Self { cluster: Cluster::start() };
        let at = |name: &str| site.path(name).to_str().unwrap().to_owned();
        fs_err::create_dir_all(site.path("target/release")).unwrap();
        for name in ["pretrain", "finetune"] {
            let program = executable(name);
            fs_err::os::unix::fs::symlink(program, site.path(&format!("target/release/{name}"))).unwrap();
        }
        let done = |program, words: &[&str]| {
            let ended = run(program, words).unwrap();
            assert_eq!(ended.status, ExitStatus::Done, "{words:?}: {}", ended.messages);
        };
        done(
            Program::DataManifests,
            &["phantom", "--size", "small", "--only", "ct", "--out", &at("phantom")],
        );
        let (descriptor, raw) =
            (at("phantom/phantom-ct/descriptor.toml"), at("phantom/phantom-ct/PhantomCT"));
        let [shards, captions, reports, text] =
            ["shards", "captions", "reports", "text"].map(|name| at(&format!("runs/a/{name}")));
        done(Program::Preprocess, &["--dataset", &descriptor, "--raw", &raw, "--out", &shards]);
        done(
            Program::TextSynth,
            &["caption", "--shards", &shards, "--out", &captions, "--captioner", "measure"],
        );
        done(
            Program::TextSynth,
            &["report", "--captions", &captions, "--out", &reports, "--writer", "template"],
        );
        done(Program::TextSynth, &["embed", "--reports", &reports, "--out", &text]);
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.jobs().join(name)
    }

    fn script(&self, name: &str, text: &str) {
        fs_err::write(self.path(name), text).unwrap();
    }

    /// The document's script with the run in `runs/OUT`, on this machine: other paths, times, sizes and device; `more` is replaced, too.
    fn documented(&self, out: &str, more: &[(&str, &str)]) -> String {
        let document = fs_err::read_to_string(DOCUMENT).unwrap();
        let begin = document.find("#!/bin/bash\n#SBATCH ").unwrap();
        let script = document[begin..].split("```").next().unwrap();
        let place = self.path("");
        let out = format!("runs/{out}");
        let here = [
            ("/path/to/this/repository", place.to_str().unwrap()),
            ("runs/encoder", &out),
            ("--time=24:00:00", "--time=10:00"),
            ("--cpus-per-task=8", "--cpus-per-task=1"),
            ("--device cuda --precision bf16", "--device cpu"),
            ("--steps 200000", SETTINGS),
        ];
        here.iter().chain(more).fold(script.to_owned(), |script, (from, to)| {
            assert_eq!(script.matches(from).count(), 1, "'{from}' in {script}");
            script.replace(from, to)
        })
    }

    /// Runs a script without SLURM to its end, on as many cores as a task has.
    fn undisturbed(&self, script: &str) {
        let mut command = Command::new("bash");
        alone(&mut command);
        let output = command.arg(script).env("SLURM_CPUS_PER_TASK", "1").current_dir(self.path("")).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until a run has made a step.
    fn has_begun(&self, out: &str) {
        let record = self.path(&format!("runs/{out}/metrics.jsonl"));
        until("a first step", BEGINS_WITHIN, || fs_err::metadata(&record).is_ok_and(|file| file.len() > 0));
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.path(name)).unwrap()).unwrap()
    }

    fn losses(&self, out: &str) -> Vec<f64> {
        let record = fs_err::read_to_string(self.path(&format!("runs/{out}/metrics.jsonl"))).unwrap();
        let lines = record.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line["loss"].as_f64()).collect()
    }

    /// How far two encoders are from each other, as the norm over all their tensors relative to the whole.
    fn distance(&self, one: &str, other: &str) -> f64 {
        let read = |out: &str| {
            weights::read_tensors(&self.path(&format!("runs/{out}/encoder.safetensors"))).unwrap()
        };
        let (one, other) = (read(one), read(other));
        assert!(one.len() > 10 && one.keys().eq(other.keys()));
        let squares = |x: &Tensor| x.to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
        let apart: f64 = one.iter().map(|(name, x)| squares(&(x - &other[name]))).sum();
        (apart / one.values().map(squares).sum::<f64>()).sqrt()
    }

    fn is_whole(&self, out: &str) {
        assert_eq!(
            verify::verify(&self.path(&format!("runs/{out}"))).unwrap(),
            Vec::<String>::new(),
            "{out}"
        );
    }

    /// Two runs have these files, byte for byte.
    #[track_caller]
    fn same_bytes(&self, one: &str, other: &str, names: &[&str]) {
        for name in names {
            let [a, b] =
                [one, other].map(|out| fs_err::read(self.path(&format!("runs/{out}/{name}"))).unwrap());
            assert!(a == b, "{name} of {one} and {other} differ");
        }
    }
}

/// What does not depend on the clock.
const REPRODUCED: [&str; 3] = ["encoder.safetensors", "metrics.jsonl", "checkpoint_final.safetensors"];

/// An executable of the workspace, beside this package's own.
fn executable(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_pipeline")).with_file_name(name);
    assert!(path.exists(), "{} is missing: build it first (make test-slurm does)", path.display());
    path
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn the_documented_script_asks_for_itself_again_and_ends_with_the_same_bytes() {
    let site = Site::new();
    site.script("asked.sh", &site.documented("asked", &[]));
    let job = Job::submit(&site.cluster, &[], "asked.sh");
    site.has_begun("asked");
    // what the scheduler sends by --signal=B:USR1, now
    site.cluster.tells("scancel", &["--batch", "--signal=USR1", job.id()]);
    job.ends("COMPLETED", ENDS_WITHIN);
    assert_eq!([job.kept("Restarts"), job.kept("ExitCode")], ["1", "0:0"]);
    // both halves in one file
    let said = job.said();
    assert!(said.contains("I306 asked to stop by a signal: saved step"), "{said}");
    assert!(said.contains("I318 resuming after step"), "{said}");
    site.is_whole("asked");

    site.script("whole.sh", &site.documented("whole", &[]));
    site.undisturbed("whole.sh");
    site.same_bytes("whole", "asked", &REPRODUCED);
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn the_documented_script_is_told_in_time_that_its_time_ends() {
    let site = Site::new();
    let long = SETTINGS.replace("--steps 60", "--steps 1000000");
    let minute = [("--time=10:00", "--time=1"), (SETTINGS, long.as_str())];
    site.script("limited.sh", &site.documented("limited", &minute));
    let job = Job::submit(&site.cluster, &[], "limited.sh");
    site.has_begun("limited");
    until("SLURM ends the job", LIMITED_WITHIN, || job.kept("Restarts") == "1");
    let said = job.said();
    assert!(said.contains("I306 asked to stop by a signal: saved step"), "{said}");
    assert!(!said.contains("DUE TO TIME LIMIT"), "{said}");
    until("the job begins again", ENDS_WITHIN, || job.said().contains("I318 resuming after step"));
    site.cluster.tells("scancel", &[job.id()]);
    job.ends("CANCELLED", ENDS_WITHIN);
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn tasks_of_srun_share_the_batch() {
    let site = Site::new();
    let few = "--shards runs/a/shards --text runs/a/text --encoder resenc --patch-zyx 8,16,16 --steps 5 --warm-up 50 --log-every 1 --test-cases leave-out";
    site.script("alone.sh", &format!("target/release/pretrain {few} --batch 8 --out runs/alone"));
    site.undisturbed("alone.sh");
    let two = format!("--ntasks=2 --cpus-per-task=1 target/release/pretrain {few} --batch 4 --out runs/two");
    let mut srun = site.cluster.command("srun");
    srun.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", free_port().to_string());
    let output = srun.args(two.split(' ')).current_dir(site.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    site.is_whole("two");

    assert_eq!(site.json("runs/alone/plan.json"), site.json("runs/two/plan.json"));
    let [alone, two] = ["alone", "two"].map(|out| site.losses(out));
    assert_eq!((alone.len(), two.len()), (5, 5));
    for (a, b) in alone.iter().zip(&two) {
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{alone:?} {two:?}");
    }
    let far = site.distance("alone", "two");
    assert!(far < 1e-5, "{far}");
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn tasks_of_the_documented_script_are_interrupted_together() {
    let site = Site::new();
    let document = fs_err::read_to_string(DOCUMENT).unwrap();
    let export = document.split('`').find(|words| words.starts_with("export MASTER_ADDR=")).unwrap();
    let srun = format!("{export}\nsrun target/release/pretrain");
    let port = free_port().to_string();
    let two = [("--gpus=1", "--gpus=2 --ntasks=2"), ("target/release/pretrain", &srun), ("29500", &port)];
    site.script("whole.sh", &site.documented("whole", &two));
    Job::submit(&site.cluster, &[], "whole.sh").ends("COMPLETED", ENDS_WITHIN);
    site.is_whole("whole");

    site.script("parted.sh", &site.documented("parted", &two));
    let job = Job::submit(&site.cluster, &[], "parted.sh");
    site.has_begun("parted");
    site.cluster.tells("scancel", &["--batch", "--signal=USR1", job.id()]);
    job.ends("COMPLETED", ENDS_WITHIN);
    assert_eq!(job.kept("Restarts"), "1");
    site.same_bytes("whole", "parted", &REPRODUCED);
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn a_cancelled_job_saves_is_not_queued_again_and_goes_on_to_the_same_bytes() {
    let site = Site::new();
    site.script("cancelled.sh", &site.documented("cancelled", &[]));
    let job = Job::submit(&site.cluster, &[], "cancelled.sh");
    site.has_begun("cancelled");
    // handed in twice
    let twin = Job::submit(&site.cluster, &[], "cancelled.sh");
    twin.ends("FAILED", ENDS_WITHIN);
    assert!(
        twin.said().contains(&format!("E162 output is being written by job {}", job.id())),
        "{}",
        twin.said()
    );
    site.cluster.tells("scancel", &[job.id()]);
    job.ends("CANCELLED", ENDS_WITHIN);
    assert!(job.said().contains("I306 asked to stop by a signal: saved step"), "{}", job.said());
    assert_eq!([job.kept("Restarts"), job.kept("ExitCode")], ["0", "75:0"]);
    assert_eq!(site.json("runs/cancelled/report.json")["status"], "interrupted");

    let again = Job::submit(&site.cluster, &[], "cancelled.sh");
    again.ends("COMPLETED", ENDS_WITHIN);
    assert!(again.said().contains("I318 resuming after step"), "{}", again.said());
    site.is_whole("cancelled");
    site.script("whole.sh", &site.documented("whole", &[]));
    site.undisturbed("whole.sh");
    site.same_bytes("whole", "cancelled", &REPRODUCED);
}

#[test]
#[ignore = "needs SLURM: make test-slurm"]
fn jobs_of_an_array_train_folds_of_one_data_set_at_once() {
    let site = Site::new();
    let train = "target/release/finetune train --shards runs/a/shards --out runs/fold-$SLURM_ARRAY_TASK_ID --network resenc --from-scratch \
                 --folds 2 --fold $SLURM_ARRAY_TASK_ID --steps 6 --validate-every 3 --log-every 1\n";
    site.script(
        "folds.sh",
        &format!("#!/bin/bash\n#SBATCH --time=10 --cpus-per-task=1 --array=0-1\n{train}"),
    );
    let job = Job::submit(&site.cluster, &[], "folds.sh");
    let folds = [0, 1].map(|fold| job.indexed(fold));
    for fold in &folds {
        fold.ends("COMPLETED", ENDS_WITHIN);
    }
    // times in one format, which sorts
    let [started, ended] =
        ["StartTime", "EndTime"].map(|name| [0, 1].map(|fold: usize| folds[fold].kept(name)));
    assert!(started.iter().max() <= ended.iter().min(), "{started:?} {ended:?}");
    for fold in ["fold-0", "fold-1"] {
        site.is_whole(fold);
    }
    site.script(
        "first.sh",
        &format!("SLURM_ARRAY_TASK_ID=0\n{}", train.replace("runs/fold-", "runs/alone-")),
    );
    site.undisturbed("first.sh");
    site.same_bytes("alone-0", "fold-0", &["model.safetensors", "metrics.jsonl"]);
}
