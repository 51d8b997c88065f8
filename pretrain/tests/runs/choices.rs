//! What the options choose: losses, heads, number formats, and the cases that are trained on.

use crate::support::Study;
use data_manifests::phantom::Kind;
use networks::weights;

const KIND: [Kind; 1] = [Kind::Ct];
const SETTINGS: [&str; 8] = ["--steps", "2", "--batch", "4", "--patch-zyx", "8,16,16", "--log-every", "1"];

#[test]
fn every_choice_of_losses_and_heads_reaches_the_plan_and_the_numbers() {
    let study = Study::with(&KIND);
    let reports = study.text(Kind::Ct, 5, 1);
    let run = |out: &str, more: &[&str]| {
        study.pretrain(&KIND, &[&reports], out, &[&SETTINGS[..], more].concat()).expect(0);
        study.verified(out);
        let losses = study.recorded(out, "loss");
        assert!(losses.len() == 2 && losses.iter().all(|loss| loss.is_finite()), "{out}: {losses:?}");
        (losses, study.json(&format!("{out}/plan.json")))
    };
    let (base, plan) = run("base", &[]);
    let loss = &plan["loss"];
    assert_eq!(
        [&loss["temperature"], &loss["vr_weight"], &loss["vr_off_diagonal"]],
        [&0.07.into(), &0.01.into(), &0.0051.into()] as [&serde_json::Value; 3]
    );
    assert_eq!(
        [&loss["vlp_views"], &loss["vr_space"], &loss["vr_centering"]],
        ["both", "projected", "standardised"]
    );
    assert!(plan.get("visual_heads").is_none());
    for (out, more, place, value) in [
        ("legacy", &["--legacy"][..], "/loss/vr_centering", "raw"),
        ("raw", &["--vr-space", "raw"], "/loss/vr_space", "raw"),
        ("second", &["--vlp-views", "second"], "/loss/vlp_views", "second"),
        ("two", &["--visual-heads", "two"], "/visual_heads", "two"),
        ("off", &["--vr-off-diagonal", "0.5"], "/loss/vr_off_diagonal", "0.5"),
        ("bf16", &["--precision", "bf16"], "/precision", "bf16"),
    ] {
        let (losses, plan) = run(out, more);
        let found = plan.pointer(place).unwrap();
        assert_eq!(found.as_str().map_or_else(|| found.to_string(), str::to_owned), value, "{out}");
        assert!((losses[0] - base[0]).abs() > 1e-7, "{out}: {losses:?} {base:?}");
        let file = study.path(out).join("checkpoint_final.safetensors");
        let names = weights::read_tensors(&file).unwrap();
        assert_eq!(names.keys().any(|name| name.starts_with("model/proj_v2.")), out == "two", "{out}");
    }
    // the published arithmetic works on raw vectors, too
    assert_eq!(study.json("legacy/plan.json")["loss"]["vr_space"], "raw");
    // rounded to bfloat16 they are near
    let near = study.recorded("bf16", "loss");
    assert!((near[0] - base[0]).abs() < 0.05 * base[0], "{near:?} {base:?}");
}

#[test]
fn cases_without_a_report_are_used_left_out_or_refused() {
    let study = Study::with(&[Kind::Ct, Kind::Mri]);
    let reports = study.text(Kind::Ct, 3, 1);
    let run = |kinds: &[Kind], out: &str, rule: &str| {
        let more = [&SETTINGS[..], &["--holdout", "0", "--without-report", rule]].concat();
        study.pretrain(kinds, &[&reports], out, &more)
    };
    let said = run(&KIND, "used", "visual-only").expect(0);
    assert!(said.contains("W311 2 of 5 cases have no report: used for the visual loss only"), "{said}");
    let said = run(&KIND, "skipped", "skip").expect(0);
    assert!(said.contains("W311 2 of 5 cases have no report: left out"), "{said}");
    assert_eq!(study.recorded("skipped", "texts"), [4.0, 4.0]);
    assert_eq!(study.json("skipped/plan.json")["selection"]["without_report"], "skip");
    let said = run(&KIND, "refused", "error").expect(1);
    assert!(said.contains("E311 2 of 5 cases of phantom-ct have no report: first ct_"), "{said}");
    let said = run(&[Kind::Ct, Kind::Mri], "none", "skip").expect(1);
    assert!(said.contains("E320 no case of phantom-mri has a report"), "{said}");
}

#[test]
fn damaged_cases_are_left_out_up_to_a_limit() {
    let study = Study::with(&KIND);
    // their reports are of no use then
    let reports = study.text(Kind::Ct, 5, 1);
    // one flipped byte, which only comparing finds, and a file that is gone
    let flipped = study.path("ct/cases/ct_002/image/c.0.0.0.0");
    let mut bytes = fs_err::read(&flipped).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&flipped, bytes).unwrap();
    fs_err::remove_file(study.path("ct/cases/ct_004/image/c.0.0.0.0")).unwrap();
    let run = |out: &str, limit: &str| {
        study.pretrain(&KIND, &[&reports], out, &[&SETTINGS[..], &["--skip-bad", limit]].concat())
    };
    let said = run("few", "1").expect(1);
    assert!(said.contains("E301 2 cases cannot be read") && said.contains("--skip-bad"), "{said}");
    let said = run("most", "2").expect(0);
    for id in ["ct_002", "ct_004"] {
        assert!(said.contains(&format!("W301 case {id}")), "{id}: {said}");
    }
    let plan = study.json("most/plan.json");
    assert_eq!(plan["skipped"]["phantom-ct"], serde_json::json!(["ct_002", "ct_004"]));
    let report = study.json("most/report.json");
    assert_eq!(report["counts"]["cases_skipped"], 2, "{report}");
    // without them there is nothing to compare again
    let said = run("most", "2").expect(0);
    assert!(said.contains("Nothing to do"), "{said}");
}
