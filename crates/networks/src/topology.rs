//! The shape of a residual-encoder U-Net, and how it follows from a patch.

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The smallest size along an axis that pooling may leave, as in nnU-Net.
const SMALLEST_MAP: i64 = 4;

/// Stages of nnU-Net's residual-encoder U-Net, from the input's resolution to the coarsest. Norm (instance, affine,
/// ε 1e-5) and activation (LeakyReLU 0.01) are fixed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResEncConfig {
    /// Channels of each stage; the stem has those of the first.
    pub features: Vec<i64>,
    /// Stride into each stage, the first 1.
    pub strides_zyx: Vec<[i64; 3]>,
    /// Kernel of each stage, odd.
    pub kernels_zyx: Vec<[i64; 3]>,
    /// Residual blocks of each encoder stage.
    pub blocks: Vec<usize>,
    /// Convolutions of each decoder stage, coarsest first; one fewer than encoder stages.
    pub decoder_convs: Vec<usize>,
}

/// How large a residual-encoder U-Net may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResEncSize {
    /// 16 to 128 channels, 1 or 2 blocks a stage, at most 5 stages: trains on a CPU.
    Compact,
    /// 32 to 320 channels, up to 6 blocks a stage: nnU-Net's presets ResEnc M, L and XL, which are one rule and differ in their
    /// patches.
    Full,
}

impl fmt::Display for ResEncSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Compact => "compact",
            Self::Full => "full",
        })
    }
}

impl FromStr for ResEncSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "compact" | "s" => Ok(Self::Compact),
            "full" | "m" | "l" => Ok(Self::Full),
            other => Err(config("size", other.to_owned(), "compact (s) or full (m, l)")),
        }
    }
}

impl ResEncSize {
    /// Whether a network is of this size: channels and blocks of its stages are, of which the patch decides how many there are.
    #[must_use]
    pub fn is_of(self, topology: &ResEncConfig) -> bool {
        let features = (0..).zip(&topology.features).all(|(stage, found)| *found == self.features(stage));
        features && topology.blocks.iter().enumerate().all(|(stage, found)| *found == self.blocks(stage))
    }

    fn features(self, stage: u32) -> i64 {
        match self {
            Self::Compact => (16 << stage.min(8)).min(128),
            Self::Full => (32 << stage.min(8)).min(320),
        }
    }

    fn blocks(self, stage: usize) -> usize {
        match self {
            Self::Compact => [1].get(stage).copied().unwrap_or(2),
            Self::Full => [1, 3, 4].get(stage).copied().unwrap_or(6),
        }
    }

    fn most_stages(self) -> usize {
        match self {
            Self::Compact => 5,
            Self::Full => usize::MAX,
        }
    }
}

impl ResEncConfig {
    /// The topology for a patch of `patch_zyx` voxels of `spacing_zyx` (any one unit), by nnU-Net's rule (Isensee et
    /// al. 2021, `get_pool_and_conv_props`): an axis is halved while at least 4 voxels remain, but axes more than twice
    /// as coarse as the finest wait until the others have caught up, and have kernel 1 until then.
    ///
    /// # Errors
    /// For sizes below one voxel, spacings that are not positive, and patches too small to be halved at all.
    pub fn for_patch(patch_zyx: [i64; 3], spacing_zyx: [f64; 3], size: ResEncSize) -> Result<Self, Error> {
        if patch_zyx.iter().any(|voxels| *voxels < 1) {
            return Err(config("patch_zyx", format!("{patch_zyx:?}"), "at least one voxel along each axis"));
        }
        if spacing_zyx.iter().any(|spacing| !(spacing.is_finite() && *spacing > 0.0)) {
            return Err(config("spacing_zyx", format!("{spacing_zyx:?}"), "positive numbers"));
        }
        let mut voxels = patch_zyx;
        let mut spacing = spacing_zyx;
        let mut kernel = [1; 3];
        let mut strides_zyx = vec![[1; 3]];
        let mut kernels_zyx = Vec::new();
        while strides_zyx.len() < size.most_stages() {
            let large: Vec<usize> = (0..3).filter(|axis| voxels[*axis] >= 2 * SMALLEST_MAP).collect();
            let finest = large.iter().map(|axis| spacing[*axis]).fold(f64::INFINITY, f64::min);
            let halved: Vec<usize> = large.into_iter().filter(|axis| spacing[*axis] / finest < 2.0).collect();
            // A single axis is only worth a stage while it is long.
            if halved.is_empty() || (halved.len() == 1 && voxels[halved[0]] < 3 * SMALLEST_MAP) {
                break;
            }
            widen(&mut kernel, spacing);
            kernels_zyx.push(kernel);
            let mut stride = [1; 3];
            for axis in halved {
                stride[axis] = 2;
                spacing[axis] *= 2.0;
                voxels[axis] = (voxels[axis] + 1) / 2;
            }
            strides_zyx.push(stride);
        }
        if strides_zyx.len() < 2 {
            let expected =
                format!("an axis of at least {} voxels, so that it can be halved", 2 * SMALLEST_MAP);
            return Err(config("patch_zyx", format!("{patch_zyx:?}"), &expected));
        }
        kernels_zyx.push([3; 3]);
        let stages = strides_zyx.len();
        Ok(Self {
            features: (0..stages as u32).map(|stage| size.features(stage)).collect(),
            strides_zyx,
            kernels_zyx,
            blocks: (0..stages).map(|stage| size.blocks(stage)).collect(),
            decoder_convs: vec![1; stages - 1],
        })
    }

    /// Checks that the lists describe a network.
    ///
    /// # Errors
    /// When they do not, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        let stages = self.features.len();
        if stages < 2 {
            return Err(config("features", format!("{:?}", self.features), "at least two stages"));
        }
        let lengths = [
            ("strides_zyx", self.strides_zyx.len(), stages),
            ("kernels_zyx", self.kernels_zyx.len(), stages),
            ("blocks", self.blocks.len(), stages),
            ("decoder_convs", self.decoder_convs.len(), stages - 1),
        ];
        for (field, found, expected) in lengths {
            if found != expected {
                return Err(config(
                    field,
                    format!("{found} long"),
                    &format!("{expected} for {stages} stages"),
                ));
            }
        }
        let positive = |field, holds: bool, found: String| {
            if holds { Ok(()) } else { Err(config(field, found, "numbers of at least 1")) }
        };
        positive("features", self.features.iter().all(|n| *n >= 1), format!("{:?}", self.features))?;
        positive("blocks", self.blocks.iter().all(|n| *n >= 1), format!("{:?}", self.blocks))?;
        positive(
            "decoder_convs",
            self.decoder_convs.iter().all(|n| *n >= 1),
            format!("{:?}", self.decoder_convs),
        )?;
        let strides = format!("{:?}", self.strides_zyx);
        positive("strides_zyx", self.strides_zyx.iter().flatten().all(|n| *n >= 1), strides)?;
        if self.strides_zyx.first() != Some(&[1; 3]) {
            return Err(config("strides_zyx", format!("{:?}", self.strides_zyx), "1, 1, 1 first"));
        }
        if self.kernels_zyx.iter().flatten().any(|n| *n < 1 || n % 2 == 0) {
            return Err(config("kernels_zyx", format!("{:?}", self.kernels_zyx), "odd numbers"));
        }
        Ok(())
    }

    /// By what every size of an input must be divisible: the product of the strides, per axis.
    pub fn required_divisor_zyx(&self) -> [i64; 3] {
        self.strides_zyx
            .iter()
            .fold([1; 3], |product, stride| [0, 1, 2].map(|axis| product[axis] * stride[axis]))
    }
}

/// Kernels grow from 1 to 3 along axes less than twice as coarse as the finest, and stay so.
fn widen(kernel: &mut [i64; 3], spacing: [f64; 3]) {
    let finest = spacing.into_iter().fold(f64::INFINITY, f64::min);
    for axis in 0..3 {
        if spacing[axis] / finest < 2.0 {
            kernel[axis] = 3;
        }
    }
}

fn config(field: &'static str, found: String, expected: &str) -> Error {
    Error::Config { field, found, expected: expected.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotropic_patches_are_halved_along_every_axis() {
        let found = ResEncConfig::for_patch([40, 56, 40], [1.0; 3], ResEncSize::Compact).unwrap();
        assert_eq!(found.strides_zyx, [[1; 3], [2; 3], [2; 3], [2; 3]]);
        assert_eq!(found.features, [16, 32, 64, 128]);
        assert_eq!(found.blocks, [1, 2, 2, 2]);
        assert_eq!(found.required_divisor_zyx(), [8; 3]);
        found.validate().unwrap();
    }

    /// What nnU-Net plans for MSD's Task05 (spacing 3.6, 0.62, 0.62; patch 20×320×256).
    #[test]
    fn coarse_axes_wait_until_the_others_have_caught_up() {
        let found = ResEncConfig::for_patch([20, 320, 256], [3.6, 0.62, 0.62], ResEncSize::Full).unwrap();
        let expected: [[i64; 3]; 7] =
            [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]];
        assert_eq!(found.strides_zyx, expected);
        let kernels: [[i64; 3]; 7] = [[1, 3, 3], [1, 3, 3], [3; 3], [3; 3], [3; 3], [3; 3], [3; 3]];
        assert_eq!(found.kernels_zyx, kernels);
        assert_eq!(found.features, [32, 64, 128, 256, 320, 320, 320]);
        assert_eq!(found.required_divisor_zyx(), [4, 64, 64]);
        found.validate().unwrap();
    }

    #[test]
    fn sizes_have_names() {
        for size in [ResEncSize::Compact, ResEncSize::Full] {
            assert_eq!(size.to_string().parse::<ResEncSize>().unwrap(), size);
        }
        let text = "huge".parse::<ResEncSize>().unwrap_err().to_string();
        assert!(text.contains("size is huge, expected compact (s) or full (m, l)"), "{text}");
    }

    #[test]
    fn what_describes_no_network_is_refused_by_field() {
        let text = ResEncConfig::for_patch([4, 7, 7], [1.0; 3], ResEncSize::Full).unwrap_err().to_string();
        assert!(text.contains("[4, 7, 7]"), "{text}");
        assert!(ResEncConfig::for_patch([32; 3], [1.0, f64::NAN, 1.0], ResEncSize::Full).is_err());
        let good = ResEncConfig::for_patch([32; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let spoil = |change: fn(&mut ResEncConfig)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.validate().unwrap_err().to_string()
        };
        assert!(spoil(|c| c.blocks.truncate(1)).contains("blocks is 1 long"));
        assert!(spoil(|c| c.kernels_zyx[0] = [2, 3, 3]).contains("kernels_zyx"));
        assert!(spoil(|c| c.strides_zyx[0] = [2; 3]).contains("strides_zyx"));
        assert!(spoil(|c| c.features[1] = 0).contains("features"));
        assert!(spoil(|c| c.features.truncate(1)).contains("two stages"));
    }
}
