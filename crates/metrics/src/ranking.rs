//! How stable a ranking of methods is when other cases had been drawn (M. Wiesenfarth et al., "Methods and open-source toolkit
//! for analyzing and visualizing challenge results", Scientific Reports 11 (2021) 2369).

use crate::statistics::below;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

/// What methods are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregation {
    /// The mean over cases of their values ("aggregate then rank").
    Mean,
    /// The mean over cases of their ranks within the case ("rank then aggregate"): also where values are infinite, which have no mean.
    MeanRank,
}

/// Rank of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Mean over cases, of what the methods are ranked by.
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

/// As [`rank`] for values of which any may be infinite: by their means where all are finite, else by the means of [`ranks_within_cases`].
/// All cases count either way. Bootstrap samples are ranked by the same means as the cases themselves.
#[must_use]
pub fn rank_all(
    values: &[Vec<f64>],
    larger_is_better: bool,
    resamples: usize,
    seed: u64,
) -> Option<(Aggregation, Vec<Rank>)> {
    if values.iter().flatten().all(|v| v.is_finite()) {
        return Some((Aggregation::Mean, rank(values, larger_is_better, resamples, seed)?));
    }
    let ranks = ranks_within_cases(values, larger_is_better)?;
    Some((Aggregation::MeanRank, rank(&ranks, false, resamples, seed)?))
}

/// The rank of each method within each case, 1 is best: values that are not finite come last, methods with equal values share the mean
/// of their ranks. `None` for methods with different numbers of cases.
///
/// # Shapes
/// `values` and the result: one list per method, case by case.
#[must_use]
pub fn ranks_within_cases(values: &[Vec<f64>], larger_is_better: bool) -> Option<Vec<Vec<f64>>> {
    let cases = values.first()?.len();
    if values.iter().any(|v| v.len() != cases) {
        return None;
    }
    // what is smaller is better; whatever is not finite is as bad as anything can be
    let loss = |value: f64| match (value.is_finite(), larger_is_better) {
        (false, _) => f64::INFINITY,
        (true, true) => -value,
        (true, false) => value,
    };
    let within = |own: &Vec<f64>| -> Vec<f64> {
        (0..cases)
            .map(|case| {
                let of = |list: &Vec<f64>| loss(list[case]);
                let better = values.iter().filter(|other| of(other) < of(own)).count();
                let equal = values.iter().filter(|other| of(other) == of(own)).count();
                better as f64 + (equal as f64 + 1.0) / 2.0
            })
            .collect()
    };
    Some(values.iter().map(within).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinite_values_come_last_and_ties_share_their_mean_rank() {
        let inf = f64::INFINITY;
        let values = [vec![1.0, inf, 2.0], vec![1.0, 3.0, inf], vec![4.0, inf, 1.0]];
        let ranks = ranks_within_cases(&values, false).unwrap();
        assert_eq!(ranks, [[1.5, 2.5, 2.0], [1.5, 1.0, 3.0], [3.0, 2.5, 1.0]]);
        // and where more is better
        let ranks = ranks_within_cases(&values, true).unwrap();
        assert_eq!(ranks, [[2.5, 2.5, 1.0], [2.5, 1.0, 3.0], [1.0, 2.5, 2.0]]);
        assert_eq!(ranks_within_cases(&[vec![1.0], Vec::new()], false), None);
    }

    #[test]
    fn a_method_that_misses_most_objects_is_last() {
        let there: Vec<f64> = (0..10).map(|i| 2.0 + 0.1 * f64::from(i)).collect();
        let mut missed = vec![f64::INFINITY; 10];
        // better in the one case that it finds
        missed[0] = 1.0;
        let (by, found) = rank_all(&[there.clone(), missed], false, 2000, 0).unwrap();
        assert_eq!((by, found[0].rank, found[1].rank), (Aggregation::MeanRank, 1, 2));
        assert_eq!((found[0].mean, found[1].mean), (1.1, 1.9));
        assert!(found[1].stability > 0.99, "{found:?}");
        // by means where there are means
        let (by, found) = rank_all(&[there.clone(), vec![1.0; 10]], false, 10, 0).unwrap();
        assert_eq!((by, found[1].rank, found[1].mean), (Aggregation::Mean, 1, 1.0));
        assert_eq!(rank_all(&[there.clone(), vec![f64::INFINITY]], false, 10, 0), None);
        // who misses everything everywhere is no better than its like
        let lost = vec![f64::INFINITY; 10];
        let (_, found) = rank_all(&[lost.clone(), lost, there], false, 10, 0).unwrap();
        assert_eq!(found.iter().map(|r| r.rank).collect::<Vec<_>>(), [2, 2, 1]);
    }

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
