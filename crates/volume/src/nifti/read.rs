//! From a NIfTI header to its voxels.

use super::affine;
use super::header::Header;
use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::scan::{Bytes, Input, Payload, Stream, check_room};
use crate::warning::Warning;
use std::io::{self, BufReader};
use std::path::Path;

/// Reads header and grid only; the voxels are neither read nor checked.
///
/// # Errors
/// As [`crate::scan::read_image`] for files of NIfTI, except for flaws of the voxels.
pub fn read_header(path: impl AsRef<Path>) -> Result<(Header, Grid, Vec<Warning>)> {
    let path = path.as_ref();
    let file = fs_err::File::open(path)?;
    let bytes = file.metadata()?.len();
    let (header, stream) = open(BufReader::new(Box::new(file)), bytes, path)?;
    let (grid, warnings) = stream.described();
    Ok((header, grid, warnings))
}

/// Reads the header of `bytes` bytes of input.
pub(crate) fn stream(input: Input, bytes: u64, path: &Path) -> Result<Stream> {
    open(input, bytes, path).map(|(_, stream)| stream)
}

/// If a compressed header is wrong, the rest of the stream tells whether the file is damaged (its checksum fails) or was
/// made that way.
fn open(input: Input, bytes: u64, path: &Path) -> Result<(Header, Stream)> {
    let mut payload = Payload::guessed(input)?;
    match describe(path, &mut payload, bytes) {
        Ok((header, grid, warnings, position)) => {
            let bytes = Bytes { path: path.into(), payload, gap: header.vox_offset - position };
            let stream = Stream::new(path, header.stored(), grid, warnings, bytes);
            Ok((header, stream))
        }
        Err(
            error @ (VolumeError::TruncatedHeader { .. } | VolumeError::Corrupt { .. } | VolumeError::Io(_)),
        ) => Err(error),
        Err(error) if matches!(payload, Payload::Gzip(_)) => match io::copy(&mut payload, &mut io::sink()) {
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

fn describe(path: &Path, payload: &mut Payload, file_bytes: u64) -> Result<Description> {
    let (header, position) = Header::read(path, payload)?;
    check_room(path, payload, file_bytes, header.vox_offset, header.stored().voxel_bytes())?;
    let (grid, mut warnings) = affine::grid(path, &header)?;
    if header.scl_slope.is_infinite() || (header.scl_slope.is_finite() && !header.scl_inter.is_finite()) {
        warnings.push(Warning::ScalingIgnored {
            slope: header.scl_slope.to_string(),
            inter: header.scl_inter.to_string(),
        });
    }
    Ok((header, grid, warnings, position))
}
