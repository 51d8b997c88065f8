//! Headers of both versions as one type.

use crate::error::{Result, VolumeError};
use crate::scan::{self, Datatype, Format, Stored, dimensions, shape_zyx};
use nifti::{Endianness, NiftiHeader};
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a NIfTI-1 header.
const BYTES_1: usize = 348;
/// Bytes of a NIfTI-2 header.
pub(super) const BYTES_2: usize = 540;

/// What a header said, as stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// 1 or 2.
    pub version: u8,
    /// Byte order of the file.
    pub big_endian: bool,
    /// Dimensions in the file's order: x, y, z, then time, vector …
    pub dims: Vec<u64>,
    /// Number type.
    pub datatype: Datatype,
    /// `pixdim[0..8]`; the first is qfac.
    pub pixdim: [f64; 8],
    /// First byte of the voxels.
    pub vox_offset: u64,
    /// Slope as stored; 0 and NaN mean no scaling.
    pub scl_slope: f64,
    /// Intercept as stored.
    pub scl_inter: f64,
    /// Code of the quaternion form.
    pub qform_code: i32,
    /// Code of the matrix form.
    pub sform_code: i32,
    /// Quaternion b, c, d.
    pub quaternion: [f64; 3],
    /// Offset of the quaternion form, x, y, z.
    pub quaternion_offset: [f64; 3],
    /// Rows of the matrix form.
    pub srow: [[f64; 4]; 3],
    /// Unit codes of length (bits 0–2) and time (bits 3–5).
    pub xyzt_units: u8,
    /// Free text.
    pub description: String,
    pub(super) raw: Raw,
}

/// The header itself, to be copied into files made like this one.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    One(Box<NiftiHeader>),
    /// Little-endian bytes.
    Two(Box<[u8; BYTES_2]>),
}

impl Header {
    /// Shape of the volume; missing axes count 1.
    pub fn shape_zyx(&self) -> [usize; 3] {
        shape_zyx(&self.dims)
    }

    /// How the voxels are stored.
    pub fn stored(&self) -> Stored {
        Stored {
            format: if self.version == 1 { Format::Nifti1 } else { Format::Nifti2 },
            dims: self.dims.clone(),
            interleaved: false,
            datatype: self.datatype,
            big_endian: self.big_endian,
            scaling: self.scaling(),
        }
    }

    /// Slope and intercept that apply, (1, 0) where the header gives none.
    pub fn scaling(&self) -> (f64, f64) {
        if self.scl_slope == 0.0 || !self.scl_slope.is_finite() || !self.scl_inter.is_finite() {
            (1.0, 0.0)
        } else {
            (self.scl_slope, self.scl_inter)
        }
    }

    /// Reads and checks a header; leaves `stream` at the first byte after it, which is returned too.
    pub(super) fn read(path: &Path, stream: &mut impl Read) -> Result<(Self, u64)> {
        let mut bytes = Vec::with_capacity(BYTES_2);
        let first = fill(stream, &mut bytes, 4);
        let start: [u8; 4] = match (first, bytes.first_chunk()) {
            (Ok(()), Some(start)) => *start,
            (Err(error), _) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(corrupt_header(path, error));
            }
            _ => return Err(not_nifti(path, &bytes)),
        };
        let (length, big_endian) =
            match (u32::from_le_bytes(start) as usize, u32::from_be_bytes(start) as usize) {
                (little @ (BYTES_1 | BYTES_2), _) => (little, false),
                (_, big @ (BYTES_1 | BYTES_2)) => (big, true),
                _ => {
                    // A little more of the text helps to see what it is.
                    let _shorter = fill(stream, &mut bytes, 24);
                    return Err(not_nifti(path, &bytes));
                }
            };
        if let Err(error) = fill(stream, &mut bytes, length) {
            return Err(if error.kind() == io::ErrorKind::UnexpectedEof {
                VolumeError::TruncatedHeader {
                    path: path.into(),
                    decoded: bytes.len() as u64,
                    expected: length as u64,
                }
            } else {
                corrupt_header(path, error)
            });
        }
        let header = if length == BYTES_1 {
            version_1(path, &bytes)?
        } else {
            version_2(path, &mut bytes, big_endian)?
        };
        Ok((header, length as u64))
    }
}

/// Appends bytes up to `length` in all; on a short stream keeps what came.
fn fill(stream: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let missing = (length - bytes.len()) as u64;
    stream.by_ref().take(missing).read_to_end(bytes)?;
    if bytes.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// The decompressor's complaint, or the system's where the bytes could not be had at all.
fn corrupt_header(path: &Path, error: io::Error) -> VolumeError {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            VolumeError::Corrupt { path: path.into(), reason: error.to_string(), decoded: 0, expected: 0 }
        }
        _ => VolumeError::Io(error),
    }
}

/// Whether a name belongs to one half of an Analyze or NIfTI pair; their voxel half has no header at all.
fn names_a_pair(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.ends_with(".img") || name.ends_with(".hdr")
}

fn not_nifti(path: &Path, bytes: &[u8]) -> VolumeError {
    if names_a_pair(path) {
        return VolumeError::HeaderPair { path: path.into() };
    }
    let found = if bytes.is_empty() {
        "nothing (0 bytes)".to_owned()
    } else {
        format!("\"{}\"", bytes.escape_ascii())
    };
    VolumeError::NotNifti { path: path.into(), found }
}

fn version_1(path: &Path, bytes: &[u8]) -> Result<Header> {
    let magic = &bytes[344..348];
    if magic == b"ni1\0" {
        return Err(VolumeError::HeaderPair { path: path.into() });
    }
    let raw = NiftiHeader::from_reader(bytes).map_err(|_| not_nifti(path, magic))?;
    if raw.sizeof_hdr != BYTES_1 as i32 {
        // The crate takes the byte order from dim[0], we from the header's size: they disagree.
        return Err(dimensions(path, "dim[0] out of range".to_owned(), "the header is damaged"));
    }
    let f = |v: f32| f64::from(v);
    Ok(Header {
        version: 1,
        big_endian: raw.endianness == Endianness::Big,
        dims: checked_dims(path, &raw.dim.map(|n| i64::from(n as i16)))?,
        datatype: checked_type(path, raw.datatype)?,
        pixdim: raw.pixdim.map(f),
        vox_offset: checked_offset(path, f(raw.vox_offset), BYTES_1)?,
        scl_slope: f(raw.scl_slope),
        scl_inter: f(raw.scl_inter),
        qform_code: raw.qform_code.into(),
        sform_code: raw.sform_code.into(),
        quaternion: [raw.quatern_b, raw.quatern_c, raw.quatern_d].map(f),
        quaternion_offset: [raw.quatern_x, raw.quatern_y, raw.quatern_z].map(f),
        srow: [raw.srow_x.map(f), raw.srow_y.map(f), raw.srow_z.map(f)],
        xyzt_units: raw.xyzt_units,
        description: text(&raw.descrip),
        raw: Raw::One(Box::new(raw)),
    })
}

/// Numeric fields of a NIfTI-2 header: offset, width, count.
const FIELDS_2: [(usize, usize, usize); 6] =
    [(0, 4, 1), (12, 2, 2), (16, 8, 28), (344, 4, 2), (352, 8, 18), (496, 4, 3)];

fn version_2(path: &Path, bytes: &mut [u8], big_endian: bool) -> Result<Header> {
    if bytes[4..8] != *b"n+2\0" {
        return Err(if bytes[4..8] == *b"ni2\0" {
            VolumeError::HeaderPair { path: path.into() }
        } else {
            not_nifti(path, &bytes[..12])
        });
    }
    if big_endian {
        for (offset, width, count) in FIELDS_2 {
            bytes[offset..offset + width * count].chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
    }
    let raw: Box<[u8; BYTES_2]> = Box::new(bytes.first_chunk().copied().ok_or_else(|| not_nifti(path, &[]))?);
    let field = |offset: usize| -> [u8; 8] { std::array::from_fn(|i| raw[offset + i]) };
    let integer = |offset: usize| i64::from_le_bytes(field(offset));
    let float = |offset: usize| f64::from_le_bytes(field(offset));
    // Fields of 2 and 4 bytes are the low bytes of the 8 read, all of which lie inside the header.
    let short = |offset: usize| integer(offset) as i16;
    let int = |offset: usize| integer(offset) as i32;
    let floats = |offset: usize| -> [f64; 3] { std::array::from_fn(|i| float(offset + 8 * i)) };
    let row = |offset: usize| -> [f64; 4] { std::array::from_fn(|i| float(offset + 8 * i)) };
    Ok(Header {
        version: 2,
        big_endian,
        dims: checked_dims(path, &std::array::from_fn(|i| integer(16 + 8 * i)))?,
        datatype: checked_type(path, short(12))?,
        pixdim: std::array::from_fn(|i| float(104 + 8 * i)),
        vox_offset: checked_offset(path, integer(168) as f64, BYTES_2)?,
        scl_slope: float(176),
        scl_inter: float(184),
        qform_code: int(344),
        sform_code: int(348),
        quaternion: floats(352),
        quaternion_offset: floats(376),
        srow: [row(400), row(432), row(464)],
        xyzt_units: int(500) as u8,
        description: text(&raw[240..320]),
        raw: Raw::Two(raw),
    })
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn checked_dims(path: &Path, dim: &[i64; 8]) -> Result<Vec<u64>> {
    match dim[0] {
        count @ 1..=7 => scan::checked_dims(path, &dim[1..=count as usize]),
        count => Err(dimensions(path, format!("dim[0] = {count}"), "expected 2 to 7 axes")),
    }
}

fn checked_type(path: &Path, code: i16) -> Result<Datatype> {
    Datatype::from_code(code).map_err(|name| VolumeError::UnsupportedType { path: path.into(), code, name })
}

/// 0 means right after the header and its four extension bytes.
fn checked_offset(path: &Path, offset: f64, header: usize) -> Result<u64> {
    if offset == 0.0 {
        Ok(header as u64 + 4)
    } else if offset >= header as f64 && offset < 1e12 {
        Ok(offset as u64)
    } else {
        Err(dimensions(path, format!("vox_offset {offset}"), "the voxels cannot begin inside the header"))
    }
}
