//! NIfTI-1 and NIfTI-2, plain or gzip, either byte order, every integer and floating point type.
//!
//! The `nifti` crate parses NIfTI-1 headers and writes NIfTI-1 files. The rest is done here, because the crate (0.18)
//! scales after its cast to the result type (a slope of 0.5 into integers truncates, a NaN slope makes every voxel NaN),
//! reads only the first member of a gzip file, knows no NIfTI-2 and panics on a qfac of 0.
//!
//! On disk x runs fastest, then y, z and the fourth axis: that is C order `c, z, y, x`, so nothing is transposed.

mod affine;
mod gzip;
mod header;
mod read;
mod write;

pub use header::{Datatype, Header};
pub use read::{Image, LabelImage, read_header, read_image, read_labels};
pub use write::{ImageType, write_image, write_labels, write_labels_like};
