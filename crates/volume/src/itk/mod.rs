//! MetaImage and NRRD, the formats of ITK, SimpleITK, 3D Slicer and many challenges: text headers with voxels behind them
//! or in a file beside.
//!
//! Both describe the world as left, posterior, superior unless they say otherwise, in millimetres; grids here are RAS+,
//! so the first two rows change their sign. What a header can ask for and no reader here does (voxels as text, several
//! files) is refused by name: [`VolumeError::ScanHeader`].

mod geometry;
mod meta_image;
mod nrrd;
mod text;

pub(crate) use meta_image::{is_meta_image, stream as meta_image};
pub(crate) use nrrd::{is_nrrd, stream as nrrd};

use crate::error::{Result, VolumeError};
use crate::scan::{Bytes, Format, Input, Payload, check_room};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path, PathBuf};

/// Whether a header of this name may leave its voxels to another file.
pub(crate) fn may_be_detached(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    matches!(ending.as_deref(), Some("mhd" | "mha" | "nhdr" | "nrrd"))
}

/// The file of the voxels, where a header has one beside itself.
pub(crate) fn data_file(path: &Path) -> Result<Option<PathBuf>> {
    let (mut input, _) = open(path)?;
    let start = input.fill_buf()?;
    if is_nrrd(start) {
        nrrd::data_file(&mut input, path)
    } else if is_meta_image(path, start) {
        meta_image::data_file(&mut input, path)
    } else {
        Ok(None)
    }
}

/// How voxels are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Gzip,
    Zlib,
}

impl Encoding {
    fn payload(self, input: Input) -> Payload {
        match self {
            Self::Raw => Payload::Plain(input),
            Self::Gzip => Payload::gzip(input),
            Self::Zlib => Payload::zlib(input),
        }
    }
}

/// Where a header says that its voxels begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    /// After this many bytes of what is decoded.
    Decoded(u64),
    /// After this many bytes of what is stored.
    Stored(u64),
    /// So that the last voxel is the end of the file.
    FromEnd,
}

fn open(path: &Path) -> Result<(Input, u64)> {
    let file = fs_err::File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok((BufReader::with_capacity(1 << 16, Box::new(file)), bytes))
}

/// What a header says of the bytes of its voxels.
struct Data<'a> {
    header: &'a Path,
    format: Format,
    encoding: Encoding,
    skip: Skip,
    voxel_bytes: u64,
}

impl Data<'_> {
    /// The voxels behind a header of `position` bytes in `bytes` of input.
    fn attached(&self, input: Input, position: u64, bytes: u64) -> Result<Bytes> {
        self.bytes(self.header, input, bytes.saturating_sub(position))
    }

    /// The voxels in a file beside the header.
    fn beside(&self, name: &str) -> Result<Bytes> {
        let path = beside(self.header, self.format, name)?;
        if !path.is_file() {
            return Err(VolumeError::ScanHeader {
                path: self.header.into(),
                format: self.format,
                found: format!("its voxels are in '{name}', which is not there"),
                fix: "Fetch the file that lies beside the header, or write both as one file (.mha, .nrrd)",
            });
        }
        let (input, encoded) = open(&path)?;
        self.bytes(&path, input, encoded)
    }

    fn bytes(&self, path: &Path, mut input: Input, encoded: u64) -> Result<Bytes> {
        let (stored, gap) = match self.skip {
            Skip::Decoded(gap) => (0, gap),
            Skip::Stored(stored) => (stored, 0),
            Skip::FromEnd => (0, encoded.saturating_sub(self.voxel_bytes)),
        };
        // a file that ends before is found too short below
        io::copy(&mut input.by_ref().take(stored), &mut io::sink())?;
        let encoded = encoded.saturating_sub(stored);
        let payload = self.encoding.payload(input);
        check_room(path, &payload, encoded, gap, self.voxel_bytes)?;
        Ok(Bytes { path: path.into(), payload, gap })
    }
}

/// The file of this name in the folder of a header; a header may not lead elsewhere.
fn beside(header: &Path, format: Format, name: &str) -> Result<PathBuf> {
    let inside = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    let refuse =
        |found: String, fix| Err(VolumeError::ScanHeader { path: header.into(), format, found, fix });
    let is_pattern = name.contains('%') && name.contains(' ');
    if name.eq_ignore_ascii_case("list") || name.to_uppercase().starts_with("LIST ") || is_pattern {
        let fix = "Write the scan as one file: SimpleITK, ITK-SNAP and 3D Slicer do";
        return refuse(format!("its voxels are in several files ('{name}')"), fix);
    }
    if name.is_empty() || !Path::new(name).components().all(inside) {
        let fix = "Put the file of the voxels beside the header, and name it there";
        return refuse(format!("its voxels are in '{name}', which is not below its folder"), fix);
    }
    Ok(header.parent().unwrap_or(Path::new("")).join(name))
}
