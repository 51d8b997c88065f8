//! Reads a case by regions.

use crate::error::{Error, Result};
use crate::record::{self, CaseRecord, LabelRecord};
use crate::region::Region;
use crate::seal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::{Array, ArraySubset, CodecOptions, ElementOwned, data_type};
use zarrs::filesystem::FilesystemStore;
use zarrs::group::Group;

/// An open case; reading needs no exclusive access.
#[derive(Debug)]
pub struct Case {
    path: PathBuf,
    record: CaseRecord,
    image: Array<FilesystemStore>,
    label: Option<Array<FilesystemStore>>,
    foreground: Option<Array<FilesystemStore>>,
}

impl Case {
    /// Opens the case in `directory`.
    ///
    /// # Errors
    /// Fails when the group, its record or its arrays cannot be read or disagree.
    pub fn open(directory: &Path) -> Result<Self> {
        let fail = |e: &dyn std::fmt::Display| Error::zarr(directory, e);
        let store = Arc::new(FilesystemStore::new(directory).map_err(|e| fail(&e))?);
        let group = Group::open(Arc::clone(&store), "/").map_err(|e| fail(&e))?;
        let bad = |reason: String| Error::Record { path: directory.to_owned(), reason };
        let attribute = group.attributes().get("gtgm").ok_or_else(|| bad("it is missing".to_owned()))?;
        let record: CaseRecord = serde_json::from_value(attribute.clone()).map_err(|e| bad(e.to_string()))?;
        if record.schema != record::SCHEMA {
            return Err(bad(format!("schema {}, expected {}", record.schema, record::SCHEMA)));
        }
        let open = |name: &str| -> Result<Array<FilesystemStore>> {
            Array::open(Arc::clone(&store), &format!("/{name}"))
                .map_err(|e| Error::zarr(directory.join(name), e))
        };
        let optional = |name: &str, wanted: bool| if wanted { open(name).map(Some) } else { Ok(None) };
        let image = open("image")?;
        let [z, y, x] = record.shape_zyx.map(|n| n as u64);
        let expected = [record.channels.len() as u64, z, y, x];
        if image.shape() != expected {
            return Err(Error::Mismatch {
                path: directory.join("image"),
                found: format!("shape {:?}", image.shape()),
                expected: format!("{expected:?} from the record"),
            });
        }
        let label = optional("label", record.label.is_some())?;
        if let Some(label) = &label
            && label.shape() != &expected[1..]
        {
            return Err(Error::Mismatch {
                path: directory.join("label"),
                found: format!("shape {:?}", label.shape()),
                expected: format!("{:?} from the record", &expected[1..]),
            });
        }
        let there = directory.join("foreground").is_dir();
        if !there && record.label.as_ref().is_some_and(LabelRecord::has_classes) {
            return Err(Error::Missing { path: directory.join("foreground") });
        }
        let foreground = optional("foreground", there)?;
        let case = Self { path: directory.to_owned(), record, image, label, foreground };
        for array in [Some(&case.image), case.label.as_ref(), case.foreground.as_ref()].into_iter().flatten()
        {
            case.expect_shards(array)?;
        }
        Ok(case)
    }

    /// Every shard is a file, also those that hold one value only: a lost file must not read as zeros.
    fn expect_shards(&self, array: &Array<FilesystemStore>) -> Result<()> {
        let mut index = vec![0; array.chunk_grid_shape().len()];
        loop {
            let path = self.path.join(array.chunk_key(&index).as_str());
            if !path.is_file() {
                return Err(Error::Missing { path });
            }
            // the next index in C order
            let counts = array.chunk_grid_shape();
            let Some(axis) = (0..index.len()).rev().find(|a| index[*a] + 1 < counts[*a]) else {
                return Ok(());
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }

    /// Reads every byte and compares it with what was written.
    ///
    /// # Errors
    /// Fails when a byte differs, or a file is missing or was added.
    pub fn check(&self) -> Result<()> {
        seal::check(&self.path)
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

    /// Image voxels `[channel, z, y, x]` of a region; outside the volume each channel's smallest value.
    ///
    /// # Errors
    /// Fails when a chunk cannot be read or its checksum is wrong.
    pub fn read_image(&self, region: &Region) -> Result<Vec<f32>> {
        let inside = region.intersect(&Region::whole(self.record.shape_zyx));
        let channels = self.record.channels.len();
        let [z, y, x] = ranges_of(&inside);
        let ranges = [0..channels as u64, z, y, x];
        let block: Vec<f32> =
            if inside.voxels() == 0 { Vec::new() } else { self.elements(&self.image, "image", &ranges)? };
        let mut out = Vec::with_capacity(region.voxels() * channels);
        for (c, channel) in self.record.channels.iter().enumerate() {
            let part = &block[c * inside.voxels()..(c + 1) * inside.voxels()];
            paste(part, &inside, region, channel.minimum, &mut out);
        }
        Ok(out)
    }

    /// Label voxels `[z, y, x]` of a region; outside the volume 0.
    ///
    /// # Errors
    /// As [`Self::read_image`]; also without labels, and for ids that need 64 bits.
    pub fn read_label(&self, region: &Region) -> Result<Vec<u32>> {
        let array = self.label.as_ref().ok_or_else(|| self.absent("label"))?;
        if *array.data_type() == data_type::uint64() {
            return Err(Error::Mismatch {
                path: self.path.join("label"),
                found: "64-bit object ids".to_owned(),
                expected: "class labels".to_owned(),
            });
        }
        let wide = self.read_label_wide(region)?;
        // exact: the array's type has at most 32 bits
        Ok(wide.into_iter().map(|v| v as u32).collect())
    }

    /// As [`Self::read_label`], for ids of any size.
    ///
    /// # Errors
    /// As [`Self::read_image`]; also without labels.
    pub fn read_label_wide(&self, region: &Region) -> Result<Vec<u64>> {
        let array = self.label.as_ref().ok_or_else(|| self.absent("label"))?;
        let inside = region.intersect(&Region::whole(self.record.shape_zyx));
        let mut out = Vec::with_capacity(region.voxels());
        let block = if inside.voxels() == 0 {
            Vec::new()
        } else {
            let ranges = ranges_of(&inside);
            let data_type = array.data_type();
            if *data_type == data_type::uint8() {
                widen(self.elements::<u8>(array, "label", &ranges)?)
            } else if *data_type == data_type::uint16() {
                widen(self.elements::<u16>(array, "label", &ranges)?)
            } else if *data_type == data_type::uint32() {
                widen(self.elements::<u32>(array, "label", &ranges)?)
            } else {
                self.elements::<u64>(array, "label", &ranges)?
            }
        };
        paste(&block, &inside, region, 0, &mut out);
        Ok(out)
    }

    /// Seeded voxels per class: rows class, z, y, x; empty when the case has none.
    ///
    /// # Errors
    /// Fails when the array cannot be read.
    pub fn read_foreground(&self) -> Result<Vec<[u32; 4]>> {
        let Some(array) = &self.foreground else { return Ok(Vec::new()) };
        let flat: Vec<u32> = self.elements(array, "foreground", &[0..array.shape()[0], 0..4])?;
        Ok(flat.as_chunks::<4>().0.to_vec())
    }

    fn absent(&self, array: &'static str) -> Error {
        Error::Absent { case: self.record.id.clone(), array }
    }

    fn elements<T: ElementOwned>(
        &self,
        array: &Array<FilesystemStore>,
        name: &str,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<T>> {
        // patches are read by several threads already: one thread each
        let options = CodecOptions::default().with_concurrent_target(1);
        array
            .retrieve_array_subset_opt::<Vec<T>>(&ArraySubset::new_with_ranges(ranges), &options)
            .map_err(|e| Error::zarr(self.path.join(name), e))
    }
}

fn widen<T: Into<u64>>(values: Vec<T>) -> Vec<u64> {
    values.into_iter().map(Into::into).collect()
}

fn ranges_of(inside: &Region) -> [std::ops::Range<u64>; 3] {
    // a region inside a volume has no negative ends
    std::array::from_fn(|a| inside.lo[a].unsigned_abs()..inside.hi[a].unsigned_abs())
}

/// Appends `region` to `out`: `block` where it covers, `fill` elsewhere.
fn paste<T: Copy>(block: &[T], inside: &Region, region: &Region, fill: T, out: &mut Vec<T>) {
    let start = out.len();
    out.resize(start + region.voxels(), fill);
    let (full, part) = (region.shape(), inside.shape());
    if part.contains(&0) {
        return;
    }
    let offset: [usize; 3] = std::array::from_fn(|a| (inside.lo[a] - region.lo[a]).unsigned_abs() as usize);
    for z in 0..part[0] {
        for y in 0..part[1] {
            let from = (z * part[1] + y) * part[2];
            let to = start + ((z + offset[0]) * full[1] + y + offset[1]) * full[2] + offset[2];
            out[to..to + part[2]].copy_from_slice(&block[from..from + part[2]]);
        }
    }
}
