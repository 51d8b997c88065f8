//! Pages of a TIFF: their form, their description, their pixels.

use super::pixels::{COLOUR_FIX, GREY, Kind, SliceForm, length};
use super::tags::Resolution;
use super::tiff_directory;
use crate::error::{Result, VolumeError};
use crate::grouped;
use std::fmt::Debug;
use std::io::{BufReader, ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use tiff::decoder::ifd::Value;
use tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use tiff::tags::{Tag, Type, ValueBuffer};
use tiff::{ColorType, TiffError};

/// Most bytes of one decoded slice; the largest sections of electron microscopes stay below.
pub(super) const SLICE_LIMIT: u64 = 4 << 30;
/// Most bytes of one tag's decoded values (tables of strips or tiles, long OME descriptions).
const TAG_LIMIT: u64 = 64 << 20;
/// Most bytes that the decoder makes out of one byte of a tag: it keeps every number in 32.
const TAG_GROWTH: u64 = 32;
const WHITE_IS_ZERO: u16 = 0;
const PALETTE: u16 = 3;

/// Where the bytes come from.
pub(super) trait Source: Read + Seek + Send + Debug {}
impl<T: Read + Seek + Send + Debug> Source for T {}

/// An open TIFF whose pages have been looked at, all of the same form.
#[derive(Debug)]
pub(super) struct TiffPages {
    path: PathBuf,
    decoder: Decoder<Box<dyn Source>>,
    pub(super) form: SliceForm,
    pub(super) count: usize,
    /// Stored values are turned round by the decoder, and are turned back.
    inverted: Vec<bool>,
    pub(super) description: String,
    pub(super) resolution: Resolution,
}

impl TiffPages {
    /// Opens a file and reads the headers of all its pages.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = fs_err::File::open(path)?;
        let bytes = file.metadata()?.len();
        Self::new(path, Box::new(BufReader::new(file)), bytes)
    }

    /// The same from any source of `bytes` bytes; `path` is for messages.
    pub(super) fn new(path: &Path, mut source: Box<dyn Source>, bytes: u64) -> Result<Self> {
        tiff_directory::check(path, &mut source, bytes)?;
        let header = |error| fault(path, "the header of page 1", &error);
        let for_tags = bytes.saturating_mul(TAG_GROWTH).min(TAG_LIMIT);
        let mut decoder = Decoder::new(source).map_err(header)?.with_limits(limits(for_tags));
        let (form, first_inverted) = page_form(path, &mut decoder, 1, bytes)?;
        let description = description(&mut decoder).map_err(header)?;
        let resolution = resolution(&mut decoder).map_err(header)?;
        let mut inverted = vec![first_inverted];
        while decoder.more_images() {
            let page = inverted.len() + 1;
            decoder
                .next_image()
                .map_err(|error| fault(path, &format!("the header of page {page}"), &error))?;
            let (found, turned) = page_form(path, &mut decoder, page, bytes)?;
            if found != form {
                return Err(VolumeError::StackSlice {
                    path: path.into(),
                    slice: format!("page {page}"),
                    found: found.to_string(),
                    expected: form.to_string(),
                    first: "page 1".into(),
                });
            }
            inverted.push(turned);
        }
        Ok(Self {
            path: path.into(),
            // Going to a page reads its tags again.
            decoder: decoder.with_limits(limits(form.bytes().max(for_tags))),
            form,
            count: inverted.len(),
            inverted,
            description,
            resolution,
        })
    }

    /// The pixels of a page, counted from 0.
    pub(super) fn read(&mut self, page: usize) -> Result<DecodingResult> {
        let name = format!("page {}", page + 1);
        let failed = |error| fault(&self.path, &name, &error);
        self.decoder.seek_to_image(page).map_err(failed)?;
        let mut pixels = self.decoder.read_image().map_err(failed)?;
        let expected = self.form.height * self.form.width;
        if length(&pixels) != expected {
            return Err(VolumeError::Corrupt {
                path: self.path.clone(),
                reason: format!("{name} decodes to {} of {expected} pixels", length(&pixels)),
                decoded: 0,
                expected: 0,
            });
        }
        if self.inverted.get(page).copied().unwrap_or(false) {
            match &mut pixels {
                DecodingResult::U8(v) => v.iter_mut().for_each(|x| *x = !*x),
                DecodingResult::U16(v) => v.iter_mut().for_each(|x| *x = !*x),
                DecodingResult::U32(v) => v.iter_mut().for_each(|x| *x = !*x),
                DecodingResult::U64(v) => v.iter_mut().for_each(|x| *x = !*x),
                // Refused by `page_form`.
                _ => {}
            }
        }
        Ok(pixels)
    }
}

/// Limits of the decoder, which has one for tags and pixels.
fn limits(bytes: u64) -> Limits {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = bytes;
    limits.ifd_value_size = bytes;
    limits.intermediate_buffer_size = usize::try_from(SLICE_LIMIT).unwrap_or(usize::MAX);
    limits
}

/// Form of the current page, whether its values are stored inverted, and whether all its bytes are in the file.
fn page_form(
    path: &Path,
    decoder: &mut Decoder<Box<dyn Source>>,
    page: usize,
    file_bytes: u64,
) -> Result<(SliceForm, bool)> {
    let name = format!("page {page}");
    let failed = |error| fault(path, &name, &error);
    let refused = |found: String, fix| VolumeError::StackContent {
        path: path.into(),
        found: format!("{name} has {found}"),
        expected: GREY,
        fix,
    };
    let photometric: Option<u16> =
        decoder.find_tag_unsigned(Tag::PhotometricInterpretation).map_err(failed)?;
    if photometric == Some(PALETTE) {
        return Err(refused("a colour table".into(), COLOUR_FIX));
    }
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let bits = match decoder.colortype().map_err(failed)? {
        ColorType::Gray(bits) => bits,
        ColorType::Multiband { num_samples, .. } => {
            return Err(refused(format!("{num_samples} samples per pixel"), COLOUR_FIX));
        }
        other => return Err(refused(format!("{other:?} colours"), COLOUR_FIX)),
    };
    let format: Option<Vec<u16>> = decoder.find_tag_unsigned_vec(Tag::SampleFormat).map_err(failed)?;
    let kind = match (format.as_ref().and_then(|f| f.first()).copied().unwrap_or(1), bits) {
        (1, 8 | 16 | 32 | 64) => Kind::Unsigned,
        (2, 8 | 16 | 32 | 64) => Kind::Signed,
        (3, 16 | 32 | 64) => Kind::Float,
        (format, bits) => {
            return Err(refused(
                format!("{bits} bits per pixel (sample format {format})"),
                "Save the stack with 8 or 16 bits per pixel",
            ));
        }
    };
    let inverted = photometric == Some(WHITE_IS_ZERO);
    if inverted && kind != Kind::Unsigned {
        return Err(refused(
            "inverted (white-is-zero) values that are signed or floating point".into(),
            "Save the stack with black as zero",
        ));
    }
    let form = SliceForm { height: height as usize, width: width as usize, kind, bits };
    if width == 0 || height == 0 {
        return Err(refused("no pixels".into(), "Export the stack again"));
    }
    if form.bytes() > SLICE_LIMIT {
        return Err(VolumeError::SliceTooLarge {
            path: path.into(),
            slice: name,
            bytes: form.bytes(),
            limit: SLICE_LIMIT,
        });
    }
    let stored = stored_bytes(path, &name, decoder, file_bytes)?;
    let compression: Option<u16> = decoder.find_tag_unsigned(Tag::Compression).map_err(failed)?;
    // Strips that share bytes cannot hold more than the file.
    let possible = stored.min(file_bytes).saturating_mul(most_per_byte(compression.unwrap_or(1)));
    // Tiles reach over the edge of the page, and are decoded whole.
    let (across, down) = decoder.chunk_dimensions();
    let chunk = SliceForm { height: down as usize, width: across as usize, ..form };
    let expected = match decoder.get_chunk_type() {
        ChunkType::Tile => form.bytes().max(chunk.bytes()),
        ChunkType::Strip => form.bytes(),
    };
    if expected > possible {
        return Err(VolumeError::ImpossibleSize { path: path.into(), expected, file_bytes, possible });
    }
    Ok((form, inverted))
}

/// Bytes of all strips or tiles of the current page, which must lie inside the file.
fn stored_bytes(
    path: &Path,
    page: &str,
    decoder: &mut Decoder<Box<dyn Source>>,
    file_bytes: u64,
) -> Result<u64> {
    let failed = |error| fault(path, page, &error);
    let mut stored = 0_u64;
    for (offsets, counts) in
        [(Tag::StripOffsets, Tag::StripByteCounts), (Tag::TileOffsets, Tag::TileByteCounts)]
    {
        let offsets: Vec<u64> = decoder.find_tag_unsigned_vec(offsets).map_err(failed)?.unwrap_or_default();
        let counts: Vec<u64> = decoder.find_tag_unsigned_vec(counts).map_err(failed)?.unwrap_or_default();
        for (offset, count) in offsets.iter().zip(&counts) {
            let end = offset.saturating_add(*count);
            if end > file_bytes {
                return Err(VolumeError::SliceTruncated {
                    path: path.into(),
                    slice: page.to_owned(),
                    detail: format!(
                        "its pixels end at byte {}, the file at {}",
                        grouped(end),
                        grouped(file_bytes)
                    ),
                });
            }
            stored = stored.saturating_add(*count);
        }
    }
    Ok(stored)
}

/// Most bytes that one stored byte can become, by the codes of the compression tag.
fn most_per_byte(compression: u16) -> u64 {
    match compression {
        1 => 1,
        // LZW: 12 bits stand for at most 3,838 bytes.
        5 => 2_560,
        8 | 32_946 => 1_032,
        // PackBits: 2 bytes stand for at most 128.
        32_773 => 64,
        // Not decoded here; the decoder says so by name.
        _ => u64::MAX,
    }
}

/// ImageDescription of the current page as text; empty where there is none. Old programs write Latin-1.
fn description(decoder: &mut Decoder<Box<dyn Source>>) -> Result<String, TiffError> {
    let mut buffer = ValueBuffer::empty(Type::ASCII);
    if decoder.image_ifd().find_tag_buf(Tag::ImageDescription, &mut buffer)?.is_none() {
        return Ok(String::new());
    }
    let bytes = buffer.as_bytes();
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(match std::str::from_utf8(&bytes[..end]) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes[..end].iter().map(|byte| char::from(*byte)).collect(),
    })
}

fn resolution(decoder: &mut Decoder<Box<dyn Source>>) -> Result<Resolution, TiffError> {
    let mut size = |tag| -> Result<Option<f64>, TiffError> {
        Ok(match decoder.find_tag(tag)? {
            Some(Value::Rational(pixels, per)) if pixels > 0 && per > 0 => {
                Some(f64::from(per) / f64::from(pixels))
            }
            _ => None,
        })
    };
    Ok(Resolution { pixel_y: size(Tag::YResolution)?, pixel_x: size(Tag::XResolution)? })
}

/// The decoder's error in words of ours.
fn fault(path: &Path, slice: &str, error: &TiffError) -> VolumeError {
    let corrupt = |reason: String| VolumeError::Corrupt {
        path: path.into(),
        reason: format!("{slice}: {reason}"),
        decoded: 0,
        expected: 0,
    };
    match error {
        TiffError::IoError(io) => match io.kind() {
            ErrorKind::UnexpectedEof => VolumeError::SliceTruncated {
                path: path.into(),
                slice: slice.to_owned(),
                detail: String::new(),
            },
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other => corrupt(io.to_string()),
            kind => VolumeError::Io(std::io::Error::new(kind, format!("{}: {slice}: {io}", path.display()))),
        },
        TiffError::UnsupportedError(reason) => VolumeError::StackContent {
            path: path.into(),
            found: format!("{slice}: {reason}"),
            expected: "grey pixels, uncompressed or compressed by LZW, deflate or PackBits",
            fix: "Save the stack as TIFF with LZW or deflate and 8 or 16 bits per pixel, e.g. with Fiji or tifffile",
        },
        other => corrupt(other.to_string()),
    }
}
