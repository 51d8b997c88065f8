//! The one decoder: a checked header, then voxel bytes in order, then the checks at the end of the stream.

use super::affine;
use super::gzip::Source;
use super::header::Header;
use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::warning::Warning;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes decoded at a time, however many are asked for: a damaged stream gives up the same number of bytes before its
/// error to every reader.
const PIECE: usize = 1 << 16;

/// Input whose header has been read.
pub(super) struct Stream {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    pub(super) grid: Grid,
    pub(super) warnings: Vec<Warning>,
    source: BufReader<Source>,
    /// Decoded bytes between the header and the first voxel that are still to be skipped.
    gap: u64,
    /// Voxel bytes read so far.
    decoded: u64,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("path", &self.path)
            .field("grid", &self.grid)
            .field("decoded", &self.decoded)
            .finish_non_exhaustive()
    }
}

impl Stream {
    /// Opens a file and reads its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = fs_err::File::open(path)?;
        let bytes = file.metadata()?.len();
        Self::new(Box::new(file), bytes, path)
    }

    /// Reads the header of `bytes` bytes of input. If a compressed header is wrong, the rest of the stream tells whether
    /// the file is damaged (its checksum fails) or was made that way.
    pub(super) fn new(reader: Box<dyn Read + Send>, bytes: u64, path: &Path) -> Result<Self> {
        let mut source = Source::new(reader)?;
        match describe(path, &mut source, bytes) {
            Ok((header, grid, warnings, position)) => Ok(Self {
                path: path.into(),
                gap: header.vox_offset - position,
                header,
                grid,
                warnings,
                source: BufReader::with_capacity(PIECE, source),
                decoded: 0,
            }),
            Err(
                error @ (VolumeError::TruncatedHeader { .. }
                | VolumeError::Corrupt { .. }
                | VolumeError::Io(_)),
            ) => Err(error),
            Err(error) if matches!(source, Source::Gzip(_)) => match io::copy(&mut source, &mut io::sink()) {
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

    /// Voxels not yet read, of all channels.
    pub(super) fn voxels_left(&self) -> u64 {
        (self.header.voxel_bytes() - self.decoded) / self.header.datatype.bytes() as u64
    }

    /// Voxels of one stored plane (y, x).
    pub(super) fn plane_voxels(&self) -> usize {
        self.grid.shape_zyx[1] * self.grid.shape_zyx[2]
    }

    /// Planes not yet read, of all channels.
    pub(super) fn planes_left(&self) -> usize {
        (self.voxels_left() / self.plane_voxels() as u64) as usize
    }

    /// Feeds the bytes of the next `voxels` voxels to `each`, in pieces of whole voxels. After the last voxel of the file
    /// reads on to the end, so that the last checksum is verified before anybody has them all.
    pub(super) fn voxels(&mut self, voxels: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
        let voxel = self.header.datatype.bytes();
        let end = self.decoded + voxels.min(self.voxels_left()) * voxel as u64;
        let expected = self.header.voxel_bytes();
        let limited =
            |available: &[u8], most: u64| available.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        while self.gap > 0 {
            match self.source.fill_buf() {
                Ok([]) => return Err(self.fail(io::ErrorKind::UnexpectedEof.into())),
                Ok(available) => {
                    let count = limited(available, self.gap);
                    self.source.consume(count);
                    self.gap -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
        // The beginning of a voxel that goes on in the next piece.
        let (mut split, mut held) = ([0_u8; 8], 0);
        while self.decoded < end {
            let available = match self.source.fill_buf() {
                Ok([]) => return Err(self.fail(io::ErrorKind::UnexpectedEof.into())),
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.fail(error)),
            };
            let mut count = limited(available, end - self.decoded);
            if held == 0 && count >= voxel {
                count -= count % voxel;
                each(&available[..count]);
            } else {
                count = count.min(voxel - held);
                split[held..held + count].copy_from_slice(&available[..count]);
                held += count;
                if held == voxel {
                    each(&split[..voxel]);
                    held = 0;
                }
            }
            self.source.consume(count);
            self.decoded += count as u64;
        }
        if self.decoded == expected {
            let trailing = io::copy(&mut self.source, &mut io::sink()).map_err(|error| self.fail(error))?;
            if trailing > 0 {
                self.warnings.push(Warning::TrailingBytes { bytes: trailing });
            }
        }
        Ok(())
    }

    fn fail(&self, error: io::Error) -> VolumeError {
        let (path, decoded, expected) = (self.path.clone(), self.decoded, self.header.voxel_bytes());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => VolumeError::Truncated { path, decoded, expected },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                VolumeError::Corrupt { path, reason: error.to_string(), decoded, expected }
            }
            _ => VolumeError::Io(error),
        }
    }
}

type Description = (Header, Grid, Vec<Warning>, u64);

fn describe(path: &Path, source: &mut Source, file_bytes: u64) -> Result<Description> {
    let (header, position) = Header::read(path, source)?;
    let announced = header.voxel_bytes();
    let possible = source.most(file_bytes);
    if header.vox_offset.saturating_add(announced) > possible {
        return Err(match source {
            Source::Plain(_) => VolumeError::Truncated {
                path: path.into(),
                decoded: file_bytes.saturating_sub(header.vox_offset),
                expected: announced,
            },
            Source::Gzip(_) => VolumeError::ImpossibleSize {
                path: path.into(),
                expected: announced,
                file_bytes,
                possible: possible.saturating_sub(header.vox_offset),
            },
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
