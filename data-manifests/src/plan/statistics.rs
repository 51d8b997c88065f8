//! Intensities of the foreground.

use super::rules::percentile;
use crate::descriptor::Intensity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Statistics of one channel over sampled foreground voxels of all cases; names as in nnU-Net's plans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelStatistics {
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Smallest.
    pub min: f64,
    /// 0.5th percentile.
    pub percentile_00_5: f64,
    /// 99.5th percentile.
    pub percentile_99_5: f64,
    /// Standard deviation (of the population).
    pub std: f64,
}

impl ChannelStatistics {
    /// Statistics of samples, by linear interpolation as NumPy's; `None` without samples, or with one that is not finite.
    #[must_use]
    pub fn of(samples: &[f32]) -> Option<Self> {
        let mut sorted: Vec<f64> = samples.iter().map(|v| f64::from(*v)).collect();
        if sorted.iter().any(|v| !v.is_finite()) {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let std = (sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        Some(Self {
            max,
            mean,
            median: percentile(&sorted, 0.5),
            min,
            percentile_00_5: percentile(&sorted, 0.005),
            percentile_99_5: percentile(&sorted, 0.995),
            std,
        })
    }

    /// nnU-Net's `CTNormalization` by these numbers.
    #[must_use]
    pub fn ct_percentile(&self) -> Intensity {
        Intensity::CtPercentile {
            low: self.percentile_00_5,
            high: self.percentile_99_5,
            mean: self.mean,
            std: self.std,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_numpy() {
        let samples: Vec<f32> = (0..=200).rev().map(|v| v as f32).collect();
        let found = ChannelStatistics::of(&samples).unwrap();
        assert_eq!((found.min, found.max, found.mean, found.median), (0.0, 200.0, 100.0, 100.0));
        assert_eq!((found.percentile_00_5, found.percentile_99_5), (1.0, 199.0));
        assert!((found.std - 58.022_983_951_764_03).abs() < 1e-12);
        assert_eq!(ChannelStatistics::of(&[]), None);
        assert_eq!(ChannelStatistics::of(&[1.0, f32::NAN]), None);
    }
}
