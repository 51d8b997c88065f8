//! A file or folder that a stage read or wrote.

use super::SHA256;
use crate::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Component, Path, PathBuf};

/// One input or output of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// What it is to the stage: `raw`, `shards`, `captions`, `reports`, `text`, `encoder`, `model`, `images`, `predictions`,
    /// `references`, `descriptor`, `cases`, `record` …
    pub role: String,
    /// Relative to the manifest's directory, or below a named root: `$RAW/imagesTr/a.nii.gz`. With `/` at its end it is a folder
    /// with all files below it.
    pub path: String,
    /// Size; of a folder the sum of its files'.
    pub bytes: u64,
    /// Lower-case hexadecimal SHA-256 of the file; of a folder that of the lines `SHA-256 path` of its files, sorted by path.
    #[schemars(regex(pattern = SHA256))]
    pub sha256: String,
}

impl Artefact {
    /// Describes `file` relative to `base`, with `../` where needed.
    ///
    /// # Errors
    /// Any I/O error while reading the file.
    pub fn of_file(role: &str, file: &Path, base: &Path) -> std::io::Result<Self> {
        let (bytes, sha256) = digest::file(file)?;
        Ok(Self { role: role.to_owned(), path: relative(file, base)?, bytes, sha256 })
    }

    /// Describes `file` below a named root: `$NAME/…`.
    ///
    /// # Errors
    /// Any I/O error while reading the file; a file outside the root.
    pub fn of_rooted(role: &str, file: &Path, name: &str, root: &Path) -> std::io::Result<Self> {
        let (bytes, sha256) = digest::file(file)?;
        let inside = file.strip_prefix(root).map_err(std::io::Error::other)?;
        Ok(Self { role: role.to_owned(), path: format!("${name}/{}", portable(inside)), bytes, sha256 })
    }

    /// A folder with all that it holds, below a named root.
    ///
    /// # Errors
    /// As [`Artefact::of_rooted`].
    pub fn of_rooted_tree(role: &str, directory: &Path, name: &str, root: &Path) -> std::io::Result<Self> {
        let (bytes, sha256) = digest::tree(directory)?;
        let inside = directory.strip_prefix(root).map_err(std::io::Error::other)?;
        Ok(Self { role: role.to_owned(), path: format!("${name}/{}/", portable(inside)), bytes, sha256 })
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_tree(&self) -> bool {
        self.path.ends_with('/')
    }

    /// Bytes and SHA-256 as they are now, given the manifest's directory.
    ///
    /// # Errors
    /// Any I/O error while reading.
    pub fn measure(&self, directory: &Path) -> std::io::Result<(u64, String)> {
        let place = self.resolve(directory);
        if self.is_tree() { digest::tree(&place) } else { digest::file(&place) }
    }

    /// The size as it is now; none where it is not there.
    #[must_use]
    pub fn size(&self, directory: &Path) -> Option<u64> {
        let place = self.resolve(directory);
        let of_file = |path: &Path| path.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        if !self.is_tree() {
            return of_file(&place);
        }
        digest::files_below(&place).ok()?.iter().map(|path| of_file(&place.join(path))).sum()
    }

    /// The file that an unrooted path names, given the manifest's directory.
    #[must_use]
    pub fn resolve(&self, directory: &Path) -> PathBuf {
        directory.join(&self.path)
    }
}

fn portable(path: &Path) -> String {
    path.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// `file` as seen from directory `base`, both made absolute, links resolved where they exist.
fn relative(file: &Path, base: &Path) -> std::io::Result<String> {
    let file = fs_err::canonicalize(file)?;
    let base = fs_err::canonicalize(base)?;
    let common = file.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().skip(common).map(|_| Component::ParentDir);
    Ok(portable(&up.chain(file.components().skip(common)).collect::<PathBuf>()))
}
