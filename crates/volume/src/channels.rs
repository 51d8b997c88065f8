//! Channels: how errors name them, and several files that are those of one image.

use crate::error::{Result, VolumeError};
use crate::geometry::{Grid, length_text, same_geometry};
use crate::warning::Warning;
use std::fmt;
use std::path::Path;

/// A channel in an error: its number, and its name where the data set gives it one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedChannel {
    number: usize,
    name: Option<String>,
}

impl From<usize> for NamedChannel {
    fn from(number: usize) -> Self {
        Self { number, name: None }
    }
}

impl fmt::Display for NamedChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "channel {}", self.number)?;
        self.name.as_ref().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

impl VolumeError {
    /// The same error with the name of the channel that it is about.
    #[must_use]
    pub fn naming_channels(mut self, names: &[String]) -> Self {
        if let Self::NonFinite { channel, .. }
        | Self::NothingFinite { channel, .. }
        | Self::Constant { channel, .. }
        | Self::IntensityRange { channel: Some(channel), .. } = &mut self
        {
            channel.name = names.get(channel.number).cloned();
        }
        self
    }

    /// The number of the channel that it is about.
    #[must_use]
    pub fn channel(&self) -> Option<usize> {
        match self {
            Self::NonFinite { channel, .. }
            | Self::NothingFinite { channel, .. }
            | Self::Constant { channel, .. }
            | Self::IntensityRange { channel: Some(channel), .. } => Some(channel.number),
            _ => None,
        }
    }

    /// The same error with the number of the channel whose intensities do not fit their rule, where there are several.
    #[must_use]
    pub fn of_channel(mut self, number: usize, channels: usize) -> Self {
        if let Self::IntensityRange { channel, .. } = &mut self
            && channels > 1
        {
            *channel = Some(number.into());
        }
        self
    }
}

/// Checks that a channel lies on the first one's grid, by the rule for labels ([`crate::check_same_grid`]): shapes equal,
/// corners within [`Grid::same_within_mm`], and up to [`Grid::near_within_mm`] with a warning.
///
/// # Errors
/// [`VolumeError::ChannelGrid`].
pub fn check_same_channels(
    first_path: &Path,
    first: &Grid,
    other_path: &Path,
    other: &Grid,
) -> Result<Option<Warning>> {
    let fail = |differ: String| {
        Err(VolumeError::ChannelGrid { first: first_path.into(), other: other_path.into(), differ })
    };
    if first.shape_zyx != other.shape_zyx {
        let [found, expected] = [other, first].map(|grid| grid.shape_zyx.map(|n| n.to_string()).join("×"));
        return fail(format!("shape: {found} voxels, expected {expected} (z×y×x)"));
    }
    let corner_mm = same_geometry(first, other);
    let allowed_mm = first.near_within_mm();
    if corner_mm < first.same_within_mm() {
        Ok(None)
    } else if corner_mm <= allowed_mm {
        Ok(Some(Warning::ChannelsNearlyAgree { corner_mm }))
    } else {
        let [corner, allowed] = [corner_mm, allowed_mm].map(length_text);
        fail(format!("place by {corner} at the far corner, allowed {allowed}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_named_where_the_data_set_does() {
        let error = || VolumeError::Constant { channel: 1.into(), value: 3.0 };
        let names = ["T1".to_owned(), "T2".to_owned()];
        let end = "is constant: every voxel is 3; expected an image";
        assert_eq!(error().naming_channels(&names).to_string(), format!("channel 1 (T2) {end}"));
        assert_eq!(error().naming_channels(&names[..1]).to_string(), format!("channel 1 {end}"));
    }

    #[test]
    fn channels_share_a_grid_or_are_refused() {
        let grid = |shape, origin| Grid::from_spacing(shape, [2.0, 1.0, 1.0], origin).unwrap();
        let check = |other: Grid| {
            let first = grid([4, 5, 6], [0.0; 3]);
            check_same_channels(Path::new("a_0000.nii"), &first, Path::new("a_0001.nii"), &other)
                .map_err(|e| e.to_string())
        };
        assert_eq!(check(grid([4, 5, 6], [0.0005, 0.0, 0.0])), Ok(None));
        assert!(matches!(
            check(grid([4, 5, 6], [0.05, 0.0, 0.0])),
            Ok(Some(Warning::ChannelsNearlyAgree { .. }))
        ));
        let files = "a_0001.nii against a_0000.nii";
        assert_eq!(
            check(grid([4, 5, 6], [0.5, 0.0, 0.0])).unwrap_err(),
            format!("channels differ in place by 0.500 mm at the far corner, allowed 0.100 mm. {files}")
        );
        assert_eq!(
            check(grid([4, 5, 7], [0.0; 3])).unwrap_err(),
            format!("channels differ in shape: 4×5×7 voxels, expected 4×5×6 (z×y×x). {files}")
        );
    }
}
