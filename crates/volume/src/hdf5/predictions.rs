//! What networks predict for stacks, and the objects made of it, window by window: neither need fit into memory.
//!
//! Affinities lie at `/volumes/predictions/affinities`: float32 from 0 to 1, or 8 bits (255 is 1), axes offset, z, y, x, with attributes `offsets` (a row
//! z, y, x per channel, in voxels), `resolution` and `offset` (nm). Probabilities of classes or regions lie at `/volumes/predictions/probabilities`,
//! axes channel, z, y, x, with the attribute `channels` (JSON that names them) in the place of `offsets`. Labels lie where CREMI has its own,
//! objects at `/volumes/labels/neuron_ids`, 64 bits.

use super::write::{DEFLATE, create, dataset};
use super::{StackInfo, library, read};
use crate::atomic;
use crate::error::{Result, VolumeError};
use crate::resample::ProbabilityNumbers;
use hdf5_metno as h5;
use hdf5_metno::types::{FloatSize, IntSize, TypeDescriptor, VarLenUnicode};
use ndarray::{ArrayView3, ArrayView4, s};
use std::path::{Path, PathBuf};

const PREDICTIONS: &str = "volumes/predictions";
const AFFINITIES: &str = "affinities";
const PROBABILITIES: &str = "probabilities";
/// What 1 is stored as.
const ONE: f32 = 255.0;

/// Most bits of a probability's fraction are noise, which no effort makes smaller.
const DEFLATE_FLOATS: u8 = 1;

/// Numbers from 0 to 1 on disk: channel, z, y, x.
#[derive(Debug)]
struct Channels {
    path: PathBuf,
    dataset: h5::Dataset,
    numbers: ProbabilityNumbers,
    info: StackInfo,
    channels: usize,
}

/// Affinities on disk.
#[derive(Debug)]
pub struct AffinityFile {
    stored: Channels,
    offsets_zyx: Vec<[isize; 3]>,
}

/// Probabilities of classes or regions on disk while they are made.
#[derive(Debug)]
pub struct ProbabilityFile {
    stored: Channels,
}

impl AffinityFile {
    /// Makes a file that `fill` writes slab after slab; it appears whole or not at all, and equal slabs give equal bytes.
    ///
    /// # Errors
    /// What `fill` fails with; no room or rights on disk.
    pub fn create<E: From<VolumeError>>(
        path: &Path,
        info: &StackInfo,
        offsets_zyx: &[[isize; 3]],
        numbers: ProbabilityNumbers,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let describe = |made: &h5::Dataset| {
            let rows: Vec<i64> = offsets_zyx.iter().flatten().map(|offset| *offset as i64).collect();
            made.new_attr::<i64>().shape([offsets_zyx.len(), 3]).create("offsets")?.write_raw(&rows)
        };
        Channels::create(path, AFFINITIES, info, offsets_zyx.len(), numbers, describe, |stored| {
            fill(&Self { stored, offsets_zyx: offsets_zyx.to_vec() })
        })
    }

    /// Opens a file read-only.
    ///
    /// # Errors
    /// No HDF5 file, no affinities in it, attributes that do not fit them.
    pub fn open(path: &Path) -> Result<Self> {
        fs_err::File::open(path)?;
        let failed = |error: h5::Error| library("read", path, &error);
        let file = h5::FileBuilder::new()
            .with_fapl(|access| access.file_locking(false))
            .open(path)
            .map_err(failed)?;
        let name = format!("{PREDICTIONS}/{AFFINITIES}");
        let wrong = |found: String| VolumeError::Hdf5Dataset {
            path: path.into(),
            dataset: format!("/{name}"),
            found,
        };
        if !(file.link_exists(PREDICTIONS) && file.link_exists(&name)) {
            return Err(wrong("the file holds no such dataset".to_owned()));
        }
        let dataset = file.dataset(&name).map_err(failed)?;
        let rows = dataset.attr("offsets").and_then(|found| found.read_raw::<i64>()).map_err(failed)?;
        let offsets_zyx: Vec<[isize; 3]> =
            rows.as_chunks::<3>().0.iter().map(|row| row.map(|n| n as isize)).collect();
        let shape = dataset.shape();
        if shape.len() != 4 || shape[0] != offsets_zyx.len() || rows.len() != 3 * offsets_zyx.len() {
            return Err(wrong(format!("shape {shape:?} with {} numbers of offsets", rows.len())));
        }
        let stored = dataset.dtype().and_then(|kind| kind.to_descriptor()).map_err(failed)?;
        let numbers = match stored {
            TypeDescriptor::Float(FloatSize::U4) => ProbabilityNumbers::Float32,
            TypeDescriptor::Unsigned(IntSize::U1) => ProbabilityNumbers::Uint8,
            other => {
                return Err(wrong(format!(
                    "numbers of the kind {other}, which is neither float32 nor uint8"
                )));
            }
        };
        let info = read::stack_info(path, &name, &dataset, [shape[1], shape[2], shape[3]])?;
        let stored = Channels { path: path.to_owned(), dataset, numbers, info, channels: shape[0] };
        Ok(Self { stored, offsets_zyx })
    }

    /// Where the stack lies.
    #[must_use]
    pub fn info(&self) -> &StackInfo {
        &self.stored.info
    }

    /// Offset of each channel, z, y, x, in voxels.
    #[must_use]
    pub fn offsets_zyx(&self) -> &[[isize; 3]] {
        &self.offsets_zyx
    }

    /// Stores the affinities of all sections from `first` on that `values` holds: offset, z, y, x, from 0 to 1.
    ///
    /// # Errors
    /// Values that fill no whole sections, or sections beyond the stack; no room on disk.
    pub fn write_sections(&self, first: usize, values: &[f32]) -> Result<()> {
        self.stored.write_sections(first, values)
    }

    /// The affinities of a window: offset, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack, damaged data.
    pub fn read(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<f32>> {
        self.stored.read(start_zyx, shape_zyx)
    }
}

impl ProbabilityFile {
    /// Makes a file of so many channels that `fill` writes slab after slab; `names` is the text of the attribute `channels`. It appears whole
    /// or not at all, and equal slabs give equal bytes.
    ///
    /// # Errors
    /// What `fill` fails with; no room or rights on disk.
    pub fn create<E: From<VolumeError>>(
        path: &Path,
        info: &StackInfo,
        (channels, names): (usize, &str),
        numbers: ProbabilityNumbers,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let describe = |made: &h5::Dataset| {
            // NUL cannot be in JSON
            let text = names.parse::<VarLenUnicode>().map_err(|error| h5::Error::from(error.to_string()))?;
            made.new_attr::<VarLenUnicode>().create("channels")?.write_scalar(&text)
        };
        Channels::create(path, PROBABILITIES, info, channels, numbers, describe, |stored| {
            fill(&Self { stored })
        })
    }

    /// Stores the probabilities of all sections from `first` on that `values` holds: class or region, z, y, x, from 0 to 1.
    ///
    /// # Errors
    /// As [`AffinityFile::write_sections`].
    pub fn write_sections(&self, first: usize, values: &[f32]) -> Result<()> {
        self.stored.write_sections(first, values)
    }
}

impl Channels {
    /// A file with one dataset in `/volumes/predictions` that `describe` gives its attributes.
    fn create<E: From<VolumeError>>(
        path: &Path,
        name: &str,
        info: &StackInfo,
        channels: usize,
        numbers: ProbabilityNumbers,
        describe: impl FnOnce(&h5::Dataset) -> h5::Result<()>,
        fill: impl FnOnce(Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let make = |group: &h5::Group| {
            let made = match numbers {
                ProbabilityNumbers::Float32 => dataset::<f32>(group, name, &[channels], info, DEFLATE_FLOATS),
                ProbabilityNumbers::Uint8 => dataset::<u8>(group, name, &[channels], info, DEFLATE),
            }?;
            describe(&made)?;
            Ok(made)
        };
        new_file(path, "predictions", make, |dataset| {
            fill(Self { path: path.to_owned(), dataset, numbers, info: info.clone(), channels })
        })
    }

    fn write_sections(&self, first: usize, values: &[f32]) -> Result<()> {
        let [depth, ny, nx] = self.info.shape_zyx;
        let sections = values.len() / (self.channels * ny * nx).max(1);
        if sections * self.channels * ny * nx != values.len() || first + sections > depth {
            return Err(VolumeError::OutsideVolume {
                start_zyx: [first, 0, 0],
                end_zyx: [first + sections, ny, nx],
                shape_zyx: self.info.shape_zyx,
            });
        }
        let shape = (self.channels, sections, ny, nx);
        let place = s![.., first..first + sections, .., ..];
        let write = || -> h5::Result<()> {
            match self.numbers {
                ProbabilityNumbers::Float32 => {
                    self.dataset.write_slice(ArrayView4::from_shape(shape, values)?, place)
                }
                ProbabilityNumbers::Uint8 => {
                    let bytes: Vec<u8> =
                        values.iter().map(|v| (v.clamp(0.0, 1.0) * ONE).round() as u8).collect();
                    self.dataset.write_slice(ArrayView4::from_shape(shape, &bytes)?, place)
                }
            }
        };
        write().map_err(|error| library("write", &self.path, &error))
    }

    fn read(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<f32>> {
        let [z, y, x] = window(&self.info, start_zyx, shape_zyx)?;
        let place = s![.., z, y, x];
        let read = || -> h5::Result<Vec<f32>> {
            match self.numbers {
                ProbabilityNumbers::Float32 => {
                    let array = self.dataset.read_slice::<f32, _, ndarray::Ix4>(place)?;
                    Ok(array.into_raw_vec_and_offset().0)
                }
                ProbabilityNumbers::Uint8 => {
                    let array = self.dataset.read_slice::<u8, _, ndarray::Ix4>(place)?;
                    Ok(array.iter().map(|byte| f32::from(*byte) / ONE).collect())
                }
            }
        };
        read().map_err(|error| library("read", &self.path, &error))
    }
}

/// Labels on disk while they are made.
#[derive(Debug)]
pub struct LabelFile {
    path: PathBuf,
    dataset: h5::Dataset,
    info: StackInfo,
}

impl LabelFile {
    /// Makes a file of labels `name` (objects are [`NEURON_IDS`](super::NEURON_IDS)) that `fill` writes window by window; it appears whole or not at all, and equal writes give equal
    /// bytes. What is not written is 0.
    ///
    /// # Errors
    /// What `fill` fails with; no room or rights on disk.
    pub fn create<E: From<VolumeError>>(
        path: &Path,
        name: &str,
        info: &StackInfo,
        fill: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<(), E> {
        let make = |group: &h5::Group| dataset::<u64>(group, name, &[], info, DEFLATE);
        new_file(path, "labels", make, |dataset| {
            fill(&Self { path: path.to_owned(), dataset, info: info.clone() })
        })
    }

    /// Stores the ids of a window, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack or that `ids` do not fill; no room on disk.
    pub fn write(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3], ids: &[u64]) -> Result<()> {
        crate::expect_length("window", ids.len(), 1, shape_zyx)?;
        let [z, y, x] = window(&self.info, start_zyx, shape_zyx)?;
        let write = || -> h5::Result<()> {
            let view = ArrayView3::from_shape(shape_zyx, ids)?;
            self.dataset.write_slice(view, s![z, y, x])
        };
        write().map_err(|error| library("write", &self.path, &error))
    }

    /// The ids of a window, z, y, x.
    ///
    /// # Errors
    /// A window outside the stack, damaged data.
    pub fn read(&self, start_zyx: [usize; 3], shape_zyx: [usize; 3]) -> Result<Vec<u64>> {
        let [z, y, x] = window(&self.info, start_zyx, shape_zyx)?;
        let read = || -> h5::Result<Vec<u64>> {
            let array = self.dataset.read_slice::<u64, _, ndarray::Ix3>(s![z, y, x])?;
            Ok(array.into_raw_vec_and_offset().0)
        };
        read().map_err(|error| library("read", &self.path, &error))
    }
}

/// A file with one dataset in a group below `/volumes`, made by `make` and filled by `fill`; whole or not at all.
fn new_file<E: From<VolumeError>>(
    path: &Path,
    group: &str,
    make: impl FnOnce(&h5::Group) -> h5::Result<h5::Dataset>,
    fill: impl FnOnce(h5::Dataset) -> Result<(), E>,
) -> Result<(), E> {
    atomic::replace(path, ".h5", |temporary| {
        let failed = |error: h5::Error| E::from(library("write", path, &error));
        let open = || -> h5::Result<(h5::File, h5::Dataset)> {
            let file = create(temporary)?;
            let volumes = file.create_group_builder().obj_track_times(false).create("volumes")?;
            let made = make(&volumes.create_group_builder().obj_track_times(false).create(group)?)?;
            Ok((file, made))
        };
        let (file, dataset) = open().map_err(failed)?;
        // it drops the dataset, without which the file cannot be closed
        fill(dataset)?;
        file.close().map_err(failed)
    })
}

/// Ranges of a window that lies in the stack.
fn window(info: &StackInfo, start: [usize; 3], shape: [usize; 3]) -> Result<[std::ops::Range<usize>; 3]> {
    let ranges = [0, 1, 2].map(|a| start[a]..start[a] + shape[a]);
    if ranges.iter().zip(info.shape_zyx).any(|(range, size)| range.is_empty() || range.end > size) {
        return Err(VolumeError::OutsideVolume {
            start_zyx: start,
            end_zyx: ranges.map(|range| range.end),
            shape_zyx: info.shape_zyx,
        });
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdf5::{CremiFile, NEURON_IDS};

    fn info() -> StackInfo {
        StackInfo {
            name: NEURON_IDS.to_owned(),
            shape_zyx: [3, 4, 5],
            resolution_zyx_nm: [40.0, 4.0, 4.0],
            offset_zyx_nm: [80.0, 0.0, 8.0],
        }
    }

    #[test]
    fn affinities_come_back_by_windows_and_bytes_are_equal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let offsets = [[-1, 0, 0], [0, -9, 3]];
        let value = |c: usize, z: usize, y: usize, x: usize| (c * 60 + z * 20 + y * 5 + x) as f32 / 255.0;
        let slab = |from: usize, to: usize| {
            let places = (0..2).flat_map(move |c| (from..to).map(move |z| (c, z)));
            places.flat_map(|(c, z)| (0..20).map(move |i| value(c, z, i / 5, i % 5))).collect::<Vec<f32>>()
        };
        let make = |path: &Path, numbers: ProbabilityNumbers| {
            AffinityFile::create(path, &info(), &offsets, numbers, |file| {
                file.write_sections(0, &slab(0, 2))?;
                file.write_sections(2, &slab(2, 3))
            })
        };
        for numbers in [ProbabilityNumbers::Float32, ProbabilityNumbers::Uint8] {
            make(&path, numbers).unwrap();
            let file = AffinityFile::open(&path).unwrap();
            assert_eq!((file.offsets_zyx(), file.info().shape_zyx), (offsets.as_slice(), [3, 4, 5]));
            assert_eq!(file.info().offset_zyx_nm, [80.0, 0.0, 8.0]);
            let read = file.read([1, 2, 3], [2, 1, 2]).unwrap();
            let expected: Vec<f32> = [(0, 1), (0, 2), (1, 1), (1, 2)]
                .iter()
                .flat_map(|(c, z)| [3, 4].map(|x| value(*c, *z, 2, x)))
                .collect();
            assert_eq!(read, expected);
            assert!(file.read([2, 0, 0], [2, 1, 1]).unwrap_err().to_string().contains('3'));
            let again = folder.path().join("b.h5");
            make(&again, numbers).unwrap();
            assert!(fs_err::read(&path).unwrap() == fs_err::read(&again).unwrap());
        }
        let exact = AffinityFile::create(&path, &info(), &[[0; 3]], ProbabilityNumbers::Float32, |file| {
            file.write_sections(0, &[0.123_456_7; 60])
        });
        exact.unwrap();
        assert_eq!(AffinityFile::open(&path).unwrap().read([2, 3, 4], [1; 3]).unwrap(), [0.123_456_7]);
        let error = AffinityFile::create(
            &folder.path().join("c.h5"),
            &info(),
            &offsets,
            ProbabilityNumbers::Uint8,
            |file| file.write_sections(2, &slab(0, 2)),
        );
        assert!(error.is_err() && !folder.path().join("c.h5").exists());
    }

    #[test]
    fn objects_are_read_as_labels_of_a_file_without_a_raw_stack() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.h5");
        LabelFile::create(&path, NEURON_IDS, &info(), |file| -> Result<()> {
            file.write([1, 1, 1], [2, 1, 2], &[1, 2, 3, u64::MAX - 1])?;
            assert_eq!(file.read([1, 1, 2], [2, 1, 1])?, [2, u64::MAX - 1]);
            Ok(())
        })
        .unwrap();
        let file = CremiFile::open(&path).unwrap();
        assert_eq!(file.raw().shape_zyx, [3, 4, 5]);
        let ids = file.read_labels(NEURON_IDS).unwrap();
        assert_eq!((ids.data[20 + 5 + 2], ids.data[40 + 5 + 2], ids.data[0]), (2, u64::MAX - 1, 0));
        assert!(file.read_raw_slab(0..1).unwrap_err().to_string().contains("labels only"));
        assert!(AffinityFile::open(&path).unwrap_err().to_string().contains("no such dataset"));
    }
}
