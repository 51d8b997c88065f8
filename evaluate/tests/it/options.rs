//! What the options of `score` change.

use crate::world::{World, grid, labels, put_labels, run};
use evaluate::summary::SummaryFile;
use stage::ExitStatus;

/// The built-in descriptor with other labels.
fn descriptor(world: &World, labels: &str) -> String {
    let text = data_manifests::Descriptor::built_in_text("msd04-hippocampus").unwrap();
    let start = text.find("[labels]").unwrap();
    let end = text.find("[grid]").unwrap();
    let path = world.path("other.toml");
    fs_err::write(
        &path,
        format!("{}[labels]\nkind = \"semantic\"\n{labels}\n{}", &text[..start], &text[end..]),
    )
    .unwrap();
    path.display().to_string()
}

fn score(world: &World, descriptor: &str, extra: &[&str]) -> SummaryFile {
    let [raw, predictions, out] =
        ["raw", "predictions", "scores"].map(|p| world.path(p).display().to_string());
    let mut words = vec!["score", "--references", &raw, "--predictions", &predictions];
    words.extend(["--dataset", descriptor, "--out", &out]);
    words.extend(extra);
    assert_eq!(run(&words).0.unwrap(), ExitStatus::Done);
    world.summary()
}

#[test]
fn all_definitions_are_measured_and_named() {
    let world = World::new();
    let summary = score(&world, "msd04-hippocampus", &["--metrics", "all"]);
    let table = fs_err::read_to_string(world.path("scores/metrics.csv")).unwrap();
    let definitions = metrics::Definition::all(1.0);
    assert_eq!(table.lines().count(), 1 + 3 * 2 * definitions.len());
    for definition in &definitions {
        assert!(table.contains(&format!(",{},{definition},", definition.name())), "{definition}");
        assert!(
            summary.mean["1"].contains_key(&definition.id())
                || summary.mean["1"].contains_key(definition.name())
        );
    }
    // one voxel to the side: 4 x 5 x 5 voxels of 2 mm³, 3 of 4 columns shared
    for row in
        ["b,1,PPV,ppv,0.75", "b,1,Volume difference,volume-difference:ml,0", "b,1,HD95,hd95:edge-max,1"]
    {
        assert!(table.contains(row), "{row}\n{table}");
    }
}

#[test]
fn regions_are_scored_in_place_of_classes() {
    let world = World::new();
    let regions = "classes = [\"background\", \"a\", \"b\"]\nregions = [{ name = \"whole\", values = [1, 2], paint = 1 }, { name = \"tail\", values = [2], paint = 2 }]";
    let descriptor = descriptor(&world, regions);
    let summary = score(&world, &descriptor, &[]);
    let names: Vec<_> = summary.gtgm.classes.iter().map(|c| (c.class.as_str(), c.name.as_str())).collect();
    assert_eq!(names, [("(1, 2)", "whole"), ("2", "tail")]);
    assert!(summary.metric_per_case[0].metrics.contains_key("(1, 2)"));
    // case c misses class 2: 60 of 160 voxels of the region
    assert_eq!(summary.metric_per_case[2].metrics["(1, 2)"]["TP"], 100);
}

#[test]
fn ignored_voxels_are_left_out_of_everything() {
    let world = World::new();
    // where the prediction is wrong, the reference is not annotated
    let (truth, guess) = (labels(5), labels(6));
    let unsure: Vec<u8> = truth.iter().zip(&guess).map(|(t, g)| if t == g { *t } else { 3 }).collect();
    put_labels(&world.path("raw/labelsTr/b.nii.gz"), &unsure, &grid());
    let descriptor = descriptor(&world, "classes = [\"background\", \"a\", \"b\"]\nignore = 3");
    let summary = score(&world, &descriptor, &[]);
    let case = &summary.metric_per_case[1].metrics["1"];
    assert_eq!((case["Dice"].as_f64(), case["hd95:surfel"].as_f64()), (Some(1.0), Some(0.0)));
    let counted: u64 = ["TP", "FP", "FN", "TN"].iter().map(|key| case[*key].as_u64().unwrap()).sum();
    assert_eq!(counted as usize, unsure.iter().filter(|v| **v != 3).count());
}

#[test]
fn the_plain_mean_of_nnunet_has_no_value_without_a_class() {
    let world = World::new();
    let classes = "classes = [\"background\", \"a\", \"b\", \"nowhere\"]";
    let descriptor = descriptor(&world, classes);
    let summary = score(&world, &descriptor, &[]);
    assert!(summary.foreground_mean["Dice"].is_some() && summary.gtgm.foreground[0].mean.is_some());
    for extra in [["--mean", "nnunet"], ["--policy", "nnunet"]] {
        let summary = score(&world, &descriptor, &extra);
        assert_eq!((summary.foreground_mean["Dice"], summary.gtgm.foreground[0].mean), (None, None));
        assert!(summary.mean["1"]["Dice"].is_some());
    }
}

#[test]
fn each_tolerance_of_a_metric_has_its_column() {
    let world = World::new();
    score(&world, "msd04-hippocampus", &["--metrics", "dice,nsd:surfel@0.5mm,nsd:surfel@3mm"]);
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    for id in ["nsd:surfel@0.5mm", "nsd:surfel@3mm"] {
        assert!(html.contains(&format!("<th scope=\"col\">NSD<small>{id}</small></th>")), "{id}");
        // in the rows of the mean and of both classes
        assert_eq!(html.matches(&format!("data-definition=\"{id}\" data-mean=")).count(), 3, "{id}");
    }
}

#[test]
fn a_class_has_the_cases_in_which_it_was_scored() {
    let world = World::new();
    // class 2 is in neither map of a: by the policy it is not scored there
    let mut without = labels(5);
    without.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 0);
    for folder in ["raw/labelsTr", "predictions"] {
        put_labels(&world.path(&format!("{folder}/a.nii.gz")), &without, &grid());
    }
    score(&world, "msd04-hippocampus", &["--metrics", "dice,ppv"]);
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    let results: serde_json::Value =
        serde_json::from_slice(&fs_err::read(world.path("report/results.json")).unwrap()).unwrap();
    let cases: Vec<_> = results["rows"].as_array().unwrap().iter().map(|row| row["cases"].as_u64()).collect();
    assert_eq!(cases, [Some(3), Some(3), Some(2)]);
}

#[test]
fn volumes_are_drawn_whatever_was_measured() {
    let world = World::new();
    score(&world, "msd04-hippocampus", &["--metrics", "volume-difference:ml"]);
    let [scores, out] = ["scores", "report"].map(|p| world.path(p).display().to_string());
    assert_eq!(run(&["report", "--runs", &scores, "--out", &out]).0.unwrap(), ExitStatus::Done);
    let html = fs_err::read_to_string(world.path("report/report.html")).unwrap();
    // one chart for each class
    assert_eq!(html.matches("<h3>Volume of ").count(), 2);
}
