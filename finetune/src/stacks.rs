//! Label maps and affinities of stacks on disk: HDF5 in CREMI's layout, or OME-Zarr where the name ends in `.zarr`. They appear whole or not
//! at all.

use crate::flaw::message_of;
use label_maps::storage::{StorageError, Store};
use label_maps::window::Window;
use patches::stack::{self, Numbers, StackArray};
use serde_json::Value;
use stage::Message;
use stage::atomic::PendingDirectory;
use std::path::Path;
use volume::VolumeError;
use volume::hdf5::{AffinityFile, CremiFile, LabelFile, ProbabilityFile, StackInfo};
use volume::resample::ProbabilityNumbers;

/// Ending of the directories of OME-Zarr images.
pub(crate) const ZARR: &str = ".zarr";

fn is_zarr(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == &ZARR[1..])
}

/// What may fail: either format's own errors, and what fills a file.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Message);

impl From<VolumeError> for Failure {
    fn from(error: VolumeError) -> Self {
        Self(message_of(&error))
    }
}

impl From<patches::Error> for Failure {
    fn from(error: patches::Error) -> Self {
        Self(
            Message::error("E439", error.to_string())
                .cause("Usually a damaged or full disk, an incomplete copy, or an image of another program"),
        )
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        VolumeError::from(error).into()
    }
}

impl From<Message> for Failure {
    fn from(message: Message) -> Self {
        Self(message)
    }
}

/// Affinities, read window by window.
pub(crate) enum Affinities {
    Hdf5(AffinityFile),
    Zarr(Box<StackArray>),
}

impl Affinities {
    /// Opens a file, or a directory whose name ends in `.zarr`.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if !is_zarr(path) {
            return Ok(Self::Hdf5(AffinityFile::open(path)?));
        }
        let array = StackArray::open(path)?;
        match array.offsets_zyx() {
            Some(_) => Ok(Self::Zarr(Box::new(array))),
            None => Err(Message::error("E439", "the image has no offsets: it holds no affinities")
                .detail(path.display().to_string())
                .into()),
        }
    }

    /// Where the stack lies.
    pub(crate) fn info(&self) -> &StackInfo {
        match self {
            Self::Hdf5(file) => file.info(),
            Self::Zarr(array) => array.info(),
        }
    }

    /// Offset of each channel, z, y, x, in voxels.
    pub(crate) fn offsets_zyx(&self) -> &[[isize; 3]] {
        match self {
            Self::Hdf5(file) => file.offsets_zyx(),
            Self::Zarr(array) => array.offsets_zyx().unwrap_or_default(),
        }
    }

    /// The affinities of a window: offset, z, y, x.
    pub(crate) fn read(&self, window: &Window) -> Result<Vec<f32>, StorageError> {
        Ok(match self {
            Self::Hdf5(file) => file.read(window.start_zyx, window.shape_zyx)?,
            Self::Zarr(array) => array.read_affinities(window.start_zyx, window.shape_zyx)?,
        })
    }
}

/// Where the sections of affinities or probabilities go.
pub(crate) trait Sections: Sync {
    /// Stores those from `first` on: channel, z, y, x.
    fn put(&self, first: usize, values: &[f32]) -> Result<(), Failure>;
}

impl Sections for AffinityFile {
    fn put(&self, first: usize, values: &[f32]) -> Result<(), Failure> {
        Ok(self.write_sections(first, values)?)
    }
}

impl Sections for ProbabilityFile {
    fn put(&self, first: usize, values: &[f32]) -> Result<(), Failure> {
        Ok(self.write_sections(first, values)?)
    }
}

impl Sections for StackArray {
    fn put(&self, first: usize, values: &[f32]) -> Result<(), Failure> {
        Ok(self.write_sections(first, values)?)
    }
}

/// Makes affinities that `fill` writes slab after slab.
pub(crate) fn create_affinities(
    path: &Path,
    info: &StackInfo,
    offsets_zyx: &[[isize; 3]],
    numbers: ProbabilityNumbers,
    fill: impl FnOnce(&dyn Sections) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !is_zarr(path) {
        return AffinityFile::create(path, info, offsets_zyx, numbers, |file| fill(file));
    }
    let pending = PendingDirectory::new(path)?;
    fill(&StackArray::create_affinities(pending.path(), info, offsets_zyx, of_zarr(numbers))?)?;
    Ok(pending.publish()?)
}

fn of_zarr(numbers: ProbabilityNumbers) -> Numbers {
    match numbers {
        ProbabilityNumbers::Float32 => Numbers::F32,
        ProbabilityNumbers::Uint8 => Numbers::U8,
    }
}

/// Makes probabilities that `fill` writes some sections at a time; `names` says what each of the channels is.
pub(crate) fn create_probabilities(
    path: &Path,
    info: &StackInfo,
    (channels, names): (usize, &Value),
    numbers: ProbabilityNumbers,
    fill: impl FnOnce(&dyn Sections) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !is_zarr(path) {
        let names = names.to_string();
        return ProbabilityFile::create(path, info, (channels, &names), numbers, |file| fill(file));
    }
    let pending = PendingDirectory::new(path)?;
    let array = StackArray::create_probabilities(pending.path(), info, (channels, names), of_zarr(numbers))?;
    fill(&array)?;
    Ok(pending.publish()?)
}

/// Labels on disk while they are made.
pub(crate) enum Labels<'a> {
    Hdf5(&'a LabelFile),
    Zarr(&'a StackArray),
}

impl Labels<'_> {
    /// Stores the labels of a window, z, y, x.
    pub(crate) fn put(&self, window: &Window, labels: &[u64]) -> Result<(), Failure> {
        match self {
            Self::Hdf5(file) => file.write(window.start_zyx, window.shape_zyx, labels)?,
            Self::Zarr(array) => array.write_ids(window.start_zyx, window.shape_zyx, labels)?,
        }
        Ok(())
    }
}

impl Store for Labels<'_> {
    fn read(&mut self, window: &Window) -> Result<Vec<u64>, StorageError> {
        Ok(match self {
            Self::Hdf5(file) => file.read(window.start_zyx, window.shape_zyx)?,
            Self::Zarr(array) => array.read_ids(window.start_zyx, window.shape_zyx)?,
        })
    }

    fn write(&mut self, window: &Window, labels: &[u64]) -> Result<(), StorageError> {
        Ok(self.put(window, labels).map_err(|failure| failure.0)?)
    }
}

/// Makes the label map `name` that `fill` writes window by window; HDF5 has 64 bits in any case, as CREMI does.
pub(crate) fn create_labels(
    path: &Path,
    name: &str,
    info: &StackInfo,
    numbers: Numbers,
    fill: impl FnOnce(&mut Labels<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    if !is_zarr(path) {
        return LabelFile::create(path, name, info, |file| fill(&mut Labels::Hdf5(file)));
    }
    let info = StackInfo { name: name.to_owned(), ..info.clone() };
    let pending = PendingDirectory::new(path)?;
    fill(&mut Labels::Zarr(&StackArray::create_labels(pending.path(), &info, numbers)?))?;
    Ok(pending.publish()?)
}

/// Shape and values of the label map `name`, z, y, x, section by section.
pub(crate) fn each_section(
    path: &Path,
    name: &str,
    mut see: impl FnMut(&[u64]),
) -> Result<[usize; 3], Failure> {
    if is_zarr(path) {
        let array = StackArray::open(&stack::label_group(path, name))?;
        let [depth, ny, nx] = array.info().shape_zyx;
        for z in 0..depth {
            see(&array.read_ids([z, 0, 0], [1, ny, nx])?);
        }
        return Ok([depth, ny, nx]);
    }
    let file = CremiFile::open(path)?;
    let shape_zyx = file.raw().shape_zyx;
    for z in 0..shape_zyx[0] {
        see(&file.read_label_slab(name, z..z + 1)?);
    }
    Ok(shape_zyx)
}
