//! Label maps, some planes at a time.

use super::label_type::{LabelType, Offenders, Rule};
use super::planes::granted;
use super::read::LabelImage;
use super::stored::Stored;
use super::stream::{Stream, cloned};
use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::limits::{ReadLimits, reserve};
use crate::warning::Warning;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;

/// A label map read in the file's order, z-plane by z-plane.
///
/// Integers are never turned into floats, so `LabelPlanes<u64>` keeps instance ids up to 2^64 − 1. Floating point labels
/// must be integers within 0.001 after scaling. The last planes are handed out only after every checksum held.
#[derive(Debug)]
pub struct LabelPlanes<T = u32> {
    stream: Stream,
    limits: ReadLimits,
    label: PhantomData<T>,
}

impl<T: LabelType> LabelPlanes<T> {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// As [`super::read_header`]; several channels.
    pub fn open(path: impl AsRef<Path>, limits: ReadLimits) -> Result<Self> {
        Self::new(Stream::open(path.as_ref())?, limits)
    }

    /// The same for input of `bytes` bytes from anywhere, which is cloned where it has to be read again; `name` stands for the path in messages.
    ///
    /// # Errors
    /// As [`LabelPlanes::open`].
    pub fn from_reader(
        reader: impl Read + Clone + Send + 'static,
        bytes: u64,
        name: impl AsRef<Path>,
        limits: ReadLimits,
    ) -> Result<Self> {
        Self::new(Stream::read(cloned(reader, bytes), name.as_ref())?, limits)
    }

    fn new(stream: Stream, limits: ReadLimits) -> Result<Self> {
        let found = stream.stored.channels();
        if found != 1 {
            return Err(VolumeError::Channels { path: stream.path, found, expected: 1 });
        }
        Ok(Self { stream, limits, label: PhantomData })
    }

    /// Voxel grid.
    pub fn grid(&self) -> &Grid {
        &self.stream.grid
    }

    /// What was repaired or decided on the way; complete after the last plane.
    pub fn warnings(&self) -> &[Warning] {
        &self.stream.warnings
    }

    /// Planes still to come.
    pub fn remaining(&self) -> usize {
        self.stream.planes_left()
    }

    /// Replaces `out` by the next planes in C order z, y, x: `planes` of them or fewer, if fewer remain or fit the limit;
    /// returns how many, 0 after the last.
    ///
    /// # Errors
    /// A single plane beyond the limit; truncated or corrupt file; values that are no integers, out of range or (wide labels) beyond what the float that
    /// held them can tell apart: then the rest of the file is read too, so that the table of offending values is that of
    /// the whole file. Nothing more comes after an error.
    pub fn next_planes(&mut self, planes: usize, out: &mut Vec<T>) -> Result<usize> {
        out.clear();
        let planes = granted::<T>(&self.stream, self.limits, planes)?;
        self.append((planes * self.stream.plane_voxels()) as u64, out)?;
        Ok(planes)
    }

    /// The whole label map; what [`super::read_labels`] gives.
    ///
    /// # Errors
    /// As [`LabelPlanes::next_planes`]; a size beyond the limit, before anything is allocated.
    pub fn into_labels(mut self) -> Result<LabelImage<T>> {
        let voxels = self.stream.voxels_left();
        self.limits.check(&self.stream.path, self.stream.grid.shape_zyx, voxels, size_of::<T>())?;
        let mut data = Vec::new();
        self.append(voxels, &mut data)?;
        let Stream { grid, stored, warnings, .. } = self.stream;
        Ok(LabelImage { grid, data, stored, warnings })
    }

    fn append(&mut self, voxels: u64, out: &mut Vec<T>) -> Result<()> {
        if voxels == 0 {
            return Ok(());
        }
        reserve(&self.stream.path, out, voxels)?;
        let Stored { datatype, big_endian, scaling, .. } = self.stream.stored;
        let rule = Rule { datatype, big_endian, scaling };
        let mut offenders = Offenders::default();
        self.stream.voxels(voxels, |bytes| rule.decode(bytes, out, &mut offenders))?;
        if offenders.is_empty() {
            return Ok(());
        }
        let left = self.stream.voxels_left();
        if left > 0 {
            self.stream.voxels(left, |bytes| {
                // Only the offenders of the rest are wanted.
                out.clear();
                rule.decode(bytes, out, &mut offenders);
            })?;
        }
        out.clear();
        let path = self.stream.path.clone();
        if let Some(values) = offenders.fractions.table() {
            return Err(VolumeError::LabelNotInteger { path, values });
        }
        if let Some(values) = offenders.outside.table() {
            return Err(VolumeError::LabelRange { path, values, largest: T::LARGEST });
        }
        offenders.inexact.table().map_or(Ok(()), |values| {
            let (through, exact) = (rule.through(), rule.exact());
            Err(VolumeError::LabelInexact { path, values, through, exact })
        })
    }
}
