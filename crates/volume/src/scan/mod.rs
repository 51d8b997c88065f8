//! A scan in one file, whatever its format: NIfTI, MetaImage (`.mha`, `.mhd`) or NRRD (`.nrrd`, `.nhdr`), told apart by
//! what the file holds.
//!
//! Each format turns its header into [`Stored`] and a [`Grid`]; one decoder serves them all: [`Planes`] and
//! [`LabelPlanes`] hand out some planes at a time in bounded memory, and [`read_image`] and [`read_labels`] take all
//! planes at once. Nothing that a header says is believed before it was held against the size of the file and the
//! [`crate::ReadLimits`].
//!
//! In all of them x runs fastest on disk, then y, z and the fourth axis: that is C order `c, z, y, x`, so nothing is
//! transposed.

mod datatype;
mod label_planes;
mod label_type;
mod payload;
mod planes;
mod read;
mod stored;
mod stream;

pub use datatype::Datatype;
pub use label_planes::LabelPlanes;
pub use label_type::LabelType;
pub(crate) use payload::{Input, Payload};
pub use planes::Planes;
pub use read::{
    Image, LabelImage, read_header, read_image, read_image_within, read_labels, read_labels_wide,
    read_labels_within,
};
pub use stored::{Format, Stored};
pub(crate) use stored::{checked_dims, dimensions, shape_zyx, with_channels};
pub(crate) use stream::{Bytes, Stream, check_room};

use crate::itk;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// The file beside a header that holds its voxels, where there is one (`.mhd` with `.raw`, `.nhdr` with `.raw.gz`).
///
/// # Errors
/// A header that cannot be read.
pub fn data_file(path: &Path) -> crate::Result<Option<PathBuf>> {
    if itk::may_be_detached(path) { itk::data_file(path) } else { Ok(None) }
}

/// Whether a file is read as NIfTI; of one that cannot be opened, reading it will say why.
#[must_use]
pub fn is_nifti(path: &Path) -> bool {
    let Ok(file) = fs_err::File::open(path) else { return true };
    let mut input = BufReader::new(file);
    input.fill_buf().map_or(true, |start| !itk::is_nrrd(start) && !itk::is_meta_image(path, start))
}
