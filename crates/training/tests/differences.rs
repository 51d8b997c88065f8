//! Gradients of the pretraining losses against central differences, in float64.
#![expect(clippy::unwrap_used, reason = "test code")]

use tch::{Device, Kind, Tensor};
use training::losses::contrastive::vlp;
use training::losses::pretrain::{Embeddings, PretrainLossOptions, TextEmbeddings, VrSpace, pretrain_loss};
use training::losses::redundancy::{Centering, OFF_DIAGONAL_WEIGHT, cross_correlation};

/// Half the width of a difference.
const H: f64 = 1e-6;

fn normal(rows: i64, columns: i64) -> Tensor {
    Tensor::randn([rows, columns], (Kind::Double, Device::Cpu))
}

/// Compares the gradient of `loss` with central differences in every entry of every input.
fn check(inputs: &[Tensor], loss: impl Fn(&[Tensor]) -> Tensor) {
    let leaves: Vec<Tensor> = inputs.iter().map(|x| x.copy().set_requires_grad(true)).collect();
    let value = loss(&leaves);
    assert_eq!(value.kind(), Kind::Double, "nothing narrows on the way");
    value.backward();
    for (which, leaf) in leaves.iter().enumerate() {
        let gradient = Vec::<f64>::try_from(leaf.grad().contiguous().view(-1)).unwrap();
        for (at, found) in gradient.iter().enumerate() {
            let moved = |by: f64| {
                let moved: Vec<Tensor> = inputs.iter().map(Tensor::copy).collect();
                let mut entry = moved[which].view(-1).narrow(0, at as i64, 1);
                let _in_place = entry.g_add_scalar_(by);
                loss(&moved).double_value(&[])
            };
            let expected = (moved(H) - moved(-H)) / (2.0 * H);
            assert!(
                (found - expected).abs() < 1e-6 + 1e-6 * expected.abs(),
                "input {which}, entry {at}: {found} and {expected}"
            );
        }
    }
}

#[test]
fn image_text_contrast() {
    tch::manual_seed(11);
    let inputs = [normal(5, 4), normal(5, 4)];
    for groupings in [&[] as &[&[i64]], &[&[0, 1, 1, 2, 3], &[0, 1, 2, 2, 3]]] {
        check(&inputs, |x| vlp(&x[0], &x[1], 0.3, groupings).unwrap().sum());
    }
}

#[test]
fn visual_redundancy() {
    tch::manual_seed(12);
    let inputs = [normal(6, 4), normal(6, 4)];
    for centering in [Centering::Standardised, Centering::Raw] {
        check(&inputs, |x| cross_correlation(&x[0], &x[1], centering, OFF_DIAGONAL_WEIGHT).unwrap());
    }
}

#[test]
fn the_whole_objective() {
    tch::manual_seed(13);
    let inputs = [normal(5, 4), normal(5, 4), normal(5, 6), normal(5, 6), normal(3, 4)];
    let rows = Tensor::from_slice(&[0i64, 2, 4]);
    for options in [
        PretrainLossOptions { vr_weight: 0.5, ..PretrainLossOptions::default() },
        PretrainLossOptions { vr_space: VrSpace::Raw, vr_weight: 0.5, ..PretrainLossOptions::default() },
        PretrainLossOptions { vr_weight: 0.5, ..PretrainLossOptions::legacy() },
    ] {
        // a constant is added where an input has no part in the loss, so that it has a gradient
        check(&inputs, |x| {
            let embeddings = Embeddings {
                projected_1: &x[0],
                projected_2: &x[1],
                raw_1: &x[2],
                raw_2: &x[3],
                text: Some(TextEmbeddings { projected: &x[4], rows: Some(&rows), groupings: &[] }),
            };
            let none: Tensor = x.iter().map(|x| x.sum(Kind::Double) * 0.0).sum();
            pretrain_loss(&embeddings, &options).unwrap().total + none
        });
    }
}
