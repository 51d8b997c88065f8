//! Update rules against PyTorch (`optimizer_fixture.py` makes the numbers), state, clipping.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};
use training::optimizer::{Optimizer, OptimizerOptions, Rule};

fn leaves() -> Vec<(String, Tensor)> {
    let w = Tensor::from_slice(&[0.5f32, -1.25, 2.0, 0.0, 0.75, -0.5]).view([2, 3]).set_requires_grad(true);
    let b = Tensor::from_slice(&[0.1f32, -0.2]).set_requires_grad(true);
    vec![("w".to_owned(), w), ("b".to_owned(), b)]
}

fn loss(leaves: &[(String, Tensor)]) -> Tensor {
    let (w, b) = (&leaves[0].1, &leaves[1].1);
    let x = Tensor::from_slice(&[1.0f32, 2.0, -1.0, 0.5, -0.25, 3.0, -2.0, 1.0, 0.0]).view([3, 3]);
    (x.matmul(&w.transpose(0, 1)) + b).tanh().square().sum(Kind::Float) + (w * w * w).sum(Kind::Float) * 0.01
}

fn options(rule: Rule) -> OptimizerOptions {
    OptimizerOptions {
        lr_factors: BTreeMap::from([("b".to_owned(), 0.5)]),
        ..OptimizerOptions::new(rule, 0.05)
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.detach().view(-1).to_kind(Kind::Double)).unwrap()
}

fn update(optimizer: &mut Optimizer, leaves: &[(String, Tensor)], lr: f64) {
    optimizer.forget_gradients().unwrap();
    loss(leaves).backward();
    optimizer.step(lr).unwrap();
}

#[test]
fn five_updates_equal_pytorch() {
    let fixture: serde_json::Value = serde_json::from_str(include_str!("optimizer_fixture.json")).unwrap();
    for (rule, name) in [(Rule::adamw(), "adamw"), (Rule::SgdNesterov { momentum: 0.9 }, "sgd")] {
        let leaves = leaves();
        let mut optimizer = Optimizer::new(options(rule), &leaves).unwrap();
        let rates = fixture["rates"].as_array().unwrap();
        for (rate, expected) in rates.iter().zip(fixture[name].as_array().unwrap()) {
            update(&mut optimizer, &leaves, rate.as_f64().unwrap());
            for (leaf, tensor) in &leaves {
                let expected = expected[leaf].as_array().unwrap();
                for (found, expected) in numbers(tensor).iter().zip(expected) {
                    let expected = expected.as_f64().unwrap();
                    assert!((found - expected).abs() < 2e-6, "{name} {leaf}: {found} for {expected}");
                }
            }
        }
    }
}

#[test]
fn a_restored_optimiser_continues_with_the_same_bits() {
    for rule in [Rule::adamw(), Rule::sgd()] {
        let whole = leaves();
        let mut optimizer = Optimizer::new(options(rule), &whole).unwrap();
        for _ in 0..6 {
            update(&mut optimizer, &whole, 0.05);
        }
        let first = leaves();
        let mut one = Optimizer::new(options(rule), &first).unwrap();
        for _ in 0..3 {
            update(&mut one, &first, 0.05);
        }
        let second: Vec<(String, Tensor)> =
            first.iter().map(|(name, t)| (name.clone(), t.detach().copy().set_requires_grad(true))).collect();
        let mut two = Optimizer::new(options(rule), &second).unwrap();
        two.load_state(one.state().into_iter().collect()).unwrap();
        for _ in 0..3 {
            update(&mut two, &second, 0.05);
        }
        for ((_, a), (_, b)) in whole.iter().zip(&second) {
            assert!(a.equal(b));
        }
        let names: Vec<String> = two.state().into_iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}

#[test]
fn foreign_state_is_listed_and_changes_nothing() {
    let leaves = leaves();
    let mut optimizer = Optimizer::new(options(Rule::adamw()), &leaves).unwrap();
    update(&mut optimizer, &leaves, 0.1);
    let mut state: BTreeMap<String, Tensor> = optimizer.state().into_iter().collect();
    let _removed = state.remove("w/v").unwrap();
    state.insert("b/m".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    state.insert("other/m".to_owned(), Tensor::zeros([3], (Kind::Float, Device::Cpu)));
    let text = optimizer.load_state(state).unwrap_err().to_string();
    for part in ["w/v: missing", "b/m: shape [3], expected [2]", "other/m: unknown"] {
        assert!(text.contains(part), "{text}");
    }
    update(&mut optimizer, &leaves, 0.1);
}

#[test]
fn norm_and_clipping_need_no_gradient() {
    let leaves = leaves();
    let mut optimizer = Optimizer::new(options(Rule::adamw()), &leaves).unwrap();
    let norm = |optimizer: &Optimizer| optimizer.grad_norm().unwrap().double_value(&[]);
    assert!(norm(&optimizer).abs() < 1e-12);
    optimizer.clip(0.0, 1.0).unwrap();
    optimizer.step(0.1).unwrap();
    assert!(optimizer.state().is_empty());
    loss(&leaves).backward();
    let found = norm(&optimizer);
    let expected =
        leaves.iter().map(|(_, t)| t.grad().square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt();
    assert!((found - expected).abs() < 1e-5 * expected);
    optimizer.clip(found, 2.0 * expected).unwrap();
    assert!((norm(&optimizer) - found).abs() < 1e-12);
    optimizer.clip(found, expected / 2.0).unwrap();
    assert!((norm(&optimizer) - expected / 2.0).abs() < 1e-4 * expected);
    let _spoiled = leaves[0].1.grad().fill_(f64::NAN);
    assert!(norm(&optimizer).is_nan());
}

#[test]
fn vectors_need_not_decay_and_bad_options_are_refused() {
    let leaves = leaves();
    let before = numbers(&leaves[1].1);
    let mut optimizer = Optimizer::new(
        OptimizerOptions { decay_vectors: false, ..OptimizerOptions::new(Rule::adamw(), 0.5) },
        &leaves,
    )
    .unwrap();
    optimizer.forget_gradients().unwrap();
    (leaves[0].1.sum(Kind::Float) * 0.0 + leaves[1].1.sum(Kind::Float) * 0.0).backward();
    optimizer.step(0.1).unwrap();
    assert_eq!(numbers(&leaves[1].1), before);
    assert!((numbers(&leaves[0].1)[0] - 0.5 * 0.95).abs() < 1e-6);
    for bad in [
        OptimizerOptions::new(Rule::AdamW { beta1: 1.0, beta2: 0.9, epsilon: 1e-8 }, 0.0),
        OptimizerOptions::new(Rule::SgdNesterov { momentum: 0.0 }, 0.0),
        OptimizerOptions::new(Rule::adamw(), -1.0),
    ] {
        assert!(Optimizer::new(bad, &leaves).is_err());
    }
    assert!(Optimizer::new(OptimizerOptions::new(Rule::adamw(), 0.0), &[]).is_err());
}

#[test]
fn averages_follow_the_weights_and_survive_a_restore() {
    let averaged = OptimizerOptions { averaging: Some(0.5), ..OptimizerOptions::new(Rule::adamw(), 0.0) };
    let (whole, parts) = (leaves(), leaves());
    let mut optimizer = Optimizer::new(averaged.clone(), &whole).unwrap();
    let mut expected: Option<Vec<f64>> = None;
    for step in 1..=4 {
        update(&mut optimizer, &whole, 0.1);
        let weights = numbers(&whole[0].1);
        // the first steps are soon forgotten: (1 + t) / (10 + t) where that is below the decay
        let decay = f64::min(0.5, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        expected = Some(match expected {
            None => weights,
            Some(old) => old.iter().zip(weights).map(|(a, w)| decay * a + (1.0 - decay) * w).collect(),
        });
    }
    let last = numbers(&whole[0].1);
    optimizer.swap_averages();
    for (found, expected) in numbers(&whole[0].1).iter().zip(expected.unwrap()) {
        assert!((found - expected).abs() < 1e-6, "{found} for {expected}");
    }
    optimizer.swap_averages();
    assert_eq!(numbers(&whole[0].1), last, "twice is never");

    let mut before = Optimizer::new(averaged.clone(), &parts).unwrap();
    update(&mut before, &parts, 0.1);
    update(&mut before, &parts, 0.1);
    let mut after = Optimizer::new(averaged, &parts).unwrap();
    after.load_state(before.state().into_iter().map(|(n, t)| (n, t.copy())).collect()).unwrap();
    update(&mut after, &parts, 0.1);
    update(&mut after, &parts, 0.1);
    after.swap_averages();
    optimizer.swap_averages();
    assert_eq!(numbers(&parts[0].1), numbers(&whole[0].1));
}

/// Averaged weights need running moments that were averaged like them.
#[test]
fn running_moments_are_averaged_beside_the_weights() {
    let averaged = OptimizerOptions { averaging: Some(0.5), ..OptimizerOptions::new(Rule::adamw(), 0.0) };
    let moments = || {
        let floats = Tensor::from_slice(&[1.0_f32, 2.0]);
        [("norm.running_mean".to_owned(), floats), ("norm.counter".to_owned(), Tensor::from(7_i64))]
    };
    let (mut whole, mut parts) = (leaves(), leaves());
    whole.extend(moments());
    parts.extend(moments());
    let of = |variables: &[(String, Tensor)], name: &str| {
        numbers(&variables.iter().find(|(found, _)| found == name).unwrap().1)
    };
    let train = |optimizer: &mut Optimizer, variables: &[(String, Tensor)]| {
        update(optimizer, variables, 0.1);
        let (_, mean) = variables.iter().find(|(name, _)| name == "norm.running_mean").unwrap();
        let _changed = mean.shallow_clone().g_mul_scalar_(2.0);
    };
    let mut optimizer = Optimizer::new(averaged.clone(), &whole).unwrap();
    let mut expected: Option<f64> = None;
    for step in 1..=4 {
        let now = of(&whole, "norm.running_mean")[0];
        train(&mut optimizer, &whole);
        let decay = f64::min(0.5, (1.0 + f64::from(step)) / (10.0 + f64::from(step)));
        expected = Some(expected.map_or(now, |old| decay * old + (1.0 - decay) * now));
    }
    assert_eq!(of(&whole, "norm.running_mean"), [16.0, 32.0]);
    optimizer.swap_averages();
    assert!((of(&whole, "norm.running_mean")[0] - expected.unwrap()).abs() < 1e-5);
    assert_eq!(of(&whole, "norm.counter"), [7.0]);
    optimizer.swap_averages();
    assert_eq!(of(&whole, "norm.running_mean"), [16.0, 32.0]);

    // saved and restored in the middle
    let mut before = Optimizer::new(averaged.clone(), &parts).unwrap();
    train(&mut before, &parts);
    train(&mut before, &parts);
    let mut after = Optimizer::new(averaged, &parts).unwrap();
    after.load_state(before.state().into_iter().map(|(n, t)| (n, t.copy())).collect()).unwrap();
    train(&mut after, &parts);
    train(&mut after, &parts);
    after.swap_averages();
    optimizer.swap_averages();
    assert_eq!(of(&parts, "norm.running_mean"), of(&whole, "norm.running_mean"));
}
