//! The labels of a case: in memory, or where they do not fit, in a temporary file.

use super::image::planes_at_a_time;
use super::place::Place;
use super::{Room, Rules};
use anyhow::Context as _;
use data_manifests::descriptor::{LabelKind, Labels};
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::raw::planes::{self, LabelPlanes};
use data_manifests::raw::{RawCase, Source};
use patches::{CaseWriter, ForegroundSample, LabelCount, LabelRecord, LabelType};
use std::path::Path;
use volume::crop::BoundingBox;
use volume::hdf5::NOT_ANNOTATED;
use volume::prepare::Steps;
use volume::resample::{Aligned, Alignment, Label};
use volume::spool::{Element, Spool, SpoolWriter};
use volume::{Grid, InMemory, Orientation, ReadLimits, VolumeError, Voxels, Warning, labels};

/// Labels as stored, checked.
pub(super) struct CaseLabels<'a> {
    declared: &'a Labels,
    /// Their own grid.
    grid: Grid,
    /// How that lies to the image's, where it is another one.
    alignment: Option<Alignment>,
    /// What was found on the way.
    pub(super) warnings: Vec<Warning>,
    voxels: Stored,
    /// Largest value.
    largest: u64,
    room: Room<'a>,
}

enum Stored {
    Classes(Vec<u32>),
    Objects(Vec<u64>),
    ClassesOnDisk(Spool<u32>),
    ObjectsOnDisk(Spool<u64>),
}

impl<'a> CaseLabels<'a> {
    /// Reads the labels of `case`, if it has any; they must lie on `image`'s grid, or be brought there, and hold declared
    /// values.
    pub(super) fn read(
        rules: &Rules<'a>,
        case: &RawCase,
        image: &Grid,
        room: &Room<'a>,
    ) -> anyhow::Result<Option<Self>> {
        let Some(source) = &case.label else { return Ok(None) };
        let descriptor = rules.descriptor;
        let declared = descriptor
            .labels
            .as_ref()
            .with_context(|| format!("data set '{}' declares no labels", descriptor.name))?;
        let place =
            |grid: &Grid| Place::of(rules.treatment, (case.image.path(), image), (source.path(), grid));
        let (place, voxels, largest, mut warnings) = match room {
            Room::Memory => {
                let open::RawLabels { grid, voxels, warnings } = open::labels(source, descriptor)?;
                let mut place = place(&grid)?;
                match &voxels {
                    RawVoxels::Narrow(values) => place.see(0, values),
                    RawVoxels::Wide(values) => place.see(0, values),
                }
                let (voxels, largest) = in_memory(voxels, source, declared)?;
                (place, voxels, largest, warnings)
            }
            Room::Disk(scratch) => {
                let mut planes = planes::labels(source, descriptor, ReadLimits::UNLIMITED)?;
                let mut place = place(planes.grid())?;
                let empty = Scratch { directory: scratch, room };
                let (voxels, largest) = on_disk(&mut planes, source, declared, &empty, &mut place)?;
                (place, voxels, largest, planes.warnings().to_vec())
            }
        };
        warnings.extend(place.warning());
        let Place { grid, alignment, .. } = place;
        Ok(Some(Self { declared, grid, alignment, warnings, voxels, largest, room: *room }))
    }

    /// Takes the labels the way of their image and writes them; returns what is known of them, and what of that somebody should
    /// know.
    pub(super) fn write(
        &self,
        steps: &Steps,
        writer: &mut CaseWriter,
    ) -> anyhow::Result<(LabelRecord, Option<Warning>)> {
        let mut written = Written {
            steps,
            writer,
            declared: self.declared,
            largest: self.largest,
            room: self.room,
            counts: labels::Counts::new(),
            sample: ForegroundSample::new(steps.bounds.shape()),
        };
        let (stored_zyx, orientation) = (self.grid.shape_zyx, Orientation::to_canonical(&self.grid));
        let alignment = self.alignment.as_ref();
        match &self.voxels {
            Stored::Classes(v) => {
                written.write_aligned(&InMemory::oriented(v, 1, stored_zyx, orientation)?, alignment, Some)
            }
            Stored::ClassesOnDisk(spool) => written.write_aligned(spool, alignment, Some),
            Stored::Objects(v) => {
                let source = InMemory::oriented(v, 1, stored_zyx, orientation)?;
                written.write_aligned(&source, alignment, |_| None)
            }
            Stored::ObjectsOnDisk(spool) => written.write_aligned(spool, alignment, |_| None),
        }?;
        let Written { writer, counts, sample, .. } = written;
        writer.foreground(&sample.finish())?;
        Ok((record(&counts, self.declared), leak(&counts, self.declared)))
    }
}

/// What becomes known while labels are written.
struct Written<'a> {
    steps: &'a Steps,
    writer: &'a mut CaseWriter,
    declared: &'a Labels,
    largest: u64,
    room: Room<'a>,
    counts: labels::Counts,
    sample: ForegroundSample,
}

impl Written<'_> {
    /// As [`Written::write`], from labels on a grid of their own where there is an alignment.
    fn write_aligned<T: Label + Into<u64>>(
        &mut self,
        source: &dyn Voxels<T>,
        alignment: Option<&Alignment>,
        class: impl Fn(T) -> Option<u32>,
    ) -> anyhow::Result<()> {
        match alignment {
            Some(alignment) => self.write(&Aligned::new(source, alignment)?, class),
            None => self.write(source, class),
        }
    }

    /// `class` gives the class of a label; objects have none, and no voxels are sampled of them.
    fn write<T: Label + Into<u64>>(
        &mut self,
        source: &dyn Voxels<T>,
        class: impl Fn(T) -> Option<u32>,
    ) -> anyhow::Result<()> {
        // all cases of a data set have classes of one type
        let largest = match self.declared.kind {
            LabelKind::Semantic => self.declared.allowed().last().copied().unwrap_or(0),
            LabelKind::Instances => self.largest,
        };
        let Self { steps, writer, counts, sample, room, .. } = self;
        writer.label(LabelType::for_maximum(largest), steps.bounds.shape(), |lo, shape| {
            room.proceed()?;
            let end_zyx = std::array::from_fn(|axis| lo[axis] + shape[axis]);
            let values = steps.label_region(source, &BoundingBox { start_zyx: lo, end_zyx })?;
            labels::count_into(counts, &values);
            let classes: Option<Vec<u32>> = values.iter().map(|value| class(*value)).collect();
            if let Some(classes) = classes {
                sample.add(&classes, lo, shape)?;
            }
            Ok::<_, anyhow::Error>(values)
        })
    }
}

fn in_memory(voxels: RawVoxels, source: &Source, declared: &Labels) -> anyhow::Result<(Stored, u64)> {
    Ok(match voxels {
        RawVoxels::Narrow(values) => {
            let counts = labels::counts(&values);
            let largest = counts.keys().last().copied().unwrap_or(0);
            check(counts, source, declared)?;
            (Stored::Classes(values), largest)
        }
        RawVoxels::Wide(values) => {
            let largest = values.iter().copied().max().unwrap_or(0);
            (Stored::Objects(values), largest)
        }
    })
}

/// Where temporary labels go.
struct Scratch<'a> {
    directory: &'a Path,
    room: &'a Room<'a>,
}

fn on_disk(
    planes: &mut LabelPlanes,
    source: &Source,
    declared: &Labels,
    scratch: &Scratch<'_>,
    place: &mut Place,
) -> anyhow::Result<(Stored, u64)> {
    match declared.kind {
        LabelKind::Instances => {
            let (spool, largest) = scratch.spooled::<u64>(planes, place, |_| {}, Some)?;
            Ok((Stored::ObjectsOnDisk(spool), largest))
        }
        LabelKind::Semantic => {
            let mut counts = labels::Counts::new();
            let see = |values: &[u64]| labels::count_into(&mut counts, values);
            // a value that does not fit is not declared: it is reported with the others
            let (spool, largest) =
                scratch.spooled::<u32>(planes, place, see, |value| u32::try_from(value).ok())?;
            check(counts, source, declared)?;
            Ok((Stored::ClassesOnDisk(spool), largest))
        }
    }
}

impl Scratch<'_> {
    /// Reads all planes into a temporary file; `see` is shown every value, `fit` turns it into what is stored (0 where it
    /// cannot). Returns the largest value, too.
    fn spooled<T: Element>(
        &self,
        planes: &mut LabelPlanes,
        place: &mut Place,
        mut see: impl FnMut(&[u64]),
        fit: impl Fn(u64) -> Option<T>,
    ) -> anyhow::Result<(Spool<T>, u64)> {
        let grid = place.grid;
        let orientation = Orientation::to_canonical(&grid);
        let mut writer = SpoolWriter::<T>::new(self.directory, 1, grid.shape_zyx, orientation)?;
        let (mut buffer, mut done, mut largest) = (Vec::new(), 0, 0);
        loop {
            self.room.proceed()?;
            let read = planes.next_planes(planes_at_a_time(&grid, size_of::<u64>()), &mut buffer)?;
            if read == 0 {
                return Ok((writer.finish()?, largest));
            }
            see(&buffer);
            place.see(done, &buffer);
            done += read;
            largest = buffer.iter().copied().fold(largest, u64::max);
            let fitted: Vec<T> = buffer.iter().map(|value| fit(*value).unwrap_or_default()).collect();
            writer.write(&fitted)?;
        }
    }
}

/// Classes must be declared.
fn check(counts: labels::Counts, source: &Source, declared: &Labels) -> Result<(), VolumeError> {
    if declared.kind == LabelKind::Semantic {
        labels::check(counts, &declared.allowed()).map_err(|error| error.in_file(source.path()))?;
    }
    Ok(())
}

fn record(counts: &labels::Counts, declared: &Labels) -> LabelRecord {
    let is_object = |value: u64| declared.kind == LabelKind::Semantic || value != NOT_ANNOTATED;
    let distinct = counts.keys().filter(|value| **value != 0 && is_object(**value)).count();
    let voxels = match declared.kind {
        LabelKind::Instances => Vec::new(),
        LabelKind::Semantic => declared
            .allowed()
            .into_iter()
            .map(|value| LabelCount { value: value as u32, voxels: counts.get(&value).copied().unwrap_or(0) })
            .collect(),
    };
    LabelRecord { kind: declared.kind, distinct, voxels }
}

/// A warning where one object is nearly all that is labelled.
fn leak(counts: &labels::Counts, declared: &Labels) -> Option<Warning> {
    if declared.kind == LabelKind::Semantic {
        return None;
    }
    let voxels = || counts.iter().filter(|(id, _)| !matches!(**id, 0 | NOT_ANNOTATED)).map(|(_, n)| *n);
    let (objects, largest) = (voxels().count() as u64, voxels().max()?);
    labels::leaking_share(objects, largest, voxels().sum())
        .map(|share| Warning::LeakingObject { objects, share })
}
