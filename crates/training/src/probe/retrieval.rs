//! Finding the text that belongs to an image among others.

use crate::losses::contrastive::unit_rows;
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// How well the right text was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrieval {
    /// Place of each image's text among the candidates by cosine similarity, from 1; equal similarities share their middle
    /// place, so that a constant embedding ranks everything in the middle.
    pub ranks: Vec<f64>,
    /// Number of candidates.
    pub candidates: usize,
}

impl Retrieval {
    /// Share of images whose text is among the first `k`.
    #[must_use]
    pub fn recall(&self, k: usize) -> f64 {
        let found = self.ranks.iter().filter(|rank| **rank <= k as f64).count();
        found as f64 / self.ranks.len().max(1) as f64
    }

    /// The recall of guessing: k of all candidates.
    #[must_use]
    pub fn chance(&self, k: usize) -> f64 {
        (k as f64 / self.candidates.max(1) as f64).min(1.0)
    }

    /// Mean of one over the place, from near 0 to 1 for all at the first.
    #[must_use]
    pub fn mean_reciprocal_rank(&self) -> f64 {
        // from 0: the sum of no floats is -0
        self.ranks.iter().fold(0.0, |sum, rank| sum + 1.0 / rank) / self.ranks.len().max(1) as f64
    }

    /// The middle place; NaN without images.
    #[must_use]
    pub fn median_rank(&self) -> f64 {
        let mut sorted = self.ranks.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }
}

/// Ranks `texts` for each of `images`; `targets[i]` is the row of the text that belongs to image i.
///
/// # Shapes
/// `images`: `[images, features]`, `texts`: `[candidates, features]`, `targets`: int64 `[images]`.
///
/// # Errors
/// On other shapes, or a target outside the texts.
pub fn retrieve(images: &Tensor, texts: &Tensor, targets: &[i64]) -> Result<Retrieval> {
    let (found, candidates) = (images.size(), texts.size());
    if found.len() != 2 || found[0] != targets.len() as i64 {
        return Err(TrainingError::shape(
            "image embeddings",
            images,
            format!("[{}, features]", targets.len()),
        ));
    }
    if candidates.len() != 2 || candidates[1] != found[1] {
        return Err(TrainingError::shape("text embeddings", texts, format!("[candidates, {}]", found[1])));
    }
    if let Some(outside) = targets.iter().find(|target| !(0..candidates[0]).contains(*target)) {
        return Err(TrainingError::Shape {
            what: "targets".to_owned(),
            found: format!("row {outside}"),
            expected: format!("rows below {}", candidates[0]),
        });
    }
    let _guard = tch::no_grad_guard();
    let similarity = unit_rows(&images.detach()).matmul(&unit_rows(&texts.detach()).transpose(0, 1));
    let targets = Tensor::from_slice(targets).to_device(similarity.device()).unsqueeze(1);
    let own = similarity.gather(1, &targets, false);
    let count =
        |mask: Tensor| mask.to_kind(Kind::Double).sum_dim_intlist([1i64].as_slice(), false, Kind::Double);
    let better = count(similarity.gt_tensor(&own));
    // itself among them
    let equal = count(similarity.eq_tensor(&own));
    let ranks = better + (equal - 1.0) / 2.0 + 1.0;
    // what is no number is near to nothing
    let last = candidates[0] as f64;
    let ranks = ranks.where_scalarother(&own.squeeze_dim(1).isfinite(), last);
    let ranks = Vec::<f64>::try_from(ranks.to_device(tch::Device::Cpu)).map_err(TrainingError::tensor)?;
    Ok(Retrieval { ranks, candidates: usize::try_from(candidates[0]).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn what_is_no_number_is_last() {
        let texts = Tensor::from_slice(&[1f32, 0., 0., 1., -1., 0.]).view([3, 2]);
        let images = Tensor::from_slice(&[f32::NAN, 1., 1., 0.]).view([2, 2]);
        let found = retrieve(&images, &texts, &[0, 0]).unwrap();
        assert_eq!(found.ranks, [3.0, 1.0]);
        assert!((found.recall(1) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn the_nearest_direction_is_first() {
        let texts = Tensor::from_slice(&[1f32, 0., 0., 1., -1., 0.]).view([3, 2]);
        let images = Tensor::from_slice(&[5f32, 1., 1., 4., 1., 1.]).view([3, 2]);
        let found = retrieve(&images, &texts, &[0, 0, 2]).unwrap();
        assert_eq!(found.ranks, [1.0, 2.0, 3.0]);
        assert!((found.recall(1) - 1.0 / 3.0).abs() < 1e-12 && (found.recall(3) - 1.0).abs() < 1e-12);
        assert!((found.chance(1) - 1.0 / 3.0).abs() < 1e-12 && (found.chance(9) - 1.0).abs() < 1e-12);
        assert_eq!(found.median_rank(), 2.0);
        assert!((found.mean_reciprocal_rank() - (1.0 + 0.5 + 1.0 / 3.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_collapsed_embedding_finds_nothing() {
        let texts = Tensor::randn([101, 4], (Kind::Float, Device::Cpu));
        let images = Tensor::ones([7, 4], (Kind::Float, Device::Cpu));
        let same = Tensor::ones([101, 4], (Kind::Float, Device::Cpu));
        let found = retrieve(&images, &same, &[0, 1, 2, 3, 4, 5, 6]).unwrap();
        assert!(found.ranks.iter().all(|rank| (*rank - 51.0).abs() < 1e-9), "{found:?}");
        assert_eq!(found.recall(10), 0.0);
        assert!(retrieve(&images, &texts, &[101; 7]).is_err());
        assert!(retrieve(&images, &texts, &[0; 6]).is_err());
        assert!(retrieve(&images, &texts.narrow(1, 0, 3), &[0; 7]).is_err());
    }
}
