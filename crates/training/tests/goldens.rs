//! Losses, schedule and sliding window against numbers made with PyTorch and MONAI.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::path::PathBuf;
use tch::{Device, Kind, Tensor};
use training::losses::contrastive::vlp;
use training::losses::dice_ce::{DiceCeOptions, dice_ce};
use training::losses::pretrain::{Embeddings, PretrainLossOptions, TextEmbeddings, pretrain_loss};
use training::losses::redundancy::{Centering, OFF_DIAGONAL_WEIGHT, cross_correlation};
use training::predict::{Blending, SlidingWindow, predict};
use training::schedule::LearningRate;

fn golden(name: &str) -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden");
    std::env::var_os("GTGM_GOLDEN").map_or_else(|| PathBuf::from(default), PathBuf::from).join(name)
}

struct Tensors(Vec<(String, Tensor)>);

impl Tensors {
    fn read(name: &str) -> Self {
        Self(Tensor::read_safetensors(golden(name)).unwrap())
    }

    fn get(&self, name: &str) -> Tensor {
        self.0.iter().find(|(n, _)| n == name).unwrap().1.shallow_clone()
    }

    fn number(&self, name: &str) -> f64 {
        self.get(name).double_value(&[])
    }

    fn leaf(&self, name: &str) -> Tensor {
        self.get(name).set_requires_grad(true)
    }
}

#[track_caller]
fn same_number(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * expected.abs().max(1e-6), "{found} for {expected}");
}

/// Largest difference relative to the largest value.
#[track_caller]
fn same_tensor(found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.size(), expected.size());
    let largest = expected.abs().max().double_value(&[]);
    let off = (found - expected).abs().max().double_value(&[]);
    assert!(off <= tolerance * largest, "off by {off} at a largest value of {largest}");
}

#[test]
fn image_text_contrast() {
    let file = Tensors::read("losses_pretrain.safetensors");
    for view in ["1", "2"] {
        let loss = vlp(&file.get(&format!("z{view}")), &file.get("t"), 0.07, &[]).unwrap();
        same_number(loss.image_to_text.double_value(&[]), file.number(&format!("i2t_{view}")), 1e-5);
        same_number(loss.text_to_image.double_value(&[]), file.number(&format!("t2i_{view}")), 1e-5);
    }
}

#[test]
fn cross_correlation_raw_and_standardised() {
    let file = Tensors::read("losses_pretrain.safetensors");
    for (centering, name) in
        [(Centering::Raw, "negfree_raw"), (Centering::Standardised, "negfree_standardised")]
    {
        let loss =
            cross_correlation(&file.get("e1"), &file.get("e2"), centering, OFF_DIAGONAL_WEIGHT).unwrap();
        same_number(loss.double_value(&[]), file.number(name), 1e-5);
    }
}

#[test]
fn the_pretraining_total_and_its_gradients() {
    let file = Tensors::read("losses_pretrain.safetensors");
    let [z1, z2, t, e1, e2] = ["z1", "z2", "t", "e1", "e2"].map(|name| file.leaf(name));
    let loss = pretrain_loss(
        &Embeddings {
            projected_1: &z1,
            projected_2: &z2,
            raw_1: &e1,
            raw_2: &e2,
            text: Some(TextEmbeddings { projected: &t, rows: None, groupings: &[] }),
        },
        &PretrainLossOptions::legacy(),
    )
    .unwrap();
    same_number(loss.total.double_value(&[]), file.number("total"), 1e-5);
    loss.total.backward();
    for (name, leaf) in [("z1", z1), ("z2", z2), ("t", t), ("e1", e1), ("e2", e2)] {
        same_tensor(&leaf.grad(), &file.get(&format!("grad_{name}")), 1e-4);
    }
    assert_eq!(loss.parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["vlp_1", "vlp_2", "vr"]);
}

#[test]
fn pretraining_options_choose_views_and_rows() {
    let file = Tensors::read("losses_pretrain.safetensors");
    let [z1, z2, t, e1, e2] = ["z1", "z2", "t", "e1", "e2"].map(|name| file.get(name));
    let rows = Tensor::arange(8, (Kind::Int64, Device::Cpu));
    let some = t.narrow(0, 0, 8);
    let embeddings = Embeddings {
        projected_1: &z1,
        projected_2: &z2,
        raw_1: &e1,
        raw_2: &e2,
        text: Some(TextEmbeddings { projected: &some, rows: Some(&rows), groupings: &[] }),
    };
    let options = PretrainLossOptions {
        vlp_views: training::losses::pretrain::VlpViews::Second,
        ..PretrainLossOptions::default()
    };
    let loss = pretrain_loss(&embeddings, &options).unwrap();
    let expected = vlp(&z2.narrow(0, 0, 8), &some, 0.07, &[]).unwrap().sum()
        + cross_correlation(&z1, &z2, Centering::Standardised, OFF_DIAGONAL_WEIGHT).unwrap() * 0.01;
    same_number(loss.total.double_value(&[]), expected.double_value(&[]), 1e-6);
    // a loss without weight has no say, be it finite or not
    let weightless = PretrainLossOptions { vr_weight: 0.0, ..options };
    let infinite = &z1 * f64::INFINITY;
    let unseen = Embeddings {
        projected_1: &infinite,
        text: Some(TextEmbeddings { projected: &some, rows: Some(&rows), groupings: &[] }),
        ..embeddings
    };
    let loss = pretrain_loss(&unseen, &weightless).unwrap();
    let expected = vlp(&z2.narrow(0, 0, 8), &some, 0.07, &[]).unwrap().sum();
    same_number(loss.total.double_value(&[]), expected.double_value(&[]), 1e-6);
    assert_eq!(loss.parts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["vlp_2"]);
    let alone = pretrain_loss(&Embeddings { text: None, ..unseen }, &options).unwrap();
    assert_eq!(alone.parts.len(), 1);
}

#[test]
fn dice_and_cross_entropy() {
    let file = Tensors::read("loss_dice_ce_monai.safetensors");
    let logits = file.leaf("logits");
    let loss = dice_ce(&logits, &file.get("label"), &DiceCeOptions::default(), None).unwrap();
    same_number(loss.total.double_value(&[]), file.number("loss"), 1e-5);
    loss.total.backward();
    same_tensor(&logits.grad(), &file.get("grad"), 1e-4);
}

#[test]
fn cosine_with_warm_restarts() {
    let text = fs_err::read_to_string(golden("schedule_cosine_warm_restarts.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let rate = LearningRate {
        base: golden["base_lr"].as_f64().unwrap(),
        warmup: 0,
        decay: training::schedule::Decay::CosineWarmRestarts {
            period: golden["T_0"].as_u64().unwrap(),
            growth: golden["T_mult"].as_u64().unwrap_or(1),
            minimum: golden["eta_min"].as_f64().unwrap(),
        },
    };
    let expected = golden["lr"].as_array().unwrap();
    assert!(!expected.is_empty());
    for (step, expected) in (0..).zip(expected) {
        same_number(rate.at(step), expected.as_f64().unwrap(), 1e-9);
    }
}

#[test]
fn sliding_window() {
    let file = Tensors::read("sliding_window_monai.safetensors");
    let weight = file.get("weight");
    let network = |x: &Tensor| Ok(x.conv3d(&weight, None::<Tensor>, [1], [1], [1], 1));
    let volume = file.get("input").get(0);
    for (blending, name) in [(Blending::Constant, "constant"), (Blending::Gaussian, "gaussian")] {
        for (overlap, suffix) in [(0.25, "025"), (0.5, "05")] {
            for batch in [1, 3] {
                let options = SlidingWindow { overlap, blending, batch, ..SlidingWindow::new([12, 16, 16]) };
                let found = predict(&volume, &options, Device::Cpu, &network).unwrap();
                same_tensor(&found, &file.get(&format!("{name}_{suffix}")).get(0), 1e-4);
            }
        }
    }
}
