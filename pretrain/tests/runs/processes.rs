//! Several processes that train one encoder.

use crate::support::{Study, command, text};
use data_manifests::phantom::Kind;
use networks::weights;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tch::Kind as Number;
use test_peers::{as_rank, free_port, kill_one_of_two, run_ranks, test_device, torchrun_two};

/// The rate rises from nothing, which keeps updates small: whole ones, which AdamW makes of what is rounding alone, too, bring values before a
/// rectifier to the other sign now and then.
const SETTINGS: [&str; 10] = [
    "--steps",
    "5",
    "--patch-zyx",
    "8,16,16",
    "--log-every",
    "1",
    "--checkpoint-every",
    "100",
    "--warm-up",
    "50",
];

/// Of runs whose losses agree to 1e-5.
const NEAR: f64 = 2e-4;

fn study() -> (Study, PathBuf) {
    let study = Study::with(&[Kind::Ct]);
    let reports = study.text(Kind::Ct, 5, 1);
    (study, reports)
}

/// Two processes to their ends, which both have this exit code.
#[track_caller]
fn both(study: &Study, reports: &Path, out: &str, more: &[&str], code: i32) {
    run_ranks(2, code, || study.command(&[Kind::Ct], &[reports], out, &[&SETTINGS[..], more].concat()));
}

/// How far two runs ended from each other: the difference of their optimisers' first moments, which are averaged gradients, and
/// that of their weights, each as the norm over all tensors relative to the whole. Single weights say little: AdamW divides a
/// gradient by its own size, and makes whole steps of one that is rounding alone.
fn distances(study: &Study, a: &str, b: &str) -> [f64; 2] {
    let read =
        |out: &str| weights::read_tensors(&study.path(out).join("checkpoint_final.safetensors")).unwrap();
    let (a, b) = (read(a), read(b));
    assert!(a.len() > 10 && a.keys().eq(b.keys()));
    let squares = |x: &tch::Tensor| x.to_kind(Number::Double).square().sum(Number::Double).double_value(&[]);
    [("optimizer/", "/m"), ("model/", "")].map(|(start, end)| {
        let of = a.iter().filter(|(name, _)| name.starts_with(start) && name.ends_with(end));
        let (apart, whole) = of.fold((0.0, 0.0), |(apart, whole), (name, x)| {
            (apart + squares(&(x - &b[name])), whole + squares(x))
        });
        assert!(whole > 0.0, "no tensor {start}…{end}");
        (apart / whole).sqrt()
    })
}

#[test]
fn two_processes_make_the_steps_of_one_with_twice_the_batch() {
    let (study, reports) = study();
    let one = [&SETTINGS[..], &["--batch", "8"]].concat();
    study.pretrain(&[Kind::Ct], &[&reports], "one", &one).expect(0);
    both(&study, &reports, "two", &["--batch", "4"], 0);
    study.verified("two");
    assert_eq!(study.json("one/plan.json"), study.json("two/plan.json"));
    let losses = |out: &str| study.recorded(out, "loss");
    assert_eq!(losses("two").len(), 5);
    for (a, b) in losses("one").iter().zip(losses("two")) {
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{:?} {:?}", losses("one"), losses("two"));
    }
    let far = distances(&study, "one", "two");
    assert!(far.iter().all(|far| *far < NEAR), "{far:?}");
    // a finished run has nothing to do, whoever asks
    both(&study, &reports, "two", &["--batch", "4"], 0);

    let parts = ["--parts", "2"];
    study.pretrain(&[Kind::Ct], &[&reports], "one-parts", &[&one[..], &parts].concat()).expect(0);
    both(&study, &reports, "two-parts", &["--batch", "4", "--parts", "2"], 0);
    assert_eq!(study.recorded("two-parts", "vlp_parts").len(), 5);
    for (a, b) in study.recorded("one-parts", "loss").iter().zip(study.recorded("two-parts", "loss")) {
        assert!((a - b).abs() < 1e-5 * a.abs().max(1.0), "{a} {b}");
    }
}

/// Batch norms take their statistics over the batch of all processes. One step: under heads of batch norm over eight patches that look alike rounding
/// grows a thousandfold in gradients (as far in one process, from one order of axes to another); that they are summed right is a test of
/// `torch_runtime::sum_over_processes`.
#[test]
fn batch_norms_of_two_processes_see_the_batch_of_both() {
    let (study, reports) = study();
    let shards = study.path("ct");
    let settings = ["--encoder", "resnet50", "--steps", "1", "--patch-zyx", "8,16,16", "--log-every", "1"];
    for (out, size, batch) in [("one", 1, "8"), ("two", 2, "4")] {
        let out = study.path(out);
        let words =
            ["--shards", text(&shards), "--text", text(&reports), "--out", text(&out), "--test-cases", "use"];
        let words = [&words[..], &settings, &["--batch", batch]].concat();
        run_ranks(size, 0, || command(&words));
    }
    assert_eq!(study.json("one/plan.json"), study.json("two/plan.json"));
    let [one, two] = ["one", "two"].map(|out| study.recorded(out, "loss")[0]);
    assert!((one - two).abs() < 1e-4 * one.abs(), "{one} {two}");
    let read = |out: &str| weights::read_tensors(&study.path(out).join("encoder.safetensors")).unwrap();
    let (one, two) = (read("one"), read("two"));
    let running: Vec<&String> = one.keys().filter(|name| name.contains("running_")).collect();
    assert_eq!(running.len(), 2 * 53);
    for name in running {
        let apart = (&one[name] - &two[name]).abs().max().double_value(&[]);
        let scale = one[name].abs().max().double_value(&[]);
        assert!(apart < 1e-3 * scale, "{name}: {apart:e} of {scale}");
    }
}

#[test]
fn a_stopped_run_of_two_goes_on_with_two_or_with_one() {
    let (study, reports) = study();
    both(&study, &reports, "whole", &["--batch", "4"], 0);
    let stop = study.path("stop");
    fs_err::write(&stop, "").unwrap();
    for out in ["again", "alone"] {
        both(&study, &reports, out, &["--batch", "4", "--stop-file", text(&stop)], 75);
    }
    both(&study, &reports, "again", &["--batch", "4"], 0);
    let bytes = |out: &str| study.bytes(&format!("{out}/encoder.safetensors"));
    assert!(bytes("again") == bytes("whole"), "the same bytes");
    let one = [&SETTINGS[..], &["--batch", "8"]].concat();
    let said = study.pretrain(&[Kind::Ct], &[&reports], "alone", &one).expect(0);
    assert!(said.contains("I318 resuming after step 1"), "{said}");
    let far = distances(&study, "whole", "alone");
    assert!(far.iter().all(|far| *far < NEAR), "{far:?}");
}

#[test]
fn a_process_that_dies_ends_the_other_with_a_message() {
    let (study, reports) = study();
    let settings = ["--batch", "4", "--patch-zyx", "8,16,16", "--steps", "100000", "--log-every", "1"];
    let said = kill_one_of_two(1, &study.path("two/metrics.jsonl"), || {
        study.command(&[Kind::Ct], &[&reports], "two", &settings)
    });
    assert!(said.contains("E332") && said.contains("rank 1"), "{said}");
}

/// A process that is told to stop while others are still to come does not wait for them.
#[test]
fn a_signal_ends_the_wait_for_others() {
    let (study, reports) = study();
    let mut waiting = study.command(&[Kind::Ct], &[&reports], "alone", &SETTINGS);
    as_rank(&mut waiting, 0, 2, free_port());
    let child = waiting.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let since = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(75), "{said}");
    assert!(since.elapsed() < Duration::from_secs(20) && said.contains("I306"), "{said}");
    assert!(!study.path("alone").exists());
}

#[test]
fn torchrun_starts_it() {
    let (study, reports) = study();
    let own = study.command(&[Kind::Ct], &[&reports], "two", &[&SETTINGS[..], &["--batch", "4"]].concat());
    if torchrun_two(&own) {
        study.verified("two");
        assert_eq!(study.json("two/plan.json")["batch"], 8);
    }
}

/// With NCCL, which one GPU is enough for.
#[test]
#[ignore = "on a GPU: make test-gpu"]
fn a_group_of_one_on_a_gpu_makes_the_steps_of_no_group() {
    let (study, reports) = study();
    let device = test_device();
    let settings = [&SETTINGS[..], &["--batch", "8", "--device", &device]].concat();
    study.pretrain(&[Kind::Ct], &[&reports], "alone", &settings).expect(0);
    run_ranks(1, 0, || study.command(&[Kind::Ct], &[&reports], "group", &settings));
    let [alone, group] = ["alone", "group"].map(|out| study.recorded(out, "loss"));
    assert_eq!(group.len(), 5);
    // gradients of a GPU differ in their last digits from run to run
    assert!(alone.iter().zip(&group).all(|(a, b)| (a - b).abs() < 1e-2 * a.abs()), "{alone:?} {group:?}");
}
