//! Volumes of which a crop to the foreground would leave nothing, and why; by their statistics alone.

use super::Method;
use super::foreground::Foreground;
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
    let rules = method.rules.of(statistics.len())?;
    let mut any = false;
    for (number, (channel, rule)) in statistics.iter().zip(&rules).enumerate() {
        let transform =
            rule.fit_statistics(channel).map_err(|error| error.of_channel(number, rules.len()))?;
        any |= match Foreground::of(rule, method.resampling) {
            Foreground::NonZero => {
                let varies = method.resampling == Resampling::Nnunet || !transform.constant;
                varies && (channel.min != 0.0 || channel.max != 0.0)
            }
            Foreground::AboveMinimum(clip) => {
                !transform.constant && clip.of(channel.max) > clip.of(channel.min)
            }
        };
    }
    if any { Ok(()) } else { Err(error(statistics, &rules, method.resampling, [grid, grid])) }
}

/// Why there is no foreground, by the statistics after resampling from the first grid to the second.
pub(super) fn error(
    statistics: &[ChannelStatistics],
    rules: &[IntensityRule],
    resampling: Resampling,
    [from, to]: [&Grid; 2],
) -> VolumeError {
    let each = || statistics.iter().zip(rules);
    let one_value = || {
        let keeping = each().filter(|(_, rule)| rule.keeps_zeros());
        let value = keeping.map(|(channel, _)| channel.mean as f32).find(|mean| *mean != 0.0)?;
        Some(NoForeground::OneValue { value })
    };
    let window = || {
        // channels that share a window are told of as one
        let [low, high] = rules.iter().find_map(IntensityRule::window)?;
        let within = each().filter(|(_, rule)| rule.window() == Some([low, high]));
        let [min, max] = within.fold([f32::INFINITY, f32::NEG_INFINITY], |[min, max], (channel, _)| {
            [min.min(channel.min), max.max(channel.max)]
        });
        (min < max).then_some(NoForeground::OutsideWindow { min, max, low, high })
    };
    let reason = collapsed(from, to).or_else(window).or_else(one_value).unwrap_or_else(|| {
        let criterion = rules.first().map_or(Foreground::NonZero, |rule| Foreground::of(rule, resampling));
        NoForeground::Nothing { shape_zyx: to.shape_zyx, criterion: criterion.criterion() }
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
