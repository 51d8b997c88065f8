//! What must not change a metric, and what must change it by a known factor.
#![expect(clippy::unwrap_used, reason = "test code")]

use metrics::{Basis, Definition, Mask, Policy, Protocol, SurfaceDistances, Target, score_case};
use proptest::prelude::*;

/// A pair of masks in a volume, z, y, x.
#[derive(Debug, Clone)]
struct Scene {
    reference: Vec<u8>,
    prediction: Vec<u8>,
    shape: [usize; 3],
    spacing: [f64; 3],
}

impl Scene {
    /// The scene whose voxel at a place is this one's at `from(place)`, 0 where there is none.
    fn rearranged(
        &self,
        shape: [usize; 3],
        spacing: [f64; 3],
        from: impl Fn([usize; 3]) -> Option<[usize; 3]>,
    ) -> Self {
        let take = |labels: &[u8]| {
            let place = |i: usize| [i / (shape[1] * shape[2]), i / shape[2] % shape[1], i % shape[2]];
            let at = |[z, y, x]: [usize; 3]| labels[(z * self.shape[1] + y) * self.shape[2] + x];
            (0..shape.iter().product()).map(|i| from(place(i)).map_or(0, at)).collect()
        };
        Self { reference: take(&self.reference), prediction: take(&self.prediction), shape, spacing }
    }

    fn swapped(&self) -> Self {
        Self { reference: self.prediction.clone(), prediction: self.reference.clone(), ..self.clone() }
    }

    fn score(&self, definitions: Vec<Definition>) -> Vec<(Definition, Option<f64>)> {
        let targets = vec![Target::class(1).unwrap()];
        let protocol = Protocol { targets, ignore: None, definitions, policy: Policy::Clinical };
        let scores =
            score_case(&self.reference, &self.prediction, self.shape, self.spacing, &protocol).unwrap();
        scores[0].values.iter().map(|m| (m.definition, m.value)).collect()
    }

    fn surfaces(&self) -> SurfaceDistances {
        let mask = |v: &[u8]| Mask::new(v.iter().map(|v| *v == 1).collect(), self.shape).unwrap();
        SurfaceDistances::between(&mask(&self.reference), &mask(&self.prediction), self.spacing)
            .unwrap()
            .unwrap()
    }
}

fn scenes() -> impl Strategy<Value = (Scene, f64)> {
    let scene = (1_usize..6, 1_usize..7, 1_usize..8).prop_flat_map(|(z, y, x)| {
        let n = z * y * x;
        let labels = || prop::collection::vec(prop::bool::weighted(0.4).prop_map(u8::from), n);
        (labels(), labels(), Just([z, y, x]), [0.3_f64..5.0, 0.3_f64..5.0, 0.3_f64..5.0]).prop_map(
            |(reference, prediction, shape, spacing)| Scene { reference, prediction, shape, spacing },
        )
    });
    (scene, 0.3_f64..6.0).prop_filter("both hold the class", |(scene, _)| {
        scene.reference.contains(&1) && scene.prediction.contains(&1)
    })
}

/// All but clDice, whose thinning takes the directions in a fixed order.
fn definitions(tolerance: f64) -> Vec<Definition> {
    Definition::all(tolerance).into_iter().filter(|d| d.basis() != Basis::Skeletons).collect()
}

fn near(a: Option<f64>, b: Option<f64>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(1e-3),
        (a, b) => a == b,
    }
}

/// Equal but for the surfel percentile, where a share of exactly 95 % may fall to either side with the last digit of an area.
fn same(one: &Scene, other: &Scene, tolerance: f64) -> Result<(), TestCaseError> {
    let found = one.score(definitions(tolerance)).into_iter().zip(other.score(definitions(tolerance)));
    for ((definition, a), (_, b)) in found {
        if definition == Definition::Hd95 && !near(a, b) {
            let ends = [95.0 - 1e-9, 95.0 + 1e-9].map(|p| one.surfaces().robust_hausdorff(p));
            prop_assert!(ends.iter().any(|end| near(Some(*end), b)), "{a:?} {b:?} {ends:?}");
        } else {
            prop_assert!(near(a, b), "{definition}: {a:?} and {b:?}");
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn axes_may_be_permuted_with_their_spacing((scene, tolerance) in scenes(), order in Just([0, 1, 2]).prop_shuffle()) {
        let of = |v: [usize; 3]| order.map(|axis| v[axis]);
        let spacing = order.map(|axis| scene.spacing[axis]);
        let permuted = scene.rearranged(of(scene.shape), spacing, |place| {
            let mut back = [0; 3];
            for (axis, i) in order.into_iter().zip(place) {
                back[axis] = i;
            }
            Some(back)
        });
        same(&scene, &permuted, tolerance)?;
    }

    #[test]
    fn axes_may_be_flipped((scene, tolerance) in scenes(), flips in any::<[bool; 3]>()) {
        let flipped = scene.rearranged(scene.shape, scene.spacing, |place| {
            Some(std::array::from_fn(|a| if flips[a] { scene.shape[a] - 1 - place[a] } else { place[a] }))
        });
        same(&scene, &flipped, tolerance)?;
    }

    #[test]
    fn empty_space_may_be_added((scene, tolerance) in scenes(), before in [0_usize..3, 0_usize..3, 0_usize..3]) {
        let shape = std::array::from_fn(|a| scene.shape[a] + before[a] + a);
        let padded = scene.rearranged(shape, scene.spacing, |place| {
            let inside: [Option<usize>; 3] =
                std::array::from_fn(|a| place[a].checked_sub(before[a]).filter(|i| *i < scene.shape[a]));
            Some([inside[0]?, inside[1]?, inside[2]?])
        });
        same(&scene, &padded, tolerance)?;
    }

    #[test]
    fn sides_may_be_swapped((scene, tolerance) in scenes()) {
        let (there, back) = (scene.score(Definition::all(tolerance)), scene.swapped().score(Definition::all(tolerance)));
        let value = |of: &[(Definition, Option<f64>)], id: &str| of.iter().find(|(d, _)| d.id() == id).unwrap().1;
        for (definition, a) in &there {
            let id = definition.id();
            let (other, sign) = match id.as_str() {
                "sensitivity" => ("ppv", 1.0),
                "ppv" => ("sensitivity", 1.0),
                "asd:surfel:reference-to-prediction" => ("asd:surfel:prediction-to-reference", 1.0),
                "asd:surfel:prediction-to-reference" => ("asd:surfel:reference-to-prediction", 1.0),
                "volume-difference:ml" => ("volume-difference:ml", -1.0),
                // relative to the reference, and a mean over its lesions
                "volume-difference:relative" | "lesion-dice:overlap" => continue,
                same => (same, 1.0),
            };
            prop_assert!(near(*a, value(&back, other).map(|b| sign * b)), "{id}");
        }
    }

    #[test]
    fn distances_scale_with_the_spacing((scene, tolerance) in scenes(), power in -3_i32..4) {
        // powers of two scale without rounding
        let factor = 2_f64.powi(power);
        let scaled = Scene { spacing: scene.spacing.map(|s| s * factor), ..scene.clone() };
        let found = scene.score(Definition::all(tolerance)).into_iter();
        for ((definition, a), (_, b)) in found.zip(scaled.score(Definition::all(tolerance * factor))) {
            let by = match definition {
                Definition::VolumeDifference => factor.powi(3),
                d if d.is_distance() => factor,
                _ => 1.0,
            };
            prop_assert!(near(a.map(|a| a * by), b), "{definition}: {a:?} by {by} and {b:?}");
        }
    }
}
