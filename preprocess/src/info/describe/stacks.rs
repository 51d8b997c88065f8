//! Stacks: slices, OME-Zarr and CREMI's HDF5, read some planes at a time.

use super::{Each, Geometry, LabelGuess, Volume, flaw, guess, judge, measured, preparation};
use crate::info::statistics::MOST_VALUES;
use crate::messages;
use data_manifests::Descriptor;
use data_manifests::descriptor::Raw;
use data_manifests::raw::{self, Source, open};
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use volume::hdf5::CremiFile;
use volume::ome_zarr::OmeZarr;
use volume::stack::Stack;
use volume::{Grid, ReadLimits, labels};

/// A TIFF of several pages or a folder of slices, read some slices at a time.
pub(super) fn of_slices(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Volume> {
    let spacing_zyx_mm = descriptor.and_then(|d| d.raw.spacing_zyx_mm());
    let stack = Stack::open(path, spacing_zyx_mm)?;
    let grid = stack.grid()?;
    let [depth, _, width] = grid.shape_zyx;
    let planes = |each: Each<'_>| slabs(depth).try_for_each(|slices| each(0, &stack.read_slab(slices)?));
    let statistics = measured(1, width, &planes)?;
    let labels = guess(&statistics, true);
    let files = Source::image(path.to_owned());
    let bytes =
        files.files()?.iter().map(|file| Ok(fs_err::metadata(file)?.len())).sum::<std::io::Result<u64>>()?;
    let mut volume = Volume {
        format: if path.is_dir() { "folder of slices" } else { "TIFF" }.to_owned(),
        bytes,
        stored_type: stack.spacing_source().map_or_else(String::new, |from| format!("voxel size by {from}")),
        statistics,
        warnings: stack.warnings().iter().map(flaw).collect(),
        ..of_stack(path, &grid, labels)
    };
    judge(&mut volume, path, &files.spaced(spacing_zyx_mm), descriptor)?;
    Ok(volume)
}

/// An image in OME-Zarr at one level, read by layers of chunks.
pub(super) fn of_zarr(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Volume> {
    let spacing_zyx_mm = descriptor.and_then(|d| d.raw.spacing_zyx_mm());
    let open = || OmeZarr::open(path, spacing_zyx_mm, ReadLimits::UNLIMITED);
    let image = open()?;
    let (channels, grid) = (image.channels(), image.grid()?);
    // known behind the last plane: what is not there
    let warnings = RefCell::new(Vec::new());
    let (statistics, labels) = if image.is_label() {
        let (mut planes, mut ids, mut counts) = (open()?.planes(), Vec::new(), labels::Counts::new());
        while planes.next_labels(usize::MAX, &mut ids)? > 0 {
            labels::count_into(&mut counts, &ids);
        }
        warnings.replace(planes.warnings().to_vec());
        (Vec::new(), of_counts("a label image", &counts))
    } else {
        let planes = |each: Each<'_>| {
            let (mut planes, mut values) = (open()?.planes(), Vec::new());
            let depth = grid.shape_zyx[0];
            loop {
                let channel = (channels * depth - planes.remaining()) / depth;
                if planes.next_planes(usize::MAX, &mut values)? == 0 {
                    warnings.replace(planes.warnings().to_vec());
                    return Ok(());
                }
                each(channel, &values)?;
            }
        };
        let statistics = measured(channels, grid.shape_zyx[2], &planes)?;
        let labels = guess(&statistics, image.is_whole());
        (statistics, labels)
    };
    let files = Source::image(path.to_owned()).spaced(spacing_zyx_mm);
    let bytes =
        files.files()?.iter().map(|file| Ok(fs_err::metadata(file)?.len())).sum::<std::io::Result<u64>>()?;
    let by = image.spacing_source().map_or_else(String::new, |from| format!(", voxel size by {from}"));
    let mut volume = Volume {
        format: "OME-Zarr".to_owned(),
        bytes,
        stored_type: format!("{}{by}", image.type_name()),
        channels,
        statistics,
        warnings: warnings.into_inner().iter().map(flaw).collect(),
        ..of_stack(path, &grid, labels)
    };
    judge(&mut volume, path, &files, descriptor)?;
    Ok(volume)
}

/// A stack, whose grid is told by its voxel size: what formats of stacks share.
fn of_stack(path: &Path, grid: &Grid, labels: LabelGuess) -> Volume {
    Volume {
        path: path.display().to_string(),
        part: None,
        format: String::new(),
        bytes: 0,
        stored_type: String::new(),
        scaling: None,
        channels: 1,
        shape_zyx: grid.shape_zyx,
        spacing_zyx_mm: grid.spacing_zyx_mm(),
        affine: grid.affine,
        axis_codes: grid.axis_codes(),
        geometry: Geometry { source: "resolution", sform_code: None, qform_code: None },
        statistics: Vec::new(),
        labels,
        preparation: preparation(grid),
        warnings: Vec::new(),
        errors: Vec::new(),
    }
}

/// Labels whose values were counted.
fn of_counts(why: &str, counts: &labels::Counts) -> LabelGuess {
    let few = counts.len() <= MOST_VALUES;
    LabelGuess {
        likely: true,
        why: why.to_owned(),
        distinct: Some(counts.len()),
        // a table for people: ids beyond 2^53 are rounded in it
        values: if few { counts.iter().map(|(v, n)| (*v as f64, *n)).collect() } else { Vec::new() },
    }
}

/// Some slices after the other.
fn slabs(depth: usize) -> impl Iterator<Item = Range<usize>> {
    const SLICES: usize = 16;
    (0..depth).step_by(SLICES).map(move |z| z..(z + SLICES).min(depth))
}

/// Whether a run takes its labels from the stack of this name.
fn reads(descriptor: &Descriptor, name: &str) -> bool {
    matches!(&descriptor.raw, Raw::Cremi { labels: Some(labels), .. } if labels == name)
}

/// The raw stack and the label stacks of a CREMI file, read some sections at a time.
pub(super) fn stacks(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Vec<Volume>> {
    let file = CremiFile::open(path)?;
    let bytes = fs_err::metadata(path)?.len();
    let describe = |part: String, stored_type: &str, grid: &Grid, statistics, labels| Volume {
        part: Some(part),
        format: "CREMI HDF5".to_owned(),
        bytes,
        stored_type: stored_type.to_owned(),
        statistics,
        ..of_stack(path, grid, labels)
    };
    let grid = file.raw().grid()?;
    let [depth, _, width] = grid.shape_zyx;
    let planes = |each: Each<'_>| {
        slabs(depth).try_for_each(|sections| {
            let values: Vec<f32> = file.read_raw_slab(sections)?.into_iter().map(f32::from).collect();
            each(0, &values)
        })
    };
    let statistics = measured(1, width, &planes)?;
    let no = LabelGuess {
        likely: false,
        why: "the raw stack".to_owned(),
        distinct: statistics[0].values.as_ref().map(Vec::len),
        values: Vec::new(),
    };
    let mut raw = describe("/volumes/raw".to_owned(), "uint8", &grid, statistics, no);
    judge(&mut raw, path, &Source::CremiRaw(path.to_owned(), None), descriptor)?;
    let mut found = vec![raw];
    for info in file.labels() {
        let grid = info.grid()?;
        let mut counts = labels::Counts::new();
        for sections in slabs(grid.shape_zyx[0]) {
            for (value, count) in labels::counts(&file.read_label_slab(&info.name, sections)?) {
                *counts.entry(value).or_insert(0) += count;
            }
        }
        let guess = of_counts("a label stack", &counts);
        let part = format!("/volumes/labels/{}", info.name);
        let mut stack = describe(part, "uint64", &grid, Vec::new(), guess);
        if let Some(descriptor) = descriptor.filter(|descriptor| reads(descriptor, &info.name)) {
            let source = Source::CremiLabels(path.to_owned(), info.name.clone(), None);
            match open::label_header(&source, descriptor) {
                Ok((_, warning)) => stack.warnings.extend(warning.as_ref().map(flaw)),
                Err(error) => {
                    let case = raw::case_name(path);
                    stack.errors.push(messages::of_error(&case, &error.into(), Path::new("")));
                }
            }
        }
        found.push(stack);
    }
    Ok(found)
}
