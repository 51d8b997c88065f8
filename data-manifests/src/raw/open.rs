//! Opens raw cases: one way for every stage that reads them.

use super::{Sections, Source};
use crate::descriptor::{Descriptor, LabelKind};
use std::collections::BTreeMap;
use std::path::Path;
use volume::crop::BoundingBox;
use volume::hdf5::{CremiFile, NOT_ANNOTATED};
use volume::ome_zarr::{self, OmeZarr};
use volume::stack::Stack;
use volume::{Grid, ReadLimits, Result, VolumeError, Warning, check_same_channels, scan};

/// An image as stored: neither reoriented nor resampled.
#[derive(Debug, Clone)]
pub struct RawImage {
    /// Channels.
    pub channels: usize,
    /// Voxel grid.
    pub grid: Grid,
    /// Intensities in C order c, z, y, x.
    pub data: Vec<f32>,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// Label voxels in C order z, y, x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawVoxels {
    /// Classes, or ids of a file format with 32 bits.
    Narrow(Vec<u32>),
    /// Object ids of 64 bits; they never go through floating point.
    Wide(Vec<u64>),
}

/// Labels as stored, on the image's grid where the file says how they lie in it.
#[derive(Debug, Clone)]
pub struct RawLabels {
    /// Voxel grid.
    pub grid: Grid,
    /// The voxels.
    pub voxels: RawVoxels,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// Channels and grid of an image, without its voxels.
///
/// # Errors
/// As [`image`], except for flaws of the voxels.
pub fn header(source: &Source) -> Result<(usize, Grid)> {
    match source {
        Source::Channels(channels) => channel_headers(channels).map(|(grid, _)| (channels.len(), grid)),
        Source::Scan(path) => scan::read_header(path).map(|(stored, grid, _)| (stored.channels(), grid)),
        Source::Stack { path, spacing_zyx_mm, like } => {
            let stack = Stack::open(path, *spacing_zyx_mm)?;
            Ok((1, stack_grid(&stack, like.as_deref(), *spacing_zyx_mm)?))
        }
        Source::Ome { .. } => {
            let (image, grid) = ome(source, ReadLimits::UNLIMITED)?;
            Ok((image.channels(), grid))
        }
        Source::CremiRaw(path, sections) | Source::CremiLabels(path, _, sections) => {
            Ok((1, cremi(path, *sections)?.raw().grid()?))
        }
    }
}

/// The grid on which labels come, without their voxels, and what is to be said of how they lie on it.
///
/// # Errors
/// As [`labels`], except for flaws of the voxels.
pub fn label_header(source: &Source, descriptor: &Descriptor) -> Result<(Grid, Option<Warning>)> {
    match source {
        Source::CremiLabels(path, name, sections) => {
            let found = cremi_labels(path, name, *sections, descriptor)?;
            Ok((found.grid, found.warning))
        }
        _ => Ok((header(source)?.1, None)),
    }
}

/// Bytes that reading an image or labels by planes takes beside the planes: of OME-Zarr a layer of chunks.
///
/// # Errors
/// As [`header`].
pub fn layer_bytes(source: &Source) -> Result<u64> {
    match source {
        Source::Channels(channels) => channels.iter().map(layer_bytes).sum(),
        Source::Ome { .. } => Ok(ome(source, ReadLimits::UNLIMITED)?.0.layer_bytes()),
        _ => Ok(0),
    }
}

/// An image in OME-Zarr, or the part of it that is meant; labels without a voxel size take that of the image that they lie on.
pub(super) fn ome(source: &Source, limits: ReadLimits) -> Result<(OmeZarr, Grid)> {
    let Source::Ome { path, label, sections, spacing_zyx_mm, like } = source else {
        return Err(VolumeError::OmeZarr {
            path: source.path().to_owned(),
            found: "it is none".to_owned(),
            fix: "Give a folder NAME.zarr",
        });
    };
    let open = |path: &Path| OmeZarr::open(path, *spacing_zyx_mm, limits);
    let image = match label {
        Some(name) => {
            let group = ome_zarr::label_group(path, name);
            if !group.is_dir() {
                let names = open(path)?.labels().join(", ");
                let found = match names.as_str() {
                    "" => format!("it has no label image '{name}', nor another"),
                    names => format!("it has no label image '{name}', but {names}"),
                };
                let fix = "Name a label image that is there: IMAGE.zarr#NAME";
                return Err(VolumeError::OmeZarr { path: path.clone(), found, fix });
            }
            open(&group)?
        }
        None => open(path)?,
    };
    let image = match sections {
        Some(Sections { first, end }) => image.with_sections(*first..*end)?,
        None => image,
    };
    let grid = match (image.grid(), like) {
        (Err(VolumeError::StackSpacing { .. }), Some(like)) => {
            image.grid_of(open(like)?.grid()?.spacing_zyx_mm())?
        }
        (grid, _) => grid?,
    };
    Ok((image, grid))
}

/// A label image in OME-Zarr: [`ome`] of one channel.
pub(super) fn ome_labels(source: &Source, limits: ReadLimits) -> Result<(OmeZarr, Grid)> {
    let (image, grid) = ome(source, limits)?;
    match image.channels() {
        1 => Ok((image, grid)),
        found => Err(VolumeError::Channels { path: source.path().to_owned(), found, expected: 1 }),
    }
}

/// Reads all planes.
fn all_planes<T>(
    path: &Path,
    voxels: usize,
    mut next: impl FnMut(usize, &mut Vec<T>) -> Result<usize>,
) -> Result<Vec<T>> {
    let bytes = (voxels as u64).saturating_mul(size_of::<T>() as u64);
    let mut data = Vec::new();
    data.try_reserve_exact(voxels).map_err(|_| VolumeError::Memory { path: path.to_owned(), bytes })?;
    let mut planes = Vec::new();
    while next(usize::MAX, &mut planes)? > 0 {
        data.append(&mut planes);
    }
    Ok(data)
}

/// An HDF5 file in CREMI's layout, or a part of its sections.
pub(super) fn cremi(path: &Path, sections: Option<Sections>) -> Result<CremiFile> {
    let file = CremiFile::open(path)?;
    match sections {
        Some(Sections { first, end }) => file.with_sections(first..end),
        None => Ok(file),
    }
}

/// A stack's grid; one without a voxel size takes that of the image that it lies on.
pub(super) fn stack_grid(
    stack: &Stack,
    like: Option<&Path>,
    spacing_zyx_mm: Option<[f64; 3]>,
) -> Result<Grid> {
    match (stack.grid(), like) {
        (Err(VolumeError::StackSpacing { .. }), Some(image)) => {
            let image = Stack::open(image, spacing_zyx_mm)?.grid()?;
            Grid::from_spacing(stack.shape_zyx(), image.spacing_zyx_mm(), [0.0; 3])
        }
        (grid, _) => grid,
    }
}

/// The grid of several one-channel files, compared by their headers; the first one's counts.
pub(super) fn channel_headers(channels: &[Source]) -> Result<(Grid, Vec<Warning>)> {
    let mut first: Option<(&Source, Grid)> = None;
    let mut warnings = Vec::new();
    for channel in channels {
        let (found, grid) = header(channel)?;
        if found != 1 {
            return Err(VolumeError::Channels { path: channel.path().to_owned(), found, expected: 1 });
        }
        match &first {
            None => first = Some((channel, grid)),
            Some((other, expected)) => {
                warnings.extend(check_same_channels(other.path(), expected, channel.path(), &grid)?);
            }
        }
    }
    match first {
        Some((_, grid)) => Ok((grid, warnings)),
        None => Err(VolumeError::EmptyShape { shape_zyx: [0; 3] }),
    }
}

/// Reads an image.
///
/// # Errors
/// Whatever is wrong with the file; see [`volume::VolumeError`].
pub fn image(source: &Source) -> Result<RawImage> {
    match source {
        Source::Channels(channels) => {
            let (grid, mut warnings) = channel_headers(channels)?;
            let mut data = Vec::new();
            for channel in channels {
                let read = image(channel)?;
                data.extend_from_slice(&read.data);
                // what all files share is said once
                for warning in read.warnings {
                    if !warnings.contains(&warning) {
                        warnings.push(warning);
                    }
                }
            }
            Ok(RawImage { channels: channels.len(), grid, data, warnings })
        }
        Source::Scan(path) => {
            let scan::Image { channels, grid, data, warnings, .. } = scan::read_image(path)?;
            Ok(RawImage { channels, grid, data, warnings })
        }
        Source::Stack { path, spacing_zyx_mm, like } => {
            let stack = Stack::open(path, *spacing_zyx_mm)?;
            let grid = stack_grid(&stack, like.as_deref(), *spacing_zyx_mm)?;
            let data = stack.read_slab(0..grid.shape_zyx[0])?;
            Ok(RawImage { channels: 1, grid, data, warnings: stack.warnings().to_vec() })
        }
        Source::Ome { path, .. } => {
            let (image, grid) = ome(source, ReadLimits::UNLIMITED)?;
            let (channels, mut planes) = (image.channels(), image.planes());
            let voxels = planes.remaining() * grid.shape_zyx[1] * grid.shape_zyx[2];
            let data = all_planes(path, voxels, |count, out| planes.next_planes(count, out))?;
            Ok(RawImage { channels, grid, data, warnings: planes.warnings().to_vec() })
        }
        Source::CremiRaw(path, sections) | Source::CremiLabels(path, _, sections) => {
            let file = cremi(path, *sections)?;
            let grid = file.raw().grid()?;
            let bytes = file.read_raw_slab(0..grid.shape_zyx[0])?;
            let data = bytes.into_iter().map(f32::from).collect();
            Ok(RawImage { channels: 1, grid, data, warnings: Vec::new() })
        }
    }
}

/// Reads labels, with the descriptor's `labels.map` applied: before values are held against 32 bits. CREMI labels that cover a part of the
/// raw stack come back on its whole grid, around them `labels.ignore` where they are classes and [`NOT_ANNOTATED`] where they are objects.
///
/// # Errors
/// Whatever is wrong with the file; semantic labels beyond 32 bits after the map, or for a part of a stack where `labels.ignore` is not
/// declared.
pub fn labels(source: &Source, descriptor: &Descriptor) -> Result<RawLabels> {
    let map = descriptor.labels.as_ref().map(|labels| labels.mapping()).unwrap_or_default();
    match source {
        Source::Scan(path) | Source::CremiRaw(path, _) if !is_semantic(descriptor) => {
            let scan::LabelImage { grid, mut data, warnings, .. } = scan::read_labels_wide(path)?;
            volume::labels::remap(&mut data, &map);
            Ok(RawLabels { grid, voxels: RawVoxels::Wide(data), warnings })
        }
        Source::Scan(path) | Source::CremiRaw(path, _) => {
            let scan::LabelImage { grid, mut data, warnings, .. } = scan::read_labels(path)?;
            remap_narrow(&mut data, &map);
            Ok(RawLabels { grid, voxels: RawVoxels::Narrow(data), warnings })
        }
        Source::CremiLabels(path, name, sections) => {
            let CremiLabels { file, grid, bounds, around, warning } =
                cremi_labels(path, name, *sections, descriptor)?;
            let mut stack = file.read_labels(name)?;
            volume::labels::remap(&mut stack.data, &map);
            let shape_zyx = file.raw().shape_zyx;
            let ids = volume::crop::uncrop(&stack.data, 1, shape_zyx, &bounds, around)
                .map_err(|e| e.in_file(path))?;
            let warnings = warning.into_iter().collect();
            Ok(RawLabels { grid, voxels: by_kind(ids, descriptor, source)?, warnings })
        }
        Source::Stack { path, spacing_zyx_mm, like } => {
            let stack = Stack::open(path, *spacing_zyx_mm)?;
            let grid = stack_grid(&stack, like.as_deref(), *spacing_zyx_mm)?;
            let mut ids = stack.read_label_slab(0..grid.shape_zyx[0])?;
            volume::labels::remap(&mut ids, &map);
            let voxels = by_kind(ids, descriptor, source)?;
            Ok(RawLabels { grid, voxels, warnings: stack.warnings().to_vec() })
        }
        Source::Ome { path, .. } => {
            let (image, grid) = ome_labels(source, ReadLimits::UNLIMITED)?;
            let mut planes = image.planes();
            let voxels = planes.remaining() * grid.shape_zyx[1] * grid.shape_zyx[2];
            let mut ids = all_planes(path, voxels, |count, out| planes.next_labels(count, out))?;
            volume::labels::remap(&mut ids, &map);
            let voxels = by_kind(ids, descriptor, source)?;
            Ok(RawLabels { grid, voxels, warnings: planes.warnings().to_vec() })
        }
        Source::Channels(channels) => {
            let path = source.path().to_owned();
            Err(VolumeError::Channels { path, found: channels.len(), expected: 1 })
        }
    }
}

/// A label stack of an HDF5 file, and how it lies in the raw one.
pub(super) struct CremiLabels {
    pub(super) file: CremiFile,
    /// Of the raw stack.
    pub(super) grid: Grid,
    /// Voxels of the raw stack that have labels.
    pub(super) bounds: BoundingBox,
    /// What the others become.
    pub(super) around: u64,
    /// Says that there are others.
    pub(super) warning: Option<Warning>,
}

/// Opens a label stack. Where it covers a part of the raw one, the rest is not annotated: 0 would assert that it is background.
pub(super) fn cremi_labels(
    path: &Path,
    name: &str,
    sections: Option<Sections>,
    descriptor: &Descriptor,
) -> Result<CremiLabels> {
    let file = cremi(path, sections)?;
    let (grid, bounds) = (file.raw().grid()?, file.label_bounds(name)?);
    let voxels = |shape: [usize; 3]| shape.iter().map(|n| *n as f64).product::<f64>();
    let whole = bounds.shape() == grid.shape_zyx;
    let covered = voxels(bounds.shape()) / voxels(grid.shape_zyx);
    let labels = descriptor.labels.as_ref();
    let around = match labels.filter(|labels| labels.kind == LabelKind::Semantic) {
        Some(labels) => match labels.ignore {
            Some(ignore) => ignore.into(),
            None if whole => 0,
            None => {
                let (path, dataset) = (path.to_owned(), name.to_owned());
                let free = labels.classes.len() as u32;
                return Err(VolumeError::PartlyLabelled { path, dataset, covered, free });
            }
        },
        // that mark is a value of the files, which `labels.map` may give another meaning
        None => labels.and_then(|l| l.mapping().get(&NOT_ANNOTATED).copied()).unwrap_or(NOT_ANNOTATED),
    };
    let warning = (!whole).then_some(Warning::PartlyLabelled { covered, value: around });
    Ok(CremiLabels { file, grid, bounds, around, warning })
}

/// Applies `labels.map` to 32-bit labels; its values beyond 32 bits do not occur in them.
fn remap_narrow(values: &mut [u32], map: &BTreeMap<u64, u64>) {
    let map =
        map.iter().filter_map(|(from, to)| Some((u32::try_from(*from).ok()?, u32::try_from(*to).ok()?)));
    volume::labels::remap(values, &map.collect());
}

pub(super) fn is_semantic(descriptor: &Descriptor) -> bool {
    descriptor.labels.as_ref().is_some_and(|labels| labels.kind == LabelKind::Semantic)
}

/// Semantic labels in 32 bits, objects in 64.
fn by_kind(ids: Vec<u64>, descriptor: &Descriptor, source: &Source) -> Result<RawVoxels> {
    Ok(if is_semantic(descriptor) {
        RawVoxels::Narrow(narrow(ids, descriptor, source)?)
    } else {
        RawVoxels::Wide(ids)
    })
}

/// Class labels of an id type; values that no class has are reported with their counts.
fn narrow(ids: Vec<u64>, descriptor: &Descriptor, source: &Source) -> Result<Vec<u32>> {
    match ids.iter().map(|id| u32::try_from(*id)).collect::<std::result::Result<Vec<u32>, _>>() {
        Ok(values) => Ok(values),
        Err(_) => {
            let declared = descriptor.labels.as_ref().map(|l| l.allowed()).unwrap_or_default();
            match volume::labels::check(volume::labels::counts(&ids), &declared) {
                Err(error) => Err(error.in_file(source.path())),
                // a value beyond 32 bits is never declared, so the check above has named it
                Ok(_) => {
                    Err(VolumeError::TooManyLabels { found: u32::MAX, limit: u32::MAX }
                        .in_file(source.path()))
                }
            }
        }
    }
}
