//! One case: raw files to a shard group, in memory or box by box from temporary files; the bytes are the same.

mod image;
mod label;
pub(crate) mod place;

use crate::messages;
use crate::treatment::Treatment;
use data_manifests::Descriptor;
use data_manifests::descriptor::Intensity;
use data_manifests::raw::{RawCase, Source};
use image::Image;
use label::CaseLabels;
use patches::{CaseRecord, CaseWriter, ChannelRecord, Normalisation, SourceRecord};
use stage::atomic::PendingDirectory;
use stage::{Message, interrupt};
use std::path::Path;
use volume::Warning;
use volume::crop::BoundingBox;
use volume::intensity::ChannelTransform;

/// Digests of a case's raw files.
#[derive(Debug, Clone)]
pub(crate) struct Digests {
    pub(crate) image: String,
    pub(crate) label: Option<String>,
}

/// Those of a case, or why a file of it cannot be read.
pub(crate) type ReadDigests = Result<Digests, String>;

/// How to treat all cases.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) descriptor: &'a Descriptor,
    pub(crate) treatment: Treatment,
    pub(crate) raw_root: &'a Path,
}

impl Rules<'_> {
    /// Digest of all that decides a case's bytes.
    pub(crate) fn work(&self, case: &RawCase, digests: &Digests) -> anyhow::Result<String> {
        let d = self.descriptor;
        let grid = (&d.grid.unit, &d.grid.spacing_zyx, d.grid.resampling);
        let rules = (&d.name, d.modality, &d.channels, &d.labels, grid, &d.intensity);
        let mut treatment = self.treatment.values()?;
        // the files of a stack do not hold it
        treatment.extend(d.raw.spacing_zyx_mm().map(serde_json::to_value).transpose()?);
        let digest = data_manifests::digest::digest_of(&(
            rules,
            treatment,
            (&case.id, &case.subject),
            (case.image.portable(self.raw_root), &digests.image),
            (case.label.as_ref().map(|label| label.portable(self.raw_root)), &digests.label),
            env!("CARGO_PKG_VERSION"),
            CaseRecord::SCHEMA,
        ))?;
        Ok(digest)
    }
}

/// Where a case's voxels are kept on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room<'a> {
    /// All of them in memory.
    Memory,
    /// In temporary files in this directory, for cases that do not fit.
    Disk(&'a Path),
}

/// A signal stopped the work on a case.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Room<'_> {
    /// Fails with [`Interrupted`] in the middle of a large case once a signal came; others are finished first.
    fn proceed(&self) -> Result<(), Interrupted> {
        match self {
            Self::Disk(_) if interrupt::requested() => Err(Interrupted),
            Self::Disk(_) | Self::Memory => Ok(()),
        }
    }
}

/// A case that was written and not published yet.
#[derive(Debug)]
pub(crate) struct Made {
    /// The files.
    pub(crate) pending: PendingDirectory,
    /// What is known of it.
    pub(crate) record: CaseRecord,
    /// Bytes and digest of its files.
    pub(crate) tree: (u64, String),
    /// What somebody should know.
    pub(crate) messages: Vec<Message>,
}

/// Reads, converts and writes a case beside `destination`.
pub(crate) fn make(
    rules: &Rules<'_>,
    case: &RawCase,
    digests: &Digests,
    destination: &Path,
    room: &Room<'_>,
) -> anyhow::Result<Made> {
    let descriptor = rules.descriptor;
    let image = Image::read(rules, case, room)?;
    let labels = CaseLabels::read(rules, case, &image.steps.source, room)?;
    let mut messages = messages_of(case, &case.image, &image.warnings, rules);
    if let Some((source, labels)) = case.label.as_ref().zip(labels.as_ref()) {
        // what both files share is said once
        let own: Vec<_> =
            labels.warnings.iter().filter(|warning| !image.warnings.contains(warning)).cloned().collect();
        messages.extend(messages_of(case, source, &own, rules));
    }

    let cropped = image.steps.grid();
    let pending = PendingDirectory::new(destination)?;
    let mut writer = CaseWriter::create(pending.path())?.with_layout(rules.treatment.layout());
    writer.image(descriptor.channels.len(), cropped.shape_zyx, |channel, lo, shape| {
        room.proceed()?;
        let end_zyx = std::array::from_fn(|axis| lo[axis] + shape[axis]);
        Ok::<_, anyhow::Error>(image.region(channel, &BoundingBox { start_zyx: lo, end_zyx })?)
    })?;
    let written = labels.map(|labels| labels.write(&image.steps, &mut writer)).transpose()?;
    if let Some((source, (_, Some(warning)))) = case.label.as_ref().zip(written.as_ref()) {
        messages.extend(messages_of(case, source, std::slice::from_ref(warning), rules));
    }
    let record = CaseRecord {
        schema: CaseRecord::SCHEMA.to_owned(),
        id: case.id.clone(),
        subject: case.subject.clone(),
        dataset: descriptor.name.clone(),
        modality: descriptor.modality,
        channels: channel_records(descriptor, &image),
        shape_zyx: cropped.shape_zyx,
        spacing_zyx_mm: cropped.spacing_zyx_mm(),
        affine: cropped.affine,
        work: rules.work(case, digests)?,
        source: SourceRecord {
            image: case.image.portable(rules.raw_root),
            image_sha256: digests.image.clone(),
            label: case.label.as_ref().map(|l| l.portable(rules.raw_root)),
            label_sha256: digests.label.clone(),
            steps: image.steps.clone(),
        },
        label: written.map(|(label, _)| label),
        warnings: messages::recorded(&messages),
    };
    let tree = writer.finish(&record)?;
    Ok(Made { pending, record, tree, messages })
}

/// A channel's number, name, fitted rule and range.
type Named<'a> = (usize, (&'a String, (&'a ChannelTransform, &'a [f32; 2])));

fn channel_records(descriptor: &Descriptor, image: &Image) -> Vec<ChannelRecord> {
    let fitted = image.transforms.iter().zip(&image.ranges);
    let moments = |number: usize, transform: &ChannelTransform| match descriptor.intensity.channel(number) {
        Some(Intensity::Window { .. } | Intensity::MinMax {} | Intensity::None {}) => {
            let found = &transform.statistics;
            let mean = (found.mean - transform.subtract) / transform.divide;
            Some([mean as f32, (found.std / transform.divide) as f32])
        }
        _ => None,
    };
    let record = |(number, (name, (transform, range))): Named<'_>| ChannelRecord {
        name: name.clone(),
        normalisation: Normalisation {
            clip: transform.clip.map(|c| c.map(|v| v as f32)),
            subtract: transform.subtract as f32,
            divide: transform.divide as f32,
            keep_zeros: transform.keep_zeros,
        },
        minimum: range[0],
        maximum: range[1],
        moments: moments(number, transform),
    };
    descriptor.channels.iter().zip(fitted).enumerate().map(record).collect()
}

fn messages_of(case: &RawCase, source: &Source, warnings: &[Warning], rules: &Rules<'_>) -> Vec<Message> {
    let message = |warning| messages::of_warning(&case.id, source.path(), warning, rules.raw_root);
    warnings.iter().map(message).collect()
}
