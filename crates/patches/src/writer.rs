//! Writes a case.

use crate::error::{Error, Result};
use crate::layout;
use crate::record::CaseRecord;
use crate::seal;
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
    let attribute = serde_json::to_value(record)
        .map_err(|e| Error::Record { path: directory.to_owned(), reason: e.to_string() })?;
    let mut group =
        GroupBuilder::new().build(Arc::clone(&store), "/").map_err(|e| Error::zarr(directory, e))?;
    group.attributes_mut().insert("gtgm".to_owned(), attribute);
    let mut store_group = |seal: &str| {
        group.attributes_mut().insert(seal::ATTRIBUTE.to_owned(), seal.into());
        group.store_metadata_opt(&GroupMetadataOptions::default()).map_err(|e| Error::zarr(directory, e))
    };
    store_group(seal::BLANK)?;

    let [z, y, x] = record.shape_zyx.map(|n| n as u64);
    let shape = [record.channels.len() as u64, z, y, x];
    let writer = Writer { directory, store: &store };
    writer.volume("image", &shape, data_type::float32(), 0f32.into(), &["c", "z", "y", "x"], |i| image[i])?;
    if let Some(label) = label {
        writer.label(&shape[1..], label)?;
    }
    if !foreground.is_empty() {
        writer.foreground(foreground)?;
    }
    store_group(&seal::of(directory)?)
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

/// Cases are written in parallel: one thread each. Shards of one value are files too, so that a lost one is noticed.
fn options() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1).with_store_empty_chunks(true)
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

    /// Labels in the smallest type that holds every value: each conversion is exact by that choice.
    fn label(&self, shape: &[u64], label: LabelVoxels<'_>) -> Result<()> {
        let axes = ["z", "y", "x"];
        match label.maximum() {
            0..=0xff => {
                self.volume("label", shape, data_type::uint8(), 0u8.into(), &axes, |i| label.get(i) as u8)
            }
            0x100..=0xffff => {
                self.volume("label", shape, data_type::uint16(), 0u16.into(), &axes, |i| label.get(i) as u16)
            }
            0x1_0000..=0xffff_ffff => {
                self.volume("label", shape, data_type::uint32(), 0u32.into(), &axes, |i| label.get(i) as u32)
            }
            _ => self.volume("label", shape, data_type::uint64(), 0u64.into(), &axes, |i| label.get(i)),
        }
    }

    fn foreground(&self, rows: &[[u32; 4]]) -> Result<()> {
        let name = "foreground";
        let fail = |e: &dyn std::fmt::Display| Error::zarr(self.directory.join(name), e);
        let shape = vec![rows.len() as u64, 4];
        let array = ArrayBuilder::new(shape.clone(), shape, data_type::uint32(), 0u32)
            .bytes_to_bytes_codecs(codecs())
            .dimension_names(["row", "class_zyx"].into())
            .build(Arc::clone(self.store), "/foreground")
            .map_err(|e| fail(&e))?;
        self.metadata(name, &array)?;
        array.store_chunk_opt(&[0, 0], rows.as_flattened(), &options()).map_err(|e| fail(&e))
    }

    /// Writes a sharded array shard by shard; `value` gives the element at a flat index in C order.
    fn volume<T: Element + Copy>(
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
        let (whole, part) = (with_channel(shape), with_channel(&shard));
        let counts: [usize; 4] = std::array::from_fn(|a| whole[a].div_ceil(part[a]));
        for flat in 0..counts.iter().product() {
            let index = unravel(flat, counts);
            let elements = gather(whole, part, index, &value);
            let index = index.map(|i| i as u64);
            array
                .store_chunk_opt(&index[4 - shape.len()..], &elements, &options())
                .map_err(|e| Error::zarr(&path, e))?;
        }
        Ok(())
    }
}

/// The elements of one shard; beyond the array's end it repeats the last voxel, which costs next to nothing once
/// compressed.
fn gather<T>(whole: [usize; 4], part: [usize; 4], index: [usize; 4], value: &impl Fn(usize) -> T) -> Vec<T> {
    let source = |axis: usize, at: usize| (index[axis] * part[axis] + at).min(whole[axis] - 1);
    let mut elements = Vec::with_capacity(part.iter().product());
    for c in 0..part[0] {
        for z in 0..part[1] {
            for y in 0..part[2] {
                let row = (source(0, c) * whole[1] + source(1, z)) * whole[2] + source(2, y);
                elements.extend((0..part[3]).map(|x| value(row * whole[3] + source(3, x))));
            }
        }
    }
    elements
}

/// A shape z, y, x with one channel in front, or c, z, y, x as it is.
fn with_channel(shape: &[u64]) -> [usize; 4] {
    let lead = 4 - shape.len();
    std::array::from_fn(|a| if a < lead { 1 } else { shape[a - lead] as usize })
}

fn unravel(mut flat: usize, shape: [usize; 4]) -> [usize; 4] {
    let mut index = [0; 4];
    for axis in (0..4).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}
