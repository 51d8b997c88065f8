//! Where work in blocks reads predictions and keeps labels, and what may go wrong.

use crate::window::Window;
use crate::{Affinities, LabelMapError};

/// What a source or store of voxels may fail with.
pub type StorageError = Box<dyn std::error::Error + Send + Sync>;

/// Why instances could not be made in blocks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// Arguments or values are wrong; see there.
    #[error(transparent)]
    Labels(#[from] LabelMapError),
    /// The evidence could not be read.
    #[error("the voxels from {:?} to {:?} (z, y, x) could not be read", window.start_zyx, window.end_zyx())]
    Read {
        /// Which voxels.
        window: Window,
        /// Why not.
        #[source]
        source: StorageError,
    },
    /// Labels could not be stored or read back.
    #[error("the labels from {:?} to {:?} (z, y, x) could not be stored or read back", window.start_zyx, window.end_zyx())]
    Store {
        /// Which voxels.
        window: Window,
        /// Why not.
        #[source]
        source: StorageError,
    },
    /// The caller asked to stop.
    #[error("stopped after {done} of {total} steps; the stored labels are not finished")]
    Stopped {
        /// Steps done.
        done: usize,
        /// Steps in all.
        total: usize,
    },
}

/// Where predictions are read from.
pub trait Source: Sync {
    /// Shape of the volume along z, y, x.
    fn shape_zyx(&self) -> [usize; 3];

    /// Offsets of the affinities; `None` for a boundary map.
    fn offsets(&self) -> Option<&[[isize; 3]]>;

    /// The values of a window: offset, z, y, x, or z, y, x for a boundary map.
    ///
    /// # Errors
    /// Whatever keeps them from being read.
    fn read(&self, window: &Window) -> std::result::Result<Vec<f32>, StorageError>;

    /// The foreground of a window, z, y, x; `None` where everything is.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn read_mask(&self, _window: &Window) -> std::result::Result<Option<Vec<bool>>, StorageError> {
        Ok(None)
    }
}

/// Where labels are kept: first those of the blocks, at last the instances.
pub trait Store {
    /// The labels of a window that was written before.
    ///
    /// # Errors
    /// Whatever keeps them from being read.
    fn read(&mut self, window: &Window) -> std::result::Result<Vec<u64>, StorageError>;

    /// Keeps the labels of a window.
    ///
    /// # Errors
    /// Whatever keeps them from being stored.
    fn write(&mut self, window: &Window, labels: &[u64]) -> std::result::Result<(), StorageError>;
}

impl Source for Affinities<'_> {
    fn shape_zyx(&self) -> [usize; 3] {
        Affinities::shape_zyx(self)
    }

    fn offsets(&self) -> Option<&[[isize; 3]]> {
        Some(Affinities::offsets(self))
    }

    fn read(&self, window: &Window) -> std::result::Result<Vec<f32>, StorageError> {
        let channels = 0..Affinities::offsets(self).len();
        let channels: Vec<Vec<f32>> =
            channels.map(|c| window.cut(self.channel(c), Affinities::shape_zyx(self))).collect();
        Ok(channels.concat())
    }
}

/// Labels in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryStore {
    labels: Vec<u64>,
    shape_zyx: [usize; 3],
}

impl MemoryStore {
    /// A volume of zeros.
    #[must_use]
    pub fn new(shape_zyx: [usize; 3]) -> Self {
        Self { labels: vec![0; shape_zyx.iter().product()], shape_zyx }
    }

    /// The labels: z, y, x.
    #[must_use]
    pub fn labels(&self) -> &[u64] {
        &self.labels
    }
}

impl Store for MemoryStore {
    fn read(&mut self, window: &Window) -> std::result::Result<Vec<u64>, StorageError> {
        Ok(window.cut(&self.labels, self.shape_zyx))
    }

    fn write(&mut self, window: &Window, labels: &[u64]) -> std::result::Result<(), StorageError> {
        let rows = labels.chunks(window.shape_zyx[2].max(1));
        window
            .rows(self.shape_zyx)
            .zip(rows)
            .for_each(|(row, values)| self.labels[row].copy_from_slice(values));
        Ok(())
    }
}
