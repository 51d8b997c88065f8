//! Volumes of which a crop to the foreground would leave nothing, and why; by their statistics alone.

use super::Method;
use super::foreground::Foreground;
use super::statistics::Clamp;
use crate::error::{NoForeground, Result, VolumeError};
use crate::geometry::Grid;
use crate::intensity::{ChannelStatistics, IntensityRule};
use crate::resample::Resampling;
use crate::warning::Warning;

/// Shrinkage in voxels beyond which a voxel size is worth a doubt.
const MOST_SHRINKAGE: f64 = 50.0;

/// Refuses an image by the statistics of its channels as stored, as preparing it would: intensities that do not fit the rule, and nothing
/// that counts as foreground. What resampling does to it is not known here.
///
/// # Errors
/// As [`super::image`].
pub fn check(statistics: &[ChannelStatistics], grid: &Grid, method: &Method) -> Result<()> {
    let clip = Clamp::of_rule(&method.rule);
    let mut any = false;
    for channel in statistics {
        let transform = method.rule.fit_statistics(channel)?;
        any |= match Foreground::of(&method.rule, method.resampling) {
            Foreground::NonZero => {
                let varies = method.resampling == Resampling::Nnunet || !transform.constant;
                varies && (channel.min != 0.0 || channel.max != 0.0)
            }
            Foreground::AboveMinimum => !transform.constant && clip.of(channel.max) > clip.of(channel.min),
        };
    }
    if any { Ok(()) } else { Err(error(method, statistics, grid, grid)) }
}

/// Why there is no foreground, by the statistics after resampling from one grid to the other.
pub(super) fn error(
    method: &Method,
    statistics: &[ChannelStatistics],
    from: &Grid,
    to: &Grid,
) -> VolumeError {
    let min = statistics.iter().map(|channel| channel.min).fold(f32::INFINITY, f32::min);
    let max = statistics.iter().map(|channel| channel.max).fold(f32::NEG_INFINITY, f32::max);
    let one_value = || {
        let value = statistics.iter().map(|channel| channel.mean as f32).find(|mean| *mean != 0.0)?;
        (method.rule.keeps_zeros()).then_some(NoForeground::OneValue { value })
    };
    let window = || match method.rule {
        IntensityRule::CtWindow { low, high } | IntensityRule::CtPercentile { low, high, .. }
            if min < max =>
        {
            Some(NoForeground::OutsideWindow { min, max, low, high })
        }
        _ => None,
    };
    let reason = collapsed(from, to).or_else(window).or_else(one_value).unwrap_or_else(|| {
        let criterion = Foreground::of(&method.rule, method.resampling).criterion();
        NoForeground::Nothing { shape_zyx: to.shape_zyx, criterion }
    });
    VolumeError::EmptyForeground { reason }
}

fn collapsed(from: &Grid, to: &Grid) -> Option<NoForeground> {
    let (from_zyx, from_mm) = (from.shape_zyx, from.spacing_zyx_mm());
    let (to_zyx, to_mm) = (to.shape_zyx, to.spacing_zyx_mm());
    is_shrunk(from_zyx, to_zyx).then_some(NoForeground::Collapsed { from_zyx, from_mm, to_zyx, to_mm })
}

/// A warning where resampling takes nearly all voxels, or all but one along an axis: mostly because of a voxel size in the wrong unit.
pub fn shrinkage(from: &Grid, to: &Grid) -> Option<Warning> {
    let (from_zyx, from_mm) = (from.shape_zyx, from.spacing_zyx_mm());
    let (to_zyx, to_mm) = (to.shape_zyx, to.spacing_zyx_mm());
    is_shrunk(from_zyx, to_zyx).then_some(Warning::Shrunk { from_zyx, from_mm, to_zyx, to_mm })
}

fn is_shrunk(from_zyx: [usize; 3], to_zyx: [usize; 3]) -> bool {
    let voxels = |shape: [usize; 3]| shape.iter().map(|n| *n as f64).product::<f64>();
    let flattened = from_zyx.iter().zip(&to_zyx).any(|(from, to)| *from > 1 && *to == 1);
    flattened || voxels(from_zyx) > MOST_SHRINKAGE * voxels(to_zyx)
}
