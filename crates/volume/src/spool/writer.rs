//! Filling a temporary volume plane by plane.

use super::{BLOCK, Element, Layout, Spool};
use crate::error::{Result, VolumeError};
use crate::orientation::Orientation;
use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Takes the planes of a volume in stored order: those of channel 0 along the stored z axis, then those of channel 1, ….
#[derive(Debug)]
pub struct SpoolWriter<T> {
    file: File,
    layout: Layout,
    /// Planes taken so far, of all channels.
    planes: usize,
    run: Vec<T>,
    bytes: Vec<u8>,
}

impl<T: Element> SpoolWriter<T> {
    /// An empty temporary volume in `directory`; `orientation` turns what is stored to what is read.
    ///
    /// # Errors
    /// An empty axis; a directory in which no file can be made.
    pub fn new(
        directory: &Path,
        channels: usize,
        stored_zyx: [usize; 3],
        orientation: Orientation,
    ) -> Result<Self> {
        if stored_zyx.contains(&0) {
            return Err(VolumeError::EmptyShape { shape_zyx: stored_zyx });
        }
        let layout = Layout { directory: directory.to_owned(), channels, stored_zyx, orientation };
        let file = tempfile::tempfile_in(directory).map_err(|error| layout.failed("make", &error))?;
        Ok(Self { file, layout, planes: 0, run: Vec::new(), bytes: Vec::new() })
    }

    /// Planes that are still to come, of all channels.
    pub fn missing(&self) -> usize {
        self.layout.channels * self.layout.stored_zyx[0] - self.planes
    }

    /// Takes the next plane or planes (y, x as stored).
    ///
    /// # Errors
    /// A length that is no whole number of planes; more planes than the volume has; output.
    pub fn write(&mut self, values: &[T]) -> Result<()> {
        let [_, height, width] = self.layout.stored_zyx;
        let plane = height * width;
        if !values.len().is_multiple_of(plane) || values.len() / plane > self.missing() {
            let expected = (values.len() / plane).clamp(1, self.missing().max(1)) * plane;
            return Err(VolumeError::Length {
                what: "planes of a temporary volume",
                found: values.len(),
                expected,
            });
        }
        values.chunks_exact(plane).try_for_each(|values| self.plane(values))
    }

    fn plane(&mut self, values: &[T]) -> Result<()> {
        let [depth, _, width] = self.layout.stored_zyx;
        let (channel, z) = (self.planes / depth, self.planes % depth);
        let [_, high, wide] = self.layout.blocks();
        for y in 0..high {
            for x in 0..wide {
                let index = [z / BLOCK, y, x];
                let block = self.layout.block(index);
                self.run.clear();
                for row in block.start_zyx[1]..block.end_zyx[1] {
                    let row = &values[row * width..][..width];
                    self.run.extend_from_slice(&row[block.start_zyx[2]..block.end_zyx[2]]);
                }
                T::encode(&self.run, &mut self.bytes);
                let first = self.layout.offset(channel, index) + (z % BLOCK * self.run.len()) as u64;
                self.file
                    .write_all_at(&self.bytes, first * T::BYTES as u64)
                    .map_err(|error| self.layout.failed("write", &error))?;
            }
        }
        self.planes += 1;
        Ok(())
    }

    /// The volume, now that all planes are there.
    ///
    /// # Errors
    /// [`VolumeError::Planes`] if some are missing.
    pub fn finish(self) -> Result<Spool<T>> {
        let expected = self.layout.channels * self.layout.stored_zyx[0];
        if self.planes != expected {
            return Err(VolumeError::Planes { found: self.planes, expected });
        }
        Ok(Spool { file: self.file, layout: self.layout, elements: PhantomData })
    }
}
