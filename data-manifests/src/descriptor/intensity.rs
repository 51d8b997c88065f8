//! What intensities become: one rule for all channels, or one for each.

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::cmp::Ordering;
use std::fmt;
use volume::intensity::{IntensityRule, Rules};

// variants without members have braces, with which serde refuses members that they do not have
/// The intensity rule of a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "rule", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Intensity {
    /// Clip to a window of Hounsfield units, then scale the window to 0…1.
    CtWindow {
        /// Lower end, HU.
        low: f32,
        /// Upper end, HU.
        high: f32,
    },
    /// Clip to percentiles of the data set's foreground, subtract its mean, divide by its standard deviation: nnU-Net's
    /// `CTNormalization`.
    CtPercentile {
        /// Lower end, HU: the 0.5th percentile.
        low: f64,
        /// Upper end, HU: the 99.5th percentile.
        high: f64,
        /// Mean, HU.
        mean: f64,
        /// Standard deviation, HU.
        std: f64,
    },
    /// Subtract the mean and divide by the standard deviation of each channel of each volume.
    MriZscore {
        /// Take the statistics over non-zero voxels only.
        nonzero: bool,
    },
    /// Divide 8-bit intensities by 255.
    EmScale {},
    /// Clip to a window in the image's own unit, such as standardised uptake values of PET, then scale the window to 0…1.
    Window {
        /// Lower end.
        low: f32,
        /// Upper end.
        high: f32,
    },
    /// Scale each volume's own range to 0…1: nnU-Net's `RescaleTo01Normalization`.
    MinMax {},
    /// Keep values as they are: masks, probabilities, what is normalised already; nnU-Net's `NoNormalization`.
    None {},
}

/// The intensity rules of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Intensities {
    /// One for all channels.
    All(Intensity),
    /// One for each, in the order of the channels.
    Each(Vec<Intensity>),
}

impl From<Intensity> for Intensities {
    fn from(rule: Intensity) -> Self {
        Self::All(rule)
    }
}

impl From<Vec<Intensity>> for Intensities {
    /// One for all where they are the same.
    fn from(rules: Vec<Intensity>) -> Self {
        match rules.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Self::All(first.clone()),
            _ => Self::Each(rules),
        }
    }
}

// by hand: of an untagged enumeration serde says only that nothing fitted
impl<'de> Deserialize<'de> for Intensities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrEach;
        impl<'de> Visitor<'de> for OneOrEach {
            type Value = Intensities;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an intensity rule, or a list with one for each channel")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Intensity::deserialize(MapAccessDeserializer::new(map)).map(Intensities::All)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Intensities::Each)
            }
        }
        deserializer.deserialize_any(OneOrEach)
    }
}

impl Intensity {
    /// The rule as `volume` applies it.
    #[must_use]
    pub fn rule(&self) -> IntensityRule {
        match *self {
            Self::CtWindow { low, high } => IntensityRule::CtWindow { low: low.into(), high: high.into() },
            Self::CtPercentile { low, high, mean, std } => {
                IntensityRule::CtPercentile { low, high, mean, std }
            }
            Self::MriZscore { nonzero } => IntensityRule::MriZScore { nonzero },
            Self::EmScale {} => IntensityRule::EmScale,
            Self::Window { low, high } => IntensityRule::Window { low: low.into(), high: high.into() },
            Self::MinMax {} => IntensityRule::MinMax,
            Self::None {} => IntensityRule::None,
        }
    }

    /// Rules that types cannot say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let (low, high) = match *self {
            Self::CtWindow { low, high } | Self::Window { low, high } => (f64::from(low), f64::from(high)),
            Self::CtPercentile { low, high, mean, std } => {
                if !(mean.is_finite() && std.is_finite() && std > 0.0) {
                    bail!("intensity needs a finite mean and a positive std, found {mean} and {std}");
                }
                (low, high)
            }
            Self::MriZscore { .. } | Self::EmScale {} | Self::MinMax {} | Self::None {} => return Ok(()),
        };
        if low.partial_cmp(&high) != Some(Ordering::Less) || !(low.is_finite() && high.is_finite()) {
            bail!("intensity.low must lie below intensity.high, found {low} and {high}");
        }
        Ok(())
    }
}

impl Intensities {
    /// The rules as `volume` applies them.
    #[must_use]
    pub fn rules(&self) -> Rules {
        match self {
            Self::All(rule) => Rules::All(rule.rule()),
            Self::Each(rules) => Rules::Each(rules.iter().map(Intensity::rule).collect()),
        }
    }

    /// The rule of a channel, if there is any.
    #[must_use]
    pub fn channel(&self, channel: usize) -> Option<&Intensity> {
        match self {
            Self::All(rule) => Some(rule),
            Self::Each(rules) => rules.get(channel),
        }
    }

    /// Of how many channels they are the rules; `None`: of any number.
    #[must_use]
    pub fn channels(&self) -> Option<usize> {
        match self {
            Self::All(_) => None,
            Self::Each(rules) => Some(rules.len()),
        }
    }

    /// Rules that types cannot say.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::All(rule) => rule.check(),
            Self::Each(rules) => rules
                .iter()
                .enumerate()
                .try_for_each(|(channel, rule)| rule.check().with_context(|| format!("channel {channel}"))),
        }
    }
}
