//! How much memory one read may take.

use crate::error::{Result, VolumeError};
use std::path::Path;

/// Bytes that a reader needs beside the voxels that it returns: buffers, the inflater's state, a table of offending
/// values.
pub const READ_OVERHEAD: u64 = 2 << 20;

/// Most memory that one read may allocate: what it returns and [`READ_OVERHEAD`].
///
/// The whole-volume readers refuse with [`VolumeError::ReadLimit`] before anything is allocated for the voxels; the
/// streaming ones refuse only where a single plane is too large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes.
    pub max_bytes: u64,
}

impl ReadLimits {
    /// No limit but what the file can hold and the system grants.
    pub const UNLIMITED: Self = Self { max_bytes: u64::MAX };

    /// Bytes left for voxels.
    pub(crate) fn for_voxels(self) -> u64 {
        self.max_bytes.saturating_sub(READ_OVERHEAD)
    }

    /// Fails if `elements` of `size` bytes are more than the limit allows.
    pub(crate) fn check(self, path: &Path, shape_zyx: [usize; 3], elements: u64, size: usize) -> Result<()> {
        let bytes = elements.saturating_mul(size as u64);
        if bytes <= self.for_voxels() {
            return Ok(());
        }
        Err(VolumeError::ReadLimit {
            path: path.into(),
            shape_zyx,
            bytes: bytes.saturating_add(READ_OVERHEAD),
            limit: self.max_bytes,
        })
    }
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

/// Makes room for `elements` more, or says that there is none instead of aborting.
pub(crate) fn reserve<T>(path: &Path, data: &mut Vec<T>, elements: u64) -> Result<()> {
    data.try_reserve_exact(usize::try_from(elements).unwrap_or(usize::MAX)).map_err(|_| VolumeError::Memory {
        path: path.into(),
        bytes: elements.saturating_mul(size_of::<T>() as u64),
    })
}
