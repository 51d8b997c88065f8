//! Writes a case box by box.

use crate::error::{Error, Result};
use crate::files::Files;
use crate::layout::{Compression, Layout};
use crate::names;
use crate::ome;
use crate::record::CaseRecord;
use crate::seal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::codec::ZstdCodec;
use zarrs::array::{
    Array, ArrayBuilder, ArrayMetadataOptions, CodecOptions, DataType, Element, FillValue, data_type,
};
use zarrs::metadata::ChunkKeySeparator;

/// Type of stored labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelType {
    /// Up to 255.
    U8,
    /// Up to 65,535.
    U16,
    /// Up to 4,294,967,295.
    U32,
    /// Object ids of any size; never through floating point.
    U64,
}

impl LabelType {
    /// The smallest type that holds all values up to `maximum`.
    #[must_use]
    pub fn for_maximum(maximum: u64) -> Self {
        match maximum {
            0..=0xff => Self::U8,
            0x100..=0xffff => Self::U16,
            0x1_0000..=0xffff_ffff => Self::U32,
            _ => Self::U64,
        }
    }
}

/// Writes a case into an empty directory, shard by shard.
///
/// Memory: the elements of one shard (by default at most 256³ voxels of one channel: 64 MiB of image) and their encoded form, at most about
/// as large; of labels also the box as the caller delivers it. Threads: one; cases are written in parallel. Files are not
/// synchronised here but when the directory is published (`stage::atomic::PendingDirectory`).
///
/// The bytes depend on the values and the record only. What was begun and not finished has no record, and readers refuse it.
#[derive(Debug)]
pub struct CaseWriter {
    directory: PathBuf,
    store: Arc<Files>,
    layout: Layout,
    /// Channels and shape of the image written.
    image: Option<(usize, [usize; 3])>,
    /// Shape of the labels written.
    label: Option<[usize; 3]>,
    foreground: bool,
}

impl CaseWriter {
    /// Starts a case in the existing, empty `directory`.
    ///
    /// # Errors
    /// Fails when the directory is missing or holds anything.
    pub fn create(directory: &Path) -> Result<Self> {
        if let Some(entry) = fs_err::read_dir(directory)?.next() {
            let found = entry?.file_name().to_string_lossy().into_owned();
            return Err(Error::mismatch(directory, found, "an empty directory"));
        }
        Ok(Self {
            directory: directory.to_owned(),
            store: Arc::new(Files::new(directory)),
            layout: Layout::default(),
            image: None,
            label: None,
            foreground: false,
        })
    }

    /// Cuts and compresses the arrays in another way than the measured one.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Writes the image. `boxes(channel, lo_zyx, shape_zyx)` gives the voxels `[z, y, x]` of a box inside the volume; it is called
    /// once for each shard, in C order.
    ///
    /// # Errors
    /// What `boxes` returns, unchanged; an image that was written before, an empty one, a box of another size, or failing writes.
    pub fn image<E: From<Error>>(
        &mut self,
        channels: usize,
        shape_zyx: [usize; 3],
        mut boxes: impl FnMut(usize, [usize; 3], [usize; 3]) -> Result<Vec<f32>, E>,
    ) -> Result<(), E> {
        self.once(names::IMAGE, self.image.is_some())?;
        let [z, y, x] = shape_zyx.map(|n| n as u64);
        let (kind, axes) = ((data_type::float32(), 0f32.into()), ["c", "z", "y", "x"]);
        let shape = [channels as u64, z, y, x];
        let sharded = self.sharded(names::IMAGE, &shape, kind, &axes, self.layout.image)?;
        sharded.write(&mut boxes)?;
        self.image = Some((channels, shape_zyx));
        Ok(())
    }

    /// Writes the labels in a type that holds all of them. `boxes(lo_zyx, shape_zyx)` gives the labels `[z, y, x]` of a box inside the volume
    /// as integers of any width; it is called once for each shard, in C order.
    ///
    /// # Errors
    /// As [`Self::image`], and [`Error::LabelTooLarge`].
    pub fn label<L: Copy + Into<u64>, E: From<Error>>(
        &mut self,
        label_type: LabelType,
        shape_zyx: [usize; 3],
        boxes: impl FnMut([usize; 3], [usize; 3]) -> Result<Vec<L>, E>,
    ) -> Result<(), E> {
        self.once(names::LABEL_ARRAY, self.label.is_some())?;
        match label_type {
            LabelType::U8 => self.label_as::<u8, L, E>(shape_zyx, (data_type::uint8(), 0u8.into()), boxes),
            LabelType::U16 => {
                self.label_as::<u16, L, E>(shape_zyx, (data_type::uint16(), 0u16.into()), boxes)
            }
            LabelType::U32 => {
                self.label_as::<u32, L, E>(shape_zyx, (data_type::uint32(), 0u32.into()), boxes)
            }
            LabelType::U64 => {
                self.label_as::<u64, L, E>(shape_zyx, (data_type::uint64(), 0u64.into()), boxes)
            }
        }?;
        self.label = Some(shape_zyx);
        Ok(())
    }

    fn label_as<T, L, E>(
        &self,
        shape_zyx: [usize; 3],
        kind: (DataType, FillValue),
        mut boxes: impl FnMut([usize; 3], [usize; 3]) -> Result<Vec<L>, E>,
    ) -> Result<(), E>
    where
        T: Element + Copy + Default + TryFrom<u64>,
        L: Copy + Into<u64>,
        E: From<Error>,
    {
        let shape = shape_zyx.map(|n| n as u64);
        let sharded = self.sharded(names::LABEL_ARRAY, &shape, kind, &["z", "y", "x"], self.layout.label)?;
        sharded.write(&mut |_, lo, shape| {
            let found = boxes(lo, shape)?;
            let stored = found.iter().map(|&value| {
                let value = value.into();
                T::try_from(value).map_err(|_| Error::LabelTooLarge {
                    path: sharded.path.clone(),
                    value,
                    declared: std::any::type_name::<T>(),
                })
            });
            Ok(stored.collect::<Result<Vec<T>>>()?)
        })
    }

    /// Writes sampled voxels, rows class, z, y, x; no rows, no array.
    ///
    /// # Errors
    /// Fails when writing fails, or rows were written before.
    pub fn foreground(&mut self, rows: &[[u32; 4]]) -> Result<()> {
        self.once(names::FOREGROUND, self.foreground)?;
        if rows.is_empty() {
            return Ok(());
        }
        let path = self.directory.join(names::FOREGROUND);
        let shape = vec![rows.len() as u64, 4];
        let array = ArrayBuilder::new(shape.clone(), shape, data_type::uint32(), 0u32)
            .bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(3, true))])
            .dimension_names(["row", "class_zyx"].into())
            .chunk_key_encoding_default_separator(ChunkKeySeparator::Dot)
            .build(Arc::clone(&self.store), &format!("/{}", names::FOREGROUND))
            .map_err(|e| Error::zarr(&path, e))?;
        store_metadata(&path, &array)?;
        array.store_chunk_opt(&[0, 0], rows.as_flattened(), &options()).map_err(|e| Error::zarr(&path, e))?;
        self.foreground = true;
        Ok(())
    }

    /// Writes the record and, last, the seal over every byte. Returns bytes and digest of the case, as
    /// [`data_manifests::digest::tree`] finds them.
    ///
    /// # Errors
    /// Fails when the record does not describe what was written, or when writing fails.
    pub fn finish(self, record: &CaseRecord) -> Result<(u64, String)> {
        let image = Some((record.channels.len(), record.shape_zyx));
        self.agrees("image of (channels, shape)", &self.image, &image)?;
        self.agrees("labels of shape", &self.label, &record.label.as_ref().map(|_| record.shape_zyx))?;
        if record.label.as_ref().is_some_and(|label| label.has_classes()) && !self.foreground {
            return Err(Error::mismatch(
                &self.directory,
                "no foreground rows",
                "rows of the record's classes",
            ));
        }
        let gtgm = serde_json::to_value(record)
            .map_err(|e| Error::Record { path: self.directory.clone(), reason: e.to_string() })?;
        if self.label.is_some() {
            self.put_group(names::LABELS, ome::labels())?;
            self.put_group(&format!("{}/{}", names::LABELS, names::LABEL), ome::label(record))?;
        }
        let text = seal::group_text(&self.store.digests(), ome::case(record, gtgm));
        self.store.put(names::GROUP, text.as_bytes())?;
        Ok(self.store.tree())
    }

    fn put_group(&self, path: &str, attributes: Value) -> Result<()> {
        let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes });
        Ok(self.store.put(&format!("{path}/{}", names::GROUP), format!("{group:#}\n").as_bytes())?)
    }

    fn agrees<T: PartialEq + std::fmt::Debug>(
        &self,
        what: &str,
        found: &Option<T>,
        expected: &Option<T>,
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        let say =
            |there: &Option<T>| there.as_ref().map_or(format!("no {what}"), |v| format!("{what} {v:?}"));
        let expected = format!("{} by the record", say(expected));
        Err(Error::mismatch(&self.directory, say(found), expected))
    }

    fn once(&self, name: &str, written: bool) -> Result<()> {
        if written {
            return Err(Error::mismatch(self.directory.join(name), "a second writing", "one"));
        }
        Ok(())
    }

    fn sharded(
        &self,
        name: &str,
        shape: &[u64],
        (data_type, fill): (DataType, FillValue),
        axes: &[&str],
        compression: Compression,
    ) -> Result<Sharded> {
        let path = self.directory.join(name);
        if shape.contains(&0) {
            return Err(Error::mismatch(
                path,
                format!("shape {shape:?}"),
                "at least one voxel along each axis",
            ));
        }
        let (inner, shard) = self.layout.shapes(shape);
        let bytes = data_type.fixed_size().unwrap_or(1);
        let array = ArrayBuilder::new(shape.to_vec(), shard.clone(), data_type, fill)
            .subchunk_shape(inner)
            .bytes_to_bytes_codecs(compression.codecs(bytes, &path)?)
            .dimension_names(Some(axes.iter().copied()))
            // one directory an array: creating and synchronising one for each axis took a third of a small case's time
            .chunk_key_encoding_default_separator(ChunkKeySeparator::Dot)
            .build(Arc::clone(&self.store), &format!("/{name}"))
            .map_err(|e| Error::zarr(&path, e))?;
        store_metadata(&path, &array)?;
        Ok(Sharded { path, array, shape: shape.to_vec(), shard })
    }
}

/// A sharded array whose last three axes are z, y, x.
struct Sharded {
    path: PathBuf,
    array: Array<Files>,
    shape: Vec<u64>,
    shard: Vec<u64>,
}

impl Sharded {
    /// Writes shard by shard; beyond the array's end shards hold 0, and chunks of 0 alone take no bytes.
    fn write<T: Element + Copy + Default, E: From<Error>>(
        &self,
        boxes: &mut impl FnMut(usize, [usize; 3], [usize; 3]) -> Result<Vec<T>, E>,
    ) -> Result<(), E> {
        let (whole, part) = (with_channel(&self.shape), with_channel(&self.shard));
        let counts: [usize; 4] = std::array::from_fn(|a| whole[a].div_ceil(part[a]));
        let full = [part[1], part[2], part[3]];
        for flat in 0..counts.iter().product() {
            let index = unravel(flat, counts);
            let lo: [usize; 3] = std::array::from_fn(|a| index[a + 1] * full[a]);
            let inside: [usize; 3] = std::array::from_fn(|a| full[a].min(whole[a + 1] - lo[a]));
            let values = boxes(index[0], lo, inside)?;
            let expected: usize = inside.iter().product();
            if values.len() != expected {
                let found = format!("{} voxels for the box {inside:?} at {lo:?}", values.len());
                return Err(Error::mismatch(&self.path, found, expected.to_string()).into());
            }
            let index = index.map(|i| i as u64);
            self.array
                .store_chunk_opt(&index[4 - self.shape.len()..], pad(values, inside, full), &options())
                .map_err(|e| Error::zarr(&self.path, e))?;
        }
        Ok(())
    }
}

/// Widens a box z, y, x to the shape `full` in place, with 0 behind its ends.
fn pad<T: Copy + Default>(mut values: Vec<T>, part: [usize; 3], full: [usize; 3]) -> Vec<T> {
    if part == full {
        return values;
    }
    let zero = T::default();
    values.resize(full.iter().product(), zero);
    // from the last row on: no row is moved onto one that still has to move, and what is cleared lies behind both
    for row in (0..part[0] * part[1]).rev() {
        let (z, y) = (row / part[1], row % part[1]);
        let to = (z * full[1] + y) * full[2];
        values.copy_within(row * part[2]..(row + 1) * part[2], to);
        let next = if y + 1 == part[1] { (z + 1) * full[1] * full[2] } else { to + full[2] };
        values[to + part[2]..next].fill(zero);
    }
    values
}

/// Cases are written in parallel: one thread each. Shards of one value are files too, so that a lost one is noticed.
fn options() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1).with_store_empty_chunks(true)
}

fn store_metadata(path: &Path, array: &Array<Files>) -> Result<()> {
    // the library's own version would make the bytes change with every update of it
    let options = ArrayMetadataOptions::default().with_include_zarrs_metadata(false);
    array.store_metadata_opt(&options).map_err(|e| Error::zarr(path, e))
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
