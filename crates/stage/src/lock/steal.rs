//! Taking over a lock that the file system kept for a run that is gone.
//!
//! The kernel's lock cannot be had, so the file is replaced by one that is locked already. Of several runs that do so at
//! once the guard lets through one, and those after it find a living lock. A run that, against all signs, still lived
//! finds its file replaced at its next heartbeat and stops.

use super::holder::Seen;
use super::{FILE_NAME, OutputLock, is_at, open, write_holder};
use crate::Message;
use std::fs::{File, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Locked by who is replacing the lock file; named as a temporary, so that one left behind is swept.
const GUARD: &str = ".lock.steal.tmp";

/// Replaces the lock file, unless its holder turns out to live.
pub(super) fn replace(
    directory: &Path,
    path: &Path,
    program: &str,
    beat: Duration,
) -> anyhow::Result<OutputLock> {
    let _guard = Guard::take(directory)?;
    // nothing that was seen before the guard counts
    let mut old = open(path)?;
    match old.try_lock() {
        // it was released in the meantime
        Ok(()) => {
            let holder = write_holder(&mut old, program)?;
            if is_at(&old, path) {
                return Ok(OutputLock::holding(old, path.to_owned(), holder, beat));
            }
            return Err(busy(directory).into());
        }
        Err(TryLockError::Error(error)) => return Err(error.into()),
        Err(TryLockError::WouldBlock) => {}
    }
    let seen = Seen::of(&mut old, directory)?;
    if !seen.is_gone() {
        return Err(seen.refusal(directory).into());
    }
    let fresh = tempfile::Builder::new()
        .prefix(&format!("{FILE_NAME}."))
        .suffix(".tmp")
        // as any other file's: the umask applies, and who shares the directory can open it
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(directory)?;
    let mut file = fresh.as_file().try_clone()?;
    file.try_lock().map_err(std::io::Error::from)?;
    let holder = write_holder(&mut file, program)?;
    fresh.persist(path).map_err(|error| error.error)?;
    Ok(OutputLock::holding(file, path.to_owned(), holder, beat))
}

fn busy(directory: &Path) -> Message {
    Message::error("E162", "another run is just taking over the output")
        .detail(directory.display().to_string())
        .fix("Wait for it, or use another --out")
}

/// Exclusive right to replace the lock file of a directory.
struct Guard {
    path: PathBuf,
    _locked: File,
}

impl Guard {
    fn take(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(GUARD);
        let file = open(&path)?;
        match file.try_lock() {
            // the one before may have removed the file between its opening and its locking
            Ok(()) if is_at(&file, &path) => Ok(Self { path, _locked: file }),
            Ok(()) | Err(TryLockError::WouldBlock) => Err(busy(directory).into()),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // removed while it is locked: who opened it before finds that it is not there any more
        let _swept_later = fs_err::remove_file(&self.path);
    }
}
