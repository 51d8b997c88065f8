//! NIfTI-1 and NIfTI-2, plain or gzip, either byte order, every integer and floating point type.
//!
//! The `nifti` crate parses NIfTI-1 headers and writes NIfTI-1 files. The rest is done here, because the crate (0.18)
//! scales after its cast to the result type (a slope of 0.5 into integers truncates, a NaN slope makes every voxel NaN),
//! reads only the first member of a gzip file, knows no NIfTI-2 and panics on a qfac of 0.
//!
//! One decoder serves all readers: [`Planes`] and [`LabelPlanes`] hand out some planes at a time in bounded memory, and
//! [`read_image`] and [`read_labels`] take all planes at once. Nothing that a header says is believed before it was held
//! against the size of the file and the [`crate::ReadLimits`].
//!
//! On disk x runs fastest, then y, z and the fourth axis: that is C order `c, z, y, x`, so nothing is transposed.

mod affine;
mod datatype;
mod gzip;
mod header;
mod label_planes;
mod label_type;
mod planes;
mod read;
mod stream;
mod write;
mod write_channels;

pub use datatype::Datatype;
pub use header::Header;
pub use label_planes::LabelPlanes;
pub use label_type::LabelType;
pub use planes::Planes;
pub use read::{
    Image, LabelImage, read_header, read_image, read_image_within, read_labels, read_labels_wide,
    read_labels_within,
};
pub use write::{ImageType, write_image, write_labels, write_labels_like};
pub use write_channels::write_channels_like;
