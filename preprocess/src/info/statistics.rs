//! Values of one channel in one pass over it, and exact percentiles with a second, in memory that does not grow with it.

use serde::Serialize;
use std::collections::BTreeMap;
use volume::intensity::{ChannelStatistics, Contents, IntensityRule};

/// Distinct values up to which a channel has a table of them.
pub(super) const MOST_VALUES: usize = 256;

/// Percentiles that are told.
const PERCENTILES: [f64; 5] = [0.5, 25.0, 50.0, 75.0, 99.5];

/// What is known of a channel's values; NaN and infinite ones count in `nan` and `infinite` only.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Statistics {
    pub(super) voxels: u64,
    pub(super) nan: u64,
    pub(super) infinite: u64,
    pub(super) zeros: u64,
    pub(super) min: f32,
    pub(super) max: f32,
    pub(super) mean: f64,
    /// Population standard deviation.
    pub(super) std: f64,
    /// Pairs of percentile and value, interpolated linearly as NumPy's default.
    pub(super) percentiles: Vec<(f64, f64)>,
    /// Every value with its number of voxels, where there are at most 256.
    pub(super) values: Option<Vec<(f32, u64)>>,
    /// Of neighbours along x that are not both 0, the share that are equal.
    pub(super) equal_neighbours: f64,
    /// The same as a run sees it.
    #[serde(skip)]
    pub(super) contents: Contents,
}

impl Statistics {
    /// As a rule takes them; those of voxels other than 0 where it leaves out zeros.
    pub(super) fn for_rule(&self, rule: &IntensityRule) -> ChannelStatistics {
        let Self { voxels, min, max, mean, std, .. } = *self;
        let used = voxels - self.zeros;
        if !rule.keeps_zeros() || used == 0 {
            return ChannelStatistics { min, max, mean, std, used: voxels, voxels };
        }
        // zeros add nothing to the sum, and nothing to the sum of squares
        let share = voxels as f64 / used as f64;
        let own = mean * share;
        let variance = (std * std + mean * mean) * share - own * own;
        ChannelStatistics { min, max, mean: own, std: variance.max(0.0).sqrt(), used, voxels }
    }
}

/// The first pass over a channel.
#[derive(Debug)]
pub(super) struct First {
    voxels: u64,
    finite: u64,
    nan: u64,
    infinite: u64,
    zeros: u64,
    contents: Contents,
    min: f32,
    max: f32,
    mean: f64,
    squares: f64,
    values: Option<BTreeMap<u32, u64>>,
    pairs: u64,
    equal: u64,
    /// Voxels by the upper half of [`key`].
    coarse: Vec<u64>,
}

/// Order-preserving bits of a finite number.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

fn value(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

impl First {
    pub(super) fn new() -> Self {
        Self {
            voxels: 0,
            finite: 0,
            nan: 0,
            infinite: 0,
            zeros: 0,
            contents: Contents::default(),
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
            values: Some(BTreeMap::new()),
            pairs: 0,
            equal: 0,
            coarse: vec![0; 1 << 16],
        }
    }

    /// Takes whole rows of `width` voxels.
    pub(super) fn add(&mut self, rows: &[f32], width: usize) {
        self.voxels += rows.len() as u64;
        self.contents.add(rows);
        for row in rows.chunks(width.max(1)) {
            for pair in row.windows(2).filter(|pair| pair[0] != 0.0 || pair[1] != 0.0) {
                self.pairs += 1;
                self.equal += u64::from(pair[0] == pair[1]);
            }
            self.count_values(row);
            self.add_moments(row);
        }
    }

    fn count_values(&mut self, row: &[f32]) {
        let Some(values) = &mut self.values else { return };
        for run in row.chunk_by(|a, b| a == b).filter(|run| run[0].is_finite()) {
            // both zeros are one value
            *values.entry(key(run[0] + 0.0)).or_insert(0) += run.len() as u64;
        }
        if values.len() > MOST_VALUES {
            self.values = None;
        }
    }

    /// Merges mean and squared deviations row by row (Chan, Golub and LeVeque 1979).
    fn add_moments(&mut self, row: &[f32]) {
        let (mut count, mut sum) = (0_u64, 0.0_f64);
        for &v in row {
            if !v.is_finite() {
                self.nan += u64::from(v.is_nan());
                self.infinite += u64::from(v.is_infinite());
                continue;
            }
            self.min = self.min.min(v);
            self.max = self.max.max(v);
            self.zeros += u64::from(v == 0.0);
            self.coarse[(key(v) >> 16) as usize] += 1;
            count += 1;
            sum += f64::from(v);
        }
        if count == 0 {
            return;
        }
        let mean = sum / count as f64;
        let deviation = |v: &f32| (f64::from(*v) - mean).powi(2);
        let squares: f64 = row.iter().filter(|v| v.is_finite()).map(deviation).sum();
        let (before, after) = (self.finite as f64, (self.finite + count) as f64);
        let step = mean - self.mean;
        self.squares += squares + step * step * before * count as f64 / after;
        self.mean += step * count as f64 / after;
        self.finite += count;
    }

    /// The second pass, which finds the percentiles.
    pub(super) fn second(self) -> Second {
        let mut fine = BTreeMap::new();
        for rank in PERCENTILES.iter().flat_map(|p| ranks(*p, self.finite)) {
            let (bin, _) = bin_of(&self.coarse, rank);
            fine.entry(bin).or_insert_with(|| vec![0_u64; 1 << 16]);
        }
        Second { first: self, fine }
    }
}

/// The second pass over a channel.
#[derive(Debug)]
pub(super) struct Second {
    first: First,
    /// Voxels by the lower half of [`key`], in the bins that hold a percentile.
    fine: BTreeMap<usize, Vec<u64>>,
}

impl Second {
    /// Takes the same voxels again.
    pub(super) fn add(&mut self, rows: &[f32]) {
        for &v in rows.iter().filter(|v| v.is_finite()) {
            let key = key(v);
            if let Some(bin) = self.fine.get_mut(&((key >> 16) as usize)) {
                bin[(key & 0xffff) as usize] += 1;
            }
        }
    }

    /// The value that has `rank` smaller or equal ones before it.
    fn at(&self, rank: u64) -> f64 {
        let (bin, inside) = bin_of(&self.first.coarse, rank);
        let low = self.fine.get(&bin).map_or(0, |fine| bin_of(fine, inside).0);
        f64::from(value((bin << 16 | low) as u32))
    }

    /// What both passes found.
    pub(super) fn finish(self) -> Statistics {
        let percentiles = if self.first.finite == 0 {
            Vec::new()
        } else {
            let of = |p: f64| {
                let [low, high] = ranks(p, self.first.finite);
                let share = (position(p, self.first.finite)).fract();
                let (low, high) = (self.at(low), self.at(high));
                (p, low + (high - low) * share)
            };
            PERCENTILES.map(of).to_vec()
        };
        let first = self.first;
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        Statistics {
            voxels: first.voxels,
            nan: first.nan,
            infinite: first.infinite,
            zeros: first.zeros,
            min: first.min,
            max: first.max,
            mean: first.mean,
            std: (first.squares / first.finite.max(1) as f64).sqrt(),
            percentiles,
            values: first.values.map(|v| v.into_iter().map(|(key, count)| (value(key), count)).collect()),
            equal_neighbours: share(first.equal, first.pairs),
            contents: first.contents,
        }
    }
}

/// Place of a percentile in the sorted values, as NumPy's default.
fn position(percentile: f64, count: u64) -> f64 {
    percentile / 100.0 * count.saturating_sub(1) as f64
}

/// The ranks that a percentile lies between.
fn ranks(percentile: f64, count: u64) -> [u64; 2] {
    let position = position(percentile, count);
    [position.floor() as u64, position.ceil() as u64]
}

/// The bin that holds a rank, and the rank inside it.
fn bin_of(counts: &[u64], rank: u64) -> (usize, u64) {
    let mut before = 0;
    for (bin, count) in counts.iter().enumerate() {
        if before + count > rank {
            return (bin, rank - before);
        }
        before += count;
    }
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measured(rows: &[f32], width: usize) -> Statistics {
        let mut first = First::new();
        rows.chunks(width * 3).for_each(|rows| first.add(rows, width));
        let mut second = first.second();
        rows.chunks(width * 2).for_each(|rows| second.add(rows));
        second.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn as_by_sorting(values in prop::collection::vec(-1e4_f32..1e4, 4..300), exponent in -3..4) {
            let values: Vec<f32> = values.iter().map(|v| v * 10_f32.powi(exponent)).collect();
            let found = measured(&values, 4);
            let mut sorted: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len() as f64;
            let mean = sorted.iter().sum::<f64>() / n;
            let std = (sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!((found.mean - mean).abs() <= 1e-9 * mean.abs().max(std));
            prop_assert!((found.std - std).abs() <= 1e-9 * std.max(1e-9));
            prop_assert_eq!(f64::from(found.min), sorted[0]);
            for (p, v) in found.percentiles {
                let at = p / 100.0 * (n - 1.0);
                let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
                prop_assert_eq!(v, low + (high - low) * at.fract());
            }
        }
    }

    #[test]
    fn a_rule_that_leaves_out_zeros_gets_the_others_statistics() {
        let voxels: Vec<f32> =
            (0..60).map(|i| if i % 3 == 0 { 0.0 } else { 100.0 + (i * i % 17) as f32 }).collect();
        let rule = IntensityRule::MriZScore { nonzero: true };
        let (found, expected) =
            (measured(&voxels, 10).for_rule(&rule), rule.fit(&voxels).unwrap().statistics);
        assert_eq!((found.used, found.min, found.max), (expected.used, expected.min, expected.max));
        assert!((found.mean - expected.mean).abs() < 1e-9 && (found.std - expected.std).abs() < 1e-9);
        // one value is no contrast, rounding or not
        let mask: Vec<f32> = (0..1000).map(|i| if i % 7 == 0 { 0.1 } else { 0.0 }).collect();
        let flat = measured(&mask, 10).for_rule(&rule);
        assert!(rule.fit_statistics(&flat).unwrap().constant, "{flat:?}");
    }

    #[test]
    fn invalid_voxels_are_counted_apart() {
        let rows = [f32::NAN, 1.0, 1.0, 0.0, f32::INFINITY, -2000.0, 0.0, -0.0];
        let found = measured(&rows, 4);
        assert_eq!((found.voxels, found.nan, found.infinite, found.zeros), (8, 1, 1, 3));
        assert_eq!((found.min, found.max), (-2000.0, 1.0));
        assert_eq!(found.values.unwrap(), [(-2000.0, 1), (0.0, 3), (1.0, 2)]);
        assert_eq!((found.contents.smallest(), found.contents.largest()), (-2000.0, 1.0));
        let nothing = measured(&[f32::NAN], 1);
        assert!(nothing.percentiles.is_empty() && nothing.std == 0.0);
        let many: Vec<f32> = (0..300).map(|v| v as f32).collect();
        assert!(measured(&many, 10).values.is_none());
    }
}
