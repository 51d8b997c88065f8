//! Reading, in slabs of sections, of a whole file or of a part of its sections.

use super::{Cremi, LABELS, LabelStack, NEURON_IDS, RAW, StackInfo, library};
use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::limits::{ReadLimits, reserve};
use hdf5_metno as h5;
use hdf5_metno::types::{IntSize, TypeDescriptor};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// An open input file.
#[derive(Debug)]
pub struct CremiFile {
    path: PathBuf,
    file: h5::File,
    raw: StackInfo,
    /// Section of the file's raw stack that is the first of `raw`.
    first: usize,
    labels: Vec<Labels>,
    limits: ReadLimits,
}

/// A label stack, or that part of one that lies in the sections in question.
#[derive(Debug)]
struct Labels {
    info: StackInfo,
    /// Section of the file's stack that is the first one here.
    first: usize,
    /// It is smaller than the raw stack, and nothing says where it lies in it.
    unplaced: bool,
}

impl CremiFile {
    /// Opens a file read-only and reads its layout; no voxels.
    ///
    /// # Errors
    /// No HDF5 file; neither `/volumes/raw` of three axes and 8 bits nor labels, whose grid counts where there is no raw stack; no
    /// `resolution`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_within(path, ReadLimits::UNLIMITED)
    }

    /// [`CremiFile::open`] for reads in limited memory: a slab beyond the limit is refused before it is allocated.
    ///
    /// # Errors
    /// As [`CremiFile::open`].
    pub fn open_within(path: impl AsRef<Path>, limits: ReadLimits) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        crate::links::check(&path)?;
        // The library's message for a missing file is a stack of C functions; the system's is one line.
        fs_err::File::open(&path)?;
        let file = h5::FileBuilder::new()
            .with_fapl(|access| access.file_locking(false))
            .open(&path)
            .map_err(|error| library("open", &path, &error))?;
        let mut raw = None;
        if file.link_exists("volumes") && file.link_exists(RAW) {
            let dataset = file.dataset(RAW).map_err(|error| library("read", &path, &error))?;
            let found = number_type(&path, &dataset)?;
            if found != TypeDescriptor::Unsigned(IntSize::U1) {
                return Err(VolumeError::Hdf5Type {
                    path,
                    dataset: format!("/{RAW}"),
                    found: type_name(&found),
                    expected: "8-bit unsigned integers",
                });
            }
            raw = Some(info(&path, RAW, &dataset)?);
        }
        let mut labels = Vec::new();
        if file.link_exists(LABELS) {
            let group = file.group(LABELS).map_err(|error| library("read", &path, &error))?;
            for dataset in group.datasets().map_err(|error| library("read", &path, &error))? {
                let integers = matches!(
                    number_type(&path, &dataset)?,
                    TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)
                );
                let name = dataset.name();
                let name = name.rsplit('/').next().unwrap_or(&name);
                // Neuron ids of a wrong type must be heard of when they are read, not be overlooked.
                if (integers && dataset.ndim() == 3) || name == NEURON_IDS {
                    let info = info(&path, &format!("{LABELS}/{name}"), &dataset)?;
                    labels.push((info, attribute(&path, &dataset, "offset")?.is_some()));
                }
            }
        }
        labels.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let neurons = labels.iter().find(|(info, _)| info.name == NEURON_IDS);
        let Some(raw) = raw.or_else(|| neurons.or(labels.first()).map(|(info, _)| info.clone())) else {
            let found = file.member_names().map_err(|error| library("read", &path, &error))?;
            return Err(VolumeError::Hdf5Dataset {
                path,
                dataset: format!("/{RAW}"),
                found: format!("the file's root holds {found:?}"),
            });
        };
        let labels = labels.into_iter().map(|(info, placed)| {
            let unplaced = !placed && info.shape_zyx != raw.shape_zyx;
            Labels { info, first: 0, unplaced }
        });
        let labels = labels.collect();
        Ok(Self { path, file, raw, first: 0, labels, limits })
    }

    /// The same file, of which only these sections of the raw stack are there, with what labels lie in them.
    ///
    /// # Errors
    /// [`VolumeError::OutsideVolume`] for none, or sections that the stack does not have; label stacks that lie on another grid.
    pub fn with_sections(mut self, sections: Range<usize>) -> Result<Self> {
        let outside = |info: &StackInfo| {
            let [_, height, width] = info.shape_zyx;
            VolumeError::OutsideVolume {
                start_zyx: [sections.start, 0, 0],
                end_zyx: [sections.end, height, width],
                shape_zyx: info.shape_zyx,
            }
        };
        if sections.is_empty() || sections.end > self.raw.shape_zyx[0] {
            return Err(outside(&self.raw).in_file(&self.path));
        }
        let cut = |info: &StackInfo, skipped: usize, depth: usize| {
            let mut info = info.clone();
            info.shape_zyx[0] = depth;
            info.offset_zyx_nm[0] += skipped as f64 * info.resolution_zyx_nm[0];
            info
        };
        let mut labels = Vec::new();
        for stack in &self.labels {
            let bounds = stack.info.bounds_in(&self.raw).map_err(|e| e.in_file(&self.path))?;
            let [z0, z1] = [bounds.start_zyx[0], bounds.end_zyx[0]];
            let covered = sections.start.max(z0)..sections.end.min(z1);
            // labels elsewhere are no labels of this part
            if !covered.is_empty() {
                let skipped = covered.start - z0;
                let info = cut(&stack.info, skipped, covered.len());
                labels.push(Labels { info, first: stack.first + skipped, unplaced: stack.unplaced });
            }
        }
        self.raw = cut(&self.raw, sections.start, sections.len());
        self.first += sections.start;
        self.labels = labels;
        Ok(self)
    }

    /// Where the raw stack lies.
    pub fn raw(&self) -> &StackInfo {
        &self.raw
    }

    /// The label stacks, by name.
    pub fn labels(&self) -> impl Iterator<Item = &StackInfo> {
        self.labels.iter().map(|labels| &labels.info)
    }

    /// The voxels of the raw stack that a label stack covers.
    ///
    /// # Errors
    /// No such labels; [`VolumeError::Unplaced`] for a smaller stack without an `offset`; as [`StackInfo::bounds_in`].
    pub fn label_bounds(&self, name: &str) -> Result<BoundingBox> {
        let labels = self.find(name)?;
        if labels.unplaced {
            return Err(VolumeError::Unplaced {
                path: self.path.clone(),
                dataset: format!("/{LABELS}/{name}"),
                label_zyx: labels.info.shape_zyx,
                raw_zyx: self.raw.shape_zyx,
            });
        }
        labels.info.bounds_in(&self.raw).map_err(|error| error.in_file(&self.path))
    }

    fn find(&self, name: &str) -> Result<&Labels> {
        self.labels.iter().find(|labels| labels.info.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.labels().map(|info| info.name.as_str()).collect();
            VolumeError::Hdf5Dataset {
                path: self.path.clone(),
                dataset: format!("/{LABELS}/{name}"),
                found: format!("label stacks are {names:?}"),
            }
        })
    }

    /// Raw intensities (z, y, x) of the sections `sections`.
    ///
    /// # Errors
    /// Sections outside the stack, a slab beyond the limit, damaged data.
    pub fn read_raw_slab(&self, sections: Range<usize>) -> Result<Vec<u8>> {
        if !self.file.link_exists(RAW) {
            return Err(VolumeError::Hdf5Dataset {
                path: self.path.clone(),
                dataset: format!("/{RAW}"),
                found: "the file holds labels only".to_owned(),
            });
        }
        self.slab(RAW, &self.raw, self.first, sections)
    }

    /// Ids (z, y, x) of the sections `sections` of a label stack, counted from its own first section.
    ///
    /// # Errors
    /// No such labels, sections outside, a slab beyond the limit, negative values or another number type, damaged data.
    pub fn read_label_slab(&self, name: &str, sections: Range<usize>) -> Result<Vec<u64>> {
        let dataset_name = format!("{LABELS}/{name}");
        let Labels { info, first, .. } = self.find(name)?;
        let dataset =
            self.file.dataset(&dataset_name).map_err(|error| library("read", &self.path, &error))?;
        let wrong = |found: String| VolumeError::Hdf5Type {
            path: self.path.clone(),
            dataset: format!("/{dataset_name}"),
            found,
            expected: "integers from 0 to 2^64-1",
        };
        match number_type(&self.path, &dataset)? {
            TypeDescriptor::Unsigned(_) => self.slab(&dataset_name, info, *first, sections),
            TypeDescriptor::Integer(_) => {
                // Reading these as unsigned would clip negative values to 0 without a word.
                let values: Vec<i64> = self.slab(&dataset_name, info, *first, sections)?;
                if let Some(value) = values.iter().find(|value| **value < 0) {
                    return Err(wrong(format!("negative values, e.g. {value}")));
                }
                Ok(values.into_iter().map(i64::cast_unsigned).collect())
            }
            other => Err(wrong(type_name(&other))),
        }
    }

    /// A whole label stack.
    ///
    /// # Errors
    /// As [`CremiFile::read_label_slab`].
    pub fn read_labels(&self, name: &str) -> Result<LabelStack> {
        let info = self.labels().find(|info| info.name == name).cloned();
        let depth = info.as_ref().map_or(0, |info| info.shape_zyx[0]);
        let data = self.read_label_slab(name, 0..depth)?;
        Ok(LabelStack { info: info.unwrap_or_else(|| self.raw.clone()), data })
    }

    /// `sections` counted from `first`, the file's section that is the first one of `info`.
    fn slab<T: h5::H5Type>(
        &self,
        name: &str,
        info: &StackInfo,
        first: usize,
        sections: Range<usize>,
    ) -> Result<Vec<T>> {
        let [depth, height, width] = info.shape_zyx;
        if sections.start >= sections.end || sections.end > depth {
            return Err(VolumeError::OutsideVolume {
                start_zyx: [sections.start, 0, 0],
                end_zyx: [sections.end, height, width],
                shape_zyx: info.shape_zyx,
            }
            .in_file(&self.path));
        }
        let voxels = [sections.len(), height, width];
        let elements = voxels.iter().fold(1_u64, |product, &n| product.saturating_mul(n as u64));
        self.limits.check(&self.path, voxels, elements, size_of::<T>())?;
        // The library's binding aborts where memory is refused: ask first.
        reserve::<T>(&self.path, &mut Vec::new(), elements)?;
        let sections = first + sections.start..first + sections.end;
        let read = || -> h5::Result<Vec<T>> {
            let array = self.file.dataset(name)?.read_slice::<T, _, ndarray::Ix3>((sections, .., ..))?;
            Ok(array.into_raw_vec_and_offset().0)
        };
        read().map_err(|error| library("read", &self.path, &error))
    }
}

/// Reads raw and neuron ids of a file whole.
///
/// # Errors
/// As [`CremiFile::open`], [`CremiFile::read_raw_slab`] and [`CremiFile::read_label_slab`].
pub fn read_cremi(path: impl AsRef<Path>) -> Result<Cremi> {
    let file = CremiFile::open(path)?;
    let raw = file.read_raw_slab(0..file.raw.shape_zyx[0])?;
    let has_neurons = file.labels().any(|info| info.name == NEURON_IDS);
    let neuron_ids = if has_neurons { Some(file.read_labels(NEURON_IDS)?) } else { None };
    let other_labels =
        file.labels().map(|info| info.name.clone()).filter(|name| name != NEURON_IDS).collect();
    Ok(Cremi { raw, info: file.raw.clone(), neuron_ids, other_labels })
}

fn info(path: &Path, name: &str, dataset: &h5::Dataset) -> Result<StackInfo> {
    let shape = dataset.shape();
    let Ok(shape_zyx) = <[usize; 3]>::try_from(shape.as_slice()) else {
        return Err(VolumeError::Hdf5Dataset {
            path: path.into(),
            dataset: format!("/{name}"),
            found: format!("shape {shape:?}, expected z, y, x"),
        });
    };
    stack_info(path, name, dataset, shape_zyx)
}

/// Where a dataset of this shape lies, by its attributes.
pub(super) fn stack_info(
    path: &Path,
    name: &str,
    dataset: &h5::Dataset,
    shape_zyx: [usize; 3],
) -> Result<StackInfo> {
    let Some(resolution_zyx_nm) = attribute(path, dataset, "resolution")? else {
        return Err(VolumeError::Spacing {
            path: path.into(),
            found: format!("/{name} has no attribute 'resolution' (z, y, x in nm)"),
        });
    };
    if resolution_zyx_nm.iter().any(|nm| !(*nm > 0.0 && nm.is_finite())) {
        return Err(VolumeError::Spacing {
            path: path.into(),
            found: format!("/{name} has resolution {resolution_zyx_nm:?} nm (z, y, x)"),
        });
    }
    let offset_zyx_nm = attribute(path, dataset, "offset")?.unwrap_or([0.0; 3]);
    let name = name.rsplit('/').next().unwrap_or(name).to_owned();
    Ok(StackInfo { name, shape_zyx, resolution_zyx_nm, offset_zyx_nm })
}

/// Three numbers of an attribute, if it is there.
fn attribute(path: &Path, dataset: &h5::Dataset, name: &str) -> Result<Option<[f64; 3]>> {
    let read = || -> h5::Result<Option<Vec<f64>>> {
        if dataset.attr_names()?.iter().any(|found| found == name) {
            dataset.attr(name)?.read_raw::<f64>().map(Some)
        } else {
            Ok(None)
        }
    };
    let Some(values) = read().map_err(|error| library("read", path, &error))? else { return Ok(None) };
    <[f64; 3]>::try_from(values.as_slice()).map(Some).map_err(|_| VolumeError::Spacing {
        path: path.into(),
        found: format!("attribute '{name}' of {} has {} values", dataset.name(), values.len()),
    })
}

fn number_type(path: &Path, dataset: &h5::Dataset) -> Result<TypeDescriptor> {
    dataset.dtype().and_then(|dtype| dtype.to_descriptor()).map_err(|error| library("read", path, &error))
}

fn type_name(found: &TypeDescriptor) -> String {
    match found {
        TypeDescriptor::Integer(size) => format!("{}-bit signed integers", 8 * *size as usize),
        TypeDescriptor::Unsigned(size) => format!("{}-bit unsigned integers", 8 * *size as usize),
        TypeDescriptor::Float(size) => format!("{}-bit floats", 8 * *size as usize),
        other => format!("{other:?}"),
    }
}
