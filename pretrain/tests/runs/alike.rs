//! Reports that are alike, that name sides, and cases that are not asked about.

use crate::support::{Study, edited, reworded};
use data_manifests::phantom::Kind;

const KIND: [Kind; 1] = [Kind::Ct];
const SETTINGS: [&str; 8] = ["--steps", "2", "--batch", "4", "--patch-zyx", "8,16,16", "--log-every", "1"];

#[test]
fn alike_reports_are_masked_or_negatives() {
    let study = Study::with(&KIND);
    let text = study.text(Kind::Ct, 5, 1);
    reworded(&text, |row| row.group = 0);
    let run = |out: &str, more: &[&str]| {
        let said = study.pretrain(&KIND, &[&text], out, &[&SETTINGS[..], more].concat()).expect(0);
        (said, study.recorded(out, "vlp_chance"), study.json(&format!("{out}/plan.json")))
    };
    let (said, chance, plan) = run("masked", &[]);
    assert!(said.contains("W305 100 % of pairs of reports are alike"), "{said}");
    assert!(said.contains("the image-text loss is 0 in every step"), "{said}");
    assert!(chance == [0.0, 0.0] && plan.get("alike_reports").is_none(), "{chance:?}");
    for (out, more) in [("all", &["--alike-reports", "negatives"][..]), ("legacy", &["--legacy"])] {
        let (said, chance, plan) = run(out, more);
        assert!(!said.contains("W305"), "{said}");
        assert!(chance.iter().all(|chance| (chance - 2.0 * 4_f64.ln()).abs() < 1e-6), "{chance:?}");
        assert_eq!(plan["alike_reports"], "negatives");
    }
    let (_, chance, _) = run("legacy-masked", &["--legacy", "--alike-reports", "masked"]);
    assert_eq!(chance, [0.0, 0.0]);
}

#[test]
fn wordings_do_not_chain_reports() {
    let study = Study::with(&KIND);
    let texts = [study.text(Kind::Ct, 5, 1), study.text(Kind::Ct, 5, 2)];
    // each wording joins neighbours, and both together would join all
    reworded(&texts[0], |row| row.group = row.row / 2);
    reworded(&texts[1], |row| row.group = row.row.div_ceil(2));
    let [first, second] = texts.each_ref().map(std::path::PathBuf::as_path);
    let said = study.pretrain(&KIND, &[first, second], "both", &SETTINGS).expect(0);
    assert!(!said.contains("W305"), "{said}");
    // of four reports at least one is not alike to another
    assert!(study.recorded("both", "vlp_chance").iter().all(|chance| *chance > 0.0));
}

#[test]
fn what_a_mirrored_view_does_not_fit_and_what_is_not_asked_are_said() {
    let study = Study::new();
    study.preprocess(Kind::Ct, |descriptor| descriptor.mirror_axes = vec!["x".into(), "y".into()]);
    let text = study.text(Kind::Ct, 5, 1);
    edited(&text, |manifest| {
        let counts = [("left_or_right", 3), ("superior_or_inferior", 9)];
        manifest.counts.extend(counts.map(|(name, count)| (name.to_owned(), count)));
    });
    let run = |out: &str, more: &[&str]| {
        let said = study.pretrain(&KIND, &[&text], out, &[&SETTINGS[..], more].concat()).expect(0);
        (said, study.json(&format!("{out}/plan.json")))
    };
    let (said, plan) = run("mirrored", &["--holdout", "0"]);
    let warning = "W341 3 of 10 reports of phantom-ct name left or right, and views may be mirrored along x";
    assert!(said.contains(warning) && !said.contains("superior"), "{said}");
    assert!(said.contains("I325 no case is held out: nothing is validated"), "{said}");
    assert_eq!(plan["datasets"][0]["mirror_axes"], serde_json::json!([false, true, true]));
    let (said, plan) = run("not", &["--mirror", "z,y", "--holdout", "0.2"]);
    assert!(!said.contains("W341") && !said.contains("I325"), "{said}");
    assert_eq!(plan["datasets"][0]["mirror_axes"], serde_json::json!([false, true, false]));
    // of one held-out case with one report there is nothing to choose
    reworded(&text, |row| row.group = 0);
    let (said, _) = run("one", &["--holdout", "0.2", "--validate-every", "1"]);
    assert!(said.contains("I325 held-out cases have 1 distinct reports to choose from"), "{said}");
    assert!(study.recorded("one", "recall_5").is_empty() && study.recorded("one", "score").is_empty());
    assert!(!study.path("one/checkpoint_best.safetensors").exists());
}
