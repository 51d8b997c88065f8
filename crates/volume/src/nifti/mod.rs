//! NIfTI-1 and NIfTI-2, plain or gzip, either byte order, every integer and floating point type: headers, and writing.
//!
//! The `nifti` crate parses NIfTI-1 headers and writes NIfTI-1 files. The rest is done here and in [`crate::scan`],
//! because the crate (0.18) scales after its cast to the result type (a slope of 0.5 into integers truncates, a NaN slope
//! makes every voxel NaN), reads only the first member of a gzip file, knows no NIfTI-2 and panics on a qfac of 0.

mod affine;
mod header;
mod read;
mod write;
mod write_channels;

pub(crate) use affine::snapped;
pub use header::Header;
pub use read::read_header;
pub(crate) use read::stream;
pub use write::{ImageType, write_image, write_labels, write_labels_like};
pub use write_channels::write_channels_like;
