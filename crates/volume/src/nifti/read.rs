//! Reading images and label maps.

use super::affine;
use super::gzip::Source;
use super::header::Header;
use crate::error::{Result, ValueTable, VolumeError};
use crate::geometry::Grid;
use crate::warning::Warning;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

/// An image as stored: neither reoriented nor resampled.
#[derive(Debug, Clone)]
pub struct Image {
    /// Channels, from the file's fourth or fifth axis.
    pub channels: usize,
    /// Voxel grid.
    pub grid: Grid,
    /// Scaled intensities in C order c, z, y, x.
    pub data: Vec<f32>,
    /// The header as stored.
    pub header: Header,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// A label map as stored.
#[derive(Debug, Clone)]
pub struct LabelImage {
    /// Voxel grid.
    pub grid: Grid,
    /// Labels in C order z, y, x.
    pub data: Vec<u32>,
    /// The header as stored.
    pub header: Header,
    /// What was repaired or decided on the way.
    pub warnings: Vec<Warning>,
}

/// Reads header and grid only; the voxels are neither read nor checked.
///
/// # Errors
/// As [`read_image`], except for flaws of the voxels.
pub fn read_header(path: impl AsRef<Path>) -> Result<(Header, Grid, Vec<Warning>)> {
    let input = open(path.as_ref())?;
    Ok((input.header, input.grid, input.warnings))
}

/// Reads an image; values are `stored · slope + intercept` in f64, rounded to f32.
///
/// # Errors
/// Truncated or corrupt file, no NIfTI, colour or complex voxels, more than one axis beyond x, y, z, unusable geometry.
/// NaN and infinite voxels are no error here: see [`crate::intensity::check_finite`].
pub fn read_image(path: impl AsRef<Path>) -> Result<Image> {
    let path = path.as_ref();
    let mut input = open(path)?;
    let channels = input.header.channels();
    let (slope, inter) = input.header.scaling();
    let plain = (slope, inter) == (1.0, 0.0);
    let mut data = reserve::<f32>(path, &input.header)?;
    input.voxels(path, |value| data.push(if plain { value } else { value * slope + inter } as f32))?;
    Ok(Image { channels, grid: input.grid, data, header: input.header, warnings: input.warnings })
}

/// Reads a label map; floating point labels must be integers within 0.001 after scaling.
///
/// # Errors
/// As [`read_image`]; also several channels, values that are no integers, negative or beyond 32 bits, all of them listed
/// with their counts.
pub fn read_labels(path: impl AsRef<Path>) -> Result<LabelImage> {
    let path = path.as_ref();
    let mut input = open(path)?;
    if input.header.channels() != 1 {
        return Err(VolumeError::Channels { path: path.into(), found: input.header.channels(), expected: 1 });
    }
    let (slope, inter) = input.header.scaling();
    let mut data = reserve::<u32>(path, &input.header)?;
    let mut fractions = Offenders::default();
    let mut outside = Offenders::default();
    input.voxels(path, |stored| {
        let value = stored * slope + inter;
        let rounded = value.round();
        // NaN fails the comparison and so counts as no integer.
        if (value - rounded).abs() <= 1e-3 {
            if (0.0..=f64::from(u32::MAX)).contains(&rounded) {
                data.push(rounded as u32);
            } else {
                outside.count(rounded);
            }
        } else {
            fractions.count(value);
        }
    })?;
    if let Some(values) = fractions.table() {
        return Err(VolumeError::LabelNotInteger { path: path.into(), values });
    }
    if let Some(values) = outside.table() {
        return Err(VolumeError::LabelRange { path: path.into(), values });
    }
    Ok(LabelImage { grid: input.grid, data, header: input.header, warnings: input.warnings })
}

/// Values that should not be there. An intensity image in place of labels may have millions: only the first distinct
/// ones are kept.
#[derive(Default)]
struct Offenders {
    counts: BTreeMap<u64, (f64, u64)>,
}

impl Offenders {
    const MOST: usize = 4096;

    fn count(&mut self, value: f64) {
        let key = value.to_bits();
        if self.counts.len() < Self::MOST || self.counts.contains_key(&key) {
            self.counts.entry(key).or_insert((value, 0)).1 += 1;
        }
    }

    /// Most frequent first.
    fn table(self) -> Option<ValueTable> {
        let mut values: Vec<(f64, u64)> = self.counts.into_values().collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.total_cmp(&b.0)));
        (!values.is_empty()).then_some(ValueTable(values))
    }
}

/// A file whose header has been read.
struct Input {
    header: Header,
    grid: Grid,
    warnings: Vec<Warning>,
    source: Source,
    /// Bytes of the decoded stream consumed so far.
    position: u64,
}

/// Opens a file and reads its header. If a compressed header is wrong, the rest of the stream tells whether the file is
/// damaged (its checksum fails) or was made that way.
fn open(path: &Path) -> Result<Input> {
    let (mut source, file_bytes) = Source::open(path)?;
    let compressed = matches!(source, Source::Gzip(_));
    let most = source.most(file_bytes);
    match describe(path, &mut source, file_bytes, most) {
        Ok((header, grid, warnings, position)) => Ok(Input { header, grid, warnings, source, position }),
        Err(error @ (VolumeError::TruncatedHeader { .. } | VolumeError::Corrupt { .. })) => Err(error),
        Err(error) if compressed => match io::copy(&mut source, &mut io::sink()) {
            Ok(_) => Err(error),
            Err(damage) => Err(VolumeError::Corrupt {
                path: path.into(),
                reason: damage.to_string(),
                decoded: 0,
                expected: 0,
            }),
        },
        Err(error) => Err(error),
    }
}

type Description = (Header, Grid, Vec<Warning>, u64);

fn describe(path: &Path, source: &mut Source, file_bytes: u64, possible: u64) -> Result<Description> {
    let (header, position) = Header::read(path, source)?;
    let announced = header.voxel_bytes();
    if announced > possible && matches!(source, Source::Gzip(_)) {
        return Err(VolumeError::ImpossibleSize {
            path: path.into(),
            expected: announced,
            file_bytes,
            possible,
        });
    }
    if matches!(source, Source::Plain(_)) && header.vox_offset.saturating_add(announced) > file_bytes {
        return Err(VolumeError::Truncated {
            path: path.into(),
            decoded: file_bytes.saturating_sub(header.vox_offset),
            expected: announced,
        });
    }
    let (grid, mut warnings) = affine::grid(path, &header)?;
    if header.scl_slope.is_infinite() || (header.scl_slope.is_finite() && !header.scl_inter.is_finite()) {
        warnings.push(Warning::ScalingIgnored {
            slope: header.scl_slope.to_string(),
            inter: header.scl_inter.to_string(),
        });
    }
    if grid.shape_zyx.contains(&1) {
        warnings.push(Warning::SingleSlice { shape_zyx: grid.shape_zyx });
    }
    Ok((header, grid, warnings, position))
}

fn reserve<T>(path: &Path, header: &Header) -> Result<Vec<T>> {
    let count = header.voxel_bytes() / header.datatype.bytes() as u64;
    let mut data = Vec::new();
    data.try_reserve_exact(usize::try_from(count).unwrap_or(usize::MAX)).map_err(|_| {
        VolumeError::Memory { path: path.into(), bytes: count.saturating_mul(size_of::<T>() as u64) }
    })?;
    Ok(data)
}

impl Input {
    /// Feeds every stored number to `each`, then reads on to the end so that the last checksum is verified.
    fn voxels(&mut self, path: &Path, mut each: impl FnMut(f64)) -> Result<()> {
        let expected = self.header.voxel_bytes();
        let gap = self.header.vox_offset - self.position;
        let mut decoded = 0_u64;
        let fail = |error: io::Error, decoded: u64| match error.kind() {
            io::ErrorKind::UnexpectedEof => VolumeError::Truncated { path: path.into(), decoded, expected },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                VolumeError::Corrupt { path: path.into(), reason: error.to_string(), decoded, expected }
            }
            _ => VolumeError::Io(error),
        };
        // A multiple of every voxel size.
        let mut buffer = vec![0_u8; 1 << 16];
        let mut skipped = 0;
        while skipped < gap {
            let want = buffer.len().min((gap - skipped) as usize);
            match self.source.read(&mut buffer[..want]) {
                Ok(0) => return Err(fail(io::ErrorKind::UnexpectedEof.into(), 0)),
                Ok(count) => skipped += count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fail(error, 0)),
            }
        }
        let mut held = 0_usize;
        while decoded < expected {
            let want = buffer.len().min(held + (expected - decoded) as usize);
            match self.source.read(&mut buffer[held..want]) {
                Ok(0) => return Err(fail(io::ErrorKind::UnexpectedEof.into(), decoded)),
                Ok(count) => {
                    decoded += count as u64;
                    held += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(fail(error, decoded)),
            }
            let whole = held - held % self.header.datatype.bytes();
            self.header.datatype.decode(&buffer[..whole], self.header.big_endian, &mut each);
            buffer.copy_within(whole..held, 0);
            held -= whole;
        }
        let trailing = io::copy(&mut self.source, &mut io::sink()).map_err(|error| fail(error, decoded))?;
        if trailing > 0 {
            self.warnings.push(Warning::TrailingBytes { bytes: trailing });
        }
        Ok(())
    }
}
