//! One slice in a PNG file.

use super::pixels::{COLOUR_FIX, GREY, Kind, SliceForm, first_bytes};
use super::tiff_pages::SLICE_LIMIT;
use crate::error::{Result, VolumeError};
use fs_err::File;
use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use tiff::decoder::DecodingResult;

/// Deflate makes at most 1,032 bytes out of one.
const MOST_PER_BYTE: u64 = 1032;

/// Form of the slice, from the header alone.
pub(super) fn form(path: &Path) -> Result<SliceForm> {
    Ok(open(path)?.1)
}

/// Pixels of the slice. Grey values of 1, 2 and 4 bits stay as they are stored (0 and 1, not 0 and 255), because
/// they may be labels; palette slices give the indices.
pub(super) fn read(path: &Path) -> Result<DecodingResult> {
    let (mut reader, form) = open(path)?;
    let bits = reader.info().bit_depth as u8;
    let failed = |error| fault(path, error);
    let size = reader.output_buffer_size().ok_or_else(|| failed(DecodingError::LimitsExceeded))?;
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(size)
        .map_err(|_| VolumeError::Memory { path: path.into(), bytes: size as u64 })?;
    bytes.resize(size, 0_u8);
    reader.next_frame(&mut bytes).map_err(failed)?;
    // Checks what follows the pixels: a file that stops before IEND was cut.
    reader.finish().map_err(failed)?;
    Ok(match bits {
        8 => DecodingResult::U8(bytes),
        16 => DecodingResult::U16(
            bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
        ),
        _ => DecodingResult::U8(unpack(&bytes, form.width, bits)),
    })
}

/// Pixels of 1, 2 or 4 bits, the first one in the highest bits; rows begin at whole bytes.
fn unpack(bytes: &[u8], width: usize, bits: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / bits);
    let mask = (1_u8 << bits) - 1;
    bytes
        .chunks_exact(width.div_ceil(per_byte))
        .flat_map(|row| {
            (0..width).map(move |x| {
                let shift = 8 - bits as usize * (x % per_byte + 1);
                row[x / per_byte] >> shift & mask
            })
        })
        .collect()
}

fn open(path: &Path) -> Result<(Reader<BufReader<File>>, SliceForm)> {
    let mut file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut head = Vec::with_capacity(8);
    file.by_ref().take(8).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    if head != *b"\x89PNG\r\n\x1a\n" {
        return Err(VolumeError::StackContent {
            path: path.into(),
            found: format!("the file begins with {}", first_bytes(&head)),
            expected: "a PNG signature",
            fix: "Usually an error page saved under the image's name, or another format. Fetch the file again or give it its right extension",
        });
    }
    let limits = Limits { bytes: usize::try_from(SLICE_LIMIT).unwrap_or(usize::MAX) };
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let reader = decoder.read_info().map_err(|error| fault(path, error))?;
    let info = reader.info();
    let refused = |found: &str, fix| VolumeError::StackContent {
        path: path.into(),
        found: found.to_owned(),
        expected: GREY,
        fix,
    };
    let kind = match info.color_type {
        ColorType::Grayscale => Kind::Unsigned,
        ColorType::Indexed => Kind::Palette,
        ColorType::Rgb | ColorType::Rgba => return Err(refused("the slice holds RGB colours", COLOUR_FIX)),
        ColorType::GrayscaleAlpha => {
            return Err(refused("the slice has an alpha channel", "Export the slices without transparency"));
        }
    };
    if info.animation_control.is_some_and(|animation| animation.num_frames > 1) {
        return Err(refused("the file is an animation", "Export each frame as a slice of its own"));
    }
    let bits = if info.bit_depth == BitDepth::Sixteen { 16 } else { 8 };
    let form = SliceForm { height: info.height as usize, width: info.width as usize, kind, bits };
    if form.bytes() > SLICE_LIMIT {
        return Err(VolumeError::SliceTooLarge {
            path: path.into(),
            slice: "the slice".into(),
            bytes: form.bytes(),
            limit: SLICE_LIMIT,
        });
    }
    let stored = form.bytes() / u64::from(bits) * u64::from(info.bit_depth as u8);
    let possible = file_bytes.saturating_mul(MOST_PER_BYTE);
    if stored > possible {
        return Err(VolumeError::ImpossibleSize {
            path: path.into(),
            expected: form.bytes(),
            file_bytes,
            possible,
        });
    }
    Ok((reader, form))
}

fn fault(path: &Path, error: DecodingError) -> VolumeError {
    let corrupt =
        |reason: String| VolumeError::Corrupt { path: path.into(), reason, decoded: 0, expected: 0 };
    match error {
        DecodingError::IoError(io) if io.kind() == ErrorKind::UnexpectedEof => VolumeError::SliceTruncated {
            path: path.into(),
            slice: "its pixels or their header".into(),
            detail: String::new(),
        },
        DecodingError::IoError(io) => {
            VolumeError::Io(std::io::Error::new(io.kind(), format!("{}: {io}", path.display())))
        }
        other => corrupt(other.to_string()),
    }
}
