//! An image some planes at a time: each layer of chunks is decoded once.

use super::OmeZarr;
use crate::error::Result;
use crate::limits::reserve;
use crate::stack::pixels;
use crate::warning::Warning;
use std::path::Path;
use tiff::decoder::DecodingResult;

/// An image read in order: the z-planes of channel 0, then those of channel 1, …
#[derive(Debug)]
pub struct Planes {
    image: OmeZarr,
    /// Planes handed out, of all channels.
    next: usize,
    layer: Option<Layer>,
    /// Chunks that are not there, of those seen.
    absent: u64,
    seen: u64,
    warnings: Vec<Warning>,
}

/// A decoded layer of chunks.
#[derive(Debug)]
struct Layer {
    /// The plane, of all channels, that it begins with.
    first: usize,
    planes: usize,
    values: DecodingResult,
}

impl Planes {
    pub(super) fn new(image: OmeZarr) -> Self {
        Self { next: 0, layer: None, absent: 0, seen: 0, warnings: image.warnings.clone(), image }
    }

    /// Planes still to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.image.channels * self.image.shape_zyx[0] - self.next
    }

    /// What somebody should know; complete after the last plane.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Replaces `out` by the intensities of the next planes in C order z, y, x: `planes` of them or fewer; returns how many, 0 after the last.
    ///
    /// # Errors
    /// Damaged or unreadable chunks, more memory than the limits allow.
    pub fn next_planes(&mut self, planes: usize, out: &mut Vec<f32>) -> Result<usize> {
        self.next_as(planes, out, |_, values, first, out| {
            pixels::intensities(values, first, out);
            Ok(())
        })
    }

    /// [`Planes::next_planes`] as ids; integers never pass through a float.
    ///
    /// # Errors
    /// As [`Planes::next_planes`], and negative or fractional values.
    pub fn next_labels(&mut self, planes: usize, out: &mut Vec<u64>) -> Result<usize> {
        self.next_as(planes, out, |path, values, first, out| {
            pixels::ids(path, "the label image", values, first, out)
        })
    }

    fn next_as<T: Copy + Default>(
        &mut self,
        planes: usize,
        out: &mut Vec<T>,
        convert: impl Fn(&Path, &DecodingResult, usize, &mut [T]) -> Result<()>,
    ) -> Result<usize> {
        out.clear();
        let [depth, height, width] = self.image.shape_zyx;
        let (channel, z) = (self.next / depth, self.next % depth);
        let planes = planes.min(depth - z).min(self.remaining());
        if planes == 0 {
            return Ok(0);
        }
        let held = self.image.planes_held();
        let keeps = held == self.image.depth.min(depth);
        let size = self.image.depth.max(1);
        let (from, length) = if keeps {
            let within = (self.image.first + z) % size;
            let begins = z.saturating_sub(within);
            (begins, (z + size - within).min(depth) - begins)
        } else {
            (z, planes.min(held))
        };
        let first = channel * depth + from;
        if self.layer.as_ref().is_none_or(|layer| layer.first != first || !keeps) {
            self.layer = None;
            let voxels = (length * height * width) as u64;
            self.image.limits.check(
                &self.image.path,
                [length, height, width],
                voxels,
                self.image.numbers.bytes(),
            )?;
            let (of, absent) = self.image.chunks(channel, from, length);
            self.seen += of;
            self.absent += absent;
            let values = self.image.read(channel, from, length)?;
            self.layer = Some(Layer { first, planes: length, values });
        }
        // made above where it was not there
        let Some(layer) = &self.layer else { return Ok(0) };
        let taken = planes.min(layer.planes - (z - from));
        let voxels = taken * height * width;
        self.image.limits.check(&self.image.path, [taken, height, width], voxels as u64, size_of::<T>())?;
        reserve(&self.image.path, out, voxels as u64)?;
        out.resize(voxels, T::default());
        convert(&self.image.path, &layer.values, (z - from) * height * width, out)?;
        self.next += taken;
        let ends = self.remaining() == 0;
        if !keeps || ends {
            self.layer = None;
        }
        if ends && self.absent > 0 {
            let fill = self.image.fill();
            self.warnings.push(Warning::AbsentChunks { absent: self.absent, of: self.seen, fill });
        }
        Ok(taken)
    }
}
