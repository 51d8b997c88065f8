//! The shape of a SwinUNETR.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Features must be a multiple of this, so that the heads of every stage share them evenly.
const FEATURE_STEP: i64 = 12;

/// A SwinUNETR. Heads (3, 6, 12, 24), window (7 voxels, shifted by 3), patch (2 voxels) and the ratio of the inner
/// layer (4) are fixed, as in MONAI's defaults and in the published code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwinConfig {
    /// Channels of the first hidden state, a multiple of 12; each stage doubles them.
    pub feature_size: i64,
    /// Blocks of each stage, finest first; every second one shifts its windows.
    pub depths: [usize; 4],
    /// How a stage halves the resolution.
    pub merging: SwinMerging,
}

/// Which voxels of each 2×2×2 cube patch merging joins. The tensors have the same shapes either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SwinMerging {
    /// All eight, in the order of MONAI's `merging` since version 1.5.
    Complete,
    /// Six, two of them twice: as MONAI 0.9 to 1.4 had it, and the published code, whose weights need it.
    Published,
}

impl SwinConfig {
    /// By what every size of an input must be divisible: the patch and four stages halve it.
    pub const DIVISOR_ZYX: [i64; 3] = [32; 3];

    /// Reads depths as on the command line.
    ///
    /// # Errors
    /// For anything but four numbers of at least 1.
    pub fn parse_depths(text: &str) -> Result<[usize; 4], Error> {
        let numbers: Option<Vec<usize>> =
            text.split(',').map(|part| part.trim().parse().ok().filter(|depth| *depth >= 1)).collect();
        numbers
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(|| refuse("depths", text.to_owned(), "four numbers of at least 1, such as 2,2,2,2"))
    }

    /// Features in the pooled vector.
    pub fn out_features(&self) -> i64 {
        16 * self.feature_size
    }

    /// Checks that it describes a network.
    ///
    /// # Errors
    /// When it does not, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        if self.feature_size < FEATURE_STEP || self.feature_size % FEATURE_STEP != 0 {
            return Err(refuse("feature_size", self.feature_size.to_string(), "a multiple of 12"));
        }
        if self.depths.contains(&0) {
            return Err(refuse("depths", format!("{:?}", self.depths), "numbers of at least 1"));
        }
        Ok(())
    }
}

/// MONAI's defaults with the features of the published code.
impl Default for SwinConfig {
    fn default() -> Self {
        Self { feature_size: 48, depths: [2; 4], merging: SwinMerging::Complete }
    }
}

impl fmt::Display for SwinMerging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "complete",
            Self::Published => "published",
        })
    }
}

impl FromStr for SwinMerging {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "complete" => Ok(Self::Complete),
            "published" => Ok(Self::Published),
            other => Err(refuse("merging", other.to_owned(), "complete or published")),
        }
    }
}

fn refuse(field: &'static str, found: String, expected: &str) -> Error {
    Error::Config { field, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_describes_no_network_is_refused_by_field() {
        for feature_size in [0, -12, 20] {
            let text =
                SwinConfig { feature_size, ..SwinConfig::default() }.validate().unwrap_err().to_string();
            assert!(
                text.contains(&format!("feature_size is {feature_size}, expected a multiple of 12")),
                "{text}"
            );
        }
        assert!(SwinConfig { depths: [2, 0, 2, 2], ..SwinConfig::default() }.validate().is_err());
        SwinConfig { depths: [2, 4, 2, 2], feature_size: 60, ..SwinConfig::default() }.validate().unwrap();
    }

    #[test]
    fn words_of_the_command_line_are_read() {
        assert_eq!(SwinConfig::parse_depths("2, 4,2,2").unwrap(), [2, 4, 2, 2]);
        for bad in ["2,2,2", "2,2,2,2,2", "2,0,2,2", "a,2,2,2", ""] {
            let text = SwinConfig::parse_depths(bad).unwrap_err().to_string();
            assert!(text.contains("four numbers"), "{text}");
        }
        for merging in [SwinMerging::Complete, SwinMerging::Published] {
            assert_eq!(merging.to_string().parse::<SwinMerging>().unwrap(), merging);
        }
        assert!("v2".parse::<SwinMerging>().unwrap_err().to_string().contains("complete or published"));
    }
}
