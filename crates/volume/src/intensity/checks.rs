//! Voxels that no rule can help: NaN, infinity, no contrast, impossible Hounsfield units.

use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use serde::{Deserialize, Serialize};

/// What to do with NaN and infinite voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonFinite {
    /// Refuse the volume.
    Error,
    /// Put the smallest finite value of the channel in their place.
    FillMin,
}

/// Refuses or repairs NaN and infinite voxels of an image (c, z, y, x).
///
/// # Errors
/// [`VolumeError::NonFinite`] under [`NonFinite::Error`], and always if a channel has no finite voxel.
pub fn check_finite(data: &mut [f32], channels: usize, policy: NonFinite) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    for (number, channel) in each_channel(data, channels)?.enumerate() {
        let (nan, infinite) = count_non_finite(channel);
        if nan + infinite == 0 {
            continue;
        }
        let smallest = channel.iter().copied().filter(|v| v.is_finite()).reduce(f32::min);
        match (policy, smallest) {
            (NonFinite::FillMin, Some(value)) => {
                channel.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = value);
                warnings.push(Warning::NonFiniteFilled { channel: number, count: nan + infinite, value });
            }
            _ => return Err(VolumeError::NonFinite { channel: number, nan, infinite }),
        }
    }
    Ok(warnings)
}

/// Refuses an image (c, z, y, x) with a channel that has one value only.
///
/// # Errors
/// [`VolumeError::Constant`].
pub fn check_varies(data: &[f32], channels: usize) -> Result<()> {
    if channels == 0 || !data.len().is_multiple_of(channels) {
        return Err(uneven(data.len(), channels));
    }
    for (channel, values) in data.chunks_exact((data.len() / channels).max(1)).enumerate() {
        if values.iter().all(|v| *v == values[0]) {
            return Err(VolumeError::Constant { channel, value: values[0] });
        }
    }
    Ok(())
}

/// A warning if the intensities of a CT are not plausible Hounsfield units: more than 0.5 % below -1100 (air is
/// -1000), or any above 30000.
pub fn hounsfield_warning(data: &[f32]) -> Option<Warning> {
    let (mut min, mut max, mut below) = (f32::INFINITY, f32::NEG_INFINITY, 0_u64);
    for &value in data {
        min = min.min(value);
        max = max.max(value);
        below += u64::from(value < -1100.0);
    }
    let below_share = below as f64 / data.len().max(1) as f64;
    (below_share > 0.005 || max > 30000.0).then_some(Warning::ImplausibleHounsfield { min, max, below_share })
}

pub(super) fn each_channel(data: &mut [f32], channels: usize) -> Result<std::slice::ChunksExactMut<'_, f32>> {
    if channels == 0 || !data.len().is_multiple_of(channels) {
        return Err(uneven(data.len(), channels));
    }
    let length = (data.len() / channels).max(1);
    Ok(data.chunks_exact_mut(length))
}

fn uneven(found: usize, channels: usize) -> VolumeError {
    VolumeError::Length { what: "image", found, expected: found / channels.max(1) * channels }
}

/// NaN voxels and infinite ones.
pub(super) fn count_non_finite(values: &[f32]) -> (u64, u64) {
    values.iter().fold((0, 0), |(nan, infinite), v| {
        (nan + u64::from(v.is_nan()), infinite + u64::from(v.is_infinite()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_without_contrast_are_refused() {
        assert_eq!(check_varies(&[1.0, 2.0, 5.0, 5.0], 2).unwrap_err().code(), "E132");
        check_varies(&[1.0, 2.0, 5.0, 6.0], 2).unwrap();
        assert!(check_varies(&[1.0, 2.0, 5.0], 2).is_err());
    }

    #[test]
    fn non_finite_voxels_are_counted_or_filled() {
        let mut data = [1.0, 2.0, f32::NAN, 5.0, f32::INFINITY, 7.0];
        let error = check_finite(&mut data, 2, NonFinite::Error).unwrap_err();
        assert!(matches!(error, VolumeError::NonFinite { channel: 0, nan: 1, infinite: 0 }));
        assert_eq!(check_finite(&mut data, 2, NonFinite::FillMin).unwrap().len(), 2);
        assert_eq!(data, [1.0, 2.0, 1.0, 5.0, 5.0, 7.0]);
        assert!(check_finite(&mut [f32::NAN; 4], 1, NonFinite::FillMin).is_err());
    }

    #[test]
    fn rescale_applied_twice_is_noticed() {
        assert_eq!(hounsfield_warning(&[-1000.0, 40.0, 1500.0]), None);
        assert_eq!(hounsfield_warning(&[-2024.0, 40.0, 1500.0]).unwrap().code(), "W131");
    }
}
