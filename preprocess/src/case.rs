//! One case: raw files to a shard group.

use crate::messages;
use anyhow::Context as _;
use data_manifests::Descriptor;
use data_manifests::descriptor::{LabelKind, Labels, Modality};
use data_manifests::raw::open::{self, RawImage, RawVoxels};
use data_manifests::raw::{RawCase, Source};
use patches::{
    CaseRecord, ChannelRecord, ForegroundSample, LabelCount, LabelRecord, LabelType, LabelVoxels,
    Normalisation, SourceRecord,
};
use stage::Message;
use stage::atomic::PendingDirectory;
use std::path::Path;
use volume::intensity::{self, NonFinite};
use volume::prepare::{self, Prepared, Steps};
use volume::{Grid, Warning, labels};

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
    pub(crate) non_finite: NonFinite,
    /// Labels of the image's shape lie on its grid.
    pub(crate) trust_voxel_grid: bool,
    pub(crate) raw_root: &'a Path,
}

impl Rules<'_> {
    /// Digest of all that decides a case's bytes.
    pub(crate) fn work(&self, case: &RawCase, digests: &Digests) -> anyhow::Result<String> {
        let d = self.descriptor;
        let grid = (&d.grid.unit, &d.grid.spacing_zyx, d.grid.resampling);
        let rules = (&d.name, d.modality, &d.channels, &d.labels, grid, &d.intensity);
        let digest = data_manifests::digest::digest_of(&(
            rules,
            (self.non_finite, self.trust_voxel_grid),
            (&case.id, &case.subject),
            (case.image.portable(self.raw_root), &digests.image),
            (case.label.as_ref().map(|label| label.portable(self.raw_root)), &digests.label),
            env!("CARGO_PKG_VERSION"),
            CaseRecord::SCHEMA,
        ))?;
        Ok(digest)
    }
}

/// Labels on the way through the steps.
enum Voxels {
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

impl Voxels {
    /// Takes the labels the way their image went.
    fn take(self, steps: &Steps) -> volume::Result<Self> {
        Ok(match self {
            Self::Narrow(v) => Self::Narrow(steps.labels(&v)?),
            Self::Wide(v) => Self::Wide(steps.labels(&v)?),
        })
    }
}

/// Reads, converts and writes a case into `destination`; returns its record and what somebody should know.
pub(crate) fn convert(
    rules: &Rules<'_>,
    case: &RawCase,
    digests: &Digests,
    destination: &Path,
) -> anyhow::Result<(CaseRecord, Vec<Message>)> {
    let descriptor = rules.descriptor;
    let in_image = |e: volume::VolumeError| e.in_file(case.image.path());
    let RawImage { channels, grid, mut data, mut warnings } = open::image(&case.image)?;
    if channels != descriptor.channels.len() {
        return Err(Message::error(
            "E141",
            format!("found {channels} channels, expected {}", descriptor.channels.len()),
        )
        .detail(format!(
            "{}: the data set declares {}",
            case.image.path().display(),
            descriptor.channels.join(", ")
        ))
        .fix("Correct the file, or the descriptor's 'channels'")
        .into());
    }
    warnings.extend(intensity::check_finite(&mut data, channels, rules.non_finite).map_err(in_image)?);
    intensity::check_varies(&data, channels).map_err(in_image)?;
    if descriptor.modality == Modality::Ct {
        warnings.extend(intensity::hounsfield_warning(&data));
    }
    let (label, label_warnings) = match &case.label {
        Some(source) => {
            let (voxels, found) = read_labels(rules, case, source, &grid)?;
            // what both files share is said once
            let own: Vec<_> = found.into_iter().filter(|warning| !warnings.contains(warning)).collect();
            (Some(voxels), messages_of(case, source, &own, rules))
        }
        None => (None, Vec::new()),
    };

    let prepared = prepare::image(&data, channels, &grid, &descriptor.method()).map_err(in_image)?;
    drop(data);
    let Prepared { data, grid: cropped, transforms, ranges, steps } = prepared;
    warnings.extend(intensity::constant_warnings(&transforms));
    let mut messages = messages_of(case, &case.image, &warnings, rules);
    messages.extend(label_warnings);
    let label = label.map(|v| v.take(&steps)).transpose()?;

    let channels = descriptor
        .channels
        .iter()
        .zip(&transforms)
        .zip(&ranges)
        .map(|((name, transform), [minimum, maximum])| ChannelRecord {
            name: name.clone(),
            normalisation: Normalisation {
                clip: transform.clip.map(|c| c.map(|v| v as f32)),
                subtract: transform.subtract as f32,
                divide: transform.divide as f32,
                keep_zeros: transform.keep_zeros,
            },
            minimum: *minimum,
            maximum: *maximum,
        })
        .collect();
    let record = CaseRecord {
        schema: CaseRecord::SCHEMA.to_owned(),
        id: case.id.clone(),
        subject: case.subject.clone(),
        dataset: descriptor.name.clone(),
        modality: descriptor.modality,
        channels,
        shape_zyx: cropped.shape_zyx,
        spacing_zyx_mm: cropped.spacing_zyx_mm(),
        affine: cropped.affine,
        work: rules.work(case, digests)?,
        source: source_record(rules, case, digests, &steps),
        label: label.as_ref().zip(descriptor.labels.as_ref()).map(|(v, declared)| label_record(v, declared)),
        warnings: messages::recorded(&messages),
    };
    let mut sample = ForegroundSample::new(cropped.shape_zyx);
    let voxels = match &label {
        Some(Voxels::Narrow(v)) => {
            sample.add(v, [0; 3], cropped.shape_zyx)?;
            Some(LabelVoxels::Narrow(v))
        }
        Some(Voxels::Wide(v)) => Some(LabelVoxels::Wide(v)),
        None => None,
    };
    let voxels = voxels
        .zip(label.as_ref())
        .zip(descriptor.labels.as_ref())
        .map(|((voxels, label), declared)| (LabelType::for_maximum(label_maximum(label, declared)), voxels));
    let pending = PendingDirectory::new(destination)?;
    patches::write_case(pending.path(), &record, &data, voxels, &sample.finish())?;
    pending.publish()?;
    Ok((record, messages))
}

fn messages_of(case: &RawCase, source: &Source, warnings: &[Warning], rules: &Rules<'_>) -> Vec<Message> {
    let message = |warning| messages::of_warning(&case.id, source.path(), warning, rules.raw_root);
    warnings.iter().map(message).collect()
}

fn read_labels(
    rules: &Rules<'_>,
    case: &RawCase,
    source: &Source,
    image_grid: &Grid,
) -> anyhow::Result<(Voxels, Vec<Warning>)> {
    let in_label = |e: volume::VolumeError| e.in_file(source.path());
    let found = open::labels(source, rules.descriptor)?;
    let mut warnings = found.warnings;
    // its shape is compared in any case
    let grid =
        if rules.trust_voxel_grid { Grid { affine: image_grid.affine, ..found.grid } } else { found.grid };
    warnings.extend(volume::check_same_grid(case.image.path(), image_grid, source.path(), &grid)?);
    let declared = rules
        .descriptor
        .labels
        .as_ref()
        .with_context(|| format!("data set '{}' declares no labels", rules.descriptor.name))?;
    match found.voxels {
        RawVoxels::Narrow(values) => {
            if declared.kind == LabelKind::Semantic {
                labels::check(labels::counts(&values), &declared.allowed()).map_err(in_label)?;
            }
            Ok((Voxels::Narrow(values), warnings))
        }
        RawVoxels::Wide(values) => Ok((Voxels::Wide(values), warnings)),
    }
}

/// The largest value that decides the stored type: of classes the last declared one, so that all cases of a data set have the same
/// type, of objects the largest id.
fn label_maximum(voxels: &Voxels, declared: &Labels) -> u64 {
    match (declared.kind, voxels) {
        (LabelKind::Semantic, _) => declared.allowed().last().copied().unwrap_or(0),
        (LabelKind::Instances, Voxels::Narrow(v)) => v.iter().copied().max().unwrap_or(0).into(),
        (LabelKind::Instances, Voxels::Wide(v)) => v.iter().copied().max().unwrap_or(0),
    }
}

fn label_record(voxels: &Voxels, declared: &Labels) -> LabelRecord {
    let counts = match voxels {
        Voxels::Narrow(v) => labels::counts(v),
        Voxels::Wide(v) => labels::counts(v),
    };
    let distinct = counts.keys().filter(|value| **value != 0).count();
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

fn source_record(rules: &Rules<'_>, case: &RawCase, digests: &Digests, steps: &Steps) -> SourceRecord {
    SourceRecord {
        image: case.image.portable(rules.raw_root),
        image_sha256: digests.image.clone(),
        label: case.label.as_ref().map(|l| l.portable(rules.raw_root)),
        label_sha256: digests.label.clone(),
        shape_zyx: steps.source.shape_zyx,
        affine: steps.source.affine,
        orientation: steps.orientation,
        canonical_shape_zyx: steps.canonical.shape_zyx,
        resampled_shape_zyx: steps.resampled.shape_zyx,
        resampled_affine: steps.resampled.affine,
        crop_lo_zyx: steps.bounds.start_zyx,
    }
}
