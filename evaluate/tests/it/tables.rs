//! The tables and curves of a report: which runs are one row, and which of them one number.

use crate::world::{World, grid, labels, put_labels, run};
use serde_json::{Value, json};
use stage::ExitStatus;

fn settings(seed: u64, fraction: f64, steps: u64) -> Value {
    json!({"model": {"network": {"kind": "resenc"}}, "fraction": fraction, "seed": seed, "steps": steps})
}

/// From now on predictions are right in `b` and `c`, too.
fn improve(world: &World) {
    for id in ["b", "c"] {
        put_labels(&world.path(&format!("predictions/{id}.nii.gz")), &labels(5), &grid());
    }
}

/// The rows that are ours, and the page.
fn report(world: &World, runs: &[&String]) -> (Vec<String>, String) {
    let out = world.path("report").display().to_string();
    let mut words = vec!["report", "--out", &out, "--runs"];
    words.extend(runs.iter().map(|run| run.as_str()));
    assert_eq!(run(&words).0.unwrap(), ExitStatus::Done);
    let text = fs_err::read_to_string(world.path("report/tables.md")).unwrap();
    let ours = text.lines().filter(|line| line.starts_with("| ours: ")).map(str::to_owned).collect();
    (ours, fs_err::read_to_string(world.path("report/report.html")).unwrap())
}

#[test]
fn seeds_are_one_number_beside_the_published_ones() {
    let world = World::new();
    let first = world.trained("s0", "encoder", &settings(0, 0.1, 100), &[]);
    improve(&world);
    let second = world.trained("s1", "encoder", &settings(1, 0.1, 100), &[]);
    let all = world.trained("all", "encoder", &settings(0, 1.0, 100), &["--metrics", "dice"]);
    let (ours, page) = report(&world, &[&first, &second, &all]);
    assert_eq!(ours, ["| ours: resenc, pretrained | – / 87.50 ± 17.68 / 100.00 |"]);
    let text = fs_err::read_to_string(world.path("report/tables.md")).unwrap();
    for part in [
        "## MRI: Dice % by share of the labels used, more is better",
        "| method | msd04-hippocampus (1 / 10 / 100 %) |",
        "| GTGM | 53.41 / 79.01 / 84.92 |",
        "| difference to the best published | – / **+7.33** / **+13.87** |",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(fs_err::read_to_string(world.path("report/tables.tex")).unwrap().contains("\\textbf{+7.33}"));
    // one curve, from the worst to the best seed
    assert!(page.contains("resenc, pretrained: 0.875<"), "the seeds' mean is on the curve");
}

#[test]
fn what_differs_in_more_than_the_seed_is_never_pooled() {
    let world = World::new();
    let base = world.trained("base", "encoder", &settings(0, 0.1, 100), &[]);
    improve(&world);
    let others = [
        world.trained("longer", "encoder", &settings(1, 0.1, 200), &[]),
        world.trained("other-start", "other-encoder", &settings(1, 0.1, 100), &[]),
        world.trained("same-seed", "encoder", &settings(0, 0.1, 100), &[]),
        world.trained("policy", "encoder", &settings(1, 0.1, 100), &["--policy", "brats"]),
        world.trained("mean", "encoder", &settings(1, 0.1, 100), &["--mean", "nnunet"]),
        world.trained("missing", "encoder", &settings(1, 0.1, 100), &["--missing", "worst"]),
    ];
    for other in &others {
        let (ours, page) = report(&world, &[&base, other]);
        assert_eq!(ours.len(), 2, "{ours:?}");
        assert!(ours.iter().all(|row| !row.contains('±')), "{ours:?}");
        assert!(ours[0].starts_with("| ours: resenc, pretrained (base/scores) | – / 75.00 / –"), "{ours:?}");
        assert!(page.contains("resenc, pretrained (base/scores): 0.75<"), "each is a curve of its own");
    }
    // a model that was trained again since is not known
    let seed = world.trained("seed", "encoder", &settings(1, 0.1, 100), &[]);
    assert_eq!(report(&world, &[&base, &seed]).0.len(), 1);
    let record = data_manifests::Manifest::load(&world.path("seed/model"), "train").unwrap();
    let mut again = data_manifests::Manifest { parameters: settings(2, 0.1, 100), ..record };
    again.licence = "changed".to_owned();
    again.finish(&world.path("seed/model"), |_| "record").unwrap();
    assert_eq!(report(&world, &[&base, &seed]).0.len(), 2);
}

#[test]
fn predictions_of_other_programs_have_rows_and_labels_of_their_own() {
    let world = World::new();
    let scores = |model: &str| {
        let out = world.path(&format!("{model}/scores"));
        assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
        fs_err::create_dir_all(out.parent().unwrap()).unwrap();
        fs_err::rename(world.path("scores"), &out).unwrap();
        out.display().to_string()
    };
    let first = scores("model-a");
    improve(&world);
    let second = scores("model-b");
    let (ours, page) = report(&world, &[&first, &second]);
    let expected = [("model-a", "75.00"), ("model-b", "100.00")];
    let expected =
        expected.map(|(model, dice)| format!("| ours: scores ({model}/scores) | – / – / {dice} |"));
    assert_eq!(ours, expected);
    let results: Value =
        serde_json::from_slice(&fs_err::read(world.path("report/results.json")).unwrap()).unwrap();
    let rows = results["rows"].as_array().unwrap().iter();
    let means: Vec<_> = rows.filter(|row| row["class"] == "mean").map(|row| row["run"].as_str()).collect();
    assert_eq!(means, [Some("scores (model-a/scores)"), Some("scores (model-b/scores)")]);
    assert!(page.contains("scores (model-b/scores)"));
}
