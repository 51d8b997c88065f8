//! Number types of slices, and their way to intensities and ids.

use crate::error::{Result, VolumeError};
use std::fmt;
use std::path::Path;
use tiff::decoder::DecodingResult;

/// What the numbers of a slice are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Unsigned,
    Signed,
    Float,
    /// Indices into a table of colours: ids for a label map, but no intensities.
    Palette,
}

/// Size and number type of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SliceForm {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) kind: Kind,
    pub(super) bits: u8,
}

impl SliceForm {
    /// Bytes of the decoded slice; saturates.
    pub(super) fn bytes(&self) -> u64 {
        let pixels = (self.height as u64).saturating_mul(self.width as u64);
        pixels.saturating_mul(u64::from(self.bits.div_ceil(8)))
    }
}

impl fmt::Display for SliceForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = match self.kind {
            Kind::Unsigned => "u",
            Kind::Signed => "i",
            Kind::Float => "f",
            Kind::Palette => "palette ",
        };
        write!(f, "{}×{} (y×x) {letter}{}", self.height, self.width, self.bits)
    }
}

/// Writes numbers from the one at `first` on as intensities; integers above 2^24 and 64-bit floats are rounded to the nearest `f32`.
pub(crate) fn intensities(slice: &DecodingResult, first: usize, out: &mut [f32]) {
    let each_of = first..first + out.len();
    fn each<T: Copy>(from: &[T], out: &mut [f32], convert: impl Fn(T) -> f32) {
        for (to, value) in out.iter_mut().zip(from) {
            *to = convert(*value);
        }
    }
    match slice {
        DecodingResult::U8(v) => each(&v[each_of], out, f32::from),
        DecodingResult::U16(v) => each(&v[each_of], out, f32::from),
        DecodingResult::U32(v) => each(&v[each_of], out, |x| x as f32),
        DecodingResult::U64(v) => each(&v[each_of], out, |x| x as f32),
        DecodingResult::I8(v) => each(&v[each_of], out, f32::from),
        DecodingResult::I16(v) => each(&v[each_of], out, f32::from),
        DecodingResult::I32(v) => each(&v[each_of], out, |x| x as f32),
        DecodingResult::I64(v) => each(&v[each_of], out, |x| x as f32),
        DecodingResult::F16(v) => each(&v[each_of], out, |x| x.to_f32()),
        DecodingResult::F32(v) => each(&v[each_of], out, |x| x),
        DecodingResult::F64(v) => each(&v[each_of], out, |x| x as f32),
    }
}

/// Writes numbers from the one at `first` on as ids. Integers never pass through a float; floats must be whole and below the size from which
/// their type skips integers.
pub(crate) fn ids(
    path: &Path,
    name: &str,
    slice: &DecodingResult,
    first: usize,
    out: &mut [u64],
) -> Result<()> {
    let each_of = first..first + out.len();
    fn each<T: Copy + fmt::Display>(
        from: &[T],
        out: &mut [u64],
        convert: impl Fn(T) -> Option<u64>,
    ) -> Result<(), String> {
        for (to, value) in out.iter_mut().zip(from) {
            *to = convert(*value).ok_or_else(|| value.to_string())?;
        }
        Ok(())
    }
    let whole = |x: f64, limit: f64| (x >= 0.0 && x <= limit && x.fract() == 0.0).then_some(x as u64);
    let done = match slice {
        DecodingResult::U8(v) => each(&v[each_of], out, |x| Some(x.into())),
        DecodingResult::U16(v) => each(&v[each_of], out, |x| Some(x.into())),
        DecodingResult::U32(v) => each(&v[each_of], out, |x| Some(x.into())),
        DecodingResult::U64(v) => each(&v[each_of], out, Some),
        DecodingResult::I8(v) => each(&v[each_of], out, |x| x.try_into().ok()),
        DecodingResult::I16(v) => each(&v[each_of], out, |x| x.try_into().ok()),
        DecodingResult::I32(v) => each(&v[each_of], out, |x| x.try_into().ok()),
        DecodingResult::I64(v) => each(&v[each_of], out, |x| x.try_into().ok()),
        DecodingResult::F16(v) => each(&v[each_of], out, |x| whole(x.to_f64(), 2048.0)),
        DecodingResult::F32(v) => each(&v[each_of], out, |x| whole(x.into(), 16_777_216.0)),
        DecodingResult::F64(v) => each(&v[each_of], out, |x| whole(x, 9_007_199_254_740_992.0)),
    };
    done.map_err(|value| VolumeError::StackContent {
        path: path.into(),
        found: format!("{name} holds the label value {value}"),
        expected: "whole numbers from 0, as floats only while every integer has one (f16 2^11, f32 2^24, f64 2^53)",
        fix: "Check that this is the label and not the image. Export ids as unsigned integers, without interpolation",
    })
}

/// Number of elements.
pub(super) fn length(slice: &DecodingResult) -> usize {
    match slice {
        DecodingResult::U8(v) => v.len(),
        DecodingResult::U16(v) => v.len(),
        DecodingResult::U32(v) => v.len(),
        DecodingResult::U64(v) => v.len(),
        DecodingResult::I8(v) => v.len(),
        DecodingResult::I16(v) => v.len(),
        DecodingResult::I32(v) => v.len(),
        DecodingResult::I64(v) => v.len(),
        DecodingResult::F16(v) => v.len(),
        DecodingResult::F32(v) => v.len(),
        DecodingResult::F64(v) => v.len(),
    }
}

/// The first bytes of a file, readable.
pub(super) fn first_bytes(bytes: &[u8]) -> String {
    match bytes {
        [] => "nothing: the file is empty".to_owned(),
        [0x89, b'P', b'N', b'G', ..] => "a PNG signature".to_owned(),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => "a TIFF signature".to_owned(),
        _ => format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(8)])),
    }
}

pub(super) const GREY: &str = "one grey value or id per pixel, 8, 16, 32 or 64 bits";
pub(super) const COLOUR_FIX: &str = "Colours are no ids and no intensities. Export labels as grey images whose values are the ids, and images as grey";
