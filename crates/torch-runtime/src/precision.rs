//! The number format of training and prediction.

use crate::autocast::Autocast;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use tch::Device;

/// The number format in which convolutions and matrix products run; weights and losses stay in float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// float32. On GPUs that have TF32, cuDNN rounds what convolutions multiply to 10 bits of mantissa, as it does for PyTorch.
    #[default]
    Fp32,
    /// bfloat16 autocast.
    Bf16,
}

impl Precision {
    /// The guard under which a forward pass and its loss run: none for float32.
    ///
    /// # Errors
    /// As for [`Autocast::bf16`].
    pub fn autocast(self, device: Device) -> Result<Option<Autocast>, Error> {
        match self {
            Self::Fp32 => Ok(None),
            Self::Bf16 => Autocast::bf16(device).map(Some),
        }
    }

    /// Whether this processor computes the format by emulation, slower than float32: bf16 on an x86-64 that has no instructions for it.
    #[must_use]
    pub fn is_emulated(self, device: Device) -> bool {
        self == Self::Bf16 && device == Device::Cpu && !has_bf16()
    }
}

#[cfg(target_arch = "x86_64")]
fn has_bf16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_bf16() -> bool {
    true
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "fp32" => Ok(Self::Fp32),
            "bf16" => Ok(Self::Bf16),
            other => Err(Error::UnknownPrecision { found: other.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for precision in [Precision::Fp32, Precision::Bf16] {
            assert_eq!(precision.to_string().parse::<Precision>().unwrap(), precision);
        }
        assert!("fp16".parse::<Precision>().unwrap_err().to_string().contains("bf16"));
    }

    #[test]
    fn only_bf16_on_a_cpu_may_be_emulated() {
        assert!(!Precision::Fp32.is_emulated(Device::Cpu));
        assert!(!Precision::Bf16.is_emulated(Device::Cuda(0)));
        assert_eq!(Precision::Bf16.is_emulated(Device::Cpu), !has_bf16());
    }

    #[test]
    fn fp32_needs_no_guard() {
        assert!(Precision::Fp32.autocast(Device::Cpu).unwrap().is_none());
        assert!(Precision::Bf16.autocast(Device::Cpu).unwrap().is_some());
    }
}
