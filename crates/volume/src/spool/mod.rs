//! Volumes on disk for the time of their processing, for those that do not fit into memory.
//!
//! A [`SpoolWriter`] takes planes in the order in which files store them; the [`Spool`] that it becomes is read box by
//! box in canonical orientation. The file has no name and vanishes with its last handle, also when the process is
//! killed.
//!
//! Layout: blocks of [`BLOCK`]³ voxels in stored order, each at a fixed offset (those at the far ends are shorter and
//! leave holes, which cost no disk space), little-endian. A plane therefore goes to disk as whole runs of its blocks
//! and is never held back; turning happens when a box is read. Memory: the writer holds the part of one plane that
//! belongs to one block (16 KiB for f32), a reader the box that it returns and at most one block beside it (1 MiB for
//! f32). The file takes the voxels' own size on disk.

mod element;
mod writer;

pub use element::Element;
pub use writer::SpoolWriter;

use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::orientation::Orientation;
use crate::voxels::{Voxels, check_request};
use std::fs::File;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

/// Edge of a block in voxels.
pub const BLOCK: usize = 64;

/// A volume in a temporary file.
#[derive(Debug)]
pub struct Spool<T> {
    file: File,
    layout: Layout,
    elements: PhantomData<fn() -> T>,
}

/// What lies where in the file.
#[derive(Debug)]
struct Layout {
    /// Where the file was made, for messages.
    directory: PathBuf,
    channels: usize,
    stored_zyx: [usize; 3],
    orientation: Orientation,
}

impl Layout {
    /// Blocks along each stored axis.
    fn blocks(&self) -> [usize; 3] {
        self.stored_zyx.map(|n| n.div_ceil(BLOCK))
    }

    /// The stored voxels of a block.
    fn block(&self, index: [usize; 3]) -> BoundingBox {
        BoundingBox {
            start_zyx: index.map(|i| i * BLOCK),
            end_zyx: std::array::from_fn(|axis| ((index[axis] + 1) * BLOCK).min(self.stored_zyx[axis])),
        }
    }

    /// Offset of a block's first voxel, in voxels.
    fn offset(&self, channel: usize, index: [usize; 3]) -> u64 {
        let blocks = self.blocks();
        let number = ((channel * blocks[0] + index[0]) * blocks[1] + index[1]) * blocks[2] + index[2];
        number as u64 * (BLOCK * BLOCK * BLOCK) as u64
    }

    fn failed(&self, action: &str, error: &std::io::Error) -> VolumeError {
        let directory = self.directory.display();
        std::io::Error::new(
            error.kind(),
            format!("cannot {action} a temporary volume in {directory}: {error}"),
        )
        .into()
    }
}

impl<T: Element> Spool<T> {
    /// Reads the stored box `wanted` of one block: its voxels, and the box of the block that they are.
    ///
    /// Whole planes of the block are read at once; of a single plane only the rows that are wanted.
    fn read_block(
        &self,
        channel: usize,
        index: [usize; 3],
        wanted: &BoundingBox,
        bytes: &mut Vec<u8>,
        voxels: &mut Vec<T>,
    ) -> Result<BoundingBox> {
        let block = self.layout.block(index);
        let [_, height, width] = block.shape();
        let mut held = BoundingBox {
            start_zyx: [wanted.start_zyx[0], block.start_zyx[1], block.start_zyx[2]],
            end_zyx: [wanted.end_zyx[0], block.end_zyx[1], block.end_zyx[2]],
        };
        if held.shape()[0] == 1 {
            held.start_zyx[1] = wanted.start_zyx[1];
            held.end_zyx[1] = wanted.end_zyx[1];
        }
        let plane = held.start_zyx[0] - block.start_zyx[0];
        let row = held.start_zyx[1] - block.start_zyx[1];
        let first = self.layout.offset(channel, index) + ((plane * height + row) * width) as u64;
        bytes.resize(held.voxels() * T::BYTES, 0);
        self.file
            .read_exact_at(bytes, first * T::BYTES as u64)
            .map_err(|error| self.layout.failed("read", &error))?;
        T::decode(bytes, voxels);
        Ok(held)
    }
}

impl<T: Element> Voxels<T> for Spool<T> {
    fn channels(&self) -> usize {
        self.layout.channels
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.layout.orientation.shape(self.layout.stored_zyx)
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<T>> {
        check_request(channel, self.layout.channels, bounds, self.shape_zyx())?;
        let orientation = self.layout.orientation;
        let back = orientation.invert();
        let mut out = vec![T::default(); bounds.voxels()];
        let (mut bytes, mut voxels) = (Vec::new(), Vec::new());
        let stored = orientation.source_box(bounds, self.layout.stored_zyx);
        let range = |axis: usize| stored.start_zyx[axis] / BLOCK..stored.end_zyx[axis].div_ceil(BLOCK);
        for z in range(0) {
            for y in range(1) {
                for x in range(2) {
                    let block = self.layout.block([z, y, x]);
                    let wanted = BoundingBox {
                        start_zyx: std::array::from_fn(|k| block.start_zyx[k].max(stored.start_zyx[k])),
                        end_zyx: std::array::from_fn(|k| block.end_zyx[k].min(stored.end_zyx[k])),
                    };
                    let held = self.read_block(channel, [z, y, x], &wanted, &mut bytes, &mut voxels)?;
                    // Where the wanted part lies in what was read, and in the result, both turned.
                    let local = BoundingBox {
                        start_zyx: std::array::from_fn(|k| wanted.start_zyx[k] - held.start_zyx[k]),
                        end_zyx: std::array::from_fn(|k| wanted.end_zyx[k] - held.start_zyx[k]),
                    };
                    let part = back.source_box(&local, orientation.shape(held.shape()));
                    let place = back.source_box(&wanted, self.shape_zyx());
                    let at = std::array::from_fn(|k| place.start_zyx[k] - bounds.start_zyx[k]);
                    orientation.copy_box(&voxels, held.shape(), &part, &mut out, bounds.shape(), at);
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orientation::tests::orientations;
    use crate::voxels::InMemory;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn boxes_are_those_of_the_volume_in_memory(
            o in orientations(),
            (shape, start) in [1..150_usize, 1..90_usize, 1..90_usize]
                .prop_flat_map(|shape| (Just(shape), shape.map(|n| 0..n))),
            extent in [1..100_usize, 1..100_usize, 1..100_usize],
            channels in 1..3_usize,
            many in any::<bool>(),
        ) {
            let plane = shape[1] * shape[2];
            let data: Vec<u64> =
                (0..(channels * shape[0] * plane) as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
            let folder = tempfile::tempdir().unwrap();
            let mut writer = SpoolWriter::new(folder.path(), channels, shape, o).unwrap();
            for piece in data.chunks(if many { shape[0] * plane } else { plane }) {
                writer.write(piece).unwrap();
            }
            let spool = writer.finish().unwrap();
            let expected = InMemory::oriented(&data, channels, shape, o).unwrap();
            let turned = expected.shape_zyx();
            prop_assert_eq!(spool.shape_zyx(), turned);
            let start_zyx: [usize; 3] = std::array::from_fn(|k| start[k].min(turned[k] - 1));
            let end_zyx = std::array::from_fn(|k| (start_zyx[k] + extent[k]).min(turned[k]));
            let bounds = BoundingBox { start_zyx, end_zyx };
            for channel in 0..channels {
                prop_assert_eq!(spool.read(channel, &bounds).unwrap(), expected.read(channel, &bounds).unwrap());
            }
            prop_assert!(spool.read(channels, &bounds).is_err());
            // nothing to find, nothing left behind
            prop_assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
        }
    }

    fn there_and_back<T: Element + PartialEq + std::fmt::Debug>(values: &[T]) {
        let folder = tempfile::tempdir().unwrap();
        let shape = [1, 1, values.len()];
        let mut writer = SpoolWriter::new(folder.path(), 1, shape, Orientation::IDENTITY).unwrap();
        writer.write(values).unwrap();
        let spool = writer.finish().unwrap();
        assert_eq!(spool.read(0, &BoundingBox::whole(shape)).unwrap(), values);
    }

    #[test]
    fn every_element_type_comes_back() {
        there_and_back(&[0_u8, 1, 255]);
        there_and_back(&[i16::MIN, -1, i16::MAX]);
        there_and_back(&[0_u16, 1, u16::MAX]);
        there_and_back(&[0_u32, 1, u32::MAX]);
        there_and_back(&[0, (1_u64 << 53) + 1, u64::MAX]);
        there_and_back(&[f32::MIN_POSITIVE, -0.5, f32::INFINITY]);
    }

    #[test]
    fn planes_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let new = || SpoolWriter::<u8>::new(folder.path(), 2, [2, 2, 3], Orientation::IDENTITY).unwrap();
        let mut short = new();
        short.write(&[0; 18]).unwrap();
        let error = short.finish().unwrap_err();
        assert!(error.to_string().contains("3 of 4 planes"), "{error}");
        let mut long = new();
        long.write(&[0; 24]).unwrap();
        assert!(long.write(&[0; 6]).is_err());
        assert!(new().write(&[0; 7]).is_err());
        let nowhere = folder.path().join("none");
        let error = SpoolWriter::<u8>::new(&nowhere, 1, [1; 3], Orientation::IDENTITY).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
