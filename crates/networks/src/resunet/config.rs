//! What a ResUNet-50 may have beyond the published one.

use crate::config::kinds;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Additions to the published network; the default is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResUNetOptions {
    /// Self-attention on the skips x1 … x4, with at most so many weights (queries × keys) for each sample and skip;
    /// `None` for skips as they are.
    pub attention: Option<i64>,
    /// The norms of the decoder.
    pub decoder_norm: DecoderNorm,
}

impl ResUNetOptions {
    /// The most weights for each sample and skip in an `attresunet50`: maps of up to 8,192 voxels attend to each of their
    /// voxels. Model files do not carry it, since it never changes.
    pub const ATTENTION_WEIGHTS: i64 = 1 << 26;
}

kinds!(
    /// What stands between a convolution of the decoder and its ReLU.
    #[derive(Default)]
    DecoderNorm, "decoder_norm", {
        /// Nothing, as published.
        #[default]
        None = "none",
        /// An instance norm with scale and shift.
        Instance = "instance"
    }
);

impl DecoderNorm {
    /// Plans and model files from before there was a choice do not name it.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EncoderKind, NetworkConfig, NetworkKind};

    #[test]
    fn a_decoder_without_norms_is_not_named_in_files() {
        let plain = r#"{"kind":"resunet50","in_channels":1,"classes":2}"#;
        let config: NetworkConfig = serde_json::from_str(plain).unwrap();
        assert_eq!(
            config,
            NetworkConfig::Resunet50 { in_channels: 1, classes: 2, decoder_norm: DecoderNorm::None }
        );
        assert_eq!(serde_json::to_string(&config).unwrap(), plain);
        let normed = r#"{"kind":"attresunet50","in_channels":1,"classes":2,"decoder_norm":"instance"}"#;
        let config: NetworkConfig = serde_json::from_str(normed).unwrap();
        let decoder_norm = DecoderNorm::Instance;
        assert_eq!(config, NetworkConfig::Attresunet50 { in_channels: 1, classes: 2, decoder_norm });
        assert_eq!(serde_json::to_string(&config).unwrap(), normed);
        assert_eq!(
            (config.kind(), config.encoder().kind()),
            (NetworkKind::Attresunet50, EncoderKind::Resnet50)
        );
        assert_eq!((config.in_channels(), config.classes()), (1, 2));
        assert_eq!(config.encoder().required_divisor_zyx(), [1; 3]);
        for bad in [normed.replace("instance", "batch"), normed.replace("}", r#","x":1}"#)] {
            assert!(serde_json::from_str::<NetworkConfig>(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words_of_the_command_line_are_read() {
        for norm in [DecoderNorm::None, DecoderNorm::Instance] {
            assert_eq!(norm.to_string().parse::<DecoderNorm>().unwrap(), norm);
        }
        assert!("batch".parse::<DecoderNorm>().unwrap_err().to_string().contains("none or instance"));
    }
}
