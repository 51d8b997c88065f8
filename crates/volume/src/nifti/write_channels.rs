//! Channels of numbers from 0 to 1 on the grid of a label map, some planes at a time: they need not fit into memory.

use super::read::read_header;
use crate::atomic;
use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::resample::ProbabilityNumbers;
use crate::voxels::Voxels;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use std::io::{BufWriter, Read, Write};
use std::path::Path;

/// Planes in memory at a time.
const PLANES: usize = 16;
/// NIfTI's code of an extension that is text.
const COMMENT: i32 = 6;
/// What is stored for 1 in 8 bits; the slope is its inverse.
const ONE: f32 = 255.0;

/// Writes channels on exactly the grid of a label map that this crate wrote, as the fourth axis of a `.nii.gz`; `note` is a text beside the header
/// (nibabel: `header.extensions`). Float32, or 8 bits with the slope 1/255.
///
/// # Errors
/// An unreadable label map or one of another shape, more channels than NIfTI counts, what `channels` fails with, no room or rights on disk.
pub fn write_channels_like(
    path: impl AsRef<Path>,
    channels: &dyn Voxels<f32>,
    numbers: ProbabilityNumbers,
    note: &str,
    label_map: impl AsRef<Path>,
) -> Result<()> {
    let (path, label_map) = (path.as_ref(), label_map.as_ref());
    let (_, grid, _) = read_header(label_map)?;
    if grid.shape_zyx != channels.shape_zyx() {
        let reason = format!("shape {:?}, and its label map {:?}", channels.shape_zyx(), grid.shape_zyx);
        return Err(VolumeError::Write { path: path.into(), reason });
    }
    let count = i16::try_from(channels.channels()).map_err(|_| VolumeError::Write {
        path: path.into(),
        reason: format!("{} channels, and an axis of NIfTI holds 32,767", channels.channels()),
    })?;
    let head = head(&stored_header(label_map)?, count, numbers, note);
    let [depth, height, width] = grid.shape_zyx;
    atomic::replace(path, ".nii.gz", |temporary| {
        let file = BufWriter::new(fs_err::OpenOptions::new().write(true).open(temporary)?);
        let mut encoder = GzBuilder::new().mtime(0).write(file, Compression::fast());
        encoder.write_all(&head)?;
        for channel in 0..channels.channels() {
            for first in (0..depth).step_by(PLANES) {
                let end_zyx = [(first + PLANES).min(depth), height, width];
                let planes = channels.read(channel, &BoundingBox { start_zyx: [first, 0, 0], end_zyx })?;
                let bytes: Vec<u8> = match numbers {
                    ProbabilityNumbers::Float32 => planes.iter().flat_map(|v| v.to_le_bytes()).collect(),
                    ProbabilityNumbers::Uint8 => {
                        planes.iter().map(|v| (v.clamp(0.0, 1.0) * ONE).round() as u8).collect()
                    }
                };
                encoder.write_all(&bytes)?;
            }
        }
        encoder.finish()?.flush()?;
        Ok(())
    })
}

/// The header's bytes as stored, which are little-endian in what this crate writes.
fn stored_header(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    let mut source = MultiGzDecoder::new(fs_err::File::open(path)?);
    source.read_exact(&mut bytes)?;
    let length = if bytes == 348_i32.to_le_bytes() { 348 } else { 540 };
    bytes.resize(length, 0);
    source.read_exact(&mut bytes[4..])?;
    Ok(bytes)
}

/// The header of the channels, with the note behind it. Offsets are those of `nifti1.h` and `nifti2.h`.
fn head(of_labels: &[u8], channels: i16, numbers: ProbabilityNumbers, note: &str) -> Vec<u8> {
    let (code, bits, slope) = match numbers {
        ProbabilityNumbers::Float32 => (16_i16, 32_i16, 1.0_f32),
        ProbabilityNumbers::Uint8 => (2, 8, 1.0 / ONE),
    };
    let mut bytes = of_labels.to_vec();
    // extensions are a multiple of 16 bytes, size and code included
    let extension = (note.len() + 8).next_multiple_of(16);
    let first = bytes.len() + 4 + extension;
    let mut put = |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
    if of_labels.len() == 348 {
        put(40, &4_i16.to_le_bytes());
        put(48, &channels.to_le_bytes());
        put(70, &[code.to_le_bytes(), bits.to_le_bytes()].concat());
        // no time: steps of 1, and no offset
        put(92, &1_f32.to_le_bytes());
        put(108, &[first as f32, slope, 0.0].map(f32::to_le_bytes).concat());
        put(136, &[0; 4]);
    } else {
        put(16, &4_i64.to_le_bytes());
        put(48, &i64::from(channels).to_le_bytes());
        put(12, &[code.to_le_bytes(), bits.to_le_bytes()].concat());
        put(136, &1_f64.to_le_bytes());
        put(168, &(first as i64).to_le_bytes());
        put(176, &[f64::from(slope), 0.0].map(f64::to_le_bytes).concat());
        put(216, &[0; 8]);
    }
    bytes.extend([1, 0, 0, 0]);
    bytes.extend((extension as i32).to_le_bytes());
    bytes.extend(COMMENT.to_le_bytes());
    bytes.extend(note.as_bytes());
    bytes.resize(first, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nifti::write_labels;
    use crate::scan::read_image;
    use crate::{Grid, InMemory};

    /// Of both versions of NIfTI: the second is taken where an axis is too long for the first.
    #[test]
    fn channels_lie_on_the_grid_of_their_label_map() {
        let folder = tempfile::tempdir().unwrap();
        for shape in [[33, 5, 4], [2, 1, 40_000]] {
            let voxels: usize = shape.iter().product();
            let mut grid = Grid::from_spacing(shape, [3.0, 0.5, 0.25], [-7.0, 5.0, 90.0]).unwrap();
            grid.affine[0][0] = -0.25;
            let map = folder.path().join("map.nii.gz");
            write_labels(&map, &vec![1_u16; voxels], &grid).unwrap();
            let data: Vec<f32> = (0..3 * voxels).map(|i| (i % 256) as f32 / ONE).collect();
            let channels = InMemory::new(&data, 3, shape).unwrap();
            for numbers in [ProbabilityNumbers::Float32, ProbabilityNumbers::Uint8] {
                let path = folder.path().join("channels.nii.gz");
                let note = "[{\"name\":\"liver\"}]";
                write_channels_like(&path, &channels, numbers, note, &map).unwrap();
                let found = read_image(&path).unwrap();
                assert_eq!((found.channels, found.grid), (3, read_image(&map).unwrap().grid));
                assert!(found.data.iter().zip(&data).all(|(a, b)| (a - b).abs() < 1e-6));
                let mut bytes = Vec::new();
                MultiGzDecoder::new(fs_err::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
                assert!(bytes.windows(note.len()).any(|text| text == note.as_bytes()));
                let written = fs_err::read(&path).unwrap();
                write_channels_like(&path, &channels, numbers, note, &map).unwrap();
                assert!(written == fs_err::read(&path).unwrap(), "the same bytes each time");
            }
            let other = InMemory::new(&data[..voxels], 1, [1, 1, voxels]).unwrap();
            let path = folder.path().join("other.nii.gz");
            let error = write_channels_like(&path, &other, ProbabilityNumbers::Uint8, "", &map).unwrap_err();
            assert!(error.to_string().contains("its label map") && !path.exists(), "{error}");
        }
    }
}
