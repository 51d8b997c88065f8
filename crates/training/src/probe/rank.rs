//! How many directions an embedding uses.

use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// Added to each share, as in RankMe.
const SHARE_EPSILON: f64 = 1e-7;

/// exp(−Σ pᵢ ln pᵢ) with pᵢ the share of the i-th singular value of the centred embedding: 1 for an embedding along one line,
/// at most the smaller of `rows − 1` and `features`.
///
/// # Shapes
/// `embedding`: `[rows, features]`, any float kind; computed in float64.
///
/// # Errors
/// On another rank, fewer than three rows, and when LibTorch refuses.
///
/// # Source
/// RankMe (Garrido et al. 2023, arXiv 2210.02885, equation 2); centred first, so that a constant does not count.
pub fn effective_rank(embedding: &Tensor) -> Result<f64> {
    let shape = embedding.size();
    if shape.len() != 2 || shape[0] < 3 {
        return Err(TrainingError::shape("embedding", embedding, "[rows of at least 3, features]"));
    }
    let x = embedding.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let centred = &x - x.mean_dim([0i64].as_slice(), true, Kind::Double);
    // squares of the singular values: svdvals takes a driver, which tch always names and the CPU refuses
    let turned = centred.transpose(0, 1);
    let gram = if shape[0] < shape[1] { centred.matmul(&turned) } else { turned.matmul(&centred) };
    let squares = gram.f_linalg_eigvalsh("L").map_err(TrainingError::tensor)?;
    let values = squares.clamp_min(0.0).sqrt();
    let total = values.sum(Kind::Double).clamp_min(f64::MIN_POSITIVE);
    let shares = values / total + SHARE_EPSILON;
    Ok((-(&shares * shares.log()).sum(Kind::Double)).exp().double_value(&[]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn lines_planes_and_spheres_have_their_rank() {
        let line = Tensor::arange(40, (Kind::Float, Device::Cpu)).view([-1, 1]);
        let wide = &line * Tensor::from_slice(&[1f32, -2.0, 0.5, 3.0]) + 7.0;
        assert!((effective_rank(&wide).unwrap() - 1.0).abs() < 1e-3);
        // ± unit vectors of eight axes: eight equal singular values
        let eye = Tensor::eye(8, (Kind::Float, Device::Cpu));
        let axes = Tensor::cat(&[&eye, &-&eye], 0);
        assert!((effective_rank(&axes).unwrap() - 8.0).abs() < 1e-3);
        let constant = Tensor::ones([10, 4], (Kind::Float, Device::Cpu));
        assert!(effective_rank(&constant).unwrap() < 1.001);
        assert!(effective_rank(&eye.narrow(0, 0, 2)).is_err());
    }
}
