//! Learning rate as a pure function of the step.

use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate changes after warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Decay {
    /// No change.
    Constant,
    /// minimum + ½ (base − minimum)(1 + cos(π t / period)), starting again at `base` after each period; each period is
    /// `growth` times as long as the one before. PyTorch's `CosineAnnealingWarmRestarts`.
    CosineWarmRestarts {
        /// Steps of the first period (T_0).
        period: u64,
        /// Factor between periods (T_mult).
        growth: u64,
        /// Lowest rate (eta_min).
        minimum: f64,
    },
    /// base · (1 − t / total)^power; 0 from `total` on. nnU-Net uses power 0.9.
    Poly {
        /// Steps until the rate is 0.
        total: u64,
        /// Exponent.
        power: f64,
    },
}

/// Base rate, linear warm-up, decay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// Highest rate.
    pub base: f64,
    /// Steps of linear rise: step t uses base · (t + 1) / (warmup + 1). The decay's clock starts after them.
    #[serde(default)]
    pub warmup: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl LearningRate {
    /// A rate that never changes.
    #[must_use]
    pub fn constant(base: f64) -> Self {
        Self { base, warmup: 0, decay: Decay::Constant }
    }

    /// The published schedule: warm restarts with equal periods and minimum 1e-8, or the base where that is lower.
    #[must_use]
    pub fn cosine(base: f64, period: u64) -> Self {
        Self {
            base,
            warmup: 0,
            decay: Decay::CosineWarmRestarts { period, growth: 1, minimum: base.min(1e-8) },
        }
    }

    /// nnU-Net's schedule.
    #[must_use]
    pub fn poly(base: f64, total: u64) -> Self {
        Self { base, warmup: 0, decay: Decay::Poly { total, power: 0.9 } }
    }

    /// Adds a linear warm-up.
    #[must_use]
    pub fn with_warmup(mut self, steps: u64) -> Self {
        self.warmup = steps;
        self
    }

    /// Refuses values with which no rate can be computed.
    ///
    /// # Errors
    /// On a base that is not positive, a period, growth or total of 0, or a minimum outside `[0, base]`.
    pub fn check(&self) -> Result<()> {
        let refuse = |name, found: String, expected: &str| {
            Err(TrainingError::Option { name, found, expected: expected.to_owned() })
        };
        if !(self.base.is_finite() && self.base > 0.0) {
            return refuse("lr", self.base.to_string(), "above 0");
        }
        match self.decay {
            Decay::Constant => Ok(()),
            Decay::CosineWarmRestarts { period: 0, .. } => {
                refuse("lr period", "0".to_owned(), "at least 1 step")
            }
            Decay::CosineWarmRestarts { growth: 0, .. } => refuse("lr growth", "0".to_owned(), "at least 1"),
            Decay::CosineWarmRestarts { minimum, .. } if !(0.0..=self.base).contains(&minimum) => {
                refuse("lr minimum", minimum.to_string(), &format!("0 to {}", self.base))
            }
            Decay::Poly { total: 0, .. } => refuse("lr total", "0".to_owned(), "at least 1 step"),
            Decay::Poly { power, .. } if !(power.is_finite() && power >= 0.0) => {
                refuse("lr power", power.to_string(), "0 or more")
            }
            Decay::CosineWarmRestarts { .. } | Decay::Poly { .. } => Ok(()),
        }
    }

    /// The rate of the update that follows `step` completed ones.
    #[must_use]
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.base * (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        let step = step - self.warmup;
        match self.decay {
            Decay::Constant => self.base,
            Decay::CosineWarmRestarts { period, growth, minimum } => {
                let (mut length, mut within) = (period.max(1), step);
                if growth <= 1 {
                    within %= length;
                } else {
                    while within >= length {
                        within -= length;
                        length = length.saturating_mul(growth);
                    }
                }
                minimum + (self.base - minimum) * (1.0 + (PI * within as f64 / length as f64).cos()) / 2.0
            }
            Decay::Poly { total, power } => {
                self.base * (1.0 - step.min(total) as f64 / total.max(1) as f64).powf(power)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_grow() {
        let rate = LearningRate {
            base: 1.0,
            warmup: 0,
            decay: Decay::CosineWarmRestarts { period: 2, growth: 3, minimum: 0.0 },
        };
        for restart in [0, 2, 8] {
            assert!((rate.at(restart) - 1.0).abs() < 1e-12);
        }
        assert!((rate.at(5) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn poly_ends_at_zero_and_warmup_rises() {
        let rate = LearningRate::poly(1.0, 10).with_warmup(4);
        assert!((rate.at(0) - 0.2).abs() < 1e-12 && (rate.at(3) - 0.8).abs() < 1e-12);
        assert!((rate.at(4) - 1.0).abs() < 1e-12);
        assert!((rate.at(9) - 0.5f64.powf(0.9)).abs() < 1e-12);
        assert!(rate.at(14).abs() < 1e-12 && rate.at(1000).abs() < 1e-12);
    }

    #[test]
    fn impossible_values_are_refused() {
        assert!(LearningRate::constant(0.0).check().is_err());
        assert!(LearningRate::cosine(1.0, 0).check().is_err());
        assert!(LearningRate::poly(1.0, 0).check().is_err());
        let above = Decay::CosineWarmRestarts { period: 5, growth: 1, minimum: 1e-8 };
        assert!(LearningRate { base: 1e-9, warmup: 0, decay: above }.check().is_err());
        assert!(LearningRate::cosine(1e-9, 5).check().is_ok());
        assert!(LearningRate::cosine(2e-5, 5).check().is_ok());
    }
}
