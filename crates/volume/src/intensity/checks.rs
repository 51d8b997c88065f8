//! Voxels that no rule can help: NaN, infinity, no contrast, impossible Hounsfield units.

use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use rayon::prelude::*;
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

/// What the voxels of one channel are like, seen piece by piece (planes of a file, say) in any order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contents {
    voxels: u64,
    nan: u64,
    infinite: u64,
    /// Of the finite voxels.
    smallest: f32,
    largest: f32,
    implausible: u64,
    /// Voxels that have the smallest value.
    at_smallest: u64,
    /// Voxels between the lowest plausible value and the densest fat.
    airy: u64,
}

impl Default for Contents {
    fn default() -> Self {
        let (smallest, largest) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { voxels: 0, nan: 0, infinite: 0, smallest, largest, implausible: 0, at_smallest: 0, airy: 0 }
    }
}

impl Contents {
    /// Takes more voxels of the channel.
    pub fn add(&mut self, values: &[f32]) {
        // Counters of 32 bits do for a piece and are as wide as the voxels.
        for piece in values.chunks(1 << 16) {
            let [mut nan, mut infinite, mut implausible, mut airy] = [0_u32; 4];
            let (mut smallest, mut largest) = (f32::INFINITY, f32::NEG_INFINITY);
            for &value in piece {
                nan += u32::from(value.is_nan());
                infinite += u32::from(value.is_infinite());
                implausible += u32::from(value.is_finite() && value < LOWEST_HOUNSFIELD);
                airy += u32::from((LOWEST_HOUNSFIELD..=DENSEST_FAT).contains(&value));
                smallest = if value.is_finite() && value < smallest { value } else { smallest };
                largest = if value.is_finite() && value > largest { value } else { largest };
            }
            let at_smallest = piece.iter().fold(0_u32, |count, value| count + u32::from(*value == smallest));
            *self = self.joined(&Self {
                voxels: piece.len() as u64,
                nan: nan.into(),
                infinite: infinite.into(),
                smallest,
                largest,
                implausible: implausible.into(),
                at_smallest: at_smallest.into(),
                airy: airy.into(),
            });
        }
    }

    /// Both pieces together.
    #[must_use]
    pub fn joined(&self, other: &Self) -> Self {
        let smallest = self.smallest.min(other.smallest);
        let at = |part: &Self| if part.smallest == smallest { part.at_smallest } else { 0 };
        Self {
            voxels: self.voxels + other.voxels,
            nan: self.nan + other.nan,
            infinite: self.infinite + other.infinite,
            smallest,
            largest: self.largest.max(other.largest),
            implausible: self.implausible + other.implausible,
            at_smallest: at(self) + at(other),
            airy: self.airy + other.airy,
        }
    }

    pub(super) fn of(values: &[f32]) -> Self {
        let pieces = values.par_chunks(1 << 18).map(|piece| {
            let mut contents = Self::default();
            contents.add(piece);
            contents
        });
        pieces.reduce(Self::default, |a, b| a.joined(&b))
    }

    /// What takes the place of NaN and infinite voxels of this channel: a warning with the value, or `None` if there
    /// are none.
    ///
    /// # Errors
    /// [`VolumeError::NonFinite`] under [`NonFinite::Error`]; [`VolumeError::NothingFinite`] always if the channel has no finite voxel.
    pub fn check_finite(&self, channel: usize, policy: NonFinite) -> Result<Option<Warning>> {
        let (nan, infinite, value) = (self.nan, self.infinite, self.smallest);
        match policy {
            _ if nan + infinite == 0 => Ok(None),
            NonFinite::FillMin if value.is_finite() => {
                Ok(Some(Warning::NonFiniteFilled { channel, count: nan + infinite, value }))
            }
            _ if value.is_finite() => Err(VolumeError::NonFinite { channel: channel.into(), nan, infinite }),
            _ => Err(VolumeError::NothingFinite { channel: channel.into(), nan, infinite }),
        }
    }

    /// The smallest finite voxel; infinity if there is none.
    pub fn smallest(&self) -> f32 {
        self.smallest
    }

    /// The largest finite voxel; negative infinity if there is none.
    pub fn largest(&self) -> f32 {
        self.largest
    }

    /// Refuses a channel whose finite voxels all have one value.
    ///
    /// # Errors
    /// [`VolumeError::Constant`].
    pub fn check_varies(&self, channel: usize) -> Result<()> {
        if self.voxels > 0 && self.smallest >= self.largest {
            return Err(VolumeError::Constant { channel: channel.into(), value: self.smallest });
        }
        Ok(())
    }

    /// A warning if the intensities of a CT, given by its channels, are not plausible Hounsfield units: more than 0.5 %
    /// below -1100 (air is -1000) unless all of these have one value, with which scanners pad; any above 30000; none where air, lung
    /// and fat lie. Voxels that are not finite count as filled.
    pub fn hounsfield_warning(channels: &[Self]) -> Option<Warning> {
        let mut whole = Self::default();
        for channel in channels {
            let mut filled = *channel;
            if channel.smallest < LOWEST_HOUNSFIELD {
                filled.implausible += channel.nan + channel.infinite;
                filled.at_smallest += channel.nan + channel.infinite;
            }
            whole = whole.joined(&filled);
        }
        let (min, max) = (whole.smallest, whole.largest);
        let below_share = whole.implausible as f64 / whole.voxels.max(1) as f64;
        let padding = min < LOWEST_HOUNSFIELD && whole.at_smallest == whole.implausible;
        if (below_share > 0.005 && !padding) || max > 30000.0 {
            return Some(Warning::ImplausibleHounsfield { min, max, below_share });
        }
        (whole.airy == 0).then_some(Warning::UnscaledHounsfield { min, max })
    }
}

/// No tissue and no air is below; scanners fill with less than 0.5 % of such values at most.
const LOWEST_HOUNSFIELD: f32 = -1100.0;

/// Air, lung and fat are below; nearly every CT holds some.
const DENSEST_FAT: f32 = -200.0;

/// Refuses or repairs NaN and infinite voxels of an image (c, z, y, x).
///
/// # Errors
/// As [`Contents::check_finite`].
pub fn check_finite(data: &mut [f32], channels: usize, policy: NonFinite) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    for (number, channel) in each_channel(data, channels)?.enumerate() {
        let contents = Contents::of(channel);
        if let Some(warning) = contents.check_finite(number, policy)? {
            channel.iter_mut().filter(|v| !v.is_finite()).for_each(|v| *v = contents.smallest);
            warnings.push(warning);
        }
    }
    Ok(warnings)
}

pub(super) fn each_channel(data: &mut [f32], channels: usize) -> Result<std::slice::ChunksExactMut<'_, f32>> {
    if channels == 0 || !data.len().is_multiple_of(channels) {
        return Err(uneven(data.len(), channels));
    }
    let length = (data.len() / channels).max(1);
    Ok(data.chunks_exact_mut(length))
}

pub(super) fn uneven(found: usize, channels: usize) -> VolumeError {
    VolumeError::Length { what: "image", found, expected: found / channels.max(1) * channels }
}

/// NaN voxels and infinite ones.
pub(crate) fn count_non_finite(values: &[f32]) -> (u64, u64) {
    let contents = Contents::of(values);
    (contents.nan, contents.infinite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hounsfield_warning(data: &[f32]) -> Option<Warning> {
        Contents::hounsfield_warning(&[Contents::of(data)])
    }

    #[test]
    fn non_finite_voxels_are_counted_or_filled() {
        let mut data = [1.0, 2.0, f32::NAN, 5.0, f32::INFINITY, 7.0];
        let error = check_finite(&mut data, 2, NonFinite::Error).unwrap_err();
        assert!(matches!(error, VolumeError::NonFinite { nan: 1, infinite: 0, .. }));
        assert_eq!(check_finite(&mut data, 2, NonFinite::FillMin).unwrap().len(), 2);
        assert_eq!(data, [1.0, 2.0, 1.0, 5.0, 5.0, 7.0]);
        for policy in [NonFinite::Error, NonFinite::FillMin] {
            let error = check_finite(&mut [f32::NAN, f32::INFINITY], 1, policy).unwrap_err();
            assert!(matches!(error, VolumeError::NothingFinite { nan: 1, infinite: 1, .. }));
        }
    }

    #[test]
    fn rescale_applied_twice_is_noticed() {
        assert_eq!(hounsfield_warning(&[-1000.0, 40.0, 1500.0]), None);
        let found = hounsfield_warning(&[-2024.0, -2020.0, -984.0, 500.0]).unwrap();
        assert!(found.code() == "W131" && found.to_string().contains("applied once"), "{found}");
    }

    #[test]
    fn a_value_that_pads_is_no_sign_of_it() {
        let mut data = vec![-1000.0, -100.0, 40.0, 1500.0];
        data.resize(20, -3024.0);
        assert_eq!(hounsfield_warning(&data), None);
        // by pieces too
        let mut contents = Contents::default();
        data.chunks(3).for_each(|piece| contents.add(piece));
        assert_eq!(contents, Contents::of(&data));
        assert!(matches!(hounsfield_warning(&data[1..]), Some(Warning::UnscaledHounsfield { .. })));
    }

    #[test]
    fn unscaled_images_are_noticed() {
        let body = [-1000.0_f32, -90.0, 40.0, 60.0, 1200.0];
        assert_eq!(hounsfield_warning(&body), None);
        let scales: [&dyn Fn(f32) -> f32; 3] =
            [&|v| v + 1024.0, &|v| v / 1000.0, &|v| ((v + 1000.0) / 2200.0 * 255.0).round()];
        for scale in scales {
            let found = hounsfield_warning(&body.map(scale)).unwrap();
            assert!(found.code() == "W131" && found.to_string().contains("scl_slope"), "{found}");
        }
    }

    #[test]
    fn planes_give_what_the_whole_gives() {
        let mut data: Vec<f32> = (0..1000).map(|v| v as f32 - 1500.0).collect();
        (data[3], data[700]) = (f32::NAN, f32::NEG_INFINITY);
        let mut contents = Contents::default();
        data.chunks(77).rev().for_each(|plane| contents.add(plane));
        assert_eq!(contents, Contents::of(&data));
        let warning = contents.check_finite(4, NonFinite::FillMin).unwrap();
        let expected = Warning::NonFiniteFilled { channel: 4, count: 2, value: -1500.0 };
        assert_eq!(warning, Some(expected));
        assert_eq!((contents.smallest(), contents.largest()), (-1500.0, -501.0));
        assert!(contents.check_finite(0, NonFinite::Error).is_err());
        contents.check_varies(0).unwrap();
        let found = Contents::hounsfield_warning(&[contents]).unwrap();
        check_finite(&mut data, 1, NonFinite::FillMin).unwrap();
        assert_eq!(hounsfield_warning(&data).unwrap(), found);
        assert_eq!(Contents::default().check_finite(0, NonFinite::Error).unwrap(), None);
    }
}
