//! Writing label maps and images: deterministic bytes, whole files or none.

use super::header::{BYTES_2, Raw};
use super::read::read_header;
use crate::atomic;
use crate::error::{Result, VolumeError};
use crate::expect_length;
use crate::geometry::{Grid, same_geometry};
use crate::scan::Datatype;
use flate2::{Compression, GzBuilder};
use nalgebra::{Rotation3, UnitQuaternion};
use ndarray::{ArrayView, IxDyn, ShapeBuilder};
use nifti::writer::WriterOptions;
use nifti::{Endianness, NiftiHeader};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

/// First voxel byte of a NIfTI-1 file without extensions.
const VOXELS_1: usize = 352;

/// Number type of a written image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageType {
    /// 32-bit floating point.
    F32,
    /// 16-bit signed; values are rounded and must fit.
    I16,
}

/// Writes labels (z, y, x) on exactly the grid of `reference`, whose sform, qform, their codes, `pixdim` and units are
/// copied bit for bit.
///
/// The file has 8 bits per voxel if all labels are below 256, else 16.
///
/// # Errors
/// Unreadable reference, a length that is not the reference's, a label above 65535, no room or rights on disk.
pub fn write_labels_like<T: Copy + Into<u32>>(
    path: impl AsRef<Path>,
    labels: &[T],
    reference: impl AsRef<Path>,
) -> Result<()> {
    let (header, grid, _) = read_header(reference)?;
    write_label_values(path.as_ref(), labels, grid.shape_zyx, header.raw)
}

/// Writes labels (z, y, x) on a grid of our own; sform and qform both hold it.
///
/// # Errors
/// As [`write_labels_like`].
pub fn write_labels<T: Copy + Into<u32>>(path: impl AsRef<Path>, labels: &[T], grid: &Grid) -> Result<()> {
    write_label_values(path.as_ref(), labels, grid.shape_zyx, header_for(grid, &[]))
}

/// Writes an image (c, z, y, x); several channels become the fourth axis, as in the Medical Segmentation Decathlon.
///
/// # Errors
/// A length that does not fit, values outside 16 bits for [`ImageType::I16`], no room or rights on disk.
pub fn write_image(
    path: impl AsRef<Path>,
    data: &[f32],
    channels: usize,
    grid: &Grid,
    datatype: ImageType,
) -> Result<()> {
    let path = path.as_ref();
    expect_length("image to write", data.len(), channels, grid.shape_zyx)?;
    let extra: &[usize] = if channels == 1 { &[] } else { &[channels] };
    let raw = header_for(grid, extra);
    match datatype {
        ImageType::F32 => write_voxels(path, &Values::F32(data), grid.shape_zyx, extra, raw),
        ImageType::I16 => {
            let fits = f32::from(i16::MIN)..=f32::from(i16::MAX);
            if let Some(value) = data.iter().find(|value| !fits.contains(&value.round())) {
                return Err(VolumeError::Write {
                    path: path.into(),
                    reason: format!("value {value} does not fit 16 bits"),
                });
            }
            let values: Vec<i16> = data.iter().map(|value| value.round() as i16).collect();
            write_voxels(path, &Values::I16(&values), grid.shape_zyx, extra, raw)
        }
    }
}

fn write_label_values<T: Copy + Into<u32>>(
    path: &Path,
    labels: &[T],
    shape_zyx: [usize; 3],
    raw: Raw,
) -> Result<()> {
    expect_length("label map to write", labels.len(), 1, shape_zyx)?;
    let largest = labels.iter().map(|&label| label.into()).max().unwrap_or(0);
    if largest < 256 {
        let values: Vec<u8> = labels.iter().map(|&label| label.into() as u8).collect();
        write_voxels(path, &Values::U8(&values), shape_zyx, &[], raw)
    } else if largest <= u32::from(u16::MAX) {
        let values: Vec<u16> = labels.iter().map(|&label| label.into() as u16).collect();
        write_voxels(path, &Values::U16(&values), shape_zyx, &[], raw)
    } else {
        Err(VolumeError::TooManyLabels { found: largest, limit: u16::MAX.into() })
    }
}

/// A fresh header for a grid; NIfTI-2 where an axis is too long for NIfTI-1.
fn header_for(grid: &Grid, extra: &[usize]) -> Raw {
    let [z, y, x] = grid.spacing_zyx_mm();
    let (orthonormal, _) = grid.orthonormalised();
    let mut directions = orthonormal.directions();
    let qfac = if directions.determinant() < 0.0 {
        directions.column_mut(2).neg_mut();
        -1.0
    } else {
        1.0
    };
    let mut quaternion =
        UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(directions)).into_inner();
    if quaternion.w < 0.0 {
        quaternion = -quaternion;
    }
    // A sheared grid has no quaternion: then only the matrix is declared valid.
    let qform_code = i16::from(same_geometry(&orthonormal, grid) < grid.same_within_mm());
    let pixdim = [qfac, x, y, z, 1.0, 1.0, 1.0, 1.0];
    let bcd = [quaternion.i, quaternion.j, quaternion.k];
    let offset = [0, 1, 2].map(|row: usize| grid.affine[row][3]);
    let too_long = |n: &usize| *n > i16::MAX as usize;
    if grid.shape_zyx.iter().chain(extra).any(too_long) {
        let mut bytes = Box::new([0_u8; BYTES_2]);
        put(&mut bytes, 0, &540_i32.to_le_bytes());
        put(&mut bytes, 4, b"n+2\0\r\n\x1a\n");
        put_floats(&mut bytes, 104, &pixdim);
        put(&mut bytes, 344, &i32::from(qform_code).to_le_bytes());
        put(&mut bytes, 348, &1_i32.to_le_bytes());
        put_floats(&mut bytes, 352, &bcd);
        put_floats(&mut bytes, 376, &offset);
        for row in 0..3 {
            put_floats(&mut bytes, 400 + 32 * row, &grid.affine[row]);
        }
        put(&mut bytes, 500, &2_i32.to_le_bytes());
        return Raw::Two(bytes);
    }
    let f = |v: f64| v as f32;
    let [b, c, d] = bcd.map(f);
    let [ox, oy, oz] = offset.map(f);
    Raw::One(Box::new(NiftiHeader {
        pixdim: pixdim.map(f),
        regular: b'r',
        xyzt_units: 2,
        qform_code,
        sform_code: 1,
        quatern_b: b,
        quatern_c: c,
        quatern_d: d,
        quatern_x: ox,
        quatern_y: oy,
        quatern_z: oz,
        srow_x: grid.affine[0].map(f),
        srow_y: grid.affine[1].map(f),
        srow_z: grid.affine[2].map(f),
        ..NiftiHeader::default()
    }))
}

/// Voxels in one of the types written here.
enum Values<'a> {
    U8(&'a [u8]),
    U16(&'a [u16]),
    I16(&'a [i16]),
    F32(&'a [f32]),
}

impl Values<'_> {
    fn datatype(&self) -> Datatype {
        match self {
            Self::U8(_) => Datatype::U8,
            Self::U16(_) => Datatype::U16,
            Self::I16(_) => Datatype::I16,
            Self::F32(_) => Datatype::F32,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    /// Little-endian bytes, in pieces.
    fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
        fn pieces<T: Copy, const N: usize>(
            values: &[T],
            sink: &mut dyn Write,
            bytes: fn(T) -> [u8; N],
        ) -> io::Result<()> {
            for piece in values.chunks(1 << 14) {
                let buffer: Vec<u8> = piece.iter().flat_map(|value| bytes(*value)).collect();
                sink.write_all(&buffer)?;
            }
            Ok(())
        }
        match self {
            Self::U8(values) => sink.write_all(values),
            Self::U16(values) => pieces(values, sink, u16::to_le_bytes),
            Self::I16(values) => pieces(values, sink, i16::to_le_bytes),
            Self::F32(values) => pieces(values, sink, f32::to_le_bytes),
        }
    }

    /// A NIfTI-1 file by the `nifti` crate; `dims` in the file's order.
    fn write_version_1(&self, path: &Path, header: &NiftiHeader, dims: &[usize]) -> Result<()> {
        let fail = |reason: String| VolumeError::Write { path: path.into(), reason };
        let options = WriterOptions::new(path).reference_header(header);
        macro_rules! write {
            ($values:expr) => {{
                let array = ArrayView::from_shape(IxDyn(dims).f(), $values);
                options.write_nifti(&array.map_err(|error| fail(error.to_string()))?)
            }};
        }
        let written = match self {
            Self::U8(values) => write!(values),
            Self::U16(values) => write!(values),
            Self::I16(values) => write!(values),
            Self::F32(values) => write!(values),
        };
        // the crate shows an error of the system as its fields
        written.map_err(|error| fail(error.source().map_or_else(|| error.to_string(), ToString::to_string)))
    }
}

/// Writes voxels (extra, z, y, x) under a header whose geometry is kept and whose description of the values is ours.
fn write_voxels(
    path: &Path,
    values: &Values<'_>,
    shape_zyx: [usize; 3],
    extra: &[usize],
    raw: Raw,
) -> Result<()> {
    let mut dims = vec![shape_zyx[2], shape_zyx[1], shape_zyx[0]];
    dims.extend_from_slice(extra);
    let compress = path.extension().is_some_and(|extension| extension == "gz");
    let suffix = if compress { ".nii.gz" } else { ".nii" };
    match raw {
        Raw::One(mut header) => {
            header.endianness = Endianness::Little;
            (header.cal_min, header.cal_max, header.glmin, header.glmax) = (0.0, 0.0, 0, 0);
            (header.intent_code, header.intent_p1, header.intent_p2, header.intent_p3) = (0, 0.0, 0.0, 0.0);
            header.intent_name = [0; 16];
            atomic::replace(path, suffix, |temporary| {
                values.write_version_1(temporary, &header, &dims)?;
                if compress {
                    return Ok(());
                }
                // The crate drops its buffer without looking at the result of the last flush.
                let expected = (VOXELS_1 + values.len() * values.datatype().bytes()) as u64;
                let found = fs_err::metadata(temporary)?.len();
                if found == expected {
                    Ok(())
                } else {
                    let reason = format!("wrote {found} of {expected} bytes; the disk may be full");
                    Err(VolumeError::Write { path: path.into(), reason })
                }
            })
        }
        Raw::Two(mut header) => {
            describe_values_2(&mut header, values.datatype(), &dims);
            atomic::replace(path, suffix, |temporary| {
                let file = fs_err::OpenOptions::new().write(true).open(temporary)?;
                let mut file = io::BufWriter::new(file);
                if compress {
                    let mut encoder = GzBuilder::new().mtime(0).write(file, Compression::fast());
                    encoder.write_all(&header[..])?;
                    encoder.write_all(&[0; 4])?;
                    values.write(&mut encoder)?;
                    encoder.finish()?.flush()?;
                } else {
                    file.write_all(&header[..])?;
                    file.write_all(&[0; 4])?;
                    values.write(&mut file)?;
                    file.flush()?;
                }
                Ok(())
            })
        }
    }
}

/// Sets the fields of a NIfTI-2 header that describe the values and not the geometry.
fn describe_values_2(header: &mut [u8; BYTES_2], datatype: Datatype, dims: &[usize]) {
    let mut dim = [1_i64; 8];
    dim[0] = dims.len() as i64;
    for (field, n) in dim[1..].iter_mut().zip(dims) {
        *field = *n as i64;
    }
    put(header, 12, &datatype.code().to_le_bytes());
    put(header, 14, &((8 * datatype.bytes()) as i16).to_le_bytes());
    for (i, n) in dim.iter().enumerate() {
        put(header, 16 + 8 * i, &n.to_le_bytes());
    }
    put_floats(header, 80, &[0.0; 3]);
    put(header, 168, &544_i64.to_le_bytes());
    // Slope, intercept, display range.
    put_floats(header, 176, &[1.0, 0.0, 0.0, 0.0]);
    // Intent code and name.
    put(header, 504, &[0; 20]);
}

fn put(bytes: &mut [u8; BYTES_2], offset: usize, field: &[u8]) {
    bytes[offset..offset + field.len()].copy_from_slice(field);
}

fn put_floats(bytes: &mut [u8; BYTES_2], offset: usize, values: &[f64]) {
    for (i, value) in values.iter().enumerate() {
        put(bytes, offset + 8 * i, &value.to_le_bytes());
    }
}
