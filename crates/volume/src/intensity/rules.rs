//! Which rule is whose: one for all channels of an image, or one for each.

use super::IntensityRule;
use super::checks::{Contents, uneven};
use crate::error::{Result, VolumeError};
use crate::warning::Warning;

/// The intensity rules of an image's channels.
#[derive(Debug, Clone, PartialEq)]
pub enum Rules {
    /// One for all channels.
    All(IntensityRule),
    /// One for each, in the order of the channels.
    Each(Vec<IntensityRule>),
}

impl From<IntensityRule> for Rules {
    fn from(rule: IntensityRule) -> Self {
        Self::All(rule)
    }
}

impl Rules {
    /// The rule of each channel of an image that has so many.
    ///
    /// # Errors
    /// [`VolumeError::Length`] where there are rules for another number of channels.
    pub fn of(&self, channels: usize) -> Result<Vec<IntensityRule>> {
        match self {
            Self::All(rule) => Ok(vec![*rule; channels]),
            Self::Each(rules) if rules.len() == channels => Ok(rules.clone()),
            Self::Each(rules) => Err(VolumeError::Length {
                what: "list of intensity rules",
                found: rules.len(),
                expected: channels,
            }),
        }
    }

    /// The rule of one channel, if there is any.
    #[must_use]
    pub fn channel(&self, channel: usize) -> Option<IntensityRule> {
        match self {
            Self::All(rule) => Some(*rule),
            Self::Each(rules) => rules.get(channel).copied(),
        }
    }

    /// Refuses a channel whose finite voxels all have one value, unless its rule keeps values as they are: a mask may be empty.
    ///
    /// # Errors
    /// [`VolumeError::Constant`].
    pub fn check_varies(&self, channel: usize, contents: &Contents) -> Result<()> {
        match self.channel(channel) {
            Some(IntensityRule::None) => Ok(()),
            _ => contents.check_varies(channel),
        }
    }

    /// The same for an image (c, z, y, x).
    ///
    /// # Errors
    /// As [`Rules::check_varies`]; voxels that are no whole channels.
    pub fn check_all_vary(&self, data: &[f32], channels: usize) -> Result<()> {
        if channels == 0 || !data.len().is_multiple_of(channels) {
            return Err(uneven(data.len(), channels));
        }
        let mut each = data.chunks_exact((data.len() / channels).max(1)).enumerate();
        each.try_for_each(|(channel, values)| self.check_varies(channel, &Contents::of(values)))
    }

    /// [`Contents::hounsfield_warning`] for a CT: of the channels whose rule is one for Hounsfield units where each has its own, else of all.
    #[must_use]
    pub fn hounsfield_warning(&self, contents: &[Contents]) -> Option<Warning> {
        let Self::Each(rules) = self else { return Contents::hounsfield_warning(contents) };
        let of_ct = contents.iter().zip(rules).filter(|(_, rule)| rule.expects_hounsfield());
        let of_ct: Vec<Contents> = of_ct.map(|(contents, _)| *contents).collect();
        if of_ct.is_empty() { None } else { Contents::hounsfield_warning(&of_ct) }
    }

    /// The same for an image in memory (c, z, y, x).
    #[must_use]
    pub fn hounsfield_warning_of(&self, data: &[f32], channels: usize) -> Option<Warning> {
        let each = data.chunks((data.len() / channels.max(1)).max(1));
        self.hounsfield_warning(&each.map(Contents::of).collect::<Vec<_>>())
    }

    /// Names in messages: one, or one for each channel.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::All(rule) => rule.name().to_owned(),
            Self::Each(rules) => rules.iter().map(IntensityRule::name).collect::<Vec<_>>().join(", "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CT: IntensityRule = IntensityRule::CtWindow { low: -160.0, high: 240.0 };

    #[test]
    fn rules_are_of_the_channels() {
        let z_score = IntensityRule::MriZScore { nonzero: false };
        assert_eq!(Rules::All(CT).of(3).unwrap(), [CT; 3]);
        let rules = Rules::Each(vec![CT, z_score]);
        assert_eq!(rules.of(2).unwrap(), [CT, z_score]);
        assert_eq!(rules.of(3).unwrap_err().code(), "E199");
        assert_eq!((rules.channel(1), rules.channel(2)), (Some(z_score), None));
        assert_eq!(rules.name(), "ct-window, mri-z-score");
    }

    #[test]
    fn channels_without_contrast_are_refused() {
        let rules = Rules::All(CT);
        assert_eq!(rules.check_all_vary(&[1.0, 2.0, 5.0, 5.0], 2).unwrap_err().code(), "E132");
        rules.check_all_vary(&[1.0, 2.0, 5.0, 6.0], 2).unwrap();
        assert!(rules.check_all_vary(&[1.0, 2.0, 5.0], 2).is_err());
        let with_mask = Rules::Each(vec![CT, IntensityRule::None]);
        with_mask.check_all_vary(&[1.0, 2.0, 5.0, 5.0], 2).unwrap();
        assert!(with_mask.check_all_vary(&[1.0, 1.0, 5.0, 6.0], 2).is_err());
    }

    #[test]
    fn only_channels_of_ct_are_asked_for_hounsfield_units() {
        let ct = [-1000.0, 40.0, 1500.0];
        let uptake = [0.0, 3.0, 60_000.0];
        let both = [ct, uptake].concat();
        assert!(Rules::All(CT).hounsfield_warning_of(&both, 2).is_some());
        let z_score = IntensityRule::MriZScore { nonzero: false };
        assert_eq!(Rules::Each(vec![CT, z_score]).hounsfield_warning_of(&both, 2), None);
        let turned = [uptake, ct].concat();
        assert!(Rules::Each(vec![CT, z_score]).hounsfield_warning_of(&turned, 2).is_some());
        assert_eq!(Rules::Each(vec![z_score; 2]).hounsfield_warning_of(&turned, 2), None);
    }
}
