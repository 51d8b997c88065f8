//! Writes a case.

use crate::error::{Error, Result};
use crate::layout;
use crate::record::CaseRecord;
use std::path::Path;
use std::sync::Arc;
use zarrs::array::codec::ZstdCodec;
use zarrs::array::{
    Array, ArrayBuilder, ArrayMetadataOptions, CodecOptions, DataType, Element, FillValue, data_type,
};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::{GroupBuilder, GroupMetadataOptions};

const ZSTD_LEVEL: i32 = 3;

/// Label voxels in C order z, y, x.
#[derive(Debug, Clone, Copy)]
pub enum LabelVoxels<'a> {
    /// Classes, or ids that fit.
    Narrow(&'a [u32]),
    /// Object ids of any size; never through floating point.
    Wide(&'a [u64]),
}

impl LabelVoxels<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Narrow(v) => v.len(),
            Self::Wide(v) => v.len(),
        }
    }

    fn maximum(&self) -> u64 {
        match self {
            Self::Narrow(v) => v.iter().copied().max().unwrap_or(0).into(),
            Self::Wide(v) => v.iter().copied().max().unwrap_or(0),
        }
    }

    fn get(&self, i: usize) -> u64 {
        match self {
            Self::Narrow(v) => v[i].into(),
            Self::Wide(v) => v[i],
        }
    }
}

/// Writes a case as a Zarr v3 group into the existing, empty `directory`.
///
/// `image` is `[channel, z, y, x]` in C order, `label` `[z, y, x]`; `foreground` rows are class, z, y, x. The bytes depend
/// on the arguments only.
///
/// # Errors
/// Fails when lengths disagree with the record, or when writing fails.
pub fn write_case(
    directory: &Path,
    record: &CaseRecord,
    image: &[f32],
    label: Option<LabelVoxels<'_>>,
    foreground: &[[u32; 4]],
) -> Result<()> {
    let voxels: usize = record.shape_zyx.iter().product();
    expect_length(directory, "image voxels", image.len(), voxels * record.channels.len())?;
    if label.is_some() != record.label.is_some() {
        let name = |there: bool| if there { "labels" } else { "no labels" }.to_owned();
        return Err(Error::Mismatch {
            path: directory.to_owned(),
            found: name(label.is_some()),
            expected: format!("{} by the record", name(record.label.is_some())),
        });
    }
    if let Some(label) = &label {
        expect_length(directory, "label voxels", label.len(), voxels)?;
    }
    let store = Arc::new(FilesystemStore::new(directory).map_err(|e| Error::zarr(directory, e))?);
    let mut group =
        GroupBuilder::new().build(Arc::clone(&store), "/").map_err(|e| Error::zarr(directory, e))?;
    let attribute = serde_json::to_value(record)
        .map_err(|e| Error::Record { path: directory.to_owned(), reason: e.to_string() })?;
    group.attributes_mut().insert("gtgm".to_owned(), attribute);
    group.store_metadata_opt(&GroupMetadataOptions::default()).map_err(|e| Error::zarr(directory, e))?;

    let [z, y, x] = record.shape_zyx.map(|n| n as u64);
    let shape = [record.channels.len() as u64, z, y, x];
    let writer = Writer { directory, store: &store };
    writer.array("image", &shape, data_type::float32(), 0f32.into(), &["c", "z", "y", "x"], |i| image[i])?;
    if let Some(label) = label {
        let shape = [z, y, x];
        let axes = ["z", "y", "x"];
        // the smallest type that holds every value; each conversion below is exact by that choice
        match label.maximum() {
            0..=0xff => {
                writer
                    .array("label", &shape, data_type::uint8(), 0u8.into(), &axes, |i| label.get(i) as u8)?;
            }
            0x100..=0xffff => {
                writer.array("label", &shape, data_type::uint16(), 0u16.into(), &axes, |i| {
                    label.get(i) as u16
                })?;
            }
            0x1_0000..=0xffff_ffff => {
                writer.array("label", &shape, data_type::uint32(), 0u32.into(), &axes, |i| {
                    label.get(i) as u32
                })?;
            }
            _ => writer.array("label", &shape, data_type::uint64(), 0u64.into(), &axes, |i| label.get(i))?,
        }
    }
    if !foreground.is_empty() {
        let rows = foreground.len() as u64;
        let flat = foreground.as_flattened();
        let array = ArrayBuilder::new(vec![rows, 4], vec![rows, 4], data_type::uint32(), 0u32)
            .bytes_to_bytes_codecs(codecs())
            .dimension_names(["row", "class_zyx"].into())
            .build(Arc::clone(&store), "/foreground")
            .map_err(|e| Error::zarr(directory.join("foreground"), e))?;
        writer.metadata("foreground", &array)?;
        array.store_chunk(&[0, 0], flat).map_err(|e| Error::zarr(directory.join("foreground"), e))?;
    }
    Ok(())
}

fn expect_length(directory: &Path, what: &str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::Mismatch {
        path: directory.to_owned(),
        found: format!("{found} {what}"),
        expected: expected.to_string(),
    })
}

fn codecs() -> Vec<Arc<dyn zarrs::array::BytesToBytesCodecTraits>> {
    // zstd's own checksum: a checksum codec around it is skipped by partial reads, which is how patches are read
    vec![Arc::new(ZstdCodec::new(ZSTD_LEVEL, true))]
}

struct Writer<'a> {
    directory: &'a Path,
    store: &'a Arc<FilesystemStore>,
}

impl Writer<'_> {
    fn metadata(&self, name: &str, array: &Array<FilesystemStore>) -> Result<()> {
        // the library's own version would make the bytes change with every update of it
        let options = ArrayMetadataOptions::default().with_include_zarrs_metadata(false);
        array.store_metadata_opt(&options).map_err(|e| Error::zarr(self.directory.join(name), e))
    }

    /// Writes a sharded array shard by shard; `value` gives the element at a flat index in C order.
    fn array<T: Element + Copy>(
        &self,
        name: &str,
        shape: &[u64],
        data_type: DataType,
        fill: FillValue,
        axes: &[&str],
        value: impl Fn(usize) -> T,
    ) -> Result<()> {
        let path = self.directory.join(name);
        let (inner, shard) = layout::shapes(shape);
        let array = ArrayBuilder::new(shape.to_vec(), shard.clone(), data_type, fill)
            .subchunk_shape(inner)
            .bytes_to_bytes_codecs(codecs())
            .dimension_names(Some(axes.iter().copied()))
            .build(Arc::clone(self.store), &format!("/{name}"))
            .map_err(|e| Error::zarr(&path, e))?;
        self.metadata(name, &array)?;
        // cases are written in parallel: one thread each
        let options = CodecOptions::default().with_concurrent_target(1);
        let counts: Vec<u64> = shape.iter().zip(&shard).map(|(n, s)| n.div_ceil(*s)).collect();
        let total: u64 = counts.iter().product();
        let shard_voxels: u64 = shard.iter().product();
        for flat in 0..total {
            let index = unravel(flat, &counts);
            let mut elements = Vec::with_capacity(shard_voxels as usize);
            for inside in 0..shard_voxels {
                let at = unravel(inside, &shard);
                // beyond the array's end a shard repeats the last voxel, which costs next to nothing once compressed
                let source = (0..shape.len())
                    .fold(0, |sum, a| sum * shape[a] + (index[a] * shard[a] + at[a]).min(shape[a] - 1));
                elements.push(value(source as usize));
            }
            array.store_chunk_opt(&index, &elements, &options).map_err(|e| Error::zarr(&path, e))?;
        }
        Ok(())
    }
}

fn unravel(mut flat: u64, shape: &[u64]) -> Vec<u64> {
    let mut index = vec![0; shape.len()];
    for axis in (0..shape.len()).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}
