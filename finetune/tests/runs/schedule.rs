//! How long training takes, and which part of the network learns when and how fast.

use crate::support::{Study, recorded, text};
use data_manifests::phantom::Kind;
use networks::weights;
use std::collections::BTreeMap;

#[test]
fn an_epoch_has_as_many_patches_as_there_are_cases() {
    let study = Study::new(Kind::Ct);
    // three training cases in batches of two: two steps
    let words = ["--from-scratch", "--validate-every", "0", "--epochs", "2", "--batch", "2"];
    let train = |out: &str, more: &[&str]| {
        let output = study.train_command(out, more).output().unwrap();
        output.status.code()
    };
    assert_eq!(train("model", &words), Some(0));
    assert_eq!(study.json("model/plan.json")["steps"], 4);
    assert_eq!(train("both", &[&words[..], &["--steps", "4"]].concat()), Some(2));
    assert_eq!(train("none", &words[..3]), Some(2));
    let ran = study.train_command("late", &[&words[..], &["--warm-up", "4"]].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains("E429 --warm-up 4 does not end within 4 steps"), "{said}");
}

#[test]
fn patience_ends_a_run_and_hands_on_the_best() {
    let study = Study::new(Kind::Ct);
    // a rate so small that no weight changes: no validation is better than the first
    let settings = [
        "--from-scratch",
        "--lr",
        "1e-30",
        "--weight-decay",
        "0",
        "--patience",
        "2",
        "--validate-every",
        "2",
    ];
    let more = ["--log-every", "5", "--checkpoint-every", "1"];
    let whole = study.train("whole", 40, &[&settings[..], &more].concat()).expect(0);
    assert!(whole.contains("I320 complete after step 6"), "{whole}");
    let steps = |out: &str| recorded(&study.path(out).join("metrics.jsonl"), "step", "step");
    assert_eq!(steps("whole"), [5.0, 6.0]);
    assert_eq!(recorded(&study.path("whole/metrics.jsonl"), "validation", "score").len(), 3);
    let names = study.verified("whole");
    assert!(names.iter().any(|name| name == "checkpoint_final.safetensors"));
    assert_eq!(study.json("whole/manifest.json")["counts"]["steps"], 6);
    // interrupted after each step it ends alike
    let limited = [&settings[..], &more, &["--wall-minutes", "0"]].concat();
    for step in 1..6 {
        let said = study.train("parts", 40, &limited).expect(75);
        assert!(said.contains(&format!("saved step {step}")), "{said}");
    }
    assert!(study.train("parts", 40, &limited).expect(0).contains("I320"));
    assert!(study.bytes("whole/model.safetensors") == study.bytes("parts/model.safetensors"));
    assert!(study.bytes("whole/metrics.jsonl") == study.bytes("parts/metrics.jsonl"));

    let said = study.train("none", 4, &["--from-scratch", "--patience", "2", "--validate-every", "0"]);
    assert!(said.expect(1).contains("E426"));
}

#[test]
fn the_best_validation_is_what_is_handed_on() {
    let study = Study::new(Kind::Ct);
    let settings =
        ["--from-scratch", "--lr", "3e-3", "--patience", "50", "--validate-every", "1", "--ema", "0.5"];
    study.train("model", 6, &settings).expect(0);
    let best = weights::read_tensors(&study.path("model/checkpoint_best.safetensors")).unwrap();
    let model = weights::read_tensors(&study.path("model/model.safetensors")).unwrap();
    let last = weights::read_tensors(&study.path("model/checkpoint_final.safetensors")).unwrap();
    let name = "encoder.stages.0.blocks.0.conv1.conv.weight";
    let average = format!("optimizer/{name}/average");
    assert!(model[name].equal(&best[&average]));
    let scores = recorded(&study.path("model/metrics.jsonl"), "validation", "score_smoothed");
    let last_is_best = scores[..5].iter().all(|score| *score < scores[5]);
    assert!(last_is_best || !model[name].equal(&last[&average]), "{scores:?}");
}

/// The largest change of a weight that training made to the stem and to the first two stages.
fn changes(study: &Study, out: &str) -> [f64; 3] {
    let before = weights::read_tensors(&study.path("encoder.safetensors")).unwrap();
    let after = weights::read_tensors(&study.path(out).join("checkpoint_final.safetensors")).unwrap();
    LEVELS.map(|level| {
        let of_level = before.iter().filter(|(name, _)| name.starts_with(level));
        // the encoder's file has each tensor under several names
        let pairs = of_level.filter_map(|(name, a)| Some((a, after.get(&format!("model/{name}"))?)));
        let changes: Vec<f64> = pairs.map(|(a, b)| (b - a).abs().max().double_value(&[])).collect();
        assert!(changes.len() > 3, "{level}: {changes:?}");
        changes.into_iter().fold(0.0, f64::max)
    })
}

const LEVELS: [&str; 3] = ["encoder.stem.", "encoder.stages.0.", "encoder.stages.1."];

#[test]
fn the_encoder_is_held_and_its_levels_learn_at_rates_of_their_own() {
    let study = Study::new(Kind::Ct);
    let encoder = study.encoder();
    let start = ["--encoder-weights", text(&encoder), "--validate-every", "0", "--weight-decay", "0"];
    let run = |out: &str, steps: u64, more: &[&str]| {
        study.train(out, steps, &[&start[..], more].concat()).expect(0)
    };
    assert!(
        run("held", 3, &["--encoder-frozen", "3"])
            .contains("I430 the encoder is held to the end, in 3 steps")
    );
    assert_eq!(changes(&study, "held"), [0.0; 3]);
    let plan = study.json("held/plan.json");
    assert_eq!((&plan["encoder_frozen"], &plan["optimizer"]["rises"]["encoder"]), (&3.into(), &3.into()));
    run("free", 4, &["--encoder-frozen", "3"]);
    let free = changes(&study, "free");
    assert!(free.iter().all(|change| *change > 0.0), "{free:?}");
    // AdamW's first step is the rate itself, whatever the gradient: 1e-3, halved from level to level
    run("decayed", 1, &["--encoder-lr-factor", "0.5", "--encoder-lr-decay", "0.5"]);
    let plan = study.json("decayed/plan.json");
    let factors: BTreeMap<String, f64> =
        serde_json::from_value(plan["optimizer"]["lr_factors"].clone()).unwrap();
    let deepest = factors.keys().filter(|name| name.starts_with("encoder.stages.")).max().unwrap();
    assert_eq!(factors[deepest], 0.25);
    for (change, level) in changes(&study, "decayed").into_iter().zip(LEVELS) {
        assert!((change / (1e-3 * factors[level]) - 1.0).abs() < 1e-2, "{level}: {change}");
    }
    assert!((factors["encoder.stages.1."] / factors["encoder.stem."] - 4.0).abs() < 1e-9);
    // held steps are resumed as they are
    let parts = ["--encoder-frozen", "2", "--checkpoint-every", "1"];
    run("whole", 4, &parts);
    let limited = [&start[..], &parts, &["--wall-minutes", "0"]].concat();
    for _ in 0..3 {
        study.train("parts", 4, &limited).expect(75);
    }
    study.train("parts", 4, &limited).expect(0);
    assert!(study.bytes("whole/model.safetensors") == study.bytes("parts/model.safetensors"));
}
