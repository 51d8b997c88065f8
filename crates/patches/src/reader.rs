//! Reads a case by regions.

use crate::error::{Damage, Error, Result};
use crate::names;
use crate::record::{self, CaseRecord, LabelRecord};
use crate::region::Region;
use crate::seal;
use crate::shard::OpenShards;
use crate::volume::{Stored, Volume};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::{Array, CodecOptions, data_type};
use zarrs::filesystem::FilesystemStore;

/// An open case; reading needs no exclusive access, and each call reads on the caller's thread.
///
/// Memory of a read: what it returns and one inner chunk, encoded and decoded.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    record: CaseRecord,
    image: Volume,
    label: Option<Volume>,
    foreground: Option<Array<FilesystemStore>>,
}

impl Case {
    /// Opens the case in `directory`.
    ///
    /// # Errors
    /// Fails when the group, its record or its arrays cannot be read or disagree, or a shard is missing; [`Error::Schema`] for a case
    /// of another version.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, &OpenShards::of_process())
    }

    /// As [`Self::open`], with shard files kept open together with those of other cases.
    pub(crate) fn open_with(directory: &Path, open: &Arc<OpenShards>) -> Result<Self> {
        let record = read_record(directory)?;
        let store = Arc::new(FilesystemStore::new(directory).map_err(|e| Error::zarr(directory, e))?);
        let volume = |name: &str, shape: &[u64]| -> Result<Volume> {
            let volume = Volume::open(directory, &store, name, open)?;
            if volume.shape() != shape {
                let found = format!("shape {:?}", volume.shape());
                let expected = format!("{shape:?} from the record");
                return Err(Error::mismatch(directory.join(name), found, expected));
            }
            volume.expect_shards(directory)?;
            Ok(volume)
        };
        let [z, y, x] = record.shape_zyx.map(|n| n as u64);
        let image = volume(names::IMAGE, &[record.channels.len() as u64, z, y, x])?;
        if *image.array().data_type() != data_type::float32() {
            let found = format!("{:?}", image.array().data_type());
            return Err(Error::mismatch(directory.join(names::IMAGE), found, "float32"));
        }
        let label = match record.label {
            Some(_) => Some(volume(names::LABEL_ARRAY, &[z, y, x])?),
            None => None,
        };
        let foreground = open_foreground(directory, &store, record.label.as_ref())?;
        Ok(Self { path: directory.to_owned(), record, image, label, foreground })
    }

    /// Reads every byte and compares it with what was written.
    ///
    /// # Errors
    /// Fails when a byte differs, or a file is missing or was added; the error names the file.
    pub fn check(&self) -> Result<()> {
        seal::check(&self.path)
    }

    /// Everything that differs from what was written, of a case that need not open: files changed, missing or added.
    ///
    /// # Errors
    /// Fails when a file cannot be read.
    pub fn flaws(directory: &Path) -> Result<Vec<Damage>> {
        seal::flaws(directory)
    }

    /// The case's record.
    #[must_use]
    pub fn record(&self) -> &CaseRecord {
        &self.record
    }

    /// Where the case lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Voxels of the image's inner chunks along z, y, x: who reads a whole case part by part decodes nothing twice when the parts end
    /// where chunks do.
    #[must_use]
    pub fn chunk_zyx(&self) -> [usize; 3] {
        self.image.chunk_zyx()
    }

    /// Image voxels `[channel, z, y, x]` of a region, all channels; outside the volume each channel's smallest value.
    ///
    /// # Errors
    /// Fails when a chunk cannot be read or its checksum is wrong.
    pub fn read_image(&self, region: &Region) -> Result<Vec<f32>> {
        let all: Vec<usize> = (0..self.record.channels.len()).collect();
        self.read_image_channels(&all, region)
    }

    /// As [`Self::read_image`], of these channels in this order; others are not touched.
    ///
    /// # Errors
    /// As [`Self::read_image`], and for a channel that the case does not have.
    pub fn read_image_channels(&self, channels: &[usize], region: &Region) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        self.append_image_channels(channels, region, &mut out)?;
        Ok(out)
    }

    /// As [`Self::read_image_channels`], behind what `out` holds: a batch is read without a copy of its parts.
    ///
    /// # Errors
    /// As [`Self::read_image_channels`]; `out` is longer by the whole then, of undefined values.
    pub fn append_image_channels(
        &self,
        channels: &[usize],
        region: &Region,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let voxels = region.voxels();
        for &channel in channels {
            let Some(record) = self.record.channels.get(channel) else {
                return Err(self.absent(format!("channel {channel}")));
            };
            let start = out.len();
            out.resize(start + voxels, record.background());
            self.image.read::<f32, f32>(&self.path, channel, region, &mut out[start..])?;
        }
        Ok(())
    }

    /// Label voxels `[z, y, x]` of a region; outside the volume 0.
    ///
    /// # Errors
    /// As [`Self::read_image`]; also without labels, and for ids that need 64 bits.
    pub fn read_label(&self, region: &Region) -> Result<Vec<u32>> {
        let volume = self.label_volume()?;
        let kind = volume.array().data_type();
        if *kind == data_type::uint8() {
            self.labels::<u8, u32>(volume, region)
        } else if *kind == data_type::uint16() {
            self.labels::<u16, u32>(volume, region)
        } else if *kind == data_type::uint32() {
            self.labels::<u32, u32>(volume, region)
        } else {
            Err(Error::mismatch(self.path.join(names::LABEL_ARRAY), "64-bit object ids", "class labels"))
        }
    }

    /// As [`Self::read_label`], for ids of any size.
    ///
    /// # Errors
    /// As [`Self::read_image`]; also without labels.
    pub fn read_label_wide(&self, region: &Region) -> Result<Vec<u64>> {
        let volume = self.label_volume()?;
        let kind = volume.array().data_type();
        if *kind == data_type::uint8() {
            self.labels::<u8, u64>(volume, region)
        } else if *kind == data_type::uint16() {
            self.labels::<u16, u64>(volume, region)
        } else if *kind == data_type::uint32() {
            self.labels::<u32, u64>(volume, region)
        } else if *kind == data_type::uint64() {
            self.labels::<u64, u64>(volume, region)
        } else {
            let path = self.path.join(names::LABEL_ARRAY);
            Err(Error::mismatch(path, format!("{kind:?}"), "uint8, uint16, uint32 or uint64"))
        }
    }

    /// Seeded voxels per class: rows class, z, y, x; empty when the case has none.
    ///
    /// # Errors
    /// Fails when the array cannot be read.
    pub fn read_foreground(&self) -> Result<Vec<[u32; 4]>> {
        let Some(array) = &self.foreground else { return Ok(Vec::new()) };
        let options = CodecOptions::default().with_concurrent_target(1);
        let flat: Vec<u32> = array
            .retrieve_chunk_opt(&[0, 0], &options)
            .map_err(|e| Error::zarr(self.path.join(names::FOREGROUND), e))?;
        Ok(flat.as_chunks::<4>().0.to_vec())
    }

    fn labels<S: Stored<T>, T: Copy + Default>(&self, volume: &Volume, region: &Region) -> Result<Vec<T>> {
        let mut out = vec![T::default(); region.voxels()];
        volume.read::<S, T>(&self.path, 0, region, &mut out)?;
        Ok(out)
    }

    fn label_volume(&self) -> Result<&Volume> {
        self.label.as_ref().ok_or_else(|| self.absent("label".to_owned()))
    }

    fn absent(&self, array: String) -> Error {
        Error::Absent { case: self.record.id.clone(), array }
    }
}

/// The record of the case in `directory`.
fn read_record(directory: &Path) -> Result<CaseRecord> {
    let bad = |reason: String| Error::Record { path: directory.to_owned(), reason };
    let text = match fs_err::read_to_string(directory.join(names::GROUP)) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::missing(directory, names::GROUP));
        }
        Err(e) => return Err(e.into()),
    };
    let mut group: Value = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let record = group["attributes"]["gtgm"].take();
    // another version's record may have other fields
    match record["schema"].as_str() {
        Some(record::SCHEMA) => serde_json::from_value(record).map_err(|e| bad(e.to_string())),
        Some(other) => Err(Error::Schema { path: directory.to_owned(), found: other.to_owned() }),
        None => Err(bad("it has no schema".to_owned())),
    }
}

/// The array of sampled voxels, which cases with classes have.
fn open_foreground(
    directory: &Path,
    store: &Arc<FilesystemStore>,
    label: Option<&LabelRecord>,
) -> Result<Option<Array<FilesystemStore>>> {
    let path = directory.join(names::FOREGROUND);
    if !path.is_dir() && !label.is_some_and(LabelRecord::has_classes) {
        return Ok(None);
    }
    let expect = |key: &str| match directory.join(key).is_file() {
        true => Ok(()),
        false => Err(Error::missing(directory, key.to_owned())),
    };
    expect(&format!("{}/{}", names::FOREGROUND, names::GROUP))?;
    let array = Array::open(Arc::clone(store), &format!("/{}", names::FOREGROUND))
        .map_err(|e| Error::zarr(path, e))?;
    expect(array.chunk_key(&[0, 0]).as_str())?;
    Ok(Some(array))
}
