//! Summaries of a metric over cases.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Mean, median, quartiles and spread of finite values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median; the mean of the two middle values when n is even.
    pub median: f64,
    /// First and third quartile, interpolated linearly.
    pub quartiles: [f64; 2],
    /// Sample standard deviation (n - 1); `None` for a single value.
    pub std: Option<f64>,
}

/// Summarises values; `None` without any, never 0.
#[must_use]
pub fn summarise(values: &[f64]) -> Option<Summary> {
    if values.is_empty() {
        return None;
    }
    let n = values.len();
    let mean = mean(values);
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = if n % 2 == 1 { sorted[n / 2] } else { (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0 };
    let quartiles = [quantile(&sorted, 0.25), quantile(&sorted, 0.75)];
    let std = (n > 1).then(|| {
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        (squares / (n - 1) as f64).sqrt()
    });
    Some(Summary { n, mean, median, quartiles, std })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Coverage aimed at, such as 0.95.
    pub level: f64,
}

/// The fewest cases of which a percentile bootstrap interval can have the coverage `level`: 6 for 0.95, at least 2.
///
/// Such an interval of a mean lies between the smallest and the largest value. Of a symmetric distribution these two have its centre between
/// them with probability 1 − 2^(1 − n), so that no interval inside can cover more: of two cases a half, of five 0.9375.
#[must_use]
pub fn least_cases(level: f64) -> usize {
    // 1.0 needs endlessly many; past 2^-60 that is so in practice
    (2..60).find(|n| 0.5_f64.powi(n - 1) <= 1.0 - level).map_or(60, |n| n.unsigned_abs() as usize)
}

/// Percentile bootstrap interval of the mean (B. Efron and R. Tibshirani, "An Introduction to the Bootstrap", 1993,
/// section 13.3), cases drawn with replacement; a pure function of its arguments. `None` for fewer than [`least_cases`].
#[must_use]
pub fn bootstrap_mean(values: &[f64], level: f64, resamples: usize, seed: u64) -> Option<Interval> {
    bootstrap(values.len(), level, resamples, seed, |drawn| {
        Some(drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64)
    })
}

/// Percentile bootstrap interval of any statistic of `cases` cases, as [`bootstrap_mean`]: `statistic` is given the indices of the cases
/// that were drawn. A resample in which it has no value is left out, and the interval is that of the others; `None` for fewer than
/// [`least_cases`], or without a value in any resample.
pub fn bootstrap(
    cases: usize,
    level: f64,
    resamples: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<Interval> {
    if cases < least_cases(level) {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = vec![0; cases];
    let mut found: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            drawn.fill_with(|| below(&mut random, cases));
            statistic(&drawn)
        })
        .collect();
    if found.is_empty() {
        return None;
    }
    found.sort_by(f64::total_cmp);
    let tail = (1.0 - level.clamp(0.0, 1.0)) / 2.0;
    Some(Interval { low: quantile(&found, tail), high: quantile(&found, 1.0 - tail), level })
}

/// A number from 0 to n - 1.
pub(crate) fn below(random: &mut ChaCha8Rng, n: usize) -> usize {
    // the high half of a 64 × 64 bit product is an index below n
    ((u128::from(random.next_u64()) * n as u128) >> 64) as usize
}

/// Linear interpolation between order statistics (R's type 7, NumPy's default) of at least one ascending value.
pub(crate) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let low = place.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (sorted[high] - sorted[low]) * (place - low as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        let summary = summarise(&[1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((summary.n, summary.mean, summary.median), (4, 2.5, 2.5));
        assert_eq!(summary.quartiles, [1.75, 3.25]);
        assert!((summary.std.unwrap() - (5.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(summarise(&[]), None);
        assert_eq!(summarise(&[7.0]).unwrap().std, None);
    }

    #[test]
    fn the_interval_has_the_width_of_theory() {
        let values: Vec<f64> = (0..200).map(f64::from).collect();
        let interval = bootstrap_mean(&values, 0.95, 4000, 1).unwrap();
        let standard_error = summarise(&values).unwrap().std.unwrap() / 200_f64.sqrt();
        let width = (interval.high - interval.low) / (2.0 * 1.96 * standard_error);
        assert!((0.95..1.05).contains(&width), "{width}");
    }

    #[test]
    fn few_cases_have_no_interval() {
        assert_eq!([0.4, 0.5, 0.9, 0.95, 0.99, 1.0].map(least_cases), [2, 2, 5, 6, 8, 60]);
        let values = [0.1, 0.9, 0.5, 0.4, 0.7, 0.2];
        assert_eq!(bootstrap_mean(&values[..5], 0.95, 100, 0), None);
        assert!(bootstrap_mean(&values, 0.95, 100, 0).is_some());
        // the range of five values has the centre inside less often than the interval says, that of six more often
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut covered = |n: usize| {
            let inside = |_| {
                let draw = |_| below(&mut random, 2_000_001) as f64 - 1e6;
                let drawn: Vec<f64> = (0..n).map(draw).collect();
                drawn.iter().any(|v| *v <= 0.0) && drawn.iter().any(|v| *v >= 0.0)
            };
            (0..20_000).map(inside).filter(|inside| *inside).count() as f64 / 20_000.0
        };
        assert!((covered(5) - 0.9375).abs() < 0.008 && (covered(6) - 0.968_75).abs() < 0.006);
    }

    #[test]
    fn any_statistic_has_an_interval() {
        // half the values: half the interval
        let values: Vec<f64> = (0..30).map(f64::from).collect();
        let whole = bootstrap_mean(&values, 0.9, 500, 3).unwrap();
        let mean = |drawn: &[usize]| drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64;
        let half = bootstrap(30, 0.9, 500, 3, |drawn| Some(mean(drawn) / 2.0)).unwrap();
        assert!((half.low * 2.0 - whole.low).abs() < 1e-12 && (half.high * 2.0 - whole.high).abs() < 1e-12);
        // resamples without a value are left out
        let last = bootstrap(30, 0.9, 500, 3, |drawn| drawn.contains(&29).then(|| mean(drawn))).unwrap();
        assert!(last.low > whole.low, "{last:?} {whole:?}");
        assert_eq!(bootstrap(30, 0.9, 500, 3, |_| None), None);
        assert_eq!(bootstrap(30, 0.9, 0, 3, |_| Some(1.0)), None);
        assert_eq!(bootstrap(1, 0.9, 500, 3, |_| Some(1.0)), None);
    }

    proptest! {
        #[test]
        fn the_interval_lies_within_the_values(
            values in prop::collection::vec(-10.0_f64..10.0, 6..20),
            seed in 0_u64..100,
        ) {
            let interval = bootstrap_mean(&values, 0.95, 200, seed).unwrap();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(low - 1e-12 <= interval.low && interval.low <= interval.high);
            prop_assert!(interval.high <= high + 1e-12);
            prop_assert_eq!(bootstrap_mean(&values, 0.95, 200, seed), Some(interval));
        }
    }
}
