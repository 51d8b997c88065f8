//! Links whose target is not there: git-annex and datalad keep a file's content apart, and it has to be fetched.

use crate::error::{Result, VolumeError};
use std::path::{Path, PathBuf};

/// What to do with such a link.
pub const UNFETCHED: &str =
    "With git-annex or datalad, fetch the content ('datalad get FILE'); else restore what the link names";

/// What a link names, where that is not there.
#[must_use]
pub fn dangling(path: &Path) -> Option<PathBuf> {
    let target = fs_err::read_link(path).ok()?;
    (!path.exists()).then_some(target)
}

/// Refuses such a link: the system says of it only that a file is missing, which a look at the folder denies.
pub(crate) fn check(path: &Path) -> Result<()> {
    match dangling(path) {
        Some(target) => Err(VolumeError::DanglingLink { path: path.to_owned(), target }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hdf5::CremiFile;
    use crate::scan;
    use crate::stack::Stack;

    #[test]
    fn a_link_without_its_target_is_told_from_a_missing_file() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let errors = ["a.nii.gz", "a.h5", "a.tif"].map(|name| {
            std::os::unix::fs::symlink("../.git/annex/a", at(name)).unwrap();
            match name {
                "a.h5" => CremiFile::open(at(name)).unwrap_err(),
                "a.tif" => Stack::open(&at(name), None).unwrap_err(),
                _ => scan::read_header(at(name)).unwrap_err(),
            }
        });
        for error in errors {
            let text = error.to_string();
            assert!(text.ends_with("is a link to ../.git/annex/a, where nothing is"), "{text}");
            assert!(error.code() == "E100" && error.hint().is_some_and(|hint| hint.contains("datalad get")));
        }
        assert_eq!(dangling(&at("none")), None);
        assert!(matches!(scan::read_header(at("none.nii")), Err(VolumeError::Io(_))));
    }
}
