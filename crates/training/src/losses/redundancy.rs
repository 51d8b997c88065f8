//! The negative-free visual loss: the cross-correlation of two views' features should be the identity.

use super::contrastive::unit_rows;
use super::wide;
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// Weight of the off-diagonal entries.
pub const OFF_DIAGONAL_WEIGHT: f64 = 0.0051;

/// Added to each feature's variance before the square root.
pub const VARIANCE_EPSILON: f64 = 1e-5;

/// What is correlated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Centering {
    /// Each feature is brought to mean 0 and variance 1 over the batch (biased variance, eps 1e-5): a correlation.
    Standardised,
    /// Features as they are: the uncentred second moment of the published code. It depends on the embedding's scale and
    /// hardly penalises a constant embedding; for comparison only.
    Raw,
}

/// L_VR = ½ [Σᵢ (Cᵢᵢ − 1)² + 0.0051 Σ_{i≠j} Cᵢⱼ²] with C = aᵀ b / batch, in float32 (float64 stays).
///
/// # Shapes
/// `a`, `b`: `[batch, feature]`, any float kind; the result is a scalar. Needs memory for `feature`² numbers.
///
/// # Errors
/// On unequal shapes, fewer than two rows, or an `off_diagonal` weight that is negative or not finite.
///
/// # Source
/// gtgm.md, section 4 (visual loss, and the recommended form at its end).
pub fn cross_correlation(a: &Tensor, b: &Tensor, centering: Centering, off_diagonal: f64) -> Result<Tensor> {
    let shape = a.size();
    if shape.len() != 2 || shape[0] < 2 {
        return Err(TrainingError::shape("first view's embedding", a, "[batch of at least 2, feature]"));
    }
    if b.size() != shape {
        return Err(TrainingError::shape(
            "second view's embedding",
            b,
            format!("the first view's {shape:?}"),
        ));
    }
    if !(off_diagonal.is_finite() && off_diagonal >= 0.0) {
        return Err(TrainingError::Option {
            name: "off_diagonal",
            found: off_diagonal.to_string(),
            expected: "0 or more".to_owned(),
        });
    }
    let prepare = |x: &Tensor| {
        let x = wide(x);
        match centering {
            Centering::Raw => x,
            Centering::Standardised => {
                let mean = x.mean_dim([0i64].as_slice(), true, x.kind());
                let variance = x.var_dim([0i64].as_slice(), false, true);
                (x - mean) / (variance + VARIANCE_EPSILON).sqrt()
            }
        }
    };
    let rows = shape[0] as f64;
    let correlation = prepare(a).transpose(0, 1).matmul(&prepare(b)) / rows;
    let diagonal = correlation.diagonal(0, 0, 1);
    let kind = correlation.kind();
    let squares = correlation.square().sum(kind) - diagonal.square().sum(kind);
    Ok(((diagonal - 1.0).square().sum(kind) + squares * off_diagonal) * 0.5)
}

/// How far an embedding is from collapse: the standard deviation over the batch of L2-normalised rows, averaged over
/// features. A spread-out embedding of `d` features gives about 1/√d, a collapsed one 0.
///
/// # Shapes
/// `embedding`: `[batch, feature]`; the result is a scalar on its device.
///
/// # Errors
/// On another rank or fewer than two rows.
pub fn spread(embedding: &Tensor) -> Result<Tensor> {
    let shape = embedding.size();
    if shape.len() != 2 || shape[0] < 2 {
        return Err(TrainingError::shape("embedding", embedding, "[batch of at least 2, feature]"));
    }
    let rows = unit_rows(&embedding.detach());
    Ok(rows.std_dim([0i64].as_slice(), true, false).mean(Kind::Float))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn decorrelated_equal_views_cost_almost_nothing_and_constants_much() {
        // two orthogonal, centred columns
        let x = Tensor::from_slice(&[1f32, 1., 1., -1., -1., 1., -1., -1.]).view([4, 2]);
        let good = cross_correlation(&x, &x, Centering::Standardised, OFF_DIAGONAL_WEIGHT).unwrap();
        assert!(good.double_value(&[]) < 1e-8);
        let constant = Tensor::ones([4, 2], (Kind::Float, Device::Cpu));
        let bad =
            cross_correlation(&constant, &constant, Centering::Standardised, OFF_DIAGONAL_WEIGHT).unwrap();
        assert!((bad.double_value(&[]) - 1.0).abs() < 1e-6);
        assert!(spread(&constant).unwrap().double_value(&[]) < 1e-6);
        assert!(spread(&x).unwrap().double_value(&[]) > 0.5);
    }

    #[test]
    fn standardising_removes_scale_and_shift() {
        tch::manual_seed(3);
        let a = Tensor::randn([16, 5], (Kind::Float, Device::Cpu));
        let b = Tensor::randn([16, 5], (Kind::Float, Device::Cpu));
        let one = cross_correlation(&a, &b, Centering::Standardised, 0.01).unwrap().double_value(&[]);
        let two = cross_correlation(&(&a * 7.0 + 3.0), &b, Centering::Standardised, 0.01).unwrap();
        assert!((one - two.double_value(&[])).abs() < 1e-4);
        assert!(cross_correlation(&a, &b.narrow(0, 0, 3), Centering::Raw, 0.01).is_err());
        assert!(cross_correlation(&a, &b, Centering::Raw, -1.0).is_err());
    }
}
