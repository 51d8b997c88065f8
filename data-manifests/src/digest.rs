//! SHA-256 of files and trees.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use stage::sealed::{canonical, digest_of, hex, sha256_hex};

/// Size and SHA-256 of a file, read in pieces of 256 KiB.
///
/// # Errors
/// Any I/O error, with the path.
pub fn file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
        bytes += n as u64;
    }
    Ok((bytes, hex(&hasher.finalize())))
}

/// [`file()`] of each of these below `directory`, in their order. A file of several names (a finished run's last checkpoint) is read once.
///
/// # Errors
/// As [`file()`].
pub fn files(directory: &Path, paths: &[&str]) -> io::Result<Vec<(u64, String)>> {
    let (mut places, mut once, mut order) = (BTreeMap::new(), Vec::new(), Vec::new());
    for path in paths {
        let metadata = fs_err::metadata(directory.join(path))?;
        let place = places.entry((metadata.dev(), metadata.ino())).or_insert_with(|| {
            once.push(*path);
            once.len() - 1
        });
        order.push(*place);
    }
    let read: Vec<_> = once.par_iter().map(|path| file(&directory.join(path))).collect::<io::Result<_>>()?;
    Ok(order.into_iter().map(|place| read[place].clone()).collect())
}

/// Relative paths (with `/`) of all files below `directory`, sorted.
///
/// # Errors
/// Any I/O error, and names that are not Unicode.
pub fn files_below(directory: &Path) -> io::Result<Vec<String>> {
    files_outside(directory, |_| false)
}

/// As [`files_below`], without those below folders that `is_left_out`; it is asked with a relative path ending in `/`.
///
/// # Errors
/// As [`files_below`].
pub fn files_outside(directory: &Path, is_left_out: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    collect(directory, "", &is_left_out, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(
    directory: &Path,
    prefix: &str,
    is_left_out: &impl Fn(&str) -> bool,
    found: &mut Vec<String>,
) -> io::Result<()> {
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|name| {
            let text = format!("{}: file name is not Unicode", directory.join(name).display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            let folder = format!("{path}/");
            if !is_left_out(&folder) {
                collect(&entry.path(), &folder, is_left_out, found)?;
            }
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Bytes and digest of a tree: SHA-256 over the lines `SHA-256 path` of its files, sorted by path.
///
/// # Errors
/// As [`file()`] and [`files_below`].
pub fn tree(directory: &Path) -> io::Result<(u64, String)> {
    let mut tree = Tree::default();
    for path in files_below(directory)? {
        let (bytes, sha256) = file(&directory.join(&path))?;
        tree.add(&path, bytes, &sha256);
    }
    Ok(tree.finish())
}

/// [`tree`] of files whose digests are known.
#[derive(Debug, Default)]
pub struct Tree {
    lines: Sha256,
    bytes: u64,
}

impl Tree {
    /// Adds a file; they come sorted by path.
    pub fn add(&mut self, path: &str, bytes: u64, sha256: &str) {
        self.lines.update(format!("{sha256} {path}\n"));
        self.bytes += bytes;
    }

    /// Bytes and digest.
    #[must_use]
    pub fn finish(self) -> (u64, String) {
        (self.bytes, hex(&self.lines.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_file_have_its_digest_and_other_files_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        for (name, text) in [("latest", "the last step"), ("model", "weights"), ("empty", "")] {
            fs_err::write(place(name), text).unwrap();
        }
        fs_err::hard_link(place("latest"), place("final")).unwrap();
        let names = ["model", "latest", "empty", "final"];
        let each: Vec<_> = names.iter().map(|name| file(&place(name)).unwrap()).collect();
        assert_eq!(files(folder.path(), &names).unwrap(), each);
        assert!(each[1] == each[3] && each[0] != each[1]);
        let gone = files(folder.path(), &["latest", "gone"]).unwrap_err();
        assert!(gone.to_string().contains("gone"), "{gone}");
    }
}
