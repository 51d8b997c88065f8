//! What is asked of the shape of an encoder or network, beside its kind; what is not asked for is as usual, or as in given weights.

use crate::config::{EncoderConfig, EncoderKind};
use crate::error::Error;
use crate::swin::{SwinConfig, SwinMerging};
use crate::topology::ResEncSize;

/// Options of shape. Their names here are those of a command line, without dashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedShape {
    /// `size`: of a resenc.
    pub size: Option<ResEncSize>,
    /// `swin-feature-size`: channels of the first stage of a swin-unetr.
    pub feature_size: Option<i64>,
    /// `swin-depths`: blocks of its four stages.
    pub depths: Option<[usize; 4]>,
    /// `swin-merging`: how its stages are halved.
    pub merging: Option<SwinMerging>,
}

impl AskedShape {
    /// The first option that is of another encoder than `kind`, and the one that it is of.
    #[must_use]
    pub fn idle(&self, kind: EncoderKind) -> Option<(&'static str, EncoderKind)> {
        let given = [
            ("size", EncoderKind::Resenc, self.size.is_some()),
            ("swin-feature-size", EncoderKind::SwinUnetr, self.feature_size.is_some()),
            ("swin-depths", EncoderKind::SwinUnetr, self.depths.is_some()),
            ("swin-merging", EncoderKind::SwinUnetr, self.merging.is_some()),
        ];
        given.into_iter().find(|(_, of, given)| *given && *of != kind).map(|(option, of, _)| (option, of))
    }

    /// The first option that asks for another shape than `encoder` has, and what that has in its place.
    #[must_use]
    pub fn contradicted(&self, encoder: &EncoderConfig) -> Option<(&'static str, String)> {
        match encoder {
            EncoderConfig::Resnet50 { .. } => None,
            EncoderConfig::Resenc { topology, .. } => {
                let other = self.size.is_some_and(|size| !size.is_of(topology));
                other.then(|| {
                    let [features, blocks] =
                        [format!("{:?}", topology.features), format!("{:?}", topology.blocks)];
                    ("size", format!("stages of {features} channels and {blocks} blocks"))
                })
            }
            EncoderConfig::SwinUnetr { transformer, .. } => {
                if self.feature_size.is_some_and(|asked| asked != transformer.feature_size) {
                    Some(("swin-feature-size", transformer.feature_size.to_string()))
                } else if self.depths.is_some_and(|asked| asked != transformer.depths) {
                    Some(("swin-depths", format!("{:?}", transformer.depths)))
                } else if self.merging.is_some_and(|asked| asked != transformer.merging) {
                    Some(("swin-merging", transformer.merging.to_string()))
                } else {
                    None
                }
            }
        }
    }

    /// The transformer of a swin-unetr.
    ///
    /// # Errors
    /// When there is none of that shape, naming the field.
    pub fn transformer(&self) -> Result<SwinConfig, Error> {
        let usual = SwinConfig::default();
        let transformer = SwinConfig {
            feature_size: self.feature_size.unwrap_or(usual.feature_size),
            depths: self.depths.unwrap_or(usual.depths),
            merging: self.merging.unwrap_or(usual.merging),
        };
        transformer.validate()?;
        Ok(transformer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::ResEncConfig;

    #[test]
    fn options_of_other_encoders_are_idle() {
        let size = AskedShape { size: Some(ResEncSize::Full), ..AskedShape::default() };
        assert_eq!(size.idle(EncoderKind::Resenc), None);
        assert_eq!(size.idle(EncoderKind::Resnet50), Some(("size", EncoderKind::Resenc)));
        let depths = AskedShape { depths: Some([2, 4, 2, 2]), ..AskedShape::default() };
        assert_eq!(depths.idle(EncoderKind::SwinUnetr), None);
        assert_eq!(depths.idle(EncoderKind::Resenc), Some(("swin-depths", EncoderKind::SwinUnetr)));
        assert_eq!(AskedShape::default().idle(EncoderKind::Resnet50), None);
    }

    #[test]
    fn other_shapes_than_the_weights_have_are_told() {
        let topology = ResEncConfig::for_patch([32; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let resenc = EncoderConfig::Resenc { in_channels: 1, topology };
        let size = |size| AskedShape { size: Some(size), ..AskedShape::default() };
        assert_eq!(size(ResEncSize::Compact).contradicted(&resenc), None);
        let (option, has) = size(ResEncSize::Full).contradicted(&resenc).unwrap();
        assert_eq!(option, "size");
        assert!(has.starts_with("stages of [16, 32, "), "{has}");

        let asked = AskedShape { feature_size: Some(24), depths: Some([1; 4]), ..AskedShape::default() };
        let transformer = asked.transformer().unwrap();
        assert_eq!(transformer, SwinConfig { feature_size: 24, depths: [1; 4], ..SwinConfig::default() });
        let swin = EncoderConfig::SwinUnetr { in_channels: 1, transformer };
        assert_eq!(asked.contradicted(&swin), None);
        let other = AskedShape { merging: Some(SwinMerging::Published), ..asked };
        assert_eq!(other.contradicted(&swin), Some(("swin-merging", "complete".to_owned())));
        let other = AskedShape { depths: Some([2; 4]), ..other };
        assert_eq!(other.contradicted(&swin), Some(("swin-depths", "[1, 1, 1, 1]".to_owned())));
        assert!(AskedShape { feature_size: Some(10), ..asked }.transformer().is_err());
    }
}
