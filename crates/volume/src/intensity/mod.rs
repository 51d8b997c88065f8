//! Intensity rules: from scanner values to network input.
//!
//! A rule is chosen per data set, for all channels or for each ([`Rules`]), and stored; [`IntensityRule::fit`] turns it into the
//! numbers of one channel, which are stored too, so that prediction does the same. No rule ever yields NaN: a channel without
//! contrast becomes zeros and says so, unless its rule keeps values as they are.

mod checks;
mod moments;
mod rules;

pub(crate) use checks::count_non_finite;
pub use checks::{Contents, NonFinite, check_finite};
pub(crate) use moments::Moments;
pub use rules::Rules;

use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use checks::each_channel;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How intensities become network input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum IntensityRule {
    /// CT: clip to `[low, high]` Hounsfield units, then scale that window to `[0, 1]`.
    CtWindow {
        /// Lower end, HU.
        low: f64,
        /// Upper end, HU.
        high: f64,
    },
    /// CT as nnU-Net does it: clip to the data set's foreground percentiles (0.5 and 99.5), subtract the foreground mean,
    /// divide by the foreground standard deviation. `preprocess plan` measures the four numbers.
    CtPercentile {
        /// 0.5 percentile.
        low: f64,
        /// 99.5 percentile.
        high: f64,
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// MRI: subtract the channel's mean, divide by its (population) standard deviation; with `nonzero` over non-zero
    /// voxels only, while zeros stay 0 (MONAI's `NormalizeIntensity(nonzero=True)`).
    MriZScore {
        /// Leave zeros out.
        nonzero: bool,
    },
    /// Electron microscopy of 8 bits: divide by 255.
    EmScale,
    /// Clip to `[low, high]`, then scale that window to `[0, 1]`: CT's window for what is not in Hounsfield units, such as standardised
    /// uptake values.
    Window {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// Scale the channel's own range to `[0, 1]` (nnU-Net's `RescaleTo01Normalization`).
    MinMax,
    /// Values as they are (nnU-Net's `NoNormalization`): masks, probabilities, what was normalised before.
    None,
}

/// What was measured on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelStatistics {
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
    /// Mean of the voxels used.
    pub mean: f64,
    /// Population standard deviation of the voxels used.
    pub std: f64,
    /// Voxels used: all, or the non-zero ones.
    pub used: u64,
    /// Voxels of the channel.
    pub voxels: u64,
}

/// A rule fitted to one channel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelTransform {
    /// Values are clipped to this range first.
    pub clip: Option<[f64; 2]>,
    /// Then this is subtracted.
    pub subtract: f64,
    /// Then they are divided by this.
    pub divide: f64,
    /// Zeros stay zeros.
    pub keep_zeros: bool,
    /// The channel has no contrast: all voxels become 0.
    pub constant: bool,
    /// What was measured.
    pub statistics: ChannelStatistics,
}

impl IntensityRule {
    /// The rule's name in messages and manifests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CtWindow { .. } => "ct-window",
            Self::CtPercentile { .. } => "ct-percentile",
            Self::MriZScore { .. } => "mri-z-score",
            Self::EmScale => "em-scale",
            Self::Window { .. } => "window",
            Self::MinMax => "min-max",
            Self::None => "none",
        }
    }

    /// What it clips to.
    pub(crate) fn window(&self) -> Option<[f64; 2]> {
        match *self {
            Self::CtWindow { low, high }
            | Self::Window { low, high }
            | Self::CtPercentile { low, high, .. } => Some([low, high]),
            Self::MriZScore { .. } | Self::EmScale | Self::MinMax | Self::None => None,
        }
    }

    /// Whether its numbers are Hounsfield units.
    pub fn expects_hounsfield(&self) -> bool {
        matches!(self, Self::CtWindow { .. } | Self::CtPercentile { .. })
    }

    /// Whether zeros are left out of the statistics and stay zeros.
    pub fn keeps_zeros(&self) -> bool {
        matches!(self, Self::MriZScore { nonzero: true })
    }

    /// The numbers of the rule for one channel.
    ///
    /// # Errors
    /// As [`IntensityRule::fit_statistics`]; NaN or infinite voxels.
    pub fn fit(&self, channel: &[f32]) -> Result<ChannelTransform> {
        let statistics = measure(channel, self.keeps_zeros());
        if !(statistics.mean.is_finite() && statistics.std.is_finite()) {
            let (nan, infinite) = count_non_finite(channel);
            return Err(VolumeError::NonFinite { channel: 0.into(), nan, infinite });
        }
        self.fit_statistics(&statistics)
    }

    /// The numbers of the rule for a channel with these statistics, which must be finite and leave out zeros where the
    /// rule does.
    ///
    /// # Errors
    /// Impossible numbers in the rule; intensities outside 0 to 255 for [`IntensityRule::EmScale`].
    pub fn fit_statistics(&self, statistics: &ChannelStatistics) -> Result<ChannelTransform> {
        let rule = self.name();
        let statistics = *statistics;
        let fail = |reason: String| Err(VolumeError::Rule { rule, reason });
        if let Some([low, high]) = self.window()
            && !(low < high && low.is_finite() && high.is_finite())
        {
            return fail(format!("window [{low}, {high}] is empty"));
        }
        let (clip, subtract, divide) = match *self {
            Self::CtPercentile { mean, std, .. } if !(std > 0.0 && std.is_finite() && mean.is_finite()) => {
                return fail(format!("mean {mean}, standard deviation {std}"));
            }
            Self::CtWindow { low, high } | Self::Window { low, high } => (Some([low, high]), low, high - low),
            Self::CtPercentile { low, high, mean, std } => (Some([low, high]), mean, std),
            Self::MriZScore { .. } => (None, statistics.mean, statistics.std),
            Self::EmScale => {
                if statistics.min < 0.0 || statistics.max > 255.0 {
                    let ChannelStatistics { min, max, .. } = statistics;
                    return Err(VolumeError::IntensityRange {
                        channel: None,
                        rule,
                        min,
                        max,
                        low: 0.0,
                        high: 255.0,
                    });
                }
                (None, 0.0, 255.0)
            }
            Self::MinMax => {
                let [low, high] = [statistics.min, statistics.max].map(f64::from);
                (None, low, high - low)
            }
            Self::None => (None, 0.0, 1.0),
        };
        // Rounding leaves a tiny deviation on constant data; relative to the values it is nothing.
        let flat = statistics.std <= 1e-6 * f64::from(statistics.min.abs().max(statistics.max.abs()));
        let constant = match self {
            Self::None => false,
            Self::MriZScore { .. } => flat || statistics.min == statistics.max,
            _ => statistics.min == statistics.max,
        };
        let divide = if constant { 1.0 } else { divide };
        let keep_zeros = self.keeps_zeros();
        Ok(ChannelTransform { clip, subtract, divide, keep_zeros, constant, statistics })
    }
}

impl ChannelTransform {
    /// Applies the fitted rule in place.
    pub fn apply(&self, channel: &mut [f32]) {
        if self.constant {
            channel.fill(0.0);
            return;
        }
        let (keep_zeros, whole) = (self.keep_zeros, Self { keep_zeros: false, ..*self });
        channel.par_chunks_mut(1 << 16).for_each(|piece| {
            for value in piece {
                let kept = keep_zeros && *value == 0.0;
                *value = if kept { *value } else { whole.of_varying(*value) };
            }
        });
    }

    /// What one value becomes.
    pub fn value(&self, value: f32) -> f32 {
        if self.constant { 0.0 } else { self.of_varying(value) }
    }

    fn of_varying(&self, value: f32) -> f32 {
        let [low, high] = self.clip.unwrap_or([f64::NEG_INFINITY, f64::INFINITY]);
        if self.keep_zeros && value == 0.0 {
            value
        } else {
            ((f64::from(value).clamp(low, high) - self.subtract) / self.divide) as f32
        }
    }
}

/// Fits and applies one rule to each channel of an image (c, z, y, x, or with spatial axes already cropped).
///
/// Constant channels become zeros; the transform says so and [`constant_warnings`] words it.
///
/// # Errors
/// As [`IntensityRule::fit`], with the channel's number.
pub fn normalise(rule: &IntensityRule, data: &mut [f32], channels: usize) -> Result<Vec<ChannelTransform>> {
    each_channel(data, channels)?
        .enumerate()
        .map(|(number, channel)| {
            let transform = rule.fit(channel).map_err(|error| match error {
                VolumeError::NonFinite { nan, infinite, .. } => {
                    VolumeError::NonFinite { channel: number.into(), nan, infinite }
                }
                other => other,
            })?;
            transform.apply(channel);
            Ok(transform)
        })
        .collect()
}

/// A warning per channel that [`normalise`] found constant.
pub fn constant_warnings(transforms: &[ChannelTransform]) -> Vec<Warning> {
    transforms
        .iter()
        .enumerate()
        .filter(|(_, transform)| transform.constant)
        .map(|(channel, transform)| Warning::ConstantChannel { channel, value: transform.statistics.max })
        .collect()
}

/// The statistics of one channel; the result does not depend on the number of threads.
fn measure(values: &[f32], nonzero: bool) -> ChannelStatistics {
    let moments = Moments::of_all(values);
    let (mean, std) = if nonzero { moments.without_zeros() } else { moments.with_zeros() };
    let nothing = [f32::INFINITY, f32::NEG_INFINITY];
    let [min, max] = values
        .par_chunks(1 << 16)
        .map(|piece| piece.iter().fold(nothing, |[low, high], v| [low.min(*v), high.max(*v)]))
        .reduce(|| nothing, |a, b| [a[0].min(b[0]), a[1].max(b[1])]);
    let used = if nonzero { moments.used } else { values.len() as u64 };
    ChannelStatistics { min, max, mean, std, used, voxels: values.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_scale_to_unit_range() {
        let mut data = [-2000.0, -100.0, 50.0, 200.0, 3000.0];
        let rule = IntensityRule::CtWindow { low: -100.0, high: 200.0 };
        normalise(&rule, &mut data, 1).unwrap();
        assert_eq!(data, [0.0, 0.0, 0.5, 1.0, 1.0]);
    }

    #[test]
    fn percentiles_follow_the_stored_numbers() {
        let rule = IntensityRule::CtPercentile { low: 1.0, high: 199.0, mean: 100.0, std: 55.0 };
        let mut data = [-5.0, 100.0, 500.0];
        normalise(&rule, &mut data, 1).unwrap();
        assert_eq!(data, [-1.8, 0.0, 1.8]);
    }

    #[test]
    fn z_score_is_per_channel_and_may_leave_zeros() {
        let mut data = [0.0, 2.0, 4.0, 0.0, 10.0, 30.0];
        let rule = IntensityRule::MriZScore { nonzero: true };
        let fitted = normalise(&rule, &mut data, 2).unwrap();
        assert_eq!(data, [0.0, -1.0, 1.0, 0.0, -1.0, 1.0]);
        assert_eq!((fitted[1].subtract, fitted[1].divide, fitted[1].statistics.used), (20.0, 10.0, 2));
        let mut data = [1.0, 3.0];
        normalise(&IntensityRule::MriZScore { nonzero: false }, &mut data, 1).unwrap();
        assert_eq!(data, [-1.0, 1.0]);
    }

    #[test]
    fn constant_channels_become_zeros_and_say_so() {
        for rule in [
            IntensityRule::CtWindow { low: 0.0, high: 1.0 },
            IntensityRule::CtPercentile { low: 0.0, high: 9.0, mean: 1.0, std: 1.0 },
            IntensityRule::MriZScore { nonzero: true },
            IntensityRule::MriZScore { nonzero: false },
            IntensityRule::EmScale,
            IntensityRule::Window { low: 0.0, high: 1.0 },
            IntensityRule::MinMax,
        ] {
            for value in [0.0, 3.3] {
                let mut data = [value; 100];
                let fitted = normalise(&rule, &mut data, 1).unwrap();
                assert_eq!(data, [0.0; 100], "{rule:?}");
                assert_eq!(constant_warnings(&fitted).len(), 1);
            }
        }
    }

    #[test]
    fn em_is_scaled_and_its_range_checked() {
        let mut data = [0.0, 51.0, 255.0];
        normalise(&IntensityRule::EmScale, &mut data, 1).unwrap();
        assert_eq!(data, [0.0, 0.2, 1.0]);
        let error = normalise(&IntensityRule::EmScale, &mut [f32::NAN, 1.0], 1).unwrap_err();
        assert_eq!(error.code(), "E130");
        let error = normalise(&IntensityRule::EmScale, &mut [0.0, 4095.0], 1).unwrap_err();
        assert!(error.to_string().contains("[0, 4095]"), "{error}");
    }

    #[test]
    fn ranges_are_scaled_and_values_may_stay() {
        let mut data = [-3.0, 1.0, 5.0];
        let fitted = normalise(&IntensityRule::None, &mut data, 1).unwrap();
        assert_eq!((data, fitted[0].clip), ([-3.0, 1.0, 5.0], None));
        normalise(&IntensityRule::MinMax, &mut data, 1).unwrap();
        assert_eq!(data, [0.0, 0.5, 1.0]);
        let mut data = [-3.0, 1.0, 5.0];
        normalise(&IntensityRule::Window { low: 0.0, high: 4.0 }, &mut data, 1).unwrap();
        assert_eq!(data, [0.0, 0.25, 1.0]);
        let mut flat = [2.0; 3];
        assert!(!normalise(&IntensityRule::None, &mut flat, 1).unwrap()[0].constant && flat == [2.0; 3]);
        assert!(IntensityRule::Window { low: 4.0, high: 4.0 }.fit(&data).is_err());
    }

    #[test]
    fn rules_are_stored_by_name() {
        let json = serde_json::to_string(&IntensityRule::CtWindow { low: -160.0, high: 240.0 }).unwrap();
        assert_eq!(json, r#"{"kind":"ct-window","low":-160.0,"high":240.0}"#);
        let back: IntensityRule = serde_json::from_str(r#"{"kind":"mri-z-score","nonzero":true}"#).unwrap();
        assert_eq!(back, IntensityRule::MriZScore { nonzero: true });
        assert!(
            serde_json::from_str::<IntensityRule>(r#"{"kind":"ct-window","low":1,"high":2,"x":3}"#).is_err()
        );
    }
}
