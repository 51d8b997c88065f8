//! What is learnt of labels that are classes: regions, voxels that nobody annotated, and surfaces.

use crate::support::{Study, recorded, run, text};
use data_manifests::descriptor::Region;
use data_manifests::phantom::Kind;
use std::collections::{BTreeMap, BTreeSet};
use volume::scan;

pub(crate) fn with_regions() -> Study {
    Study::edited(Kind::Ct, |descriptor, _| {
        let region = |name: &str, values: &[u32], paint| Region {
            name: name.to_owned(),
            values: values.to_vec(),
            paint,
        };
        descriptor.labels.as_mut().unwrap().regions =
            vec![region("whole", &[1, 2], 1), region("inner", &[2], 2)];
    })
}

#[test]
fn declared_regions_are_learnt_and_painted() {
    let study = with_regions();
    let settings = ["--from-scratch", "--lr", "3e-3", "--validate-every", "60", "--log-every", "20"];
    study.train("model", 60, &settings).expect(0);
    let plan = study.json("model/plan.json");
    assert_eq!(plan["model"]["objective"]["kind"], "regions");
    assert_eq!(plan["model"]["network"]["classes"], 2);
    let metrics = study.path("model/metrics.jsonl");
    let whole = recorded(&metrics, "validation", "pooled_dice whole");
    assert!(whole[0] > 0.3, "{whole:?}");
    assert!(study.verified("model").iter().any(|file| file == "validation.png"));
    let losses = recorded(&metrics, "step", "loss");
    assert!(losses[2] < losses[0] - 0.1, "{losses:?}");
    let said = run(&["info", text(&study.path("model"))]).expect(0);
    assert!(!said.contains("E4"), "{said}");

    let raw = study.raw();
    study.predict("predictions", &[&raw], &["--cases", "val"]).expect(0);
    let mut found = BTreeSet::new();
    for [_, file, ..] in study.table("predictions").values() {
        found.extend(scan::read_labels(study.path("predictions").join(file)).unwrap().data);
    }
    assert!(found.contains(&1) && found.iter().all(|value| *value <= 2), "{found:?}");

    // the same labels as classes, when asked
    study.train("classes", 1, &["--from-scratch", "--validate-every", "0", "--targets", "classes"]).expect(0);
    let plan = study.json("classes/plan.json");
    assert_eq!(
        (&plan["model"]["objective"]["kind"], &plan["model"]["network"]["classes"]),
        (&"classes".into(), &3.into())
    );
    let without = Study::new(Kind::Ct);
    let said = without.train("model", 1, &["--from-scratch", "--targets", "regions"]).expect(1);
    assert!(said.contains("E411") && said.contains("declares no regions"), "{said}");
}

#[test]
fn patches_hold_something_that_was_annotated() {
    // background is what nobody annotated: most of the volume
    let study = Study::edited(Kind::Ct, |descriptor, _| {
        let labels = descriptor.labels.as_mut().unwrap();
        labels.ignore = Some(9);
        labels.map = BTreeMap::from([("0".to_owned(), 9)]);
        // small enough to miss it
        descriptor.grid.patch_zyx = [8, 8, 8];
    });
    let settings = ["--from-scratch", "--validate-every", "12", "--log-every", "1", "--batch", "1"];
    for share in ["0", "1"] {
        study.train(share, 12, &[&settings[..], &["--foreground-share", share]].concat()).expect(0);
        let plan = study.json(&format!("{share}/plan.json"));
        assert_eq!(
            (&plan["loss"]["ignore_label"], &plan["augmentation"]["label_outside"]),
            (&9.into(), &9.into())
        );
        let metrics = study.path(share).join("metrics.jsonl");
        let entropies = recorded(&metrics, "step", "cross_entropy");
        assert!(entropies.len() == 12 && entropies.iter().all(|entropy| *entropy > 0.0), "{entropies:?}");
        assert_eq!(recorded(&metrics, "validation", "score").len(), 1);
    }
}

#[test]
fn the_boundary_term_is_recorded_and_part_of_the_loss() {
    let study = with_regions();
    let settings =
        ["--from-scratch", "--validate-every", "0", "--log-every", "1", "--boundary-weight", "0.2"];
    for targets in ["classes", "regions"] {
        study.train(targets, 2, &[&settings[..], &["--targets", targets]].concat()).expect(0);
        assert_eq!(study.json(&format!("{targets}/plan.json"))["boundary_weight"], 0.2);
        let metrics = study.path(targets).join("metrics.jsonl");
        let terms = recorded(&metrics, "step", "boundary");
        assert!(terms.len() == 2 && terms.iter().all(|term| *term != 0.0), "{terms:?}");
    }
    // a refused command leaves a finished stage as it was
    let before = study.bytes("classes/manifest.json");
    let wrong = ["--targets", "classes", "--boundary-weight", "inf", "--overwrite"];
    let said = study.train("classes", 2, &[&settings[..5], &wrong].concat()).expect(1);
    assert!(said.contains("E317") && said.contains("boundary-weight"), "{said}");
    assert_eq!(study.bytes("classes/manifest.json"), before);
    study.verified("classes");
}
