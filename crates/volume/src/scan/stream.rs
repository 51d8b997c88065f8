//! The one decoder: a checked header, then voxel bytes in order, then the checks at the end of the stream.

use super::{Payload, Stored};
use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::warning::Warning;
use crate::{itk, nifti};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes decoded at a time, however many are asked for: a damaged stream gives up the same number of bytes before its
/// error to every reader.
const PIECE: usize = 1 << 16;

/// Input whose header has been read.
pub(crate) struct Stream {
    /// The file that messages name.
    pub(super) path: PathBuf,
    pub(super) stored: Stored,
    pub(super) grid: Grid,
    pub(super) warnings: Vec<Warning>,
    source: BufReader<Payload>,
    /// The file of the voxels.
    data: PathBuf,
    /// Decoded bytes before the first voxel that are still to be skipped.
    gap: u64,
    /// Voxel bytes read so far.
    decoded: u64,
}

/// The bytes that hold a stream's voxels.
pub(crate) struct Bytes {
    /// Their file.
    pub(crate) path: PathBuf,
    pub(crate) payload: Payload,
    /// Decoded bytes before the first voxel that are still to be skipped.
    pub(crate) gap: u64,
}

/// Fails if input of `encoded` bytes cannot decode to the `announced` bytes of voxels after the first `offset`.
pub(crate) fn check_room(
    path: &Path,
    payload: &Payload,
    encoded: u64,
    offset: u64,
    announced: u64,
) -> Result<()> {
    let possible = payload.most(encoded);
    if offset.saturating_add(announced) <= possible {
        return Ok(());
    }
    let path = path.into();
    Err(match payload {
        Payload::Plain(_) => {
            VolumeError::Truncated { path, decoded: encoded.saturating_sub(offset), expected: announced }
        }
        Payload::Gzip(_) | Payload::Zlib(_) => VolumeError::ImpossibleSize {
            path,
            expected: announced,
            file_bytes: encoded,
            possible: possible.saturating_sub(offset),
        },
    })
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
        Self::read(Box::new(file), bytes, path)
    }

    /// Reads the header of `bytes` bytes of input.
    pub(super) fn read(reader: Box<dyn Read + Send>, bytes: u64, path: &Path) -> Result<Self> {
        let mut input = BufReader::with_capacity(PIECE, reader);
        let start = input.fill_buf()?;
        if itk::is_nrrd(start) {
            itk::nrrd(input, bytes, path)
        } else if itk::is_meta_image(path, start) {
            itk::meta_image(input, bytes, path)
        } else {
            nifti::stream(input, bytes, path)
        }
    }

    /// The voxels of a header that has been read; there is [room](check_room) for them.
    pub(crate) fn new(
        path: &Path,
        stored: Stored,
        grid: Grid,
        mut warnings: Vec<Warning>,
        bytes: Bytes,
    ) -> Self {
        if grid.shape_zyx.contains(&1) {
            warnings.push(Warning::SingleSlice { shape_zyx: grid.shape_zyx });
        }
        Self {
            path: path.into(),
            stored,
            grid,
            warnings,
            source: BufReader::with_capacity(PIECE, bytes.payload),
            data: bytes.path,
            gap: bytes.gap,
            decoded: 0,
        }
    }

    /// Grid and warnings of the header.
    pub(crate) fn described(self) -> (Grid, Vec<Warning>) {
        (self.grid, self.warnings)
    }

    /// Voxels not yet read, of all channels.
    pub(super) fn voxels_left(&self) -> u64 {
        (self.stored.voxel_bytes() - self.decoded) / self.stored.datatype.bytes() as u64
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
        let voxel = self.stored.datatype.bytes();
        let end = self.decoded + voxels.min(self.voxels_left()) * voxel as u64;
        let expected = self.stored.voxel_bytes();
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
        let (path, decoded, expected) = (self.data.clone(), self.decoded, self.stored.voxel_bytes());
        match error.kind() {
            io::ErrorKind::UnexpectedEof => VolumeError::Truncated { path, decoded, expected },
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                VolumeError::Corrupt { path, reason: error.to_string(), decoded, expected }
            }
            _ => VolumeError::Io(error),
        }
    }
}
