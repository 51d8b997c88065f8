//! Writing, for phantoms and predictions.

use super::{LabelStack, StackInfo, library};
use crate::atomic;
use crate::error::Result;
use crate::expect_length;
use hdf5_metno as h5;
use std::path::Path;

/// Writes a file in CREMI's layout; the same input gives the same bytes.
///
/// # Errors
/// Lengths that do not fit their shapes, no room or rights on disk.
pub fn write_cremi(
    path: impl AsRef<Path>,
    raw: &[u8],
    info: &StackInfo,
    labels: &[LabelStack],
) -> Result<()> {
    let path = path.as_ref();
    expect_length("raw stack", raw.len(), 1, info.shape_zyx)?;
    for stack in labels {
        expect_length("label stack", stack.data.len(), 1, stack.info.shape_zyx)?;
    }
    atomic::replace(path, ".h5", |temporary| {
        let write = || -> h5::Result<()> {
            let file = create(temporary)?;
            let volumes = file.create_group_builder().obj_track_times(false).create("volumes")?;
            put(&volumes, "raw", raw, info)?;
            let group = volumes.create_group_builder().obj_track_times(false).create("labels")?;
            for stack in labels {
                put(&group, &stack.info.name, &stack.data, &stack.info)?;
            }
            drop((group, volumes));
            file.close()
        };
        write().map_err(|error| library("write", path, &error))
    })
}

/// How hard intensities and labels are compressed, of 9.
pub(super) const DEFLATE: u8 = 4;

/// A new file; times would make equal content differ.
pub(super) fn create(path: &Path) -> h5::Result<h5::File> {
    h5::FileBuilder::new()
        .with_fapl(|access| access.file_locking(false))
        .with_fcpl(|create| create.obj_track_times(false))
        .create(path)
}

/// One chunked, compressed dataset with its resolution and offset.
pub(super) fn put<T: h5::H5Type>(
    group: &h5::Group,
    name: &str,
    data: &[T],
    info: &StackInfo,
) -> h5::Result<()> {
    dataset::<T>(group, name, &[], info, DEFLATE)?.write_raw(data)
}

/// A chunked, compressed dataset without values yet, with its resolution and offset; axes z, y, x behind those of `before`.
pub(super) fn dataset<T: h5::H5Type>(
    group: &h5::Group,
    name: &str,
    before: &[usize],
    info: &StackInfo,
    level: u8,
) -> h5::Result<h5::Dataset> {
    let [z, y, x] = info.shape_zyx;
    let shape = [before, &[z, y, x]].concat();
    let chunk = [vec![1; before.len()], vec![1, y.min(256), x.min(256)]].concat();
    let dataset = group
        .new_dataset::<T>()
        .shape(shape)
        .chunk(chunk)
        .shuffle()
        .deflate(level)
        .obj_track_times(false)
        .create(name)?;
    for (attribute, values) in [("resolution", info.resolution_zyx_nm), ("offset", info.offset_zyx_nm)] {
        dataset.new_attr::<f64>().shape(3).create(attribute)?.write_raw(&values)?;
    }
    Ok(dataset)
}
