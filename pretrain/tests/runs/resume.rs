//! Runs that are stopped, go on, or meet another one.

use crate::support::{Study, ran, text};
use data_manifests::phantom::Kind;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Stdio;
use std::time::{Duration, Instant};

const KIND: [Kind; 1] = [Kind::Ct];
const SETTINGS: [&str; 10] =
    ["--steps", "5", "--batch", "4", "--patch-zyx", "8,16,16", "--log-every", "2", "--checkpoint-every", "3"];

#[test]
fn an_interrupted_run_gives_the_same_bytes() {
    let study = Study::with(&KIND);
    let reports = study.text(Kind::Ct, 5, 1);
    let pretrain =
        |out: &str, more: &[&str]| study.pretrain(&KIND, &[&reports], out, &[&SETTINGS, more].concat());
    pretrain("whole", &[]).expect(0);
    let said = pretrain("parts", &["--wall-minutes", "0"]).expect(75);
    assert!(said.contains("I306") && said.contains("saved step 1"), "{said}");
    assert_eq!(study.json("parts/report.json")["status"], "interrupted");
    assert!(!study.path("parts/manifest.json").exists() && !study.path("parts/encoder.safetensors").exists());
    let stop = study.path("stop");
    fs_err::write(&stop, "").unwrap();
    let said = pretrain("parts", &["--resume", "--stop-file", text(&stop)]).expect(75);
    assert!(said.contains("resuming after step 1") && said.contains("saved step 2"), "{said}");
    pretrain("parts", &["--workers", "1"]).expect(0);
    study.verified("parts");
    for name in ["encoder.safetensors", "metrics.jsonl", "plan.json", "checkpoint_final.safetensors"] {
        let [whole, parts] = ["whole", "parts"].map(|out| study.bytes(&format!("{out}/{name}")));
        assert!(whole == parts, "{name} differs");
    }
}

#[test]
fn signals_of_schedulers_save_and_end_with_75() {
    let study = Study::with(&KIND);
    for (out, signal) in [("term", Signal::TERM), ("usr1", Signal::USR1)] {
        let settings = ["--steps", "100000", "--batch", "4", "--patch-zyx", "8,16,16", "--log-every", "1"];
        let mut command = study.command(&KIND, &[], out, &settings);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let record = study.path(out).join("metrics.jsonl");
        let begun = Instant::now();
        while fs_err::metadata(&record).map_or(0, |file| file.len()) == 0 {
            assert!(begun.elapsed() < Duration::from_secs(120), "no step in two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(75), "{said}");
        assert!(said.contains("I306 asked to stop by a signal: saved step"), "{said}");
        let again = [&settings[..], &["--resume", "--wall-minutes", "0"]].concat();
        let mut elsewhere = study.command(&KIND, &[], out, &again);
        elsewhere.env("SLURM_CPUS_PER_TASK", "2");
        let said = ran(elsewhere).expect(75);
        assert!(said.contains("I318 resuming after step"), "{said}");
        assert!(said.contains("W339 the run continues on a CPU with 2 threads"), "{said}");
    }
}

#[test]
fn another_plan_is_refused_or_starts_anew() {
    let study = Study::with(&KIND);
    study.pretrain(&KIND, &[], "encoder", &SETTINGS).expect(0);
    let before = study.bytes("encoder/manifest.json");
    let other = [&SETTINGS[..], &["--seed", "1"]].concat();
    let said = study.pretrain(&KIND, &[], "encoder", &other).expect(1);
    assert!(said.contains("E307") && said.contains("seed") && said.contains("--overwrite"), "{said}");
    assert_eq!(study.bytes("encoder/manifest.json"), before, "a refused command changed a finished stage");
    let said = study.pretrain(&KIND, &[], "encoder", &[&other[..], &["--overwrite"]].concat()).expect(0);
    assert!(!said.contains("resuming"), "{said}");
    study.verified("encoder");
    assert_eq!(study.json("encoder/plan.json")["seed"], 1);
    // and so does one whose record is damaged, of the same plan
    let encoder = study.bytes("encoder/encoder.safetensors");
    let record = study.path("encoder/metrics.jsonl");
    let torn = format!("torn\n{}", fs_err::read_to_string(&record).unwrap());
    fs_err::write(&record, torn).unwrap();
    let manifest = study.bytes("encoder/manifest.json");
    let said = study.pretrain(&KIND, &[], "encoder", &other).expect(1);
    assert!(said.contains("E307") && said.contains("metrics.jsonl"), "{said}");
    assert_eq!(study.bytes("encoder/manifest.json"), manifest);
    study.pretrain(&KIND, &[], "encoder", &[&other[..], &["--overwrite"]].concat()).expect(0);
    study.verified("encoder");
    assert_eq!(study.bytes("encoder/encoder.safetensors"), encoder);
    let said = study.pretrain(&KIND, &[], "other", &[&other[..], &["--resume"]].concat()).expect(1);
    assert!(said.contains("E308 nothing to resume") && said.contains("Omit --resume"), "{said}");
}
