//! Writes a case from arrays in memory.

use crate::error::{Error, Result};
use crate::record::CaseRecord;
use crate::writer::{CaseWriter, LabelType};
use std::path::Path;

/// Label voxels in C order z, y, x.
#[derive(Debug, Clone, Copy)]
pub enum LabelVoxels<'a> {
    /// Classes, or ids that fit.
    Narrow(&'a [u32]),
    /// Object ids of any size; never through floating point.
    Wide(&'a [u64]),
}

/// Writes a case as a Zarr v3 group into the existing, empty `directory`: [`CaseWriter`] over whole arrays, with the same bytes.
///
/// `image` is `[channel, z, y, x]` in C order, labels are `[z, y, x]`, stored as their type says; `foreground` rows are class, z, y, x.
///
/// # Errors
/// Fails when lengths disagree with the record, a label does not fit its type, or writing fails.
pub fn write_case(
    directory: &Path,
    record: &CaseRecord,
    image: &[f32],
    label: Option<(LabelType, LabelVoxels<'_>)>,
    foreground: &[[u32; 4]],
) -> Result<()> {
    let shape = record.shape_zyx;
    let voxels: usize = shape.iter().product();
    let length = |what: &str, found: usize, expected: usize| {
        if found == expected {
            return Ok(());
        }
        Err(Error::mismatch(directory, format!("{found} {what}"), expected.to_string()))
    };
    length("image voxels", image.len(), voxels * record.channels.len())?;
    let mut writer = CaseWriter::create(directory)?;
    writer.image(record.channels.len(), shape, |channel, lo, part| {
        Ok::<_, Error>(cut(&image[channel * voxels..(channel + 1) * voxels], shape, lo, part))
    })?;
    match label {
        Some((label_type, LabelVoxels::Narrow(values))) => {
            length("label voxels", values.len(), voxels)?;
            writer.label(label_type, shape, |lo, part| Ok::<_, Error>(cut(values, shape, lo, part)))?;
        }
        Some((label_type, LabelVoxels::Wide(values))) => {
            length("label voxels", values.len(), voxels)?;
            writer.label(label_type, shape, |lo, part| Ok::<_, Error>(cut(values, shape, lo, part)))?;
        }
        None => {}
    }
    writer.foreground(foreground)?;
    writer.finish(record).map(|_| ())
}

/// The box of `part` voxels at `lo` of a volume z, y, x.
fn cut<T: Copy>(values: &[T], shape: [usize; 3], lo: [usize; 3], part: [usize; 3]) -> Vec<T> {
    let mut out = Vec::with_capacity(part.iter().product());
    for z in lo[0]..lo[0] + part[0] {
        for y in lo[1]..lo[1] + part[1] {
            let row = (z * shape[1] + y) * shape[2] + lo[2];
            out.extend_from_slice(&values[row..row + part[2]]);
        }
    }
    out
}
