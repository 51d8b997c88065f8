//! Label maps and affinities of stacks as OME-Zarr 0.5 images of their own, written and read window by window: neither need fit into memory, and
//! viewers and Python open them.
//!
//! A label map NAME lies in the label image `labels/NAME` of its group, array `0`, axes z, y, x. Affinities are the group's own image, array `0`,
//! axes c, z, y, x, float32 from 0 to 1 or 8 bits (255 is 1); the attribute `offsets` has a row z, y, x per channel, in voxels. Probabilities of
//! classes or regions are the same with the attribute `channels`, which names them. Places and voxel sizes are in nanometres. Chunks are files; equal writes in one order give equal bytes.

mod ome;

use crate::error::{Error, Result};
use crate::layout::Compression;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use volume::hdf5::StackInfo;
use zarrs::array::{
    Array, ArrayBuilder, ArrayMetadataOptions, ArraySubset, CodecOptions, DataType, Element, ElementOwned,
    FillValue, data_type,
};
use zarrs::filesystem::FilesystemStore;
use zarrs::metadata::ChunkKeySeparator;

/// Largest chunk along z, y, x: of labels, and of affinities, which come some sections at a time.
const LABEL_CHUNK: [u64; 3] = [16, 256, 256];
const AFFINITY_CHUNK: [u64; 3] = [8, 256, 256];
/// What 1 is stored as in 8 bits.
const ONE: f32 = 255.0;
/// Of zstd.
const LEVEL: i32 = 3;
/// Of LZ4 over the bytes of floats side by side.
const FLOAT_LEVEL: u8 = 5;

/// Numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// 64 bits: object ids.
    U64,
    /// 32-bit floating point.
    F32,
}

impl Numbers {
    /// The smallest that hold label values below `classes`.
    #[must_use]
    pub fn of_classes(classes: usize) -> Self {
        if classes <= 256 { Self::U8 } else { Self::U16 }
    }

    fn data_type(self) -> (DataType, FillValue) {
        match self {
            Self::U8 => (data_type::uint8(), 0_u8.into()),
            Self::U16 => (data_type::uint16(), 0_u16.into()),
            Self::U64 => (data_type::uint64(), 0_u64.into()),
            Self::F32 => (data_type::float32(), 0_f32.into()),
        }
    }

    fn of(kind: &DataType) -> Option<Self> {
        [Self::U8, Self::U16, Self::U64, Self::F32].into_iter().find(|numbers| numbers.data_type().0 == *kind)
    }

    fn compression(self) -> Compression {
        match self {
            Self::F32 => Compression::ShuffledLz4 { level: FLOAT_LEVEL },
            _ => Compression::Zstd { level: LEVEL },
        }
    }
}

/// An open image with one array.
#[derive(Debug)]
pub struct StackArray {
    /// The image's group.
    group: PathBuf,
    array: Array<FilesystemStore>,
    numbers: Numbers,
    info: StackInfo,
    /// Of affinities and probabilities; labels have no such axis.
    channels: Option<usize>,
    /// Of affinities.
    offsets_zyx: Option<Vec<[isize; 3]>>,
}

/// Whether `path` is the group of an image with one array, as this module and other programs write it.
#[must_use]
pub fn is_image(path: &Path) -> bool {
    path.join("zarr.json").is_file() && path.join("0").join("zarr.json").is_file()
}

/// The group of a label map in a group that [`StackArray::create_labels`] made.
#[must_use]
pub fn label_group(directory: &Path, name: &str) -> PathBuf {
    directory.join("labels").join(name)
}

impl StackArray {
    /// Begins the label map `info.name` in a directory that is there and empty. What is not written is 0.
    ///
    /// # Errors
    /// No room or rights on disk.
    pub fn create_labels(directory: &Path, info: &StackInfo, numbers: Numbers) -> Result<Self> {
        put_group(directory, json!({ "ome": { "version": ome::VERSION } }))?;
        put_group(&directory.join("labels"), ome::labels(&info.name))?;
        let group = label_group(directory, &info.name);
        put_group(&group, ome::label(info))?;
        Self::create(group, info, None, numbers)
    }

    /// Begins probabilities of so many classes or regions in a directory that is there and empty, as [`Numbers::F32`] or [`Numbers::U8`];
    /// `names` is the attribute `channels`.
    ///
    /// # Errors
    /// No room or rights on disk.
    pub fn create_probabilities(
        directory: &Path,
        info: &StackInfo,
        (channels, names): (usize, &Value),
        numbers: Numbers,
    ) -> Result<Self> {
        put_group(directory, ome::probabilities(info, names))?;
        Self::create(directory.to_owned(), info, Some(channels), numbers)
    }

    /// Begins affinities in a directory that is there and empty, as [`Numbers::F32`] or [`Numbers::U8`].
    ///
    /// # Errors
    /// No room or rights on disk.
    pub fn create_affinities(
        directory: &Path,
        info: &StackInfo,
        offsets_zyx: &[[isize; 3]],
        numbers: Numbers,
    ) -> Result<Self> {
        put_group(directory, ome::affinities(info, offsets_zyx))?;
        let this = Self::create(directory.to_owned(), info, Some(offsets_zyx.len()), numbers)?;
        Ok(Self { offsets_zyx: Some(offsets_zyx.to_vec()), ..this })
    }

    fn create(group: PathBuf, info: &StackInfo, channels: Option<usize>, numbers: Numbers) -> Result<Self> {
        let failed = |e: &dyn std::fmt::Display| Error::zarr(group.join("0"), e);
        let store = Arc::new(FilesystemStore::new(&group).map_err(|e| failed(&e))?);
        let lead: Vec<u64> = channels.iter().map(|n| *n as u64).collect();
        let most = if channels.is_some() { AFFINITY_CHUNK } else { LABEL_CHUNK };
        let space = info.shape_zyx.map(|n| n as u64);
        let chunk: Vec<u64> =
            lead.iter().map(|_| 1).chain((0..3).map(|axis| most[axis].min(space[axis]).max(1))).collect();
        let shape = [lead, space.to_vec()].concat();
        let axes: &[&str] = if shape.len() == 4 { &["c", "z", "y", "x"] } else { &["z", "y", "x"] };
        let (kind, fill) = numbers.data_type();
        let bytes = kind.fixed_size().unwrap_or(1);
        let array = ArrayBuilder::new(shape, chunk, kind, fill)
            .bytes_to_bytes_codecs(numbers.compression().codecs(bytes, &group.join("0"))?)
            .dimension_names(Some(axes.iter().copied()))
            .chunk_key_encoding_default_separator(ChunkKeySeparator::Slash)
            .build(store, "/0")
            .map_err(|e| failed(&e))?;
        let options = ArrayMetadataOptions::default().with_include_zarrs_metadata(false);
        array.store_metadata_opt(&options).map_err(|e| failed(&e))?;
        Ok(Self { group, array, numbers, info: info.clone(), channels, offsets_zyx: None })
    }

    /// Opens the image in the group `group`.
    ///
    /// # Errors
    /// No such image, numbers or axes that are none of these, metadata that say no place.
    pub fn open(group: &Path) -> Result<Self> {
        let place = group.join("0");
        let failed = |e: &dyn std::fmt::Display| Error::zarr(&place, e);
        let text = fs_err::read_to_string(group.join("zarr.json"))?;
        let metadata: Value = serde_json::from_str(&text).map_err(|e| Error::zarr(group, e))?;
        let attributes = &metadata["attributes"];
        let store = Arc::new(FilesystemStore::new(group).map_err(|e| failed(&e))?);
        let array = Array::open(store, "/0").map_err(|e| failed(&e))?;
        let numbers = Numbers::of(array.data_type()).ok_or_else(|| {
            failed(&format!("numbers {:?}, expected uint8, uint16, uint64 or float32", array.data_type()))
        })?;
        let shape: Vec<usize> = array.shape().iter().map(|n| *n as usize).collect();
        let offsets_zyx = ome::offsets(attributes);
        let shape_zyx = match (shape.as_slice(), &offsets_zyx) {
            (&[z, y, x], None) => [z, y, x],
            (&[c, z, y, x], Some(offsets)) if c == offsets.len() => [z, y, x],
            (found, offsets) => {
                let channels = offsets.as_ref().map_or(0, Vec::len);
                return Err(failed(&format!("shape {found:?} with {channels} offsets")));
            }
        };
        let name = group.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let info = ome::info(attributes, name, shape_zyx)
            .ok_or_else(|| Error::zarr(group, "its multiscales say no place in nanometres or millimetres"))?;
        let channels = offsets_zyx.as_ref().map(Vec::len);
        Ok(Self { group: group.to_owned(), array, numbers, info, channels, offsets_zyx })
    }

    /// Where the stack lies.
    #[must_use]
    pub fn info(&self) -> &StackInfo {
        &self.info
    }

    /// Of affinities the offset of each channel, z, y, x, in voxels.
    #[must_use]
    pub fn offsets_zyx(&self) -> Option<&[[isize; 3]]> {
        self.offsets_zyx.as_deref()
    }

    /// Numbers of the array.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Stores the labels of a window, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack or that `ids` do not fill, an id that the array's numbers do not hold, no room on disk.
    pub fn write_ids(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3], ids: &[u64]) -> Result<()> {
        let too_large =
            |value: u64, declared| Error::LabelTooLarge { path: self.group.clone(), value, declared };
        match self.numbers {
            Numbers::U64 => self.write(start_zyx, shape_zyx, ids),
            Numbers::U8 => {
                let narrow = |id: &u64| u8::try_from(*id).map_err(|_| too_large(*id, "uint8"));
                self.write(start_zyx, shape_zyx, &ids.iter().map(narrow).collect::<Result<Vec<_>>>()?)
            }
            Numbers::U16 => {
                let narrow = |id: &u64| u16::try_from(*id).map_err(|_| too_large(*id, "uint16"));
                self.write(start_zyx, shape_zyx, &ids.iter().map(narrow).collect::<Result<Vec<_>>>()?)
            }
            Numbers::F32 => Err(Error::mismatch(&self.group, "floating point", "whole numbers for labels")),
        }
    }

    /// The labels of a window, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack, damaged data, an array that holds no labels.
    pub fn read_ids(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<u64>> {
        match self.numbers {
            Numbers::U64 => self.read(start_zyx, shape_zyx),
            Numbers::U8 => Ok(self.read::<u8>(start_zyx, shape_zyx)?.into_iter().map(u64::from).collect()),
            Numbers::U16 => Ok(self.read::<u16>(start_zyx, shape_zyx)?.into_iter().map(u64::from).collect()),
            Numbers::F32 => Err(Error::mismatch(&self.group, "floating point", "whole numbers for labels")),
        }
    }

    /// Stores the affinities or probabilities of all sections from `first` on that `values` holds: channel, z, y, x, from 0 to 1.
    ///
    /// # Errors
    /// Values that fill no whole sections, or sections beyond the stack; no room on disk.
    pub fn write_sections(&self, first: usize, values: &[f32]) -> Result<()> {
        let [_, ny, nx] = self.info.shape_zyx;
        let channels = self.channels.unwrap_or(1);
        let sections = values.len() / (channels * ny * nx).max(1);
        let (start, shape) = ([first, 0, 0], [sections, ny, nx]);
        match self.numbers {
            Numbers::U8 => {
                let bytes: Vec<u8> = values.iter().map(|v| (v.clamp(0.0, 1.0) * ONE).round() as u8).collect();
                self.write(start, shape, &bytes)
            }
            Numbers::F32 => self.write(start, shape, values),
            Numbers::U16 | Numbers::U64 => Err(Error::mismatch(&self.group, "labels", "affinities")),
        }
    }

    /// The affinities of a window: offset, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack, damaged data, an array of other numbers.
    pub fn read_affinities(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<f32>> {
        match self.numbers {
            Numbers::U8 => {
                let bytes = self.read::<u8>(start_zyx, shape_zyx)?;
                Ok(bytes.into_iter().map(|byte| f32::from(byte) / ONE).collect())
            }
            Numbers::F32 => self.read(start_zyx, shape_zyx),
            Numbers::U16 | Numbers::U64 => Err(Error::mismatch(&self.group, "labels", "affinities")),
        }
    }

    /// The window in the array; all channels.
    fn window(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<(ArraySubset, usize)> {
        let whole = self.info.shape_zyx;
        let fits = (0..3).all(|a| shape_zyx[a] > 0 && start_zyx[a] + shape_zyx[a] <= whole[a]);
        if !fits {
            let found = format!("a window of {shape_zyx:?} at {start_zyx:?}");
            return Err(Error::mismatch(&self.group, found, format!("one inside {whole:?}")));
        }
        let lead: Vec<u64> = self.channels.iter().map(|n| *n as u64).collect();
        let numbers = |of: [usize; 3]| of.map(|n| n as u64).to_vec();
        let start = [vec![0; lead.len()], numbers(start_zyx)].concat();
        let shape = [lead, numbers(shape_zyx)].concat();
        let elements = shape.iter().product::<u64>() as usize;
        let subset =
            ArraySubset::new_with_start_shape(start, shape).map_err(|e| Error::zarr(&self.group, e))?;
        Ok((subset, elements))
    }

    fn write<T: Element>(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3], values: &[T]) -> Result<()> {
        let (subset, elements) = self.window(start_zyx, shape_zyx)?;
        if values.len() != elements {
            let found = format!("{} values for a window of {shape_zyx:?}", values.len());
            return Err(Error::mismatch(&self.group, found, elements.to_string()));
        }
        self.array
            .store_array_subset_opt(&subset, values, &options())
            .map_err(|e| Error::zarr(self.group.join("0"), e))
    }

    fn read<T: ElementOwned>(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<T>> {
        let (subset, _) = self.window(start_zyx, shape_zyx)?;
        self.array
            .retrieve_array_subset_opt(&subset, &options())
            .map_err(|e| Error::zarr(self.group.join("0"), e))
    }
}

/// One thread: who calls has others beside it. A chunk that was written is a file, whatever it holds, so that a lost one is noticed by the digests
/// of the stage.
fn options() -> CodecOptions {
    CodecOptions::default().with_concurrent_target(1).with_store_empty_chunks(true)
}

fn put_group(directory: &Path, attributes: Value) -> Result<()> {
    fs_err::create_dir_all(directory)?;
    let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": attributes });
    Ok(fs_err::write(directory.join("zarr.json"), format!("{group:#}\n"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str) -> StackInfo {
        StackInfo {
            name: name.to_owned(),
            shape_zyx: [19, 30, 40],
            resolution_zyx_nm: [40.0, 4.0, 5.0],
            offset_zyx_nm: [80.0, 0.0, -8.0],
        }
    }

    #[test]
    fn labels_come_back_by_windows_and_bytes_are_equal() {
        for (numbers, most) in [(Numbers::U8, 255), (Numbers::U16, 65_535), (Numbers::U64, u64::MAX - 1)] {
            let folder = tempfile::tempdir().unwrap();
            let make = |name: &str| {
                let directory = folder.path().join(name);
                fs_err::create_dir(&directory).unwrap();
                let file = StackArray::create_labels(&directory, &info("ids"), numbers).unwrap();
                file.write_ids([0, 0, 0], [17, 30, 20], &vec![7; 17 * 30 * 20]).unwrap();
                file.write_ids([15, 3, 18], [3, 2, 5], &[most; 30]).unwrap();
                assert_eq!(file.read_ids([16, 4, 17], [1, 1, 3]).unwrap(), [7, most, most]);
                label_group(&directory, "ids")
            };
            let (one, two) = (make("one"), make("two"));
            let file = StackArray::open(&one).unwrap();
            assert_eq!((file.info(), file.numbers(), file.offsets_zyx()), (&info("ids"), numbers, None));
            assert_eq!(file.read_ids([14, 3, 17], [2, 1, 2]).unwrap(), [7, 7, 7, most]);
            assert_eq!(file.read_ids([18, 29, 39], [1, 1, 1]).unwrap(), [0]);
            assert!(file.read_ids([18, 29, 39], [2, 1, 1]).unwrap_err().to_string().contains("[2, 1, 1]"));
            assert!(file.write_ids([0; 3], [1, 1, 2], &[1]).is_err());
            if numbers != Numbers::U64 {
                let said = file.write_ids([0; 3], [1; 3], &[most + 1]).unwrap_err().to_string();
                assert!(said.contains("does not fit"), "{said}");
            }
            assert!(file.write_sections(0, &[0.0]).is_err() || numbers == Numbers::U8);
            let digest = |group: &Path| data_manifests::digest::tree(group).unwrap();
            assert_eq!(digest(&one), digest(&two));
            assert!(is_image(&one) && !is_image(folder.path()));
        }
    }

    #[test]
    fn affinities_come_section_by_section() {
        let offsets = [[-1, 0, 0], [0, -9, 3]];
        let section = 30 * 40;
        let value = |c: usize, z: usize, i: usize| ((c * 31 + z * 7 + i) % 256) as f32 / 255.0;
        let slab = |from: usize, to: usize| {
            let sections = (0..2).flat_map(move |c| (from..to).map(move |z| (c, z)));
            sections.flat_map(|(c, z)| (0..section).map(move |i| value(c, z, i))).collect::<Vec<f32>>()
        };
        for numbers in [Numbers::F32, Numbers::U8] {
            let folder = tempfile::tempdir().unwrap();
            let file =
                StackArray::create_affinities(folder.path(), &info("affinities"), &offsets, numbers).unwrap();
            for (from, to) in [(0, 5), (5, 12), (12, 19)] {
                file.write_sections(from, &slab(from, to)).unwrap();
            }
            let file = StackArray::open(folder.path()).unwrap();
            assert_eq!(file.offsets_zyx(), Some(offsets.as_slice()));
            assert_eq!(file.info().shape_zyx, [19, 30, 40]);
            let found = file.read_affinities([4, 29, 38], [2, 1, 2]).unwrap();
            let places = [(0, 4), (0, 5), (1, 4), (1, 5)];
            let expected: Vec<f32> =
                places.iter().flat_map(|(c, z)| [1198, 1199].map(|i| value(*c, *z, i))).collect();
            assert_eq!(found, expected);
            assert!(file.write_sections(18, &slab(0, 2)).is_err());
            assert!(file.read_ids([0; 3], [1; 3]).is_err() || numbers == Numbers::U8);
        }
    }
}
