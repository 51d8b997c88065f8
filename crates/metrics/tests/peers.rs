//! Every definition against the Python package that it is named after, on random pairs of masks with random spacing.
#![expect(clippy::unwrap_used, reason = "test code")]

use label_maps::{Connectivity, label_components};
use metrics::{Definition, Mask, Policy, Protocol, Target, score_case, skeletonise};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use test_peers::python;

/// As after `import`; medpy wants a name that numpy gave up.
const MODULES: &str = "numpy; numpy.Inf = numpy.inf; import monai, medpy, surface_distance, skimage, scipy";
const PAIRS: usize = 200;

/// MONAI computes in single precision, the rank of a quantile too.
fn tolerance(key: &str) -> f64 {
    match key.split('@').next() {
        Some("hd95:edge-max") => 1e-5,
        Some("hd:edge" | "assd:edge monai" | "nsd:edge") => 1e-6,
        _ => 1e-9,
    }
}

/// Compares component by component; returns how many of them scikit-image loses, of which ours must keep something.
fn compare_skeletons(whole: &[u8], thin: &[u8], shape: [usize; 3], number: usize) -> usize {
    let whole: Vec<bool> = whole.iter().map(|v| *v == 1).collect();
    let ours = skeletonise(&Mask::new(whole.clone(), shape).unwrap()).unwrap();
    let components = label_components(&whole, shape, Connectivity::Corners).unwrap();
    let mut vanished = 0;
    for component in 1..=components.sizes.len() as u32 {
        let inside = || (0..whole.len()).filter(|i| components.labels[*i] == component);
        if inside().any(|i| thin[i] == 1) {
            let same = inside().all(|i| ours.voxels()[i] == (thin[i] == 1));
            assert!(same, "pair {number}, component {component}: skeletons differ");
        } else {
            assert!(inside().any(|i| ours.voxels()[i]), "pair {number}, component {component} is gone");
            vanished += 1;
        }
    }
    let stray = ours.voxels().iter().zip(&whole).any(|(skeleton, mask)| *skeleton && !mask);
    assert!(!stray, "pair {number}: the skeleton leaves the mask");
    vanished
}

#[test]
fn equal_to_the_packages_on_random_pairs() {
    let Some(python) = python(MODULES) else { return };
    let out = tempfile::tempdir().unwrap();
    let stem = out.path().join("pairs");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers.py");
    let run = Command::new(python).arg(script).arg(&stem).args(["7", &PAIRS.to_string()]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(stem.with_extension("json")).unwrap()).unwrap();
    let bytes = std::fs::read(stem.with_extension("bin")).unwrap();
    assert_eq!(cases.len(), PAIRS);
    let (mut place, mut compared, mut vanished, mut wrong) = (0, 0, 0, Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let shape: [usize; 3] = serde_json::from_value(case["shape"].clone()).unwrap();
        let spacing: [f64; 3] = serde_json::from_value(case["spacing"].clone()).unwrap();
        let voxels: usize = shape.iter().product();
        let mut next = || {
            place += voxels;
            &bytes[place - voxels..place]
        };
        let [reference, prediction, thin_reference, thin_prediction] = [next(), next(), next(), next()];
        for (whole, thin) in [(reference, thin_reference), (prediction, thin_prediction)] {
            vanished += compare_skeletons(whole, thin, shape, number);
        }
        let protocol = Protocol {
            targets: vec![Target::class(1).unwrap()],
            ignore: None,
            definitions: Definition::all(case["tolerance"].as_f64().unwrap()),
            policy: Policy::Clinical,
        };
        let scores = score_case(reference, prediction, shape, spacing, &protocol).unwrap();
        for measured in &scores[0].values {
            let id = measured.definition.id();
            let keys = case["values"].as_object().unwrap();
            let mut expected: Vec<_> =
                keys.iter().filter(|(key, _)| key.split(' ').next() == Some(&id)).collect();
            assert!(!expected.is_empty(), "no package has {id}");
            while let Some((key, expected)) = expected.pop() {
                if id == "cldice" && expected.is_null() {
                    continue;
                }
                let near = match (measured.value, expected.as_f64()) {
                    (None, None) => true,
                    (Some(found), Some(expected)) => {
                        (found - expected).abs() <= tolerance(key) * expected.abs().max(1.0)
                    }
                    _ => false,
                };
                compared += 1;
                if !near {
                    wrong.push(format!("pair {number}: {key} {:?}, expected {expected}", measured.value));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
    println!("{compared} values compared; {vanished} components that scikit-image thins away");
    assert!(compared > PAIRS * Definition::all(1.0).len() && vanished < 20 * PAIRS);
}
