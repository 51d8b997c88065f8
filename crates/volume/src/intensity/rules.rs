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

    /// [`Contents::hounsfield_warning`] of the channels with a rule of their own for Hounsfield units, or of all channels of a CT with one rule
    /// for all, unless that has another unit.
    #[must_use]
    pub fn hounsfield_warning(&self, contents: &[Contents], is_ct: bool) -> Option<Warning> {
        let is_asked = |number: usize| match (self, self.channel(number)) {
            (Self::All(rule), _) => {
                is_ct && (rule.expects_hounsfield() || matches!(rule, IntensityRule::MriZScore { .. }))
            }
            (Self::Each(_), rule) => rule.is_some_and(|rule| rule.expects_hounsfield()),
        };
        let asked = contents.iter().enumerate().filter(|(number, _)| is_asked(*number));
        let asked: Vec<Contents> = asked.map(|(_, contents)| *contents).collect();
        if asked.is_empty() { None } else { Contents::hounsfield_warning(&asked) }
    }

    /// The same for an image in memory (c, z, y, x).
    #[must_use]
    pub fn hounsfield_warning_of(&self, data: &[f32], channels: usize, is_ct: bool) -> Option<Warning> {
        let each = data.chunks((data.len() / channels.max(1)).max(1));
        self.hounsfield_warning(&each.map(Contents::of).collect::<Vec<_>>(), is_ct)
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
    fn only_channels_in_hounsfield_units_are_asked_for_them() {
        let ct = [-1000.0, 40.0, 1500.0];
        let uptake = [0.0, 3.0, 60_000.0];
        let (both, turned) = ([ct, uptake].concat(), [uptake, ct].concat());
        let z_score = IntensityRule::MriZScore { nonzero: false };
        let window = IntensityRule::Window { low: 0.0, high: 20.0 };
        let warns = |rules: Rules, data: &[f32], is_ct| rules.hounsfield_warning_of(data, 2, is_ct).is_some();
        assert!(warns(Rules::All(CT), &both, true));
        assert!(!warns(Rules::Each(vec![CT, z_score]), &both, true));
        assert!(warns(Rules::Each(vec![CT, z_score]), &turned, true));
        assert!(!warns(Rules::Each(vec![z_score; 2]), &turned, true));
        // a second channel of CT, whatever the first is
        assert!(warns(Rules::Each(vec![z_score, CT]), &both, false));
        assert!(warns(Rules::All(z_score), &both, true) && !warns(Rules::All(z_score), &both, false));
        assert!(!warns(Rules::All(CT), &both, false));
        assert!(
            !warns(Rules::All(window), &both, true) && !warns(Rules::All(IntensityRule::None), &both, true)
        );
    }
}
