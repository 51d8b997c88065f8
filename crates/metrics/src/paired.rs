//! Paired comparison of two methods over the same cases: Wilcoxon's signed-rank test (F. Wilcoxon, Biometrics Bulletin 1 (1945)
//! 80–83), Holm's correction (S. Holm, Scand. J. Statist. 6 (1979) 65–70), and what a number of cases can show at all.

use serde::{Deserialize, Serialize};

/// Differences up to this number are tested exactly, as SciPy does when there are neither ties nor zeros.
const EXACT: usize = 50;

/// How a p-value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Over all signs of the ranks.
    Exact,
    /// Normal, with the correction for ties, without one for continuity.
    Normal,
}

/// Result of a signed-rank test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wilcoxon {
    /// Pairs that differ.
    pub n: usize,
    /// Smaller of the rank sums of positive and of negative differences.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p: f64,
    /// How it was found.
    pub distribution: Distribution,
    /// Rank-biserial correlation: positive rank sum less negative, as a share of all; in [-1, 1].
    pub effect: f64,
}

/// Tests whether differences are symmetric about 0; those that are 0 are left out (Wilcoxon's rule), and `None` is given without
/// any other. Exact for at most 50 differences without ties, else normal, as SciPy's `wilcoxon(method="auto")`; with ties among at
/// most 20 differences the exact distribution of the tied ranks is enumerated too, where SciPy falls back to the normal one.
#[must_use]
pub fn wilcoxon(differences: &[f64]) -> Option<Wilcoxon> {
    let mut sizes: Vec<(f64, bool)> =
        differences.iter().filter(|d| **d != 0.0 && d.is_finite()).map(|d| (d.abs(), *d > 0.0)).collect();
    let n = sizes.len();
    if n == 0 {
        return None;
    }
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    // twice the ranks: means of ties are whole then
    let mut ranks = Vec::with_capacity(n);
    let mut ties = 0.0;
    for group in sizes.chunk_by(|a, b| a.0 == b.0) {
        let first = ranks.len() + 1;
        let twice = (2 * first + group.len() - 1) as u64;
        ranks.extend(std::iter::repeat_n(twice, group.len()));
        let t = group.len() as f64;
        ties += t * t * t - t;
    }
    let sum = |positive: bool| -> u64 {
        ranks.iter().zip(&sizes).filter(|(_, (_, sign))| *sign == positive).map(|(rank, _)| rank).sum()
    };
    let (above, below) = (sum(true), sum(false));
    let least = above.min(below);
    let exact = if ties == 0.0 { n <= EXACT } else { n <= 20 };
    let p = if exact { exact_p(&ranks, least) } else { normal_p(n, ties, least) };
    Some(Wilcoxon {
        n,
        statistic: least as f64 / 2.0,
        p,
        distribution: if exact { Distribution::Exact } else { Distribution::Normal },
        effect: (above as f64 - below as f64) / (above + below) as f64,
    })
}

/// Share of all signs whose smaller rank sum is at most the one found: twice one tail, at most 1.
fn exact_p(ranks: &[u64], least: u64) -> f64 {
    let total: u64 = ranks.iter().sum();
    // shares of sign patterns by rank sum
    let mut shares = vec![0.0_f64; total as usize + 1];
    shares[0] = 1.0;
    let mut reach = 0;
    for rank in ranks {
        let step = *rank as usize;
        reach += step;
        for place in (0..=reach).rev() {
            let with = if place >= step { shares[place - step] } else { 0.0 };
            shares[place] = (shares[place] + with) / 2.0;
        }
    }
    let tail: f64 = shares[..=least as usize].iter().sum();
    (2.0 * tail).min(1.0)
}

fn normal_p(n: usize, ties: f64, least: u64) -> f64 {
    let n = n as f64;
    let mean = n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (least as f64 / 2.0 - mean) / variance.sqrt();
    (2.0 * normal_below(z)).min(1.0)
}

/// Standard normal distribution function.
fn normal_below(z: f64) -> f64 {
    0.5 * complementary_error(-z / std::f64::consts::SQRT_2)
}

/// erfc: its series below 2.5, its continued fraction beyond (M. Abramowitz and I. Stegun, 1964, 7.1.6 and 7.1.14).
fn complementary_error(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - complementary_error(-x);
    }
    let square = x * x;
    let scale = (-square).exp() / std::f64::consts::PI.sqrt();
    if x < 2.5 {
        let (mut term, mut sum) = (x, x);
        let mut n = 0.0;
        while term > sum * 1e-17 {
            n += 1.0;
            term *= 2.0 * square / (2.0 * n + 1.0);
            sum += term;
        }
        1.0 - 2.0 * scale * sum
    } else {
        let mut fraction = x;
        for k in (1..=80).rev() {
            fraction = x + f64::from(k) / 2.0 / fraction;
        }
        scale / fraction
    }
}

/// Holm's adjusted p-values, in the order given.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (place, i) in order.into_iter().enumerate() {
        let factor = (p_values.len() - place) as f64;
        largest = largest.max((factor * p_values[i]).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

/// What a paired comparison of this many cases can show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// Smallest two-sided p-value of the exact test.
    pub least_p: f64,
    /// Mean difference, in standard deviations of the differences, that is found at a level of 5 % four times out of five; by the
    /// paired t test with normal quantiles and the asymptotic efficiency 3/π of the signed-rank test.
    pub detectable: f64,
}

/// Of `n` pairs that differ.
#[must_use]
pub fn power(n: usize) -> Power {
    // normal quantiles of 0.975 and 0.8
    let quantiles = 1.959_963_984_540_054 + 0.841_621_233_572_914_3;
    let efficient = n as f64 * 3.0 / std::f64::consts::PI;
    Power { least_p: 2.0_f64.powi(1 - n.min(1000) as i32).min(1.0), detectable: quantiles / efficient.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn exact_by_enumeration() {
        // five positive differences: both tails hold one of 32 patterns each
        let found = wilcoxon(&[0.1, 0.2, 0.3, 0.4, 0.5, 0.0]).unwrap();
        assert_eq!((found.n, found.statistic, found.p, found.effect), (5, 0.0, 2.0 / 32.0, 1.0));
        assert_eq!(wilcoxon(&[0.0, 0.0]), None);
        assert_eq!(power(5).least_p, 2.0 / 32.0);
        assert!((power(30).detectable - 2.801_585 / (30.0 * 3.0 / std::f64::consts::PI).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn holm_by_hand() {
        let found = holm(&[0.01, 0.04, 0.03, 0.5]);
        for (value, expected) in found.iter().zip([0.04, 0.09, 0.09, 0.5]) {
            assert!((value - expected).abs() < 1e-15, "{found:?}");
        }
        assert_eq!(holm(&[0.9, 0.8]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn the_normal_distribution_function() {
        for (z, expected) in [
            (0.0, 0.5),
            (-1.0, 0.158_655_253_931_457),
            (-3.0, 0.001_349_898_031_630_1),
            (-6.0, 9.865_876_450_377e-10),
        ] {
            assert!(
                (normal_below(z) - expected).abs() < 1e-12 * expected.max(1e-3),
                "{z}: {}",
                normal_below(z)
            );
            assert!((normal_below(-z) + normal_below(z) - 1.0).abs() < 1e-14);
        }
    }

    proptest! {
        #[test]
        fn the_exact_tail_equals_all_patterns(sizes in prop::collection::vec(1_u8..6, 1..10), signs in any::<u16>()) {
            let differences: Vec<f64> = sizes
                .iter()
                .enumerate()
                .map(|(i, s)| if signs >> i & 1 == 1 { f64::from(*s) } else { -f64::from(*s) })
                .collect();
            let found = wilcoxon(&differences).unwrap();
            let n = sizes.len();
            let patterns = (0..1_u32 << n).filter(|pattern| {
                let other: Vec<f64> = sizes
                    .iter()
                    .enumerate()
                    .map(|(i, s)| if pattern >> i & 1 == 1 { f64::from(*s) } else { -f64::from(*s) })
                    .collect();
                // the same ranks with other signs
                wilcoxon(&other).unwrap().statistic <= found.statistic
            });
            let share = patterns.count() as f64 / f64::from(1_u32 << n);
            // where both tails meet in the middle, one pattern would be counted twice
            prop_assert!((found.p - share).abs() < 1e-12 || share > 0.5, "{} {share}", found.p);
        }
    }
}
