//! Shard files, read by their index: <https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html>.
//!
//! zarrs reads a box of a shard chunk by chunk too, but opens the file and reads the index anew for every read, takes each row
//! of a chunk as a range of its own and passes over checksums. Here files stay open with their index, and whole chunks are decoded,
//! so that every byte that is used was checked.

use crate::error::{Damage, Error, Result};
use stage::limits;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// Bytes of the index's checksum.
const CHECKSUM: u64 = 4;
/// Bytes of an index entry: offset and length.
const ENTRY: u64 = 16;

/// An open shard file and where its chunks lie.
#[derive(Debug)]
pub(crate) struct Shard {
    file: File,
    /// Offset and length of each chunk, in C order; both `u64::MAX` for a chunk of the fill value alone.
    index: Vec<[u64; 2]>,
}

impl Shard {
    /// Opens `name` in the case's `directory`, a shard of `chunks` chunks.
    pub(crate) fn open(directory: &Path, name: &str, chunks: usize) -> Result<Self> {
        let damaged = |reason: String| Error::Damaged(Damage::new(directory, name, reason));
        let file = match fs_err::File::open(directory.join(name)) {
            Ok(file) => file.into_parts().0,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::missing(directory, name));
            }
            Err(e) => return Err(e.into()),
        };
        let length = file.metadata()?.len();
        let bytes = chunks as u64 * ENTRY;
        let Some(start) = length.checked_sub(bytes + CHECKSUM) else {
            let least = bytes + CHECKSUM;
            return Err(damaged(format!("is cut short: found {length} bytes, expected at least {least}")));
        };
        let mut tail = vec![0; (bytes + CHECKSUM) as usize];
        file.read_exact_at(&mut tail, start).map_err(|e| damaged(format!("cannot be read: {e}")))?;
        let (entries, checksum) = tail.split_at(bytes as usize);
        if crc32c::crc32c(entries).to_le_bytes() != checksum {
            return Err(damaged("has a damaged index (its checksum differs)".to_owned()));
        }
        let numbers = entries.as_chunks::<8>().0;
        let index: Vec<[u64; 2]> =
            numbers.as_chunks::<2>().0.iter().map(|pair| pair.map(u64::from_le_bytes)).collect();
        let fits = |[offset, size]: &[u64; 2]| offset.checked_add(*size).is_some_and(|end| end <= start);
        if index.iter().any(|entry| *entry != [u64::MAX; 2] && !fits(entry)) {
            return Err(damaged(format!("is cut short: its index points beyond its {length} bytes")));
        }
        Ok(Self { file, index })
    }

    /// The encoded bytes of a chunk in `buffer`; `false` for a chunk of the fill value alone.
    pub(crate) fn read(&self, chunk: usize, buffer: &mut Vec<u8>) -> std::io::Result<bool> {
        let [offset, length] = self.index[chunk];
        if offset == u64::MAX {
            return Ok(false);
        }
        buffer.resize(length as usize, 0);
        self.file.read_exact_at(buffer, offset)?;
        Ok(true)
    }
}

/// An open shard and when it was used last.
type Used = (Arc<Shard>, u64);

/// Shard files that were used last stay open, of all cases that share this: those of all stores of a process take at most a quarter of the files that it
/// may have open.
#[derive(Debug)]
pub(crate) struct OpenShards {
    /// By the array's number and the shard's own.
    shards: Mutex<HashMap<(u64, usize), Used>>,
    most: usize,
    clock: AtomicU64,
    arrays: AtomicU64,
}

impl OpenShards {
    /// The ones of this process.
    pub(crate) fn of_process() -> Arc<Self> {
        static OPEN: LazyLock<Arc<OpenShards>> = LazyLock::new(|| {
            Arc::new(OpenShards::at_most((limits::open_files() / 4).clamp(64, 4096) as usize))
        });
        Arc::clone(&OPEN)
    }

    fn at_most(most: usize) -> Self {
        Self { shards: Mutex::default(), most, clock: AtomicU64::new(0), arrays: AtomicU64::new(0) }
    }

    /// A number for an array whose shards are kept here.
    pub(crate) fn array(&self) -> u64 {
        self.arrays.fetch_add(1, Ordering::Relaxed)
    }

    /// The shard of an array's number and its own; opened by `open` where it is not.
    pub(crate) fn get(&self, key: (u64, usize), open: impl FnOnce() -> Result<Shard>) -> Result<Arc<Shard>> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        // the map only grows and shrinks by whole entries: a panic elsewhere leaves it usable
        let lock = || self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((shard, used)) = lock().get_mut(&key) {
            *used = now;
            return Ok(Arc::clone(shard));
        }
        // not under the lock: others read on while a disk is slow
        let shard = Arc::new(open()?);
        let mut shards = lock();
        if shards.len() >= self.most
            && let Some(oldest) = shards.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            shards.remove(&oldest);
        }
        shards.insert(key, (Arc::clone(&shard), now));
        Ok(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_open_and_no_more_than_may() {
        let open = OpenShards::at_most(2);
        let mut opened = Vec::new();
        let (first, second) = (open.array(), open.array());
        for key in [(first, 0), (second, 0), (first, 0), (second, 1), (first, 0), (second, 0)] {
            let shard = || {
                opened.push(key);
                let file = fs_err::File::open("/dev/null")?.into_parts().0;
                Ok(Shard { file, index: Vec::new() })
            };
            open.get(key, shard).unwrap();
            assert!(open.shards.lock().unwrap().len() <= 2);
        }
        assert_eq!(opened, [(first, 0), (second, 0), (second, 1), (second, 0)]);
    }

    #[test]
    fn stores_of_a_process_share_what_it_may_have_open() {
        let (one, other) = (OpenShards::of_process(), OpenShards::of_process());
        assert!(Arc::ptr_eq(&one, &other));
        assert!((64..=4096).contains(&one.most));
    }
}
