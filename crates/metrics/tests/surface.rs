//! Surface metrics against google-deepmind/surface-distance and their own symmetries.
#![expect(clippy::unwrap_used, reason = "test code")]

use metrics::{Bounds, Definition, Mask, SurfaceDistances, Target, count_overlap, surfel};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;
use std::path::PathBuf;

fn close(found: f64, expected: f64) -> bool {
    found == expected || (found - expected).abs() <= 1e-9 * expected.abs()
}

#[test]
fn surfel_areas_equal_the_reference_table() {
    let tables: Value = serde_json::from_str(include_str!("surfel_areas.json")).unwrap();
    for table in tables.as_array().unwrap() {
        let spacing: [f64; 3] = serde_json::from_value(table["spacing"].clone()).unwrap();
        let expected: Vec<f64> = serde_json::from_value(table["areas"].clone()).unwrap();
        for (code, (found, expected)) in surfel::areas(spacing).iter().zip(&expected).enumerate() {
            assert!(
                (found - expected).abs() <= 1e-14 * expected,
                "code {code:08b}: {found} instead of {expected}"
            );
        }
    }
}

fn golden(name: &str) -> PathBuf {
    let place = std::env::var_os("GTGM_GOLDEN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden")),
        PathBuf::from,
    );
    place.join(name)
}

#[test]
fn goldens_of_surface_distance() {
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(golden("metrics_surface_distance.json")).unwrap()).unwrap();
    let bytes = std::fs::read(golden("metrics_surface_distance.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let spacing: [f64; 3] = serde_json::from_value(case["spacing"].clone()).unwrap();
        let volume = |kind: &str| {
            let view = tensors.tensor(&format!("{name}.{kind}")).unwrap();
            let shape: [usize; 3] = view.shape().try_into().unwrap();
            (view.data().to_vec(), shape)
        };
        let (reference, shape) = volume("reference");
        let (prediction, _) = volume("prediction");
        let counts =
            &count_overlap(&reference, &prediction, shape, &[Target::class(1).unwrap()], None).unwrap()[0];
        match (counts.dice(), case["dice"].as_f64()) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                assert!(close(found, expected), "{name}: Dice {found} not {expected}")
            }
            differ => panic!("{name}: Dice {differ:?}"),
        }
        let mask = |v: &[u8]| Mask::new(v.iter().map(|v| *v != 0).collect(), shape).unwrap();
        let surfaces = SurfaceDistances::between(&mask(&reference), &mask(&prediction), spacing).unwrap();
        let Some(hd95) = case.get("hd95_surface_distance").and_then(Value::as_f64) else {
            assert_eq!(surfaces, None, "{name}");
            continue;
        };
        let surfaces = surfaces.unwrap();
        let average: [f64; 2] = serde_json::from_value(case["average_surface_distance"].clone()).unwrap();
        let rows = [
            (Definition::Hd95, hd95),
            (Definition::Hd, case["hd100"].as_f64().unwrap()),
            (Definition::AsdReferenceToPrediction, average[0]),
            (Definition::AsdPredictionToReference, average[1]),
            (Definition::Nsd { tolerance_mm: 1.0 }, case["nsd_1mm"].as_f64().unwrap()),
            (Definition::Nsd { tolerance_mm: 2.0 }, case["nsd_2mm"].as_f64().unwrap()),
        ];
        for (definition, expected) in rows {
            let found = surfaces.value(definition).unwrap();
            assert!(close(found, expected), "{name}: {definition} {found} instead of {expected}");
        }
    }
}

/// A cubic volume of `side` voxels whose `boxes` (half-open, z, y, x) are inside.
fn boxes(side: usize, boxes: &[Bounds]) -> Mask {
    let voxels = (0..side.pow(3))
        .map(|i| {
            let place = [i / (side * side), i / side % side, i % side];
            boxes.iter().any(|b| (0..3).all(|a| (b.start_zyx[a]..b.end_zyx[a]).contains(&place[a])))
        })
        .collect();
    Mask::new(voxels, [side; 3]).unwrap()
}

fn cube(start_zyx: [usize; 3], size: usize) -> Bounds {
    Bounds { start_zyx, end_zyx: start_zyx.map(|s| s + size) }
}

fn between(reference: &Mask, prediction: &Mask, spacing: [f64; 3]) -> SurfaceDistances {
    SurfaceDistances::between(reference, prediction, spacing).unwrap().unwrap()
}

/// Values printed to nine decimals.
fn printed(found: f64, expected: f64) {
    assert!((found - expected).abs() < 6e-10, "{found} instead of {expected}");
}

#[test]
fn published_vectors() {
    let unit = [1.0; 3];
    let coarse = [3.0, 1.0, 1.0];
    // in the middle and at the array's face
    for start in [4, 0] {
        let place = [start, start, start];
        let reference = boxes(12, &[cube(place, 4)]);
        let prediction = boxes(12, &[cube([start, start, start + 1], 4)]);
        for (spacing, nsd, asd) in
            [(unit, 0.663_111_024, 0.336_888_976), (coarse, 0.595_409_966, 0.404_590_034)]
        {
            let found = between(&reference, &prediction, spacing);
            printed(found.normalised_surface_distance(0.5), nsd);
            printed(found.normalised_surface_distance(1.0), 1.0);
            printed(found.robust_hausdorff(95.0), 1.0);
            printed(found.average()[0], asd);
        }
    }
    let (one, other) = (boxes(12, &[cube([5, 5, 4], 1)]), boxes(12, &[cube([5, 5, 7], 1)]));
    for spacing in [unit, coarse] {
        let found = between(&one, &other, spacing);
        printed(found.robust_hausdorff(95.0), 3.0);
        printed(found.average()[0], 2.5);
    }
    let (all, small) = (boxes(12, &[cube([0; 3], 12)]), boxes(12, &[cube([4; 3], 4)]));
    printed(between(&all, &small, unit).robust_hausdorff(95.0), 5.830_951_895);
    printed(between(&all, &small, coarse).robust_hausdorff(95.0), 12.649_110_641);
}

#[test]
fn different_shapes_are_refused_with_both() {
    let error = SurfaceDistances::between(&boxes(3, &[]), &boxes(4, &[]), [1.0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "prediction [4, 4, 4] and reference [3, 3, 3] differ in shape (z, y, x)");
}

const DEFINITIONS: [Definition; 6] = [
    Definition::Hd95,
    Definition::Hd,
    Definition::AsdReferenceToPrediction,
    Definition::AsdPredictionToReference,
    Definition::Assd,
    Definition::Nsd { tolerance_mm: 1.0 },
];

fn pairs() -> impl Strategy<Value = (Vec<bool>, Vec<bool>, [usize; 3], [f64; 3])> {
    (1_usize..6, 1_usize..7, 1_usize..8).prop_flat_map(|(z, y, x)| {
        let n = z * y * x;
        (
            prop::collection::vec(prop::bool::weighted(0.3), n),
            prop::collection::vec(prop::bool::weighted(0.3), n),
            Just([z, y, x]),
            [0.3_f64..5.0, 0.3_f64..5.0, 0.3_f64..5.0],
        )
    })
}

/// The same voxels in a larger volume.
fn shifted(voxels: &[bool], [z, y, x]: [usize; 3], by: [usize; 3]) -> Mask {
    let shape = [z + by[0] + 2, y + by[1] + 1, x + by[2] + 3];
    let mut moved = vec![false; shape.iter().product()];
    for (i, value) in voxels.iter().enumerate() {
        let place = [i / (y * x) + by[0], i / x % y + by[1], i % x + by[2]];
        moved[(place[0] * shape[1] + place[1]) * shape[2] + place[2]] = *value;
    }
    Mask::new(moved, shape).unwrap()
}

proptest! {
    #[test]
    fn symmetry_identity_and_translation((a, b, shape, spacing) in pairs(), by in [0_usize..4, 0_usize..4, 0_usize..4]) {
        let (one, two) = (Mask::new(a.clone(), shape).unwrap(), Mask::new(b.clone(), shape).unwrap());
        let Some(there) = SurfaceDistances::between(&one, &two, spacing).unwrap() else {
            prop_assert!(!a.contains(&true) || !b.contains(&true));
            return Ok(());
        };
        let back = between(&two, &one, spacing);
        for definition in [Definition::Hd95, Definition::Hd, Definition::Assd, Definition::Nsd { tolerance_mm: 1.0 }] {
            let (x, y) = (there.value(definition).unwrap(), back.value(definition).unwrap());
            prop_assert!((x - y).abs() <= 1e-12 * x.abs(), "{definition}: {x} and {y}");
        }
        prop_assert_eq!(there.average(), [back.average()[1], back.average()[0]]);
        let same = between(&one, &one, spacing);
        for definition in DEFINITIONS {
            let ideal = if definition.is_distance() { 0.0 } else { 1.0 };
            prop_assert_eq!(same.value(definition), Some(ideal));
        }
        prop_assert_eq!(&there, &between(&shifted(&a, shape, by), &shifted(&b, shape, by), spacing));
        prop_assert!(there.robust_hausdorff(95.0) <= there.robust_hausdorff(100.0));
        prop_assert!(there.normalised_surface_distance(1.0) <= there.normalised_surface_distance(2.0));
    }
}
