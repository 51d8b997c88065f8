//! `evaluate compare` from scores on disk.

use crate::world::{World, grid, labels, put_labels, run};
use stage::ExitStatus;

/// Two scores of the same cases: the second is better on `b` and `c`.
fn two_scores() -> World {
    let world = World::new();
    world.seal();
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    fs_err::rename(world.path("scores"), world.path("first")).unwrap();
    for id in ["b", "c"] {
        put_labels(&world.path(&format!("predictions/{id}.nii.gz")), &labels(5), &grid());
    }
    world.seal();
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    world
}

#[test]
fn differences_tests_and_rankings_are_written() {
    let world = two_scores();
    let groups = world.path("groups.csv");
    fs_err::write(&groups, "case,group\na,left\nb,left\nc,right\n").unwrap();
    let [first, second, groups, out] =
        ["first", "scores", "groups.csv", "comparison"].map(|p| world.path(p).display().to_string());
    let (status, _) = run(&["compare", &first, &second, "--groups", &groups, "--out", &out]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let table = fs_err::read_to_string(world.path("comparison/comparison.csv")).unwrap();
    let row = |start: &str| {
        table.lines().find(|l| l.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{table}")).to_owned()
    };
    // class 1: 0.75 becomes 1 in one case of three
    let dice = row("dice,1,all,scores,");
    let cells: Vec<&str> = dice.split(',').collect();
    assert_eq!(cells[4..7], ["3", "0", "0"]);
    assert_eq!(cells[8], "1");
    assert!((cells[9].parse::<f64>().unwrap() - 0.25 / 3.0).abs() < 1e-12);
    // one pair differs: its sign is all that there is to test
    assert_eq!(cells[13..17], ["1", "2", "0", "1"]);
    // the infinite distance of the missed class has a rank and no part in the mean
    assert_eq!(row("hd95:surfel,2,all,scores,").split(',').nth(6), Some("1"));
    assert!(row("hd95:surfel,2,all,scores,").ends_with(",1,0,other"), "{table}");
    assert_eq!(row("dice,1,left,scores,").split(',').nth(4), Some("2"));
    let text = fs_err::read_to_string(world.path("comparison/comparison.md")).unwrap();
    for part in [
        "# Comparison with first",
        "3 cases in common",
        "- all cases, n = 3: the smallest possible p is 0.2500: no difference can be significant at 5 %",
        "| dice | mean | 3 | mean | 2 (",
        // a class that the first run missed in one case of three
        "| hd95:surfel | 2 | all | scores | 3 | 0.5000 (1 infinite) | 0.0000 | -0.5000 (2 of 3 pairs) |",
        "| -1.00: scores better | 2 / 1 / 0 |",
        "| hd95:surfel | 2 | 3 | mean rank | 2 (",
        "which may then point the other way",
        "The class 'mean' is each case's mean over the classes that it has: another number than the report's",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    // and no difference would be found, then
    assert!(!text.contains("is found at 5 %"), "{text}");
    let json: serde_json::Value =
        serde_json::from_slice(&fs_err::read(world.path("comparison/comparison.json")).unwrap()).unwrap();
    let ranking = json["rankings"].as_array().unwrap().iter();
    let ranking =
        ranking.filter(|r| r["definition"] == "hd95:surfel" && r["class"] == "2").collect::<Vec<_>>();
    assert_eq!((&ranking[0]["by"], &ranking[0]["cases"]), (&"mean-rank".into(), &3.into()));
    assert_eq!((json["cases"].as_u64(), json["inputs"].as_array().map(Vec::len)), (Some(3), Some(2)));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let world = two_scores();
    let [first, second] = ["first", "scores"].map(|p| world.path(p).display().to_string());
    let error = run(&["compare", &first, &second, "--metrics", "cldice"]).0.unwrap_err().to_string();
    assert!(error.starts_with("E516"), "{error}");
    let error =
        run(&["compare", &first, &world.path("raw").display().to_string()]).0.unwrap_err().to_string();
    assert!(error.starts_with("E010"), "{error}");
    let groups = world.path("groups.csv").display().to_string();
    fs_err::write(&groups, "case,group\na,x\nb,y\na,x\nb,x\n").unwrap();
    let error = run(&["compare", &first, &second, "--groups", &groups]).0.unwrap_err().to_string();
    assert!(error.contains("E517") && error.contains("case b is in y and in x"), "{error}");
    fs_err::write(&groups, "id,group\na,x\n").unwrap();
    let error = run(&["compare", &first, &second, "--groups", &groups]).0.unwrap_err().to_string();
    assert!(error.starts_with("E517"), "{error}");
    fs_err::write(&groups, "case,group\na.nii.gz,x\nz,x\n").unwrap();
    let error = run(&["compare", &first, &second, "--groups", &groups]).0.unwrap_err().to_string();
    assert!(error.starts_with("E517 the table of groups has none of the cases"), "{error}");
    fs_err::write(&groups, "case,group\na,x\nb,x\nz,x\n").unwrap();
    let (status, context) = run(&["compare", &first, &second, "--groups", &groups]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let warning = context.messages().iter().find(|m| m.code == "W519").unwrap().to_string();
    assert!(warning.starts_with("W519 1 case of the table of groups in no run: first z"), "{warning}");
    // a case that only one run scored is left out, and said
    fs_err::remove_file(world.path("predictions/c.nii.gz")).unwrap();
    world.seal();
    assert_eq!(world.score(&["--missing", "skip"]).0.unwrap(), ExitStatus::Done);
    let (status, context) = run(&["compare", &first, &second]);
    assert_eq!(status.unwrap(), ExitStatus::Done);
    let warning = context.messages().iter().find(|m| m.code == "W515").unwrap().to_string();
    assert_eq!(warning, "W515 left out 1 case of 'first' that not every run has.");
}

#[test]
fn runs_that_were_measured_otherwise_are_not_compared() {
    let world = two_scores();
    let [first, second] = ["first", "scores"].map(|p| world.path(p).display().to_string());
    let said = |first: &str| run(&["compare", first, &second]).0.unwrap_err().to_string();
    // the same predictions by another policy
    assert_eq!(world.score(&["--policy", "brats"]).0.unwrap(), ExitStatus::Done);
    let error = said(&first);
    assert!(
        error.starts_with(
            "E521 'scores' was not measured as 'first' was. policy: clinical in 'first', brats in 'scores'"
        ),
        "{error}"
    );
    // another data set, with another name for a class
    let text = data_manifests::Descriptor::built_in_text("msd04-hippocampus").unwrap();
    let other = text.replace("msd04-hippocampus", "mine").replace("\"anterior hippocampus\"", "\"head\"");
    assert_ne!(text, other);
    let descriptor = world.path("mine.toml").display().to_string();
    fs_err::write(&descriptor, other).unwrap();
    let [raw, predictions, out] =
        ["raw", "predictions", "scores"].map(|p| world.path(p).display().to_string());
    let words = ["score", "--references", &raw, "--predictions", &predictions, "--out", &out];
    let words = [&words[..], &["--dataset", &descriptor]].concat();
    assert_eq!(run(&words).0.unwrap(), ExitStatus::Done);
    let error = said(&first);
    for part in [
        "E521",
        "data set: msd04-hippocampus in 'first', mine in 'scores'",
        "class 1: anterior hippocampus in 'first', head in",
    ] {
        assert!(error.contains(part), "{part}\n{error}");
    }
    // references that were drawn again
    put_labels(&world.path("raw/labelsTr/b.nii.gz"), &labels(6), &grid());
    assert_eq!(world.score(&[]).0.unwrap(), ExitStatus::Done);
    let error = said(&first);
    assert!(
        error
            .starts_with("E522 'scores' and 'first' have other references in 1 case. $RAW/labelsTr/b.nii.gz"),
        "{error}"
    );
}

#[test]
fn what_may_make_runs_differ_is_said() {
    let world = two_scores();
    let [first, second] = ["first", "scores"].map(|p| world.path(p).display().to_string());
    let told = || {
        let (status, context) = run(&["compare", &first, &second]);
        assert_eq!(status.unwrap(), ExitStatus::Done);
        context.messages().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // the rule matters only where something is missing
    assert_eq!(world.score(&["--missing", "worst"]).0.unwrap(), ExitStatus::Done);
    assert!(told().is_empty());
    fs_err::remove_file(world.path("predictions/c.nii.gz")).unwrap();
    world.seal();
    assert_eq!(world.score(&["--missing", "worst"]).0.unwrap(), ExitStatus::Done);
    let messages = told();
    assert!(messages[0].starts_with("W516 'first' and 'scores' treat missing predictions differently. --missing error with 0 missing, --missing worst with 1 missing"), "{messages:?}");
    // the same cases against other files
    let table = world.path("pairs.csv");
    fs_err::create_dir_all(world.path("drawn")).unwrap();
    put_labels(&world.path("drawn/a.nii.gz"), &labels(6), &grid());
    fs_err::write(&table, "case,reference,prediction\na,drawn/a.nii.gz,predictions/a.nii.gz\n").unwrap();
    let table = table.display().to_string();
    let words = ["score", "--pairs", &table, "--dataset", "msd04-hippocampus"];
    assert_eq!(run(&[&words[..], &["--out", &second]].concat()).0.unwrap(), ExitStatus::Done);
    let messages = told();
    assert!(
        messages[0]
            .starts_with("W518 1 case: reference files in 'scores' are not those in 'first' (first: a)"),
        "{messages:?}"
    );
}
