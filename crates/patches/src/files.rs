//! The files of a case while it is written: not synchronised one by one but when the directory is published, and digested on
//! their way to disk, so that they are not read again.

use data_manifests::digest;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use zarrs::storage::{
    Bytes, OffsetBytesIterator, StorageError, StoreKey, StorePrefix, WritableStorageTraits,
};

/// A directory that is being filled.
#[derive(Debug)]
pub(crate) struct Files {
    directory: PathBuf,
    written: Mutex<BTreeMap<String, (u64, String)>>,
}

impl Files {
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), written: Mutex::default() }
    }

    /// Writes a file; `path` is relative, with `/`.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.directory.join(path);
        if let Some(parent) = place.parent() {
            fs_err::create_dir_all(parent)?;
        }
        fs_err::write(&place, bytes)?;
        let entry = (bytes.len() as u64, digest::sha256_hex(bytes));
        self.written().insert(path.to_owned(), entry);
        Ok(())
    }

    /// SHA-256 of every file written so far, by path.
    pub(crate) fn digests(&self) -> BTreeMap<String, String> {
        self.written().iter().map(|(path, (_, sha256))| (path.clone(), sha256.clone())).collect()
    }

    /// Bytes and digest of all files written so far, as [`digest::tree`] finds them.
    pub(crate) fn tree(&self) -> (u64, String) {
        let mut tree = digest::Tree::default();
        for (path, (bytes, sha256)) in self.written().iter() {
            tree.add(path, *bytes, sha256);
        }
        tree.finish()
    }

    /// A map of whole entries, whatever became of another thread.
    fn written(&self) -> MutexGuard<'_, BTreeMap<String, (u64, String)>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WritableStorageTraits for Files {
    fn set(&self, key: &StoreKey, value: Bytes) -> Result<(), StorageError> {
        Ok(self.put(key.as_str(), &value)?)
    }

    fn set_partial_many(&self, _: &StoreKey, _: OffsetBytesIterator) -> Result<(), StorageError> {
        // a shard is written once and whole
        Err(StorageError::Unsupported("shards are written whole".to_owned()))
    }

    fn erase(&self, _: &StoreKey) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn erase_prefix(&self, _: &StorePrefix) -> Result<(), StorageError> {
        Err(StorageError::ReadOnly)
    }

    fn supports_set_partial(&self) -> bool {
        false
    }
}
