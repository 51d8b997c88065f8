//! Several processes that train one network.

use crate::support::{Study, recorded, text};
use crate::targets::with_regions;
use data_manifests::phantom::Kind;
use test_peers::{kill_one_of_two, run_ranks, test_device, torchrun_two};

const SETTINGS: [&str; 9] = [
    "--from-scratch",
    "--steps",
    "5",
    "--log-every",
    "1",
    "--checkpoint-every",
    "100",
    "--validate-every",
    "3",
];

/// Two processes to their ends, which both have this exit code.
#[track_caller]
fn both(study: &Study, out: &str, more: &[&str], code: i32) {
    run_ranks(2, code, || study.train_command(out, &[&SETTINGS[..], more].concat()));
}

/// Losses, gradient norms and scores of a run agree with those of another.
#[track_caller]
fn equal(study: &Study, one: &str, two: &str) {
    for (kind, name, count) in [("step", "loss", 5), ("step", "grad_norm", 5), ("validation", "score", 2)] {
        let [a, b] = [one, two].map(|out| recorded(&study.path(out).join("metrics.jsonl"), kind, name));
        assert_eq!((a.len(), b.len()), (count, count), "{name}");
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() < 1e-4 * x.abs().max(1.0), "{name}: {a:?} {b:?}");
        }
    }
}

#[test]
fn two_processes_make_the_steps_of_one_with_twice_the_batch() {
    // voxels that nobody annotated, and Dice over the batch: both take sums over samples of all processes
    let study = Study::edited(Kind::Ct, |descriptor, _| {
        let labels = descriptor.labels.as_mut().unwrap();
        labels.classes.truncate(2);
        labels.ignore = Some(2);
    });
    for (kind, more) in [("sample", &[][..]), ("batch", &["--batch-dice"])] {
        let (one, two) = (format!("one-{kind}"), format!("two-{kind}"));
        let whole = study.train_command(&one, &[&SETTINGS[..], &["--batch", "4"], more].concat()).output();
        assert!(whole.unwrap().status.success());
        both(&study, &two, &[&["--batch", "2"], more].concat(), 0);
        study.verified(&two);
        assert_eq!(study.json(&format!("{one}/plan.json")), study.json(&format!("{two}/plan.json")));
        equal(&study, &one, &two);
    }
    // a finished run has nothing to do, whoever asks
    both(&study, "two-sample", &["--batch", "2"], 0);
}

#[test]
fn regions_surfaces_held_encoders_and_patience_are_those_of_one_process() {
    let study = with_regions();
    let encoder = study.encoder();
    let weights = ["--encoder-weights", text(&encoder)];
    for (name, start, more, steps) in [
        ("surfaces", &["--from-scratch"][..], &["--boundary-weight", "0.3", "--batch-dice"][..], 3),
        // the encoder's gradients come with the third step
        ("held", &weights, &["--encoder-frozen", "2"], 4),
        // a rate so small that no validation is better than the first
        ("patient", &["--from-scratch"], &["--lr", "1e-30", "--weight-decay", "0", "--patience", "2"], 3),
    ] {
        let most = if name == "patient" { "20" } else { &steps.to_string() };
        let settings =
            ["--steps", most, "--log-every", "1", "--validate-every", "1", "--validate-cases", "1"];
        let run = |out: &str, batch: &str| {
            study.train_command(out, &[start, more, &settings, &["--batch", batch]].concat())
        };
        let (one, two) = (format!("one-{name}"), format!("two-{name}"));
        assert!(run(&one, "2").output().unwrap().status.success(), "{name}");
        run_ranks(2, 0, || run(&two, "1"));
        study.verified(&two);
        for (kind, value) in [("step", "loss"), ("step", "grad_norm"), ("validation", "score")] {
            let [a, b] =
                [&one, &two].map(|out| recorded(&study.path(out).join("metrics.jsonl"), kind, value));
            assert_eq!((a.len(), b.len()), (steps, steps), "{name} {value}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() < 2e-4 * a.abs().max(1.0);
            assert!(a.iter().zip(&b).all(near), "{name} {value}: {a:?} {b:?}");
        }
    }
}

#[test]
#[ignore = "trains 147 million weights three times: make test-long"]
fn long_batch_norms_take_the_statistics_of_all_processes() {
    let study = Study::new(Kind::Ct);
    let train = |out: &str, batch: &str| {
        // AdamW makes of rounding whole steps where a gradient is almost 0
        let words = "--from-scratch --steps 2 --log-every 1 --validate-every 0 --decoder-norm instance --optimizer sgd";
        let words: Vec<&str> = words.split(' ').chain(["--batch", batch]).collect();
        study.train_network("resunet50", out, &words)
    };
    // a model of it takes hundreds of megabytes
    let losses = |out: &str| {
        let losses = recorded(&study.path(out).join("metrics.jsonl"), "step", "loss");
        fs_err::remove_dir_all(study.path(out)).unwrap();
        losses
    };
    assert!(train("one", "2").output().unwrap().status.success());
    let one = losses("one");
    run_ranks(2, 0, || train("two", "1"));
    let two = losses("two");
    assert!(one.len() == 2 && two.len() == 2);
    assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-4 * a), "{one:?} {two:?}");
}

#[test]
fn a_stopped_run_of_two_goes_on_with_two_or_with_one() {
    let study = Study::new(Kind::Mri);
    both(&study, "whole", &["--batch", "1"], 0);
    let stop = study.path("stop");
    fs_err::write(&stop, "").unwrap();
    for out in ["again", "alone"] {
        both(&study, out, &["--batch", "1", "--stop-file", text(&stop)], 75);
    }
    both(&study, "again", &["--batch", "1"], 0);
    let bytes = |out: &str| study.bytes(&format!("{out}/model.safetensors"));
    assert!(bytes("again") == bytes("whole"), "the same bytes");
    let alone = study.train("alone", 5, &[&SETTINGS[..1], &SETTINGS[3..], &["--batch", "2"]].concat());
    assert!(alone.expect(0).contains("I318 resuming after step 1"));
    equal(&study, "whole", "alone");
}

#[test]
fn a_process_that_dies_ends_the_other_with_a_message() {
    let study = Study::new(Kind::Ct);
    let settings = ["--from-scratch", "--steps", "100000", "--log-every", "1", "--validate-every", "0"];
    let said = kill_one_of_two(0, &study.path("two/metrics.jsonl"), || study.train_command("two", &settings));
    assert!(said.contains("E332"), "{said}");
}

#[test]
fn torchrun_starts_it() {
    let study = Study::new(Kind::Em);
    if torchrun_two(&study.train_command("two", &[&SETTINGS[..], &["--batch", "1"]].concat())) {
        study.verified("two");
        assert_eq!(study.json("two/plan.json")["batch"], 2);
    }
}

/// With NCCL, which one GPU is enough for.
#[test]
#[ignore = "on a GPU: make test-gpu"]
fn a_group_of_one_on_a_gpu_makes_the_steps_of_no_group() {
    let study = Study::new(Kind::Ct);
    let device = test_device();
    let settings = [&SETTINGS[..], &["--device", &device]].concat();
    assert!(study.train_command("alone", &settings).output().unwrap().status.success());
    run_ranks(1, 0, || study.train_command("group", &settings));
    let losses = |out: &str| recorded(&study.path(out).join("metrics.jsonl"), "step", "loss");
    let (alone, group) = (losses("alone"), losses("group"));
    assert_eq!(group.len(), 5);
    // gradients of a GPU differ in their last digits from run to run
    assert!(alone.iter().zip(&group).all(|(a, b)| (a - b).abs() < 1e-2 * a.abs()), "{alone:?} {group:?}");
}
