//! One pass that finds what the steps need, then any box of the result.

use super::foreground::{Foreground, joined_bounds, normalised};
use super::statistics::{Channel, non_finite};
use super::{Method, Steps, absence};
use crate::crop::BoundingBox;
use crate::error::{NoForeground, Result, VolumeError};
use crate::geometry::Grid;
use crate::intensity::{ChannelStatistics, ChannelTransform, IntensityRule};
use crate::orientation::Orientation;
use crate::resample::{self, Clip, Label, Resampling, Spline, axis_lines, separate_axis};
use crate::voxels::{Part, Voxels};

/// All that is known of an image before its voxels are made.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The steps, with the final grid.
    pub steps: Steps,
    /// The fitted rule of each channel.
    pub transforms: Vec<ChannelTransform>,
    /// Smallest and largest normalised intensity of each channel within the crop; by the nnunet convention before
    /// resampling, which goes no further.
    pub ranges: Vec<[f32; 2]>,
    way: Way,
}

/// How voxels are made.
#[derive(Debug, Clone)]
enum Way {
    Linear(resample::Linear),
    Nnunet { spline: Spline, clips: Vec<Clip> },
}

/// Finds statistics, foreground and final grid of an image, in one pass over it.
///
/// `source` is read in canonical orientation (a [`crate::spool::Spool`] or [`crate::InMemory::oriented`] does that);
/// `stored` is the grid as stored. Memory: a tile of 64³ voxels per thread with what resampling needs around it, and
/// statistics per slice along each axis.
///
/// # Errors
/// As [`super::image`]; reading; a source of another shape than the canonical grid.
pub fn survey(source: &dyn Voxels<f32>, stored: &Grid, method: &Method) -> Result<Survey> {
    match method.resampling {
        Resampling::Linear => {
            let plan = Linear::new(stored, method)?;
            let resampled = plan.view(source)?;
            plan.survey(&resampled, source, stored, method)
        }
        Resampling::Nnunet => nnunet(source, stored, method),
    }
}

impl Survey {
    /// A box of a channel of the result, z, y, x on [`Steps::grid`], from the image in canonical orientation.
    ///
    /// # Errors
    /// A box that does not lie in the grid; reading.
    pub fn image_region(
        &self,
        source: &dyn Voxels<f32>,
        channel: usize,
        bounds: &BoundingBox,
    ) -> Result<Vec<f32>> {
        bounds.check(self.steps.bounds.shape())?;
        let Some(transform) = self.transforms.get(channel) else {
            return Err(VolumeError::NoChannel { channel, channels: self.transforms.len() });
        };
        match &self.way {
            Way::Linear(kernel) => {
                let wanted = bounds.shifted(self.steps.bounds.start_zyx);
                let mut data = resample::region(kernel, source, channel, &wanted)?;
                transform.apply(&mut data);
                Ok(data)
            }
            Way::Nnunet { spline, clips } => {
                let part = Part::new(source, self.steps.part)?;
                let normalised = Normalised { source: &part, transforms: &self.transforms };
                resample::region(&spline.clipped(&clips[channel]), &normalised, channel, bounds)
            }
        }
    }

    /// All channels of the result, whole.
    pub(super) fn image(&self, source: &dyn Voxels<f32>) -> Result<Vec<f32>> {
        let whole = BoundingBox::whole(self.steps.bounds.shape());
        all_channels(self.transforms.len(), |channel| self.image_region(source, channel, &whole))
    }

    /// A box of the labels: [`Steps::label_region`].
    ///
    /// # Errors
    /// As there.
    pub fn label_region<T: Label>(&self, labels: &dyn Voxels<T>, bounds: &BoundingBox) -> Result<Vec<T>> {
        self.steps.label_region(labels, bounds)
    }
}

/// An image after its intensity rule.
struct Normalised<'a> {
    source: &'a dyn Voxels<f32>,
    transforms: &'a [ChannelTransform],
}

impl Voxels<f32> for Normalised<'_> {
    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.source.shape_zyx()
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<f32>> {
        let mut data = self.source.read(channel, bounds)?;
        self.transforms[channel].apply(&mut data);
        Ok(data)
    }
}

/// The channels of an image, each with its rule and what that one counts as foreground.
struct Channels {
    rules: Vec<IntensityRule>,
    foregrounds: Vec<Foreground>,
    found: Vec<Channel>,
}

impl Channels {
    /// Reads each once.
    fn of(source: &dyn Voxels<f32>, method: &Method) -> Result<Self> {
        let rules = method.rules.of(source.channels())?;
        let foregrounds: Vec<Foreground> =
            rules.iter().map(|rule| Foreground::of(rule, method.resampling)).collect();
        let read =
            |(number, foreground): (usize, &Foreground)| Channel::of(source, number, foreground.needs());
        let found = foregrounds.iter().enumerate().map(read).collect::<Result<_>>()?;
        Ok(Self { rules, foregrounds, found })
    }

    /// Fits its rule to each within a box outside of which all voxels are 0.
    fn fit(&self, source: &dyn Voxels<f32>, bounds: &BoundingBox) -> Result<Vec<ChannelTransform>> {
        let fit = |(number, (channel, rule)): (usize, (&Channel, &IntensityRule))| {
            let statistics = channel.statistics(bounds, rule);
            if !(statistics.mean.is_finite() && statistics.std.is_finite()) {
                return Err(non_finite(source, number));
            }
            rule.fit_statistics(&statistics).map_err(|error| error.of_channel(number, self.found.len()))
        };
        self.found.iter().zip(&self.rules).enumerate().map(fit).collect()
    }

    fn foreground(&self) -> impl Iterator<Item = (&Channel, &Foreground)> {
        self.found.iter().zip(&self.foregrounds)
    }

    /// Smallest and largest normalised value of each within the box.
    fn ranges(&self, bounds: &BoundingBox, transforms: &[ChannelTransform]) -> Vec<[f32; 2]> {
        self.foreground()
            .zip(transforms)
            .map(|((channel, foreground), transform)| foreground.range(channel, bounds, transform))
            .collect()
    }
}

/// One channel after the other; a single one is not copied.
fn all_channels(channels: usize, make: impl Fn(usize) -> Result<Vec<f32>>) -> Result<Vec<f32>> {
    let mut data = Vec::new();
    for channel in 0..channels {
        let made = make(channel)?;
        if channels == 1 {
            return Ok(made);
        }
        data.reserve_exact(if channel == 0 { channels * made.len() } else { 0 });
        data.extend_from_slice(&made);
    }
    Ok(data)
}

fn check_shape(source: &dyn Voxels<f32>, canonical: &Grid) -> Result<()> {
    let [found, expected] = [source.shape_zyx(), canonical.shape_zyx];
    if found == expected {
        return Ok(());
    }
    let [found, expected] = [found, expected].map(crate::voxels);
    Err(VolumeError::Length { what: "image to survey, in canonical orientation,", found, expected })
}

/// The linear convention up to resampling.
pub(super) struct Linear {
    canonical: Grid,
    pub(super) target: Grid,
    kernel: resample::Linear,
}

impl Linear {
    pub(super) fn new(stored: &Grid, method: &Method) -> Result<Self> {
        let canonical = Orientation::to_canonical(stored).apply_to_grid(stored);
        let target = method.resampling.target_grid(&canonical, method.spacing_zyx_mm)?;
        let lines = axis_lines(&canonical, &target)?;
        let kernel = resample::Linear::new(&lines, canonical.shape_zyx, target.shape_zyx);
        Ok(Self { canonical, target, kernel })
    }

    /// All channels, resampled.
    pub(super) fn resampled(&self, source: &dyn Voxels<f32>) -> Result<Vec<f32>> {
        let whole = BoundingBox::whole(self.target.shape_zyx);
        all_channels(source.channels(), |channel| resample::region(&self.kernel, source, channel, &whole))
    }

    /// The resampled image as something to be read.
    fn view<'a>(&'a self, source: &'a dyn Voxels<f32>) -> Result<Resampled<'a>> {
        check_shape(source, &self.canonical)?;
        Ok(Resampled { source, kernel: &self.kernel, shape_zyx: self.target.shape_zyx })
    }

    /// The survey, given the resampled image.
    pub(super) fn survey(
        &self,
        resampled: &dyn Voxels<f32>,
        source: &dyn Voxels<f32>,
        stored: &Grid,
        method: &Method,
    ) -> Result<Survey> {
        let channels = Channels::of(resampled, method)?;
        let transforms = channels.fit(source, &BoundingBox::whole(self.target.shape_zyx))?;
        // A channel that becomes zeros has no foreground.
        let varying = channels.foreground().zip(&transforms).filter(|(_, transform)| !transform.constant);
        let bounds = joined_bounds(varying.map(|(channel, _)| channel)).ok_or_else(|| {
            let [from, to] = [&self.canonical, &self.target];
            let statistics: Vec<ChannelStatistics> =
                transforms.iter().map(|transform| transform.statistics).collect();
            absence::error(&statistics, &channels.rules, method.resampling, [from, to])
        })?;
        let ranges = channels.ranges(&bounds, &transforms);
        let steps = Steps {
            source: *stored,
            orientation: Orientation::to_canonical(stored),
            canonical: self.canonical,
            resampling: method.resampling,
            spacing_zyx_mm: method.spacing_zyx_mm,
            part: BoundingBox::whole(self.canonical.shape_zyx),
            resampled: self.target,
            bounds,
        };
        Ok(Survey { steps, transforms, ranges, way: Way::Linear(self.kernel.clone()) })
    }
}

/// An image that is resampled while it is read.
struct Resampled<'a> {
    source: &'a dyn Voxels<f32>,
    kernel: &'a resample::Linear,
    shape_zyx: [usize; 3],
}

impl Voxels<f32> for Resampled<'_> {
    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<f32>> {
        resample::region(self.kernel, self.source, channel, bounds)
    }
}

fn nnunet(source: &dyn Voxels<f32>, stored: &Grid, method: &Method) -> Result<Survey> {
    let orientation = Orientation::to_canonical(stored);
    let canonical = orientation.apply_to_grid(stored);
    check_shape(source, &canonical)?;
    let channels = Channels::of(source, method)?;
    let part = joined_bounds(channels.foreground()).ok_or_else(|| {
        let (shape_zyx, criterion) = (canonical.shape_zyx, Foreground::NonZero.criterion());
        VolumeError::EmptyForeground { reason: NoForeground::Nothing { shape_zyx, criterion } }
    })?;
    let transforms = channels.fit(source, &part)?;
    let ranges = channels.ranges(&part, &transforms);

    let cropped = canonical.cropped(part.start_zyx, part.shape());
    let resampled = method.resampling.target_grid(&cropped, method.spacing_zyx_mm)?;
    let apart = separate_axis(canonical.spacing_zyx_mm(), method.spacing_zyx_mm);
    let clips = match apart {
        None => ranges.iter().copied().map(Clip::Whole).collect(),
        Some(axis) => {
            let voxels = (part.voxels() / part.shape()[axis]) as u64;
            let slices = |(channel, transform): (&Channel, &ChannelTransform)| Clip::Slices {
                axis,
                ranges: channel.slices[axis][part.start_zyx[axis]..part.end_zyx[axis]]
                    .iter()
                    .map(|slice| {
                        let range = [slice.smallest, slice.largest];
                        normalised(slice.used > 0, range, slice.used < voxels, transform)
                    })
                    .collect(),
            };
            channels.found.iter().zip(&transforms).map(slices).collect()
        }
    };
    let spline = Spline::new(part.shape(), resampled.shape_zyx, apart);
    let bounds = BoundingBox::whole(resampled.shape_zyx);
    let steps = Steps {
        source: *stored,
        orientation,
        canonical,
        resampling: method.resampling,
        spacing_zyx_mm: method.spacing_zyx_mm,
        part,
        resampled,
        bounds,
    };
    Ok(Survey { steps, transforms, ranges, way: Way::Nnunet { spline, clips } })
}
