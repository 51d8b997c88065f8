//! Images, some planes at a time.

use super::datatype::{Datatype, numbers, with_type};
use super::read::Image;
use super::stored::Stored;
use super::stream::{Stream, cloned};
use crate::error::Result;
use crate::geometry::Grid;
use crate::limits::{ReadLimits, reserve};
use crate::warning::Warning;
use std::io::Read;
use std::path::Path;

/// An image read in the file's order: the z-planes of channel 0, then those of channel 1, …
///
/// Values are `stored · slope + intercept` in f64, rounded to f32. The last planes are handed out only after the end of
/// the file was reached and every checksum held.
#[derive(Debug)]
pub struct Planes {
    stream: Stream,
    limits: ReadLimits,
}

impl Planes {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// As [`super::read_header`].
    pub fn open(path: impl AsRef<Path>, limits: ReadLimits) -> Result<Self> {
        Ok(Self { stream: Stream::open(path.as_ref())?, limits })
    }

    /// The same for input of `bytes` bytes from anywhere, which is cloned where it has to be read again; `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`Planes::open`].
    pub fn from_reader(
        reader: impl Read + Clone + Send + 'static,
        bytes: u64,
        name: impl AsRef<Path>,
        limits: ReadLimits,
    ) -> Result<Self> {
        Ok(Self { stream: Stream::read(cloned(reader, bytes), name.as_ref())?, limits })
    }

    /// Voxel grid of each channel.
    pub fn grid(&self) -> &Grid {
        &self.stream.grid
    }

    /// Channels, from the first axis beyond z that is longer than 1.
    pub fn channels(&self) -> usize {
        self.stream.stored.channels()
    }

    /// What was repaired or decided on the way; complete after the last plane.
    pub fn warnings(&self) -> &[Warning] {
        &self.stream.warnings
    }

    /// Planes still to come, of all channels.
    pub fn remaining(&self) -> usize {
        self.stream.planes_left()
    }

    /// Replaces `out` by the next planes in C order z, y, x: `planes` of them or fewer, if fewer remain or fit the limit;
    /// returns how many, 0 after the last. A call may go from one channel into the next.
    ///
    /// # Errors
    /// Truncated or corrupt file, with voxel bytes decoded and expected; a single plane beyond the limit. Nothing more
    /// comes after an error.
    pub fn next_planes(&mut self, planes: usize, out: &mut Vec<f32>) -> Result<usize> {
        out.clear();
        let planes = granted::<f32>(&self.stream, self.limits, planes)?;
        self.append((planes * self.stream.plane_voxels()) as u64, out)?;
        Ok(planes)
    }

    /// The whole image; what [`super::read_image`] gives.
    ///
    /// # Errors
    /// As [`Planes::next_planes`]; a size beyond the limit, before anything is allocated.
    pub fn into_image(mut self) -> Result<Image> {
        let voxels = self.stream.voxels_left();
        self.limits.check(&self.stream.path, self.stream.grid.shape_zyx, voxels, size_of::<f32>())?;
        let mut data = Vec::new();
        self.append(voxels, &mut data)?;
        let channels = self.channels();
        let Stream { grid, stored, warnings, .. } = self.stream;
        Ok(Image { channels, grid, data, stored, warnings })
    }

    fn append(&mut self, voxels: u64, out: &mut Vec<f32>) -> Result<()> {
        if voxels == 0 {
            return Ok(());
        }
        reserve(&self.stream.path, out, voxels)?;
        let Stored { datatype, big_endian, scaling, .. } = self.stream.stored;
        self.stream.voxels(voxels, |bytes| intensities(datatype, big_endian, scaling, bytes, out))
    }
}

/// Decodes and scales stored numbers.
fn intensities(
    datatype: Datatype,
    big_endian: bool,
    (slope, inter): (f64, f64),
    bytes: &[u8],
    out: &mut Vec<f32>,
) {
    macro_rules! scaled {
        ($number:ty) => {
            if (slope, inter) == (1.0, 0.0) {
                out.extend(numbers!($number, bytes, big_endian).map(|value| value as f64 as f32));
            } else {
                out.extend(
                    numbers!($number, bytes, big_endian).map(|value| (value as f64 * slope + inter) as f32),
                );
            }
        };
    }
    with_type!(datatype, Stored => scaled!(Stored), float Stored => scaled!(Stored));
}

/// How many of the planes asked for remain and fit the limit; fails if not even one of them fits.
pub(super) fn granted<T>(stream: &Stream, limits: ReadLimits, planes: usize) -> Result<usize> {
    let [_, y, x] = stream.grid.shape_zyx;
    limits.check(&stream.path, [1, y, x], stream.plane_voxels() as u64, size_of::<T>())?;
    let plane_bytes = (stream.plane_voxels() as u64).saturating_mul(size_of::<T>() as u64);
    let most = usize::try_from(limits.for_voxels() / plane_bytes).unwrap_or(usize::MAX);
    Ok(planes.min(stream.planes_left()).min(most))
}
