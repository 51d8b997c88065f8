//! What is known of the volumes in a file.

mod stacks;

use super::statistics::{First, MOST_VALUES, Second, Statistics};
use crate::estimate::{self, Estimate};
use crate::messages;
use data_manifests::descriptor::{LabelKind, Modality};
use data_manifests::raw::open::{self, RawImage};
use data_manifests::raw::{self, RawCase, Source};
use data_manifests::{CaseSplit, Descriptor};
use serde::Serialize;
use stage::Message;
use std::path::Path;
use volume::intensity::{Contents, NonFinite};
use volume::nifti::{self, Header};
use volume::prepare;
use volume::scan::{self, Datatype, Format};
use volume::{Grid, Orientation, ValueTable, VolumeError, Warning, labels};

/// Of neighbours that are not both background, the share that are equal in label maps and not in images.
const LABEL_SHARE: f64 = 0.5;

/// A volume, as text and JSON tell it.
#[derive(Debug, Serialize)]
pub(super) struct Volume {
    pub(super) path: String,
    /// Data set inside the file.
    pub(super) part: Option<String>,
    /// Format with its version.
    pub(super) format: String,
    pub(super) bytes: u64,
    /// Number type on disk.
    pub(super) stored_type: String,
    /// Slope and intercept that apply to stored values.
    pub(super) scaling: Option<[f64; 2]>,
    pub(super) channels: usize,
    pub(super) shape_zyx: [usize; 3],
    pub(super) spacing_zyx_mm: [f64; 3],
    /// Voxel index (x, y, z) to RAS+ world, mm.
    pub(super) affine: [[f64; 4]; 4],
    /// Where x, y and z run to.
    pub(super) axis_codes: String,
    /// Which of the header's geometries counts, with the header's codes.
    pub(super) geometry: Geometry,
    /// Of each channel; of 64-bit labels there are none, since ids are no quantities.
    pub(super) statistics: Vec<Statistics>,
    pub(super) labels: LabelGuess,
    pub(super) preparation: Preparation,
    /// Repairs and doubts.
    pub(super) warnings: Vec<Flaw>,
    /// What a run would refuse it for.
    pub(super) errors: Vec<Message>,
}

impl Volume {
    fn grid(&self) -> Grid {
        Grid { shape_zyx: self.shape_zyx, affine: self.affine }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Geometry {
    /// `sform`, `qform`, `pixdim`, `TransformMatrix`, `space directions` or `resolution`.
    pub(super) source: &'static str,
    pub(super) sform_code: Option<i32>,
    pub(super) qform_code: Option<i32>,
}

/// Whether this looks like a label map, and its values.
#[derive(Debug, Serialize)]
pub(super) struct LabelGuess {
    pub(super) likely: bool,
    pub(super) why: String,
    /// Distinct values, where they were counted.
    pub(super) distinct: Option<usize>,
    /// Values with their voxels, at most 256.
    pub(super) values: Vec<(f64, u64)>,
}

#[derive(Debug, Serialize)]
pub(super) struct Flaw {
    pub(super) code: String,
    pub(super) text: String,
}

/// What a run would do.
#[derive(Debug, Serialize)]
pub(super) struct Preparation {
    /// For each axis z, y, x of the canonical array, the stored axis that it is, with `-` where it runs backwards.
    pub(super) canonical_from: [String; 3],
    pub(super) canonical_shape_zyx: [usize; 3],
    /// With a data set.
    pub(super) target: Option<Target>,
}

#[derive(Debug, Serialize)]
pub(super) struct Target {
    pub(super) dataset: String,
    pub(super) spacing_zyx_mm: [f64; 3],
    /// Before the foreground crop.
    pub(super) shape_zyx: [usize; 3],
    pub(super) intensity: String,
    /// Shards before compression and crop.
    pub(super) bytes: u64,
    /// Peak memory of the case.
    pub(super) memory_bytes: u64,
}

/// The volumes of a file: one, or the stacks of an HDF5 file.
pub(super) fn volumes(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Vec<Volume>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
    match extension.as_deref() {
        Some("h5" | "hdf" | "hdf5") => stacks::stacks(path, descriptor),
        Some("tif" | "tiff") => Ok(vec![stacks::of_slices(path, descriptor)?]),
        _ if matches!(Source::image(path.to_owned()), Source::Ome { .. }) => {
            Ok(vec![stacks::of_zarr(path, descriptor)?])
        }
        _ if path.is_dir() => Ok(vec![stacks::of_slices(path, descriptor)?]),
        _ => Ok(vec![of_scan(path, descriptor)?]),
    }
}

fn of_scan(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Volume> {
    let source = Source::Scan(path.to_owned());
    let (stored, _, _) = scan::read_header(path)?;
    let RawImage { channels, grid, data, warnings } = open::image(&source)?;
    let planes = |each: Each<'_>| {
        let voxels = data.len() / channels.max(1);
        data.chunks(voxels.max(1)).enumerate().try_for_each(|(channel, values)| each(channel, values))
    };
    let statistics = measured(channels, grid.shape_zyx[2], &planes)?;
    let (type_name, integers) = number_type(stored.datatype);
    let labels = guess(&statistics, integers);
    let order = if stored.datatype.bytes() == 1 {
        ""
    } else if stored.big_endian {
        " big-endian"
    } else {
        " little-endian"
    };
    let (slope, inter) = stored.scaling;
    let mut bytes = 0;
    for file in source.files()? {
        bytes += fs_err::metadata(file)?.len();
    }
    let mut volume = Volume {
        path: path.display().to_string(),
        part: None,
        format: stored.format.to_string(),
        bytes,
        stored_type: format!("{type_name}{order}"),
        scaling: ((slope, inter) != (1.0, 0.0)).then_some([slope, inter]),
        channels,
        shape_zyx: grid.shape_zyx,
        spacing_zyx_mm: grid.spacing_zyx_mm(),
        affine: grid.affine,
        axis_codes: grid.axis_codes(),
        geometry: geometry(path, stored.format)?,
        statistics,
        labels,
        preparation: preparation(&grid),
        warnings: warnings.iter().map(flaw).collect(),
        errors: Vec::new(),
    };
    judge(&mut volume, path, &source, descriptor)?;
    Ok(volume)
}

/// NumPy's name of a type, and whether it holds integers.
fn number_type(datatype: Datatype) -> (&'static str, bool) {
    match datatype {
        Datatype::U8 => ("uint8", true),
        Datatype::I8 => ("int8", true),
        Datatype::U16 => ("uint16", true),
        Datatype::I16 => ("int16", true),
        Datatype::U32 => ("uint32", true),
        Datatype::I32 => ("int32", true),
        Datatype::U64 => ("uint64", true),
        Datatype::I64 => ("int64", true),
        Datatype::F32 => ("float32", false),
        Datatype::F64 => ("float64", false),
    }
}

/// What of a header places the voxels.
fn geometry(path: &Path, format: Format) -> anyhow::Result<Geometry> {
    let source = match format {
        Format::Nifti1 | Format::Nifti2 => return Ok(form(&nifti::read_header(path)?.0)),
        Format::MetaImage => "TransformMatrix",
        Format::Nrrd => "space directions",
    };
    Ok(Geometry { source, sform_code: None, qform_code: None })
}

fn form(header: &Header) -> Geometry {
    let source = match (header.sform_code > 0, header.qform_code > 0) {
        (true, _) => "sform",
        (false, true) => "qform",
        (false, false) => "pixdim",
    };
    Geometry { source, sform_code: Some(header.sform_code), qform_code: Some(header.qform_code) }
}

fn flaw(warning: &Warning) -> Flaw {
    Flaw { code: warning.code().to_owned(), text: warning.to_string() }
}

/// Takes a channel's number and some of its planes, in order.
type Each<'a> = &'a mut dyn FnMut(usize, &[f32]) -> anyhow::Result<()>;

/// Both passes over all channels.
fn measured(
    channels: usize,
    width: usize,
    planes: &dyn Fn(Each<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Statistics>> {
    let mut first: Vec<First> = (0..channels).map(|_| First::new()).collect();
    planes(&mut |channel, values| {
        first[channel].add(values, width);
        Ok(())
    })?;
    let mut second: Vec<Second> = first.into_iter().map(First::second).collect();
    planes(&mut |channel, values| {
        second[channel].add(values);
        Ok(())
    })?;
    Ok(second.into_iter().map(Second::finish).collect())
}

/// Label maps have few values, none negative, in pieces; images, even of 8 bits, change from voxel to voxel.
fn guess(statistics: &[Statistics], integers: bool) -> LabelGuess {
    let no =
        |why: String, values: Vec<(f64, u64)>, distinct| LabelGuess { likely: false, why, distinct, values };
    let [only] = statistics else {
        return no(format!("{} channels", statistics.len()), Vec::new(), None);
    };
    let Some(values) = &only.values else {
        return no(format!("more than {MOST_VALUES} distinct values"), Vec::new(), None);
    };
    let distinct = Some(values.len());
    let values: Vec<(f64, u64)> = values.iter().map(|(value, count)| (f64::from(*value), *count)).collect();
    let share = 100.0 * only.equal_neighbours;
    match values.first() {
        _ if only.nan + only.infinite > 0 => no("NaN or infinite voxels".to_owned(), values, distinct),
        None => no("no finite voxel".to_owned(), values, distinct),
        Some((least, _)) if *least < 0.0 => no(format!("negative values down to {least}"), values, distinct),
        Some((value, _)) if values.len() == 1 && *value != 0.0 => {
            no(format!("one value only, {value}"), values, distinct)
        }
        Some(_) if values.len() > 1 && only.equal_neighbours < LABEL_SHARE => no(
            format!("values change from voxel to voxel ({share:.0} % of neighbours are equal)"),
            values,
            distinct,
        ),
        Some(_) => {
            let kind = if integers { "integers" } else { "values" };
            let why =
                format!("{} distinct {kind} in pieces ({share:.0} % of neighbours are equal)", values.len());
            LabelGuess { likely: true, why, distinct, values }
        }
    }
}

fn preparation(grid: &Grid) -> Preparation {
    let orientation = Orientation::to_canonical(grid);
    let (axes, flipped) = (orientation.source_axis_zyx(), orientation.flipped_zyx());
    Preparation {
        canonical_from: std::array::from_fn(|axis| {
            format!("{}{}", if flipped[axis] { "-" } else { "" }, ["z", "y", "x"][axes[axis]])
        }),
        canonical_shape_zyx: orientation.shape(grid.shape_zyx),
        target: None,
    }
}

/// Adds what a run would say and do.
fn judge(
    volume: &mut Volume,
    path: &Path,
    source: &Source,
    descriptor: Option<&Descriptor>,
) -> anyhow::Result<()> {
    let case = raw::case_name(path);
    let found = if volume.labels.likely {
        label_error(volume, path, descriptor)
    } else {
        image_error(volume, path, descriptor)
    };
    if let Some(error) = found {
        volume.errors.push(messages::of_error(&case, &error, Path::new("")));
    }
    let Some(descriptor) = descriptor else { return Ok(()) };
    if volume.labels.likely {
        return Ok(());
    }
    let contents: Vec<Contents> = volume.statistics.iter().map(|channel| channel.contents).collect();
    let is_ct = descriptor.modality == Modality::Ct;
    let doubt = descriptor.intensity.rules().hounsfield_warning(&contents, is_ct);
    volume.warnings.extend(doubt.as_ref().map(flaw));
    if let Some(error) = unfit(volume, descriptor) {
        let error = error.naming_channels(&descriptor.channels).in_file(path);
        volume.errors.push(messages::of_error(&case, &error.into(), Path::new("")));
    }
    let raw_case = RawCase {
        id: case.clone(),
        subject: case.clone(),
        image: source.clone(),
        label: None,
        split: CaseSplit::Test,
    };
    let estimate = estimate::of_case(&raw_case, descriptor, None)?;
    if let Err(message) = estimate.refuse_explosion() {
        volume.errors.push(message.case(&case));
    }
    volume.warnings.extend(shrinkage(volume, descriptor)?.as_ref().map(flaw));
    volume.preparation.target = Some(target(&estimate, descriptor));
    Ok(())
}

/// What the rule and the crop to the foreground refuse, by the statistics; nothing where the volume is refused already.
fn unfit(volume: &Volume, descriptor: &Descriptor) -> Option<VolumeError> {
    if !volume.errors.is_empty() {
        return None;
    }
    let method = descriptor.method();
    let each = match method.rules.of(volume.statistics.len()) {
        Ok(each) => each,
        Err(error) => return Some(error),
    };
    let statistics: Vec<_> =
        volume.statistics.iter().zip(&each).map(|(channel, rule)| channel.for_rule(rule)).collect();
    prepare::check(&statistics, &volume.grid(), &method).err()
}

fn shrinkage(volume: &Volume, descriptor: &Descriptor) -> volume::Result<Option<Warning>> {
    let (grid, method) = (volume.grid(), descriptor.method());
    let canonical = Orientation::to_canonical(&grid).apply_to_grid(&grid);
    let target = method.resampling.target_grid(&canonical, method.spacing_zyx_mm)?;
    Ok(prepare::shrinkage(&canonical, &target))
}

fn target(estimate: &Estimate, descriptor: &Descriptor) -> Target {
    Target {
        dataset: descriptor.name.clone(),
        spacing_zyx_mm: estimate.resampled_zyx_mm,
        shape_zyx: estimate.resampled_zyx,
        intensity: descriptor.intensity.rules().name(),
        bytes: estimate.disk,
        memory_bytes: estimate.memory,
    }
}

fn label_error(volume: &Volume, path: &Path, descriptor: Option<&Descriptor>) -> Option<anyhow::Error> {
    let fractions: Vec<(f64, u64)> =
        volume.labels.values.iter().copied().filter(|(v, _)| (v - v.round()).abs() > 1e-3).collect();
    if !fractions.is_empty() {
        let error = VolumeError::LabelNotInteger { path: path.to_owned(), values: ValueTable(fractions) };
        return Some(error.into());
    }
    let declared = descriptor?.labels.as_ref()?;
    if declared.kind != LabelKind::Semantic {
        return None;
    }
    let (allowed, map) = (declared.allowed(), declared.mapping());
    let mut counts = labels::Counts::new();
    for (value, count) in &volume.labels.values {
        let value = value.round() as u64;
        let mapped = map.get(&value).copied().unwrap_or(value);
        *counts.entry(mapped).or_insert(0) += count;
    }
    labels::check(counts, &allowed).err().map(|error| error.in_file(path).into())
}

fn image_error(volume: &Volume, path: &Path, descriptor: Option<&Descriptor>) -> Option<anyhow::Error> {
    if let Some(descriptor) = descriptor
        && volume.channels != descriptor.channels.len()
    {
        let text = format!("found {} channels, expected {}", volume.channels, descriptor.channels.len());
        let message = Message::error("E141", text).detail(format!(
            "{}: the data set declares {}",
            path.display(),
            descriptor.channels.join(", ")
        ));
        return Some(message.fix("Correct the file, or the descriptor's 'channels'").into());
    }
    for (channel, s) in volume.statistics.iter().enumerate() {
        if let Err(error) = s.contents.check_finite(channel, NonFinite::Error) {
            return Some(error.in_file(path).into());
        }
        let varies = match descriptor {
            Some(descriptor) => descriptor.intensity.rules().check_varies(channel, &s.contents),
            None => s.contents.check_varies(channel),
        };
        if let Err(error) = varies {
            return Some(error.in_file(path).into());
        }
    }
    None
}
