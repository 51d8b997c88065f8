//! The one decoder: a checked header, then voxel bytes in order, then the checks at the end of the stream.

use super::{Payload, Stored};
use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::warning::Warning;
use crate::{itk, links, nifti};
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
    /// Voxel bytes read so far, in this pass.
    decoded: u64,
    /// The channel that this pass gives, where channels alternate: the file is read once for each.
    channel: u64,
    /// Where the next pass comes from.
    again: Option<Source>,
}

/// Opens input, as often as is asked for; bytes, and their number.
pub(super) type Source = Box<dyn Fn() -> io::Result<(Box<dyn Read + Send>, u64)> + Send>;

/// Input of `bytes` bytes that is cloned for every pass.
pub(super) fn cloned(reader: impl Read + Clone + Send + 'static, bytes: u64) -> Source {
    Box::new(move || Ok((Box::new(reader.clone()), bytes)))
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
        links::check(path)?;
        let file = path.to_owned();
        let source = move || {
            let file = fs_err::File::open(&file)?;
            let bytes = file.metadata()?.len();
            Ok((Box::new(file) as Box<dyn Read + Send>, bytes))
        };
        Self::read(Box::new(source), path)
    }

    /// Reads the header of input from anywhere.
    pub(super) fn read(source: Source, path: &Path) -> Result<Self> {
        let (reader, bytes) = source()?;
        let mut input = BufReader::with_capacity(PIECE, reader);
        let start = input.fill_buf()?;
        let stream = if itk::is_nrrd(start) {
            itk::nrrd(input, bytes, path)
        } else if itk::is_meta_image(path, start) {
            itk::meta_image(input, bytes, path)
        } else {
            nifti::stream(input, bytes, path)
        }?;
        Ok(Self { again: Some(source), ..stream })
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
            channel: 0,
            again: None,
        }
    }

    /// Grid and warnings of the header.
    pub(crate) fn described(self) -> (Grid, Vec<Warning>) {
        (self.grid, self.warnings)
    }

    /// Channels that alternate; 1 where they follow one another.
    fn alternating(&self) -> u64 {
        if self.stored.interleaved { self.stored.channels() as u64 } else { 1 }
    }

    /// Voxels not yet given, of all channels.
    pub(super) fn voxels_left(&self) -> u64 {
        let all = self.stored.voxel_bytes() / self.stored.datatype.bytes() as u64;
        let later = (self.alternating() - 1 - self.channel) * (all / self.alternating());
        self.pass_left() + later
    }

    /// Those of this pass.
    fn pass_left(&self) -> u64 {
        let left = (self.stored.voxel_bytes() - self.decoded) / self.stored.datatype.bytes() as u64;
        left / self.alternating()
    }

    /// Voxels of one stored plane (y, x).
    pub(super) fn plane_voxels(&self) -> usize {
        self.grid.shape_zyx[1] * self.grid.shape_zyx[2]
    }

    /// Planes not yet read, of all channels.
    pub(super) fn planes_left(&self) -> usize {
        (self.voxels_left() / self.plane_voxels() as u64) as usize
    }

    /// Feeds the bytes of the next `voxels` voxels to `each`, in pieces of whole voxels, one channel after the other. After the last voxel
    /// of the file reads on to the end, so that the last checksum is verified before anybody has them all.
    pub(super) fn voxels(&mut self, voxels: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
        let channels = self.alternating();
        if channels == 1 {
            return self.decode(voxels, each);
        }
        let voxel = self.stored.datatype.bytes();
        let mut left = voxels.min(self.voxels_left());
        let mut wanted = Vec::new();
        while left > 0 {
            if self.pass_left() == 0 {
                self.rewind()?;
            }
            let now = left.min(self.pass_left());
            left -= now;
            let (mut next, own) = (0, self.channel);
            self.decode(now * channels, |bytes| {
                wanted.clear();
                for value in bytes.chunks_exact(voxel) {
                    if next == own {
                        wanted.extend_from_slice(value);
                    }
                    next = (next + 1) % channels;
                }
                each(&wanted);
            })?;
        }
        Ok(())
    }

    /// Begins anew, for the next of alternating channels.
    fn rewind(&mut self) -> Result<()> {
        let changed = || {
            let reason = format!("{} was changed while it was read", self.path.display());
            VolumeError::Io(io::Error::other(reason))
        };
        let source = self.again.take().ok_or_else(changed)?;
        let again = Self::read(source, &self.path)?;
        if (&again.stored, &again.grid) != (&self.stored, &self.grid) {
            return Err(changed());
        }
        (self.source, self.gap, self.decoded, self.again) = (again.source, again.gap, 0, again.again);
        self.channel += 1;
        Ok(())
    }

    /// Feeds the bytes of the next `voxels` voxels in the file's order.
    fn decode(&mut self, voxels: u64, mut each: impl FnMut(&[u8])) -> Result<()> {
        let voxel = self.stored.datatype.bytes();
        let end = (self.decoded + voxels * voxel as u64).min(self.stored.voxel_bytes());
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
            if trailing > 0 && self.channel == 0 {
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
