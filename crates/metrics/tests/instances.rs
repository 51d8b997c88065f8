//! Instance scores against scikit-image.

use metrics::{InstanceScores, Table};
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use test_peers::python;

fn golden(name: &str) -> PathBuf {
    let place = std::env::var_os("GTGM_GOLDEN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")),
        PathBuf::from,
    );
    place.join(name)
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

#[test]
fn golden_of_scikit_image() {
    let expected: Value =
        serde_json::from_slice(&std::fs::read(golden("metrics_instances.json")).unwrap()).unwrap();
    let bytes = std::fs::read(golden("metrics_instances.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: &str| -> Vec<u64> {
        let view = tensors.tensor(name).unwrap();
        let width = view.data().len() / view.shape().iter().product::<usize>();
        let id = |raw: &[u8]| raw.iter().rev().fold(0, |id, byte| id << 8 | u64::from(*byte));
        view.data().chunks(width).map(id).collect()
    };
    let (reference, prediction) = (ids("truth"), ids("prediction"));
    let scores = InstanceScores::of(&Table::of(&reference, &prediction, Some(0)), 1).unwrap();
    let number = |key: &str| expected[key].as_f64().unwrap();
    assert!(near(scores.voi_split, number("voi_false_splits")), "{scores:?}");
    assert!(near(scores.voi_merge, number("voi_false_merges")), "{scores:?}");
    let rand = scores.rand_scikit_image;
    for (found, key) in [
        (rand.error, "adapted_rand_error"),
        (rand.precision, "adapted_rand_precision"),
        (rand.recall, "adapted_rand_recall"),
    ] {
        assert!(near(found.unwrap(), number(key)), "{key}: {rand:?}");
    }
}

/// Random label maps with values of scikit-image, and CREMI's adapted Rand error written out with a dense table.
const SCRIPT: &str = "
import json, sys
import numpy as np
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
rng = np.random.default_rng(3)
cases = []
for _ in range(60):
    shape = tuple(int(n) for n in rng.integers(2, 14, 3))
    a = rng.integers(0, int(rng.integers(2, 9)), tuple(n // 2 + 1 for n in shape)).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    a = a[:shape[0], :shape[1], :shape[2]]
    b = np.where(rng.random(shape) < 0.2, rng.integers(0, 9, shape), a // int(rng.integers(1, 3)))
    if not a.any():
        continue
    p = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(p, (a.ravel(), b.ravel()), 1)
    q, n = p[1:], a.size
    c = q[:, 0].sum() / n
    whole, parts, both = (q.sum(1) ** 2).sum(), (q[:, 1:].sum(0) ** 2).sum() + c, (q[:, 1:] ** 2).sum() + c
    precision, recall = both / parts, both / whole
    split, merge = variation_of_information(a, b, ignore_labels=(0,))
    cases.append({'a': a.ravel().tolist(), 'b': b.ravel().tolist(), 'voi': sorted((split, merge)),
        'rand': [float(v) if np.isfinite(v) else None for v in adapted_rand_error(a, b, ignore_labels=(0,))],
        'cremi': [1 - 2 * precision * recall / (precision + recall), precision, recall]})
print(json.dumps(cases))
";

#[test]
fn equal_to_scikit_image_on_random_maps() {
    let Some(python) = python("skimage") else { return };
    let output = Command::new(python).args(["-W", "ignore", "-c", SCRIPT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(cases.len() > 50);
    let mut compared = 0;
    for case in cases {
        let ids = |key: &str| serde_json::from_value::<Vec<u64>>(case[key].clone()).unwrap();
        let scores = InstanceScores::of(&Table::of(&ids("a"), &ids("b"), Some(0)), 1).unwrap();
        let mut voi = [scores.voi_split, scores.voi_merge];
        voi.sort_by(f64::total_cmp);
        for (found, expected) in voi.iter().zip(case["voi"].as_array().unwrap()) {
            assert!(near(*found, expected.as_f64().unwrap()), "{scores:?}");
        }
        for (key, rand) in [("rand", scores.rand_scikit_image), ("cremi", scores.rand_cremi)] {
            for (found, expected) in
                [rand.error, rand.precision, rand.recall].iter().zip(case[key].as_array().unwrap())
            {
                // 0 / 0 is NaN there, which JSON cannot hold as a number
                let Some(expected) = expected.as_f64() else { continue };
                assert!(near(found.unwrap(), expected), "{key}: {rand:?}, expected {expected}");
                compared += 1;
            }
        }
    }
    assert!(compared > 300);
}
