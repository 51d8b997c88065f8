//! Affinities on disk as what objects are made of.

use super::method::refused;
use crate::objective::is_boundary;
use crate::stacks::Affinities;
use label_maps::Method;
use label_maps::affinities::NEAREST;
use label_maps::storage::{BlockError, Source, StorageError};
use label_maps::window::Window;
use stage::Message;
use std::path::Path;
use volume::hdf5::StackInfo;

/// Affinities, or a boundary mask, of a file as the label maps' source.
pub(crate) struct OnDisk(Affinities);

impl OnDisk {
    /// Opens a file for a method.
    ///
    /// # Errors
    /// For what is no such file, and `E434` for affinities that the method cannot use.
    pub(crate) fn open(path: &Path, method: &Method) -> Result<Self, Message> {
        let file = Affinities::open(path).map_err(|failure| failure.0)?;
        if matches!(method, Method::MutexWatershed(_)) && !file.offsets_zyx().starts_with(&NEAREST) {
            return Err(Message::error(
                "E434",
                "the mutex watershed attracts along the first three offsets, which must be the nearest",
            )
            .detail(format!("{}: offsets {:?}", path.display(), file.offsets_zyx()))
            .fix("Choose another --method, or order the channels of the file"));
        }
        Ok(Self(file))
    }

    /// Where the volume lies.
    pub(crate) fn info(&self) -> &StackInfo {
        self.0.info()
    }
}

impl Source for OnDisk {
    fn shape_zyx(&self) -> [usize; 3] {
        self.0.info().shape_zyx
    }

    fn offsets(&self) -> Option<&[[isize; 3]]> {
        Some(self.0.offsets_zyx()).filter(|offsets| !is_boundary(offsets))
    }

    fn read(&self, window: &Window) -> Result<Vec<f32>, StorageError> {
        let mut values = self.0.read(window)?;
        if self.offsets().is_none() {
            values.iter_mut().for_each(|inside| *inside = 1.0 - *inside);
        }
        Ok(values)
    }
}

/// What is said where blocks fail.
pub(crate) fn of_blocks(error: &BlockError) -> Message {
    let message = Message::error("E434", error.to_string());
    match error {
        BlockError::Labels(error) => refused(error),
        BlockError::Read { source, .. } | BlockError::Store { source, .. } => {
            message.detail(source.to_string())
        }
        _ => message,
    }
}
