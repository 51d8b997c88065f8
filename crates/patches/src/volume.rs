//! A sharded array of a case, read by boxes.

use crate::error::{Damage, Error, Result};
use crate::region::Region;
use crate::shard::{OpenShards, Shard};
use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;
use zarrs::array::{
    Array, ArrayBytes, ArrayMetadata, ArrayToBytesCodecTraits, CodecChain, CodecOptions, FillValue,
};
use zarrs::filesystem::FilesystemStore;
use zarrs::metadata_ext::codec::sharding::{ShardingCodecConfigurationV1, ShardingIndexLocation};

/// A stored element as one that is wanted.
pub(crate) trait Stored<T>: Copy {
    /// Copies a row of little-endian elements.
    fn row(bytes: &[u8], out: &mut [T]);
}

macro_rules! stored {
    ($($from:ty => $($to:ty),+;)+) => { $($(
        impl Stored<$to> for $from {
            fn row(bytes: &[u8], out: &mut [$to]) {
                let elements = bytes.as_chunks::<{ size_of::<$from>() }>().0;
                for (to, from) in out.iter_mut().zip(elements) {
                    *to = <$to>::from(<$from>::from_le_bytes(*from));
                }
            }
        }
    )+)+ };
}
stored! { f32 => f32; u8 => u32, u64; u16 => u32, u64; u32 => u32, u64; u64 => u64; }

/// A sharded array with axes z, y, x or c, z, y, x.
#[derive(Debug)]
pub(crate) struct Volume {
    array: Array<FilesystemStore>,
    /// Decodes an inner chunk.
    decoder: CodecChain,
    inner: Vec<NonZeroU64>,
    whole: [usize; 4],
    shard: [usize; 4],
    chunk: [usize; 4],
    number: u64,
    open: Arc<OpenShards>,
}

impl Volume {
    /// Opens the array `name` of the case in `directory`.
    pub(crate) fn open(
        directory: &Path,
        store: &Arc<FilesystemStore>,
        name: &str,
        open: &Arc<OpenShards>,
    ) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Error::zarr(directory.join(name), e);
        if !directory.join(name).join("zarr.json").is_file() {
            return Err(Error::missing(directory, format!("{name}/zarr.json")));
        }
        let array = Array::open(Arc::clone(store), &format!("/{name}")).map_err(|e| fail(&e))?;
        let ArrayMetadata::V3(metadata) = array.metadata() else {
            return Err(fail(&"found Zarr v2, expected Zarr v3"));
        };
        let [codec] = metadata.codecs.as_slice() else {
            return Err(fail(&"found several codecs, expected sharding_indexed alone"));
        };
        let sharding: ShardingCodecConfigurationV1 = codec.to_typed_configuration().map_err(|e| fail(&e))?;
        let index: Vec<&str> = sharding.index_codecs.iter().map(|codec| codec.name()).collect();
        if sharding.index_location != ShardingIndexLocation::End || index != ["bytes", "crc32c"] {
            return Err(fail(&"the shards' index has another form than this program writes"));
        }
        let decoder = CodecChain::from_metadata(&sharding.codecs).map_err(|e| fail(&e))?;
        let grid = array.chunk_shape(&vec![0; array.dimensionality()]).map_err(|e| fail(&e))?;
        let numbers = |shape: &[NonZeroU64]| with_channel(&shape.iter().map(|n| n.get()).collect::<Vec<_>>());
        let (Some(whole), Some(shard), Some(chunk)) =
            (with_channel(array.shape()), numbers(&grid), numbers(&sharding.chunk_shape))
        else {
            return Err(fail(&format!("found {} axes, expected 3 or 4", array.dimensionality())));
        };
        let inner = sharding.chunk_shape.to_vec();
        let (number, open) = (open.array(), Arc::clone(open));
        Ok(Self { array, decoder, inner, whole, shard, chunk, number, open })
    }

    /// Shape in voxels.
    pub(crate) fn shape(&self) -> &[u64] {
        self.array.shape()
    }

    /// Voxels of an inner chunk along z, y, x.
    pub(crate) fn chunk_zyx(&self) -> [usize; 3] {
        last(self.chunk)
    }

    /// The array.
    pub(crate) fn array(&self) -> &Array<FilesystemStore> {
        &self.array
    }

    /// Every shard is a file, also those that hold one value only: a lost file must not read as zeros.
    pub(crate) fn expect_shards(&self, directory: &Path) -> Result<()> {
        let counts = self.shards();
        for flat in 0..counts.iter().product() {
            let name = self.key(flat);
            if !directory.join(&name).is_file() {
                return Err(Error::missing(directory, name));
            }
        }
        Ok(())
    }

    fn shards(&self) -> [usize; 4] {
        std::array::from_fn(|a| self.whole[a].div_ceil(self.shard[a]))
    }

    /// Name of a shard in the case.
    fn key(&self, flat: usize) -> String {
        let counts = self.shards();
        let mut index = [0; 4];
        let mut rest = flat;
        for axis in (0..4).rev() {
            index[axis] = (rest % counts[axis]) as u64;
            rest /= counts[axis];
        }
        self.array.chunk_key(&index[4 - self.array.dimensionality()..]).as_str().to_owned()
    }

    /// Fills `out`, the voxels `[z, y, x]` of `region` in one channel, where the volume covers it. `S` is the array's type.
    pub(crate) fn read<S: Stored<T>, T>(
        &self,
        directory: &Path,
        channel: usize,
        region: &Region,
        out: &mut [T],
    ) -> Result<()> {
        let [_, z, y, x] = self.whole;
        let inside = region.intersect(&Region::whole([z, y, x]));
        if inside.voxels() == 0 {
            return Ok(());
        }
        // a region inside a volume has no negative ends
        let at = |v: [i64; 3]| -> [usize; 3] { v.map(|v| v.unsigned_abs() as usize) };
        let (lo, hi) = (at(inside.lo), at(inside.hi));
        let mut read = Reading {
            volume: self,
            directory,
            origin: region.lo,
            lo,
            hi,
            width: region.shape(),
            encoded: Vec::new(),
        };
        let counts = self.shards();
        for [z, y, x] in blocks(lo, hi, last(self.shard)) {
            let first = channel / self.shard[0];
            let flat = ((first * counts[1] + z) * counts[2] + y) * counts[3] + x;
            let chunks: [usize; 4] = std::array::from_fn(|a| self.shard[a] / self.chunk[a]);
            let shard = self.open.get((self.number, flat), || {
                Shard::open(directory, &self.key(flat), chunks.iter().product())
            })?;
            read.shard::<S, T>(&shard, flat, [first, z, y, x], channel, out)?;
        }
        Ok(())
    }
}

/// What stays the same while a box is read.
struct Reading<'a> {
    volume: &'a Volume,
    directory: &'a Path,
    /// First voxel of `out`; it may lie outside the volume.
    origin: [i64; 3],
    /// The part of the box inside the volume.
    lo: [usize; 3],
    hi: [usize; 3],
    /// Shape of `out`.
    width: [usize; 3],
    encoded: Vec<u8>,
}

impl Reading<'_> {
    fn shard<S: Stored<T>, T>(
        &mut self,
        shard: &Shard,
        flat: usize,
        index: [usize; 4],
        channel: usize,
        out: &mut [T],
    ) -> Result<()> {
        let v = self.volume;
        let damaged = |e: &dyn std::fmt::Display| {
            let reason = format!("cannot be decoded: {e}");
            Error::Damaged(Damage::new(self.directory, v.key(flat), reason))
        };
        let options = CodecOptions::default().with_concurrent_target(1);
        let fill: &FillValue = v.array.fill_value();
        let start: [usize; 3] = std::array::from_fn(|a| index[a + 1] * v.shard[a + 1]);
        let end: [usize; 3] = std::array::from_fn(|a| self.hi[a].min(start[a] + v.shard[a + 1]));
        let from: [usize; 3] = std::array::from_fn(|a| self.lo[a].max(start[a]));
        let local = |p: [usize; 3]| -> [usize; 3] { std::array::from_fn(|a| p[a] - start[a]) };
        let per: [usize; 4] = std::array::from_fn(|a| v.shard[a] / v.chunk[a]);
        let c = channel % v.shard[0];
        for [z, y, x] in blocks(local(from), local(end), last(v.chunk)) {
            let number = ((c / v.chunk[0] * per[1] + z) * per[2] + y) * per[3] + x;
            let there = shard.read(number, &mut self.encoded).map_err(|e| damaged(&e))?;
            let chunk_lo = [start[0] + z * v.chunk[1], start[1] + y * v.chunk[2], start[2] + x * v.chunk[3]];
            let decoded = if there {
                v.decoder.decode((&self.encoded).into(), &v.inner, v.array.data_type(), fill, &options)
            } else {
                ArrayBytes::new_fill_value(
                    v.array.data_type(),
                    v.chunk.iter().product::<usize>() as u64,
                    fill,
                )
                .map_err(Into::into)
            };
            let bytes = decoded.and_then(|bytes| Ok(bytes.into_fixed()?)).map_err(|e| damaged(&e))?;
            let channel_bytes = bytes.len() / v.chunk[0];
            let first = c % v.chunk[0] * channel_bytes;
            self.paste::<S, T>(&bytes[first..first + channel_bytes], chunk_lo, out);
        }
        Ok(())
    }

    /// Copies what the box wants of a chunk.
    fn paste<S: Stored<T>, T>(&self, bytes: &[u8], chunk_lo: [usize; 3], out: &mut [T]) {
        let chunk = last(self.volume.chunk);
        let lo: [usize; 3] = std::array::from_fn(|a| self.lo[a].max(chunk_lo[a]));
        let hi: [usize; 3] = std::array::from_fn(|a| self.hi[a].min(chunk_lo[a] + chunk[a]));
        // inside the volume and inside the box: no difference is negative
        let to = |a: usize, v: usize| (v as i64 - self.origin[a]).unsigned_abs() as usize;
        let (size, length) = (size_of::<S>(), hi[2] - lo[2]);
        for z in lo[0]..hi[0] {
            for y in lo[1]..hi[1] {
                let row = ((z - chunk_lo[0]) * chunk[1] + y - chunk_lo[1]) * chunk[2] + lo[2] - chunk_lo[2];
                let at = (to(0, z) * self.width[1] + to(1, y)) * self.width[2] + to(2, lo[2]);
                S::row(&bytes[row * size..(row + length) * size], &mut out[at..at + length]);
            }
        }
    }
}

/// Indices, in C order, of the blocks of a shape that the half-open box touches.
fn blocks(lo: [usize; 3], hi: [usize; 3], block: [usize; 3]) -> impl Iterator<Item = [usize; 3]> {
    let range = move |a: usize| lo[a] / block[a]..hi[a].div_ceil(block[a]);
    range(0).flat_map(move |z| range(1).flat_map(move |y| range(2).map(move |x| [z, y, x])))
}

fn last(shape: [usize; 4]) -> [usize; 3] {
    [shape[1], shape[2], shape[3]]
}

/// A shape z, y, x with one channel in front, or c, z, y, x as it is.
fn with_channel(shape: &[u64]) -> Option<[usize; 4]> {
    match *shape {
        [z, y, x] => Some([1, z as usize, y as usize, x as usize]),
        [c, z, y, x] => Some([c as usize, z as usize, y as usize, x as usize]),
        _ => None,
    }
}
