//! Chunk and shard shapes and the compression, chosen by measurement: `docs/shards.md` has the table.

use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use zarrs::array::BytesToBytesCodecTraits;
use zarrs::array::codec::{BloscCodec, BloscCompressionLevel, BloscCompressor, BloscShuffleMode};
use zarrs::array::codec::{Crc32cCodec, ZstdCodec};

/// Lossless compression of the inner chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard over the bytes as they are.
    Zstd {
        /// Level, 1 to 22.
        level: i32,
    },
    /// Zstandard over the bytes of equal rank side by side (Blosc's byte shuffle), for elements of several bytes.
    ShuffledZstd {
        /// Blosc's level, 1 to 9.
        level: u8,
    },
    /// LZ4 over the bytes of equal rank side by side: it codes no symbols bit by bit, so that the last bytes of floats, which are
    /// noise, are copied as they are.
    ShuffledLz4 {
        /// Blosc's level, 1 to 9.
        level: u8,
    },
    /// LZ4 over the bits of equal rank side by side.
    BitShuffledLz4 {
        /// Blosc's level, 1 to 9.
        level: u8,
    },
}

/// How the arrays of a case are cut and compressed. Readers take all of it from the arrays' own metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// About this many voxels along z, y, x are compressed together: the unit of reading.
    pub inner_zyx: [usize; 3],
    /// At most this many voxels along z, y, x lie in one file; at least one inner chunk does.
    pub shard_zyx: [usize; 3],
    /// Of images.
    pub image: Compression,
    /// Of labels.
    pub label: Compression,
}

impl Default for Layout {
    /// The measured compromise; reads of 96³ voxels weigh most.
    fn default() -> Self {
        Self {
            inner_zyx: [32; 3],
            shard_zyx: [256; 3],
            image: Compression::ShuffledLz4 { level: 5 },
            label: Compression::Zstd { level: 3 },
        }
    }
}

impl Layout {
    /// Inner chunk and shard shape of an array whose last three axes are z, y, x; along a leading axis (channels) every
    /// entry has chunks and shards of its own.
    ///
    /// An axis is cut evenly: 300 voxels become five chunks of 60 and not four of 64 and one of 44, so that no chunk is
    /// mostly padding.
    pub(crate) fn shapes(&self, shape: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let lead = shape.len() - 3;
        let (mut inner, mut shard) = (vec![1; lead], vec![1; lead]);
        for (axis, &n) in shape[lead..].iter().enumerate() {
            let wanted = (self.inner_zyx[axis] as u64).max(1);
            let chunk = n.div_ceil(((n + wanted / 2) / wanted).max(1)).max(1);
            let chunks = n.div_ceil(chunk).max(1);
            let most = (self.shard_zyx[axis] as u64 / chunk).max(1);
            inner.push(chunk);
            shard.push(chunks.div_ceil(chunks.div_ceil(most)) * chunk);
        }
        (inner, shard)
    }
}

impl Compression {
    /// The codecs of inner chunks of elements of `bytes` bytes, a checksum last, so that it covers what lies on disk.
    pub(crate) fn codecs(self, bytes: usize, array: &Path) -> Result<Vec<Arc<dyn BytesToBytesCodecTraits>>> {
        let (compressor, shuffle, level) = match self {
            Self::Zstd { level } => {
                return Ok(vec![Arc::new(ZstdCodec::new(level, false)), Arc::new(Crc32cCodec::new())]);
            }
            Self::ShuffledZstd { level } => (BloscCompressor::Zstd, BloscShuffleMode::Shuffle, level),
            Self::ShuffledLz4 { level } => (BloscCompressor::LZ4, BloscShuffleMode::Shuffle, level),
            Self::BitShuffledLz4 { level } => (BloscCompressor::LZ4, BloscShuffleMode::BitShuffle, level),
        };
        let level = BloscCompressionLevel::try_from(level)
            .map_err(|level| Error::zarr(array, format!("Blosc has no level {level}")))?;
        let compressor = BloscCodec::new(compressor, level, None, shuffle, Some(bytes))
            .map_err(|e| Error::zarr(array, e))?;
        Ok(vec![Arc::new(compressor), Arc::new(Crc32cCodec::new())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn shards_are_multiples_of_chunks_of_about_the_wanted_size(
            c in 1u64..5, size in prop::array::uniform3(1u64..2000),
            wanted in prop::array::uniform3(16usize..130), most in prop::array::uniform3(16usize..520),
        ) {
            let layout = Layout { inner_zyx: wanted, shard_zyx: most, ..Layout::default() };
            let [z, y, x] = size;
            let (inner, shard) = layout.shapes(&[c, z, y, x]);
            prop_assert_eq!((inner[0], shard[0]), (1, 1));
            for a in 0..3 {
                let (chunk, part, n) = (inner[a + 1], shard[a + 1], size[a]);
                prop_assert!(chunk >= 1 && chunk <= n && 2 * chunk <= 3 * wanted[a] as u64 + 1);
                prop_assert_eq!(part % chunk, 0);
                prop_assert!(part <= (most[a] as u64).max(chunk));
                // padding never fills a chunk
                prop_assert!(n.div_ceil(chunk) * chunk - n < chunk);
            }
        }
    }

    #[test]
    fn a_small_case_is_one_chunk() {
        let layout = Layout { inner_zyx: [64; 3], ..Layout::default() };
        assert_eq!(layout.shapes(&[2, 40, 56, 90]), (vec![1, 40, 56, 90], vec![1, 40, 56, 90]));
        assert_eq!(layout.shapes(&[300, 512, 130]), (vec![60, 64, 65], vec![180, 256, 130]));
    }
}
