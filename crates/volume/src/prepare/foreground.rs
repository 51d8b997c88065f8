//! The box that a crop keeps, from the slices that one pass has seen.

use super::statistics::{Channel, Clamp};
use crate::crop::BoundingBox;
use crate::intensity::{ChannelTransform, IntensityRule};
use crate::resample::Resampling;

/// What counts as foreground in a channel.
#[derive(Debug, Clone, Copy)]
pub(super) enum Foreground {
    /// Voxels that are not 0.
    NonZero,
    /// Voxels above the channel's smallest value after the rule's clipping: CT whose background is -1024.
    AboveMinimum(Clamp),
}

impl Foreground {
    /// MRI whose zeros were kept as background has other values below zero; nnU-Net crops zeros in any case.
    pub(super) fn of(rule: &IntensityRule, resampling: Resampling) -> Self {
        if resampling == Resampling::Nnunet || rule.keeps_zeros() {
            Self::NonZero
        } else {
            Self::AboveMinimum(Clamp::of_rule(rule))
        }
    }

    /// The clipping, if the lowest values after it decide.
    pub(super) fn needs(self) -> Option<Clamp> {
        match self {
            Self::NonZero => None,
            Self::AboveMinimum(clip) => Some(clip),
        }
    }

    pub(super) fn criterion(self) -> &'static str {
        match self {
            Self::NonZero => "other than 0",
            Self::AboveMinimum(_) => "above the minimum",
        }
    }

    /// The foreground of a channel.
    fn bounds(self, channel: &Channel) -> Option<BoundingBox> {
        let mut bounds = BoundingBox { start_zyx: [0; 3], end_zyx: [0; 3] };
        for axis in 0..3 {
            let inside: Vec<bool> = match self {
                Self::NonZero => channel.slices[axis].iter().map(|slice| slice.used > 0).collect(),
                Self::AboveMinimum(clip) => {
                    channel.largest(axis).map(|value| clip.of(value) > channel.lowest()).collect()
                }
            };
            bounds.start_zyx[axis] = inside.iter().position(|inside| *inside)?;
            bounds.end_zyx[axis] = inside.iter().rposition(|inside| *inside)? + 1;
        }
        Some(bounds)
    }

    /// Smallest and largest normalised value of a channel within the box.
    pub(super) fn range(
        self,
        channel: &Channel,
        bounds: &BoundingBox,
        transform: &ChannelTransform,
    ) -> [f32; 2] {
        if transform.constant {
            return [0.0; 2];
        }
        match self {
            Self::AboveMinimum(clip) => {
                channel.clipped_range(bounds, clip).map(|value| transform.value(value))
            }
            Self::NonZero => {
                let (values, zeros) = channel.values(bounds);
                normalised(values.used > 0, [values.smallest, values.largest], zeros, transform)
            }
        }
    }
}

/// The smallest box around the foreground of all channels, if there is any.
pub(super) fn joined_bounds<'a>(
    channels: impl Iterator<Item = (&'a Channel, &'a Foreground)>,
) -> Option<BoundingBox> {
    channels
        .filter_map(|(channel, foreground)| foreground.bounds(channel))
        .reduce(|all, one| all.joined(&one))
}

/// Smallest and largest normalised value, given the range of values other than 0 (if any) and whether there are zeros.
pub(super) fn normalised(any: bool, range: [f32; 2], zeros: bool, transform: &ChannelTransform) -> [f32; 2] {
    let zero = transform.value(0.0);
    match (any, zeros) {
        (false, _) => [zero; 2],
        (true, false) => range.map(|value| transform.value(value)),
        (true, true) => {
            let [low, high] = range.map(|value| transform.value(value));
            [low.min(zero), high.max(zero)]
        }
    }
}
