//! Runs that are killed, at random moments and in the middle of writing a checkpoint.

use crate::support::{Study, text};
use data_manifests::phantom::Kind;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const KIND: [Kind; 1] = [Kind::Ct];
const SETTINGS: [&str; 10] = [
    "--steps",
    "12",
    "--batch",
    "4",
    "--patch-zyx",
    "8,16,16",
    "--log-every",
    "3",
    "--checkpoint-every",
    "1",
];
/// What does not depend on the clock.
const REPRODUCED: [&str; 5] = [
    "encoder.safetensors",
    "metrics.jsonl",
    "plan.json",
    "checkpoint_final.safetensors",
    "checkpoint_latest.safetensors",
];
/// How a checkpoint is called while it is written.
const UNFINISHED: &str = ".checkpoint_";

/// Shards, text, a run that nobody disturbed in `whole`, and how long it took.
fn undisturbed() -> (Study, PathBuf, Duration) {
    let study = Study::with(&KIND);
    let reports = study.text(Kind::Ct, 5, 1);
    let started = Instant::now();
    study.pretrain(&KIND, &[&reports], "whole", &SETTINGS).expect(0);
    (study, reports, started.elapsed())
}

fn start(study: &Study, reports: &Path) -> Child {
    let mut command = study.command(&KIND, &[reports], "killed", &SETTINGS);
    command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap()
}

/// Whether there was something to kill.
fn kill(mut child: Child) -> bool {
    let running = child.try_wait().unwrap().is_none();
    if running {
        child.kill().unwrap();
    }
    child.wait().unwrap();
    running
}

/// Names of checkpoints that are not whole, with their sizes.
fn unfinished(out: &Path) -> Vec<(String, u64)> {
    let entries = fs_err::read_dir(out).into_iter().flatten().flatten();
    let sized = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        // it may have got its final name meanwhile
        name.starts_with(UNFINISHED).then_some(())?;
        Some((name, entry.metadata().ok()?.len()))
    });
    sized.collect()
}

#[track_caller]
fn ends_as_if_undisturbed(study: &Study, reports: &Path) {
    study.pretrain(&KIND, &[reports], "killed", &SETTINGS).expect(0);
    study.verified("killed");
    assert_eq!(unfinished(&study.path("killed")), []);
    for name in REPRODUCED {
        let [whole, killed] = ["whole", "killed"].map(|out| study.bytes(&format!("{out}/{name}")));
        assert!(whole == killed, "{name} differs");
    }
}

#[test]
fn kills_at_random_moments_change_no_byte() {
    let (study, reports, whole_run) = undisturbed();
    let mut random = ChaCha8Rng::seed_from_u64(12);
    let mut struck = 0;
    // three runs from nothing or more, each killed up to six times on its way: how many meet a process depends on the machine
    for round in 0..12 {
        if round >= 3 && struck >= 5 {
            break;
        }
        fs_err::remove_dir_all(study.path("killed")).ok();
        for _ in 0..6 {
            let child = start(&study, &reports);
            let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            std::thread::sleep(whole_run.mul_f64(share));
            let running = kill(child);
            struck += usize::from(running);
            if !running {
                break;
            }
        }
        ends_as_if_undisturbed(&study, &reports);
    }
    assert!(struck >= 5, "only {struck} kills met a running process");
}

#[test]
fn kills_while_a_checkpoint_is_written_change_no_byte() {
    let (study, reports, _) = undisturbed();
    let out = study.path("killed");
    let mut torn = 0;
    for _ in 0..4 {
        let mut child = start(&study, &reports);
        while child.try_wait().unwrap().is_none() {
            if unfinished(&out).iter().any(|(_, bytes)| *bytes > 0) {
                break;
            }
        }
        kill(child);
        torn += usize::from(!unfinished(&out).is_empty());
    }
    assert!(torn > 0, "no kill met a checkpoint that was being written");
    ends_as_if_undisturbed(&study, &reports);
}

/// A new checkpoint is whole before the one before it is renamed; then it gets its name.
#[test]
fn a_kill_between_the_two_renames_costs_a_step_and_changes_no_byte() {
    let (study, reports, _) = undisturbed();
    let stop = study.path("stop");
    fs_err::write(&stop, "").unwrap();
    let stopped = [&SETTINGS[..], &["--stop-file", text(&stop)]].concat();
    for _ in 0..2 {
        study.pretrain(&KIND, &[&reports], "killed", &stopped).expect(75);
    }
    let file = |name: &str| study.path("killed").join(format!("checkpoint_{name}.safetensors"));
    fs_err::copy(file("latest"), file("next")).unwrap();
    fs_err::rename(file("latest"), file("prev")).unwrap();
    ends_as_if_undisturbed(&study, &reports);
}
