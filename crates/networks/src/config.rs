//! Which network: what a plan stores and a checkpoint carries, enough to build it again.

use crate::error::Error;
use crate::resnet::ResNet50;
use crate::resunet::DecoderNorm;
use crate::swin::SwinConfig;
use crate::topology::ResEncConfig;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An image encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum EncoderConfig {
    /// GTGM's 3-D ResNet-50.
    Resnet50 {
        /// Channels of the image.
        in_channels: i64,
    },
    /// nnU-Net's residual encoder.
    Resenc {
        /// Channels of the image.
        in_channels: i64,
        /// Its stages.
        topology: ResEncConfig,
    },
    /// SwinUNETR's transformer and the block on its coarsest state.
    #[serde(rename = "swin-unetr")]
    SwinUnetr {
        /// Channels of the image.
        in_channels: i64,
        /// Its stages.
        transformer: SwinConfig,
    },
}

/// A segmentation network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum NetworkConfig {
    /// GTGM's U-Net on ResNet-50.
    Resunet50 {
        /// Channels of the image.
        in_channels: i64,
        /// Classes, background included.
        classes: i64,
        /// The norms of its decoder.
        #[serde(default, skip_serializing_if = "DecoderNorm::is_none")]
        decoder_norm: DecoderNorm,
    },
    /// The same with attention on its skips.
    Attresunet50 {
        /// Channels of the image.
        in_channels: i64,
        /// Classes, background included.
        classes: i64,
        /// The norms of its decoder.
        #[serde(default, skip_serializing_if = "DecoderNorm::is_none")]
        decoder_norm: DecoderNorm,
    },
    /// nnU-Net's residual-encoder U-Net.
    Resenc {
        /// Channels of the image.
        in_channels: i64,
        /// Classes, background included.
        classes: i64,
        /// Its stages.
        topology: ResEncConfig,
    },
    /// SwinUNETR.
    #[serde(rename = "swin-unetr")]
    SwinUnetr {
        /// Channels of the image.
        in_channels: i64,
        /// Classes, background included.
        classes: i64,
        /// Its stages.
        transformer: SwinConfig,
    },
}

impl EncoderConfig {
    /// The name of its kind.
    pub fn kind(&self) -> EncoderKind {
        match self {
            Self::Resnet50 { .. } => EncoderKind::Resnet50,
            Self::Resenc { .. } => EncoderKind::Resenc,
            Self::SwinUnetr { .. } => EncoderKind::SwinUnetr,
        }
    }

    /// Shape of its deepest maps of such patches.
    #[must_use]
    pub fn deepest_map_zyx(&self, patch_zyx: [usize; 3]) -> [usize; 3] {
        let reduction = match self {
            Self::Resnet50 { .. } => ResNet50::REDUCTION_ZYX,
            Self::Resenc { .. } | Self::SwinUnetr { .. } => self.required_divisor_zyx(),
        };
        [0, 1, 2].map(|axis| patch_zyx[axis].div_ceil(reduction[axis].unsigned_abs() as usize))
    }

    /// Whether its deepest maps of such patches are single voxels, over which instance norms give 0: what the last convolutions learn is nothing.
    #[must_use]
    pub fn ends_in_single_voxels(&self, patch_zyx: [usize; 3]) -> bool {
        !matches!(self, Self::Resnet50 { .. }) && self.deepest_map_zyx(patch_zyx) == [1; 3]
    }

    /// Channels of the image.
    pub fn in_channels(&self) -> i64 {
        match self {
            Self::Resnet50 { in_channels }
            | Self::Resenc { in_channels, .. }
            | Self::SwinUnetr { in_channels, .. } => *in_channels,
        }
    }

    /// By what every size of an input to a network with this encoder must be divisible.
    pub fn required_divisor_zyx(&self) -> [i64; 3] {
        match self {
            Self::Resnet50 { .. } => [1; 3],
            Self::Resenc { topology, .. } => topology.required_divisor_zyx(),
            Self::SwinUnetr { .. } => SwinConfig::DIVISOR_ZYX,
        }
    }

    /// The smallest patch that holds `patch_zyx` and that every network with this encoder can take.
    pub fn divisible_patch_zyx(&self, patch_zyx: [usize; 3]) -> [usize; 3] {
        let divisor = self.required_divisor_zyx();
        [0, 1, 2].map(|axis| patch_zyx[axis].next_multiple_of(divisor[axis].unsigned_abs() as usize))
    }

    /// Checks that it describes a network.
    ///
    /// # Errors
    /// When it does not, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        at_least_one("in_channels", self.in_channels())?;
        match self {
            Self::Resnet50 { .. } => Ok(()),
            Self::Resenc { topology, .. } => topology.validate(),
            Self::SwinUnetr { transformer, .. } => transformer.validate(),
        }
    }
}

impl NetworkConfig {
    /// The name of its kind.
    pub fn kind(&self) -> NetworkKind {
        match self {
            Self::Resunet50 { .. } => NetworkKind::Resunet50,
            Self::Attresunet50 { .. } => NetworkKind::Attresunet50,
            Self::Resenc { .. } => NetworkKind::Resenc,
            Self::SwinUnetr { .. } => NetworkKind::SwinUnetr,
        }
    }

    /// Channels of the image.
    pub fn in_channels(&self) -> i64 {
        match self {
            Self::Resunet50 { in_channels, .. }
            | Self::Attresunet50 { in_channels, .. }
            | Self::Resenc { in_channels, .. }
            | Self::SwinUnetr { in_channels, .. } => *in_channels,
        }
    }

    /// Classes, background included.
    pub fn classes(&self) -> i64 {
        match self {
            Self::Resunet50 { classes, .. }
            | Self::Attresunet50 { classes, .. }
            | Self::Resenc { classes, .. }
            | Self::SwinUnetr { classes, .. } => *classes,
        }
    }

    /// The encoder whose weights fit in.
    pub fn encoder(&self) -> EncoderConfig {
        match self {
            Self::Resunet50 { in_channels, .. } | Self::Attresunet50 { in_channels, .. } => {
                EncoderConfig::Resnet50 { in_channels: *in_channels }
            }
            Self::Resenc { in_channels, topology, .. } => {
                EncoderConfig::Resenc { in_channels: *in_channels, topology: topology.clone() }
            }
            Self::SwinUnetr { in_channels, transformer, .. } => {
                EncoderConfig::SwinUnetr { in_channels: *in_channels, transformer: transformer.clone() }
            }
        }
    }

    /// Checks that it describes a network.
    ///
    /// # Errors
    /// When it does not, naming the field.
    pub fn validate(&self) -> Result<(), Error> {
        at_least_one("classes", self.classes())?;
        self.encoder().validate()
    }
}

impl NetworkKind {
    /// The encoder of such a network.
    #[must_use]
    pub fn encoder(self) -> EncoderKind {
        match self {
            Self::Resunet50 | Self::Attresunet50 => EncoderKind::Resnet50,
            Self::Resenc => EncoderKind::Resenc,
            Self::SwinUnetr => EncoderKind::SwinUnetr,
        }
    }
}

/// Refuses counts below one.
pub(crate) fn at_least_one(field: &'static str, found: i64) -> Result<(), Error> {
    if found >= 1 {
        Ok(())
    } else {
        Err(Error::Config { field, found: found.to_string(), expected: "at least 1".to_owned() })
    }
}

/// Makes an enum of names with `Display` and `FromStr`.
macro_rules! kinds {
    ($(#[$meta:meta])* $name:ident, $field:literal, { $($(#[$doc:meta])* $variant:ident = $text:literal),+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant),+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$variant => $text),+ })
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    other => Err(Error::Config {
                        field: $field,
                        found: other.to_owned(),
                        expected: [$($text),+].join(" or "),
                    }),
                }
            }
        }
    };
}

pub(crate) use kinds;

kinds!(
    /// The name of an encoder, as on the command line.
    EncoderKind, "encoder", {
        /// GTGM's 3-D ResNet-50.
        Resnet50 = "resnet50",
        /// nnU-Net's residual encoder.
        Resenc = "resenc",
        /// SwinUNETR's transformer and the block on its coarsest state.
        SwinUnetr = "swin-unetr"
    }
);

kinds!(
    /// The name of a segmentation network, as on the command line.
    NetworkKind, "network", {
        /// GTGM's U-Net on ResNet-50.
        Resunet50 = "resunet50",
        /// The same with attention on its skips.
        Attresunet50 = "attresunet50",
        /// nnU-Net's residual-encoder U-Net.
        Resenc = "resenc",
        /// SwinUNETR.
        SwinUnetr = "swin-unetr"
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ResEncSize;

    #[test]
    fn a_plan_holds_all_that_is_needed() {
        let topology = ResEncConfig::for_patch([32; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let config = NetworkConfig::Resenc { in_channels: 4, classes: 3, topology };
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.starts_with(r#"{"kind":"resenc","in_channels":4"#), "{text}");
        assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), config);
        assert_eq!(config.encoder().required_divisor_zyx(), [8; 3]);
        assert_eq!(config.encoder().divisible_patch_zyx([40, 50, 35]), [40, 56, 40]);
        let small = r#"{"kind":"resunet50","in_channels":1,"classes":2}"#;
        assert_eq!(serde_json::from_str::<NetworkConfig>(small).unwrap().kind(), NetworkKind::Resunet50);
        let config =
            NetworkConfig::SwinUnetr { in_channels: 2, classes: 3, transformer: SwinConfig::default() };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"swin-unetr","in_channels":2,"classes":3,"transformer":{"feature_size":48,"depths":[2,2,2,2],"merging":"complete"}}"#
        );
        assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), config);
        let deepest = |patch| config.encoder().ends_in_single_voxels(patch);
        assert!(deepest([32; 3]) && !deepest([32, 64, 32]));
        let topology = ResEncConfig::for_patch([64; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let resenc = EncoderConfig::Resenc { in_channels: 1, topology };
        assert_eq!(resenc.deepest_map_zyx([64, 40, 16]), [4, 3, 1]);
        assert!(resenc.ends_in_single_voxels([16; 3]) && !resenc.ends_in_single_voxels([16, 16, 17]));
        // its batch norms take the whole batch
        let resnet = EncoderConfig::Resnet50 { in_channels: 1 };
        assert_eq!(resnet.deepest_map_zyx([16, 96, 100]), [2, 3, 4]);
        assert!(!resnet.ends_in_single_voxels([8, 32, 32]));
        assert_eq!(
            (config.kind(), config.encoder().kind()),
            (NetworkKind::SwinUnetr, EncoderKind::SwinUnetr)
        );
        assert_eq!(config.encoder().required_divisor_zyx(), [32; 3]);
        assert_eq!((config.in_channels(), config.classes()), (2, 3));
        assert_eq!(serde_json::to_string(&EncoderKind::SwinUnetr).unwrap(), r#""swin-unetr""#);
        assert!(
            serde_json::from_str::<NetworkConfig>(
                r#"{"kind":"resunet50","in_channels":1,"classes":2,"x":1}"#
            )
            .is_err()
        );
    }

    #[test]
    fn names_and_numbers_that_make_no_network_are_refused() {
        assert_eq!("resenc".parse::<EncoderKind>().unwrap().to_string(), "resenc");
        let text = "unet".parse::<NetworkKind>().unwrap_err().to_string();
        assert!(text.contains("unet") && text.contains("resunet50 or attresunet50 or resenc"), "{text}");
        let decoder_norm = DecoderNorm::None;
        let config = NetworkConfig::Resunet50 { in_channels: 1, classes: 0, decoder_norm };
        let text = config.validate().unwrap_err().to_string();
        assert!(text.contains("classes is 0"), "{text}");
        assert!(EncoderConfig::Resnet50 { in_channels: 0 }.validate().is_err());
        let transformer = SwinConfig { feature_size: 50, ..SwinConfig::default() };
        let text =
            EncoderConfig::SwinUnetr { in_channels: 1, transformer }.validate().unwrap_err().to_string();
        assert!(text.contains("feature_size is 50"), "{text}");
    }
}
