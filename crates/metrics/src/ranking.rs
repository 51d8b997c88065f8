//! How stable a ranking of methods is when other cases had been drawn (M. Wiesenfarth et al., "Methods and open-source toolkit
//! for analyzing and visualizing challenge results", Scientific Reports 11 (2021) 2369).

use crate::statistics::below;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// Rank of one method by its mean over cases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Mean over cases.
    pub mean: f64,
    /// Rank, 1 is best; methods with equal means share the better one.
    pub rank: usize,
    /// Share of the bootstrap samples in which the method has this rank.
    pub stability: f64,
    /// Share of the bootstrap samples in which it has each rank, the best first.
    pub shares: Vec<f64>,
}

/// Ranks methods by their means over the same cases and again over bootstrap samples of these cases; a pure function of its
/// arguments. `None` without a method or case, or for methods with different numbers of cases.
///
/// # Shapes
/// `values`: one list per method, its values case by case.
#[must_use]
pub fn rank(values: &[Vec<f64>], larger_is_better: bool, resamples: usize, seed: u64) -> Option<Vec<Rank>> {
    let cases = values.first()?.len();
    if cases == 0 || values.iter().any(|v| v.len() != cases) {
        return None;
    }
    let ranks = |means: &[f64]| -> Vec<usize> {
        let better = |a: f64, b: f64| if larger_is_better { a > b } else { a < b };
        means.iter().map(|own| 1 + means.iter().filter(|other| better(**other, *own)).count()).collect()
    };
    let means: Vec<f64> = values.iter().map(|v| v.iter().sum::<f64>() / cases as f64).collect();
    let observed = ranks(&means);
    let mut shares = vec![vec![0.0; values.len()]; values.len()];
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..resamples {
        let mut sums = vec![0.0; values.len()];
        for _ in 0..cases {
            let case = below(&mut random, cases);
            for (sum, values) in sums.iter_mut().zip(values) {
                *sum += values[case];
            }
        }
        for (method, rank) in ranks(&sums).into_iter().enumerate() {
            shares[method][rank - 1] += 1.0 / resamples as f64;
        }
    }
    let rows = means.into_iter().zip(observed).zip(shares);
    Some(
        rows.map(|((mean, rank), shares)| Rank { mean, rank, stability: shares[rank - 1], shares }).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_orders_are_stable_and_equal_methods_are_not() {
        let clear: Vec<f64> = (0..20).map(|i| 0.9 + 0.001 * f64::from(i)).collect();
        let worse: Vec<f64> = clear.iter().map(|v| v - 0.2).collect();
        let found = rank(&[worse.clone(), clear.clone()], true, 500, 0).unwrap();
        assert_eq!((found[0].rank, found[1].rank), (2, 1));
        assert!((found[1].stability - 1.0).abs() < 1e-9 && found[1].shares[1] == 0.0);
        // as distances, the other way round
        assert_eq!(rank(&[worse, clear.clone()], false, 10, 0).unwrap()[0].rank, 1);
        let mixed: Vec<f64> = clear.iter().rev().copied().collect();
        let found = rank(&[clear.clone(), mixed], true, 2000, 0).unwrap();
        assert!((0.3..0.7).contains(&found[0].shares[0]), "{found:?}");
        let same = rank(&[clear.clone(), clear.clone()], true, 10, 0).unwrap();
        assert!(same.iter().all(|r| r.rank == 1 && (r.stability - 1.0).abs() < 1e-9));
        assert_eq!(rank(&[clear, vec![1.0]], true, 10, 0), None);
        assert_eq!(rank(&[], true, 10, 0), None);
    }
}
