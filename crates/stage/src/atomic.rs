//! Files and directories that appear whole or not at all: temporary name in the same directory, fsync, rename, fsync of
//! the directory. Temporaries are named `.NAME.RANDOM.tmp`; [`sweep`] removes what a killed run left behind.

use std::ffi::OsString;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".tmp";

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn prefix(path: &Path) -> OsString {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
}

/// Flushes a directory's entries to disk, so that a rename in it survives a power cut.
///
/// # Errors
/// Fails when the directory cannot be opened or synchronised; not where the file system has no such operation for directories, as some on the
/// network.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    fs_err::File::open(directory)?.sync_all().or_else(|error| match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    })
}

/// Writes a whole file atomically.
///
/// # Errors
/// Any failure to create, write, synchronise or rename; the message names `path`.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a file atomically from a stream.
///
/// # Errors
/// As [`write()`], and whatever `fill` returns; `path` keeps its old content then.
pub fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> io::Result<()>,
) -> io::Result<()> {
    let directory = parent(path);
    fs_err::create_dir_all(directory)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix(path))
        .suffix(SUFFIX)
        // open(2) applies the umask: the file gets the mode that any other program would give it
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|e| with_path(path, e))?;
    let mut writer = BufWriter::new(temporary.as_file_mut());
    fill(&mut writer).and_then(|()| writer.flush()).map_err(|e| with_path(path, e))?;
    drop(writer);
    temporary.as_file().sync_all().map_err(|e| with_path(path, e))?;
    temporary.persist(path).map_err(|e| with_path(path, e.error))?;
    sync_directory(directory)
}

/// Removes a file that may be there; whether it was.
///
/// # Errors
/// Any failure to remove it.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs_err::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives a whole file a second name, atomically: for one that is only ever replaced, never changed. Where the file system has no
/// hard links the file is copied.
///
/// # Errors
/// Any failure to link, copy, synchronise or rename; the message names `path`, which keeps its old content then.
pub fn link(original: &Path, path: &Path) -> io::Result<()> {
    let directory = parent(path);
    let temporary = tempfile::Builder::new()
        .prefix(&prefix(path))
        .suffix(SUFFIX)
        .make_in(directory, |temporary| std::fs::hard_link(original, temporary));
    match temporary {
        Ok(temporary) => {
            // rename(2) does nothing where both names are of one file already: what is left is removed on drop
            let temporary = temporary.into_temp_path();
            std::fs::rename(&temporary, path).map_err(|e| with_path(path, e))?;
            sync_directory(directory)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(with_path(path, e)),
        Err(_) => {
            let mut source = fs_err::File::open(original)?;
            write_with(path, |file| io::copy(&mut source, file).map(|_| ()))
        }
    }
}

/// A directory under construction beside its final place; removed on drop unless published.
#[derive(Debug)]
pub struct PendingDirectory {
    temporary: tempfile::TempDir,
    destination: PathBuf,
}

impl PendingDirectory {
    /// Starts a directory that will become `destination`.
    ///
    /// # Errors
    /// Fails when the parent cannot be created or written.
    pub fn new(destination: &Path) -> io::Result<Self> {
        let directory = parent(destination);
        fs_err::create_dir_all(directory)?;
        let temporary = tempfile::Builder::new()
            .prefix(&prefix(destination))
            .suffix(SUFFIX)
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(directory)
            .map_err(|e| with_path(destination, e))?;
        Ok(Self { temporary, destination: destination.to_owned() })
    }

    /// Where to write meanwhile.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Synchronises the content and gives the directory its final name, replacing an older one.
    ///
    /// # Errors
    /// Any failure to synchronise or rename; the older directory is kept then.
    pub fn publish(self) -> io::Result<()> {
        sync_tree(self.temporary.path())?;
        let directory = parent(&self.destination).to_owned();
        // A directory cannot be renamed over a full one: the older is moved aside first, under a name that `sweep` knows.
        let aside = if self.destination.symlink_metadata().is_ok() {
            let aside = tempfile::Builder::new()
                .prefix(&prefix(&self.destination))
                .suffix(SUFFIX)
                .tempdir_in(&directory)
                .map_err(|e| with_path(&self.destination, e))?;
            fs_err::rename(&self.destination, aside.path().join("old"))?;
            Some(aside)
        } else {
            None
        };
        let temporary = self.temporary.keep();
        fs_err::rename(&temporary, &self.destination)?;
        sync_directory(&directory)?;
        if let Some(aside) = aside {
            aside.close().map_err(|e| with_path(&self.destination, e))?;
        }
        Ok(())
    }
}

fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            fs_err::File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

/// Whether a file name is one of this module's temporaries.
#[must_use]
pub fn is_temporary(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|n| n.starts_with('.') && n.ends_with(SUFFIX))
}

/// Removes temporaries that a killed run left directly below `directory`; returns how many.
///
/// Call it only while holding the directory's [`crate::lock::OutputLock`].
///
/// # Errors
/// Fails when the directory cannot be listed or a leftover cannot be removed.
pub fn sweep(directory: &Path) -> io::Result<usize> {
    let mut removed = 0;
    if !directory.is_dir() {
        return Ok(0);
    }
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        if is_temporary(&entry.file_name()) {
            if entry.file_type()?.is_dir() {
                fs_err::remove_dir_all(entry.path())?;
            } else {
                fs_err::remove_file(entry.path())?;
            }
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        write(&path, b"old").unwrap();
        let error = write_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        })
        .unwrap_err();
        assert!(error.to_string().contains("a.json") && error.to_string().contains("disk full"));
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_name_replaces_the_older_file_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| directory.path().join(name));
        write(&two, b"old").unwrap();
        assert!(link(&one, &two).unwrap_err().to_string().contains("cannot write"));
        write(&one, b"new").unwrap();
        // the second time both names are of one file
        for _ in 0..2 {
            link(&one, &two).unwrap();
            assert_eq!(fs_err::read(&two).unwrap(), b"new");
            assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 2);
        }
        write(&one, b"newer").unwrap();
        assert_eq!(fs_err::read(&two).unwrap(), b"new");
    }

    #[test]
    fn a_second_name_on_another_file_system_is_a_copy() {
        let shm = Path::new("/dev/shm");
        let here = tempfile::tempdir().unwrap();
        let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&path.metadata().unwrap());
        if !shm.is_dir() || device(shm) == device(here.path()) {
            eprintln!("skipped: no second file system at /dev/shm");
            return;
        }
        let there = tempfile::tempdir_in(shm).unwrap();
        let (one, two) = (there.path().join("one"), here.path().join("two"));
        write(&one, b"new").unwrap();
        link(&one, &two).unwrap();
        assert_eq!(fs_err::read(&two).unwrap(), b"new");
        assert_eq!(fs_err::read_dir(here.path()).unwrap().count(), 1);
    }

    #[test]
    fn publishing_replaces_a_directory_and_sweeping_removes_leftovers() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("case");
        for content in [b"1", b"2"] {
            let pending = PendingDirectory::new(&place).unwrap();
            write(&pending.path().join("x"), content).unwrap();
            pending.publish().unwrap();
            assert_eq!(fs_err::read(place.join("x")).unwrap(), content);
        }
        let left = PendingDirectory::new(&place).unwrap();
        let kept = left.temporary.keep();
        write(&kept.join("y"), b"half").unwrap();
        assert_eq!(sweep(directory.path()).unwrap(), 1);
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
    }
}
