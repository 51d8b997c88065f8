//! The image of a case: in memory, or where it does not fit, in a temporary file.

use super::{Room, Rules};
use crate::estimate::PLANES_BYTES;
use crate::messages;
use data_manifests::descriptor::Modality;
use data_manifests::raw::open::{self, RawImage};
use data_manifests::raw::{RawCase, Source, planes};
use stage::Message;
use std::path::Path;
use volume::crop::BoundingBox;
use volume::intensity::{self, ChannelTransform, Contents, NonFinite};
use volume::prepare::{self, Prepared, Steps, Survey};
use volume::spool::{Spool, SpoolWriter};
use volume::{Filled, Grid, Orientation, ReadLimits, VolumeError, Voxels, Warning};

/// An image that went through all steps, or goes through them while it is read.
pub(super) struct Image {
    /// The steps, with the grids.
    pub(super) steps: Steps,
    /// The fitted rule of each channel.
    pub(super) transforms: Vec<ChannelTransform>,
    /// Smallest and largest value of each channel.
    pub(super) ranges: Vec<[f32; 2]>,
    /// What was found on the way.
    pub(super) warnings: Vec<Warning>,
    voxels: Intensities,
}

enum Intensities {
    /// Channels, z, y, x of the final grid.
    Memory(Vec<f32>),
    /// The image as read, in canonical orientation.
    Disk { spool: Spool<f32>, fill: Vec<f32>, survey: Box<Survey> },
}

impl Image {
    /// Reads and prepares the image of `case`.
    pub(super) fn read(rules: &Rules<'_>, case: &RawCase, room: &Room<'_>) -> anyhow::Result<Self> {
        let mut image = match room {
            Room::Memory => in_memory(rules, &case.image),
            Room::Disk(scratch) => on_disk(rules, &case.image, scratch, room),
        }?;
        image.warnings.extend(intensity::constant_warnings(&image.transforms));
        let Steps { canonical, part, resampled, .. } = &image.steps;
        let before = canonical.cropped(part.start_zyx, part.shape());
        image.warnings.extend(prepare::shrinkage(&before, resampled));
        Ok(image)
    }

    /// The voxels of a box of the final grid.
    pub(super) fn region(&self, channel: usize, bounds: &BoundingBox) -> volume::Result<Vec<f32>> {
        match &self.voxels {
            Intensities::Memory(data) => {
                let shape_zyx = self.steps.bounds.shape();
                let voxels = shape_zyx.iter().product::<usize>();
                volume::crop::crop(&data[channel * voxels..][..voxels], 1, shape_zyx, bounds)
            }
            Intensities::Disk { spool, fill, survey } => {
                with_filled(spool, fill, |source| survey.image_region(source, channel, bounds))
            }
        }
    }
}

fn in_memory(rules: &Rules<'_>, source: &Source) -> anyhow::Result<Image> {
    let names = &rules.descriptor.channels;
    let in_image = |e: volume::VolumeError| source.in_own_file(e.naming_channels(names));
    let RawImage { channels, grid, mut data, mut warnings } = open::image(source)?;
    expect_channels(rules, source, channels)?;
    warnings
        .extend(intensity::check_finite(&mut data, channels, rules.treatment.non_finite).map_err(in_image)?);
    let method = rules.descriptor.method();
    method.rules.check_all_vary(&data, channels).map_err(in_image)?;
    let is_ct = rules.descriptor.modality == Modality::Ct;
    warnings.extend(method.rules.hounsfield_warning_of(&data, channels, is_ct));
    let prepared = prepare::image(&data, channels, &grid, &method)
        .map_err(|error| doubted(in_image(error), &warnings, rules))?;
    let Prepared { data, transforms, ranges, steps, .. } = prepared;
    Ok(Image { steps, transforms, ranges, warnings, voxels: Intensities::Memory(data) })
}

fn on_disk(rules: &Rules<'_>, source: &Source, scratch: &Path, room: &Room<'_>) -> anyhow::Result<Image> {
    let names = &rules.descriptor.channels;
    let in_image = |e: volume::VolumeError| source.in_own_file(e.naming_channels(names));
    let mut planes = planes::image(source, ReadLimits::UNLIMITED)?;
    let (channels, grid) = (planes.channels(), *planes.grid());
    expect_channels(rules, source, channels)?;
    let orientation = Orientation::to_canonical(&grid);
    let mut writer = SpoolWriter::<f32>::new(scratch, channels, grid.shape_zyx, orientation)?;
    let mut contents = vec![Contents::default(); channels];
    let (mut buffer, mut done) = (Vec::new(), 0);
    let (depth, at_a_time) = (grid.shape_zyx[0], planes_at_a_time(&grid, size_of::<f32>()));
    loop {
        room.proceed()?;
        // planes of one channel at a time
        let read = planes.next_planes(at_a_time.min(depth - done % depth), &mut buffer)?;
        if read == 0 {
            break;
        }
        contents[done / depth].add(&buffer);
        writer.write(&buffer)?;
        done += read;
    }
    let mut warnings = planes.warnings();
    let method = rules.descriptor.method();
    let spool = writer.finish()?;
    for (channel, found) in contents.iter().enumerate() {
        warnings.extend(found.check_finite(channel, rules.treatment.non_finite).map_err(in_image)?);
        method.rules.check_varies(channel, found).map_err(in_image)?;
    }
    let is_ct = rules.descriptor.modality == Modality::Ct;
    warnings.extend(method.rules.hounsfield_warning(&contents, is_ct));
    let fill = match rules.treatment.non_finite {
        NonFinite::Error => Vec::new(),
        NonFinite::FillMin => contents.iter().map(Contents::smallest).collect(),
    };
    room.proceed()?;
    let survey = with_filled(&spool, &fill, |image| prepare::survey(image, &grid, &method))
        .map_err(|error| doubted(in_image(error), &warnings, rules))?;
    Ok(Image {
        steps: survey.steps.clone(),
        transforms: survey.transforms.clone(),
        ranges: survey.ranges.clone(),
        warnings,
        voxels: Intensities::Disk { spool, fill, survey: Box::new(survey) },
    })
}

/// An error, with what was found odd about the intensities before: the one may be the other's cause.
fn doubted(error: VolumeError, warnings: &[Warning], rules: &Rules<'_>) -> anyhow::Error {
    let doubt = warnings.iter().find(|warning| warning.code() == Warning::IMPLAUSIBLE);
    match doubt {
        Some(doubt) => {
            messages::of_volume(&error, rules.raw_root).cause(format!("{}: {doubt}", doubt.code())).into()
        }
        None => error.into(),
    }
}

/// Reads `spool` as it is, or with a value per channel in place of what is not finite.
fn with_filled<T>(
    spool: &Spool<f32>,
    fill: &[f32],
    read: impl FnOnce(&dyn Voxels<f32>) -> volume::Result<T>,
) -> volume::Result<T> {
    if fill.is_empty() { read(spool) } else { read(&Filled::new(spool, fill.to_vec())?) }
}

/// Planes that make up [`PLANES_BYTES`] in elements of `bytes`; one at least.
pub(super) fn planes_at_a_time(grid: &Grid, bytes: usize) -> usize {
    let [_, height, width] = grid.shape_zyx;
    (PLANES_BYTES as usize / (height * width * bytes)).max(1)
}

fn expect_channels(rules: &Rules<'_>, source: &Source, found: usize) -> anyhow::Result<()> {
    let declared = &rules.descriptor.channels;
    if found == declared.len() {
        return Ok(());
    }
    Err(Message::error("E141", format!("found {found} channels, expected {}", declared.len()))
        .detail(format!("{}: the data set declares {}", source.path().display(), declared.join(", ")))
        .fix("Correct the file, or the descriptor's 'channels'")
        .into())
}
