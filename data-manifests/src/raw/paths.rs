//! Paths as people give them.

use crate::Descriptor;
use std::path::{Path, PathBuf};

/// Environment variables that name the folder of all raw data sets: ours, then nnU-Net's.
pub const RAW_ROOTS: [&str; 2] = ["GTGM_RAW", "nnUNet_raw"];

/// A path from a command line or an environment variable: surrounding blanks and quotes and a trailing slash go, `~` becomes
/// the home directory.
#[must_use]
pub fn clean(text: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    clean_with(text, home.as_deref())
}

fn clean_with(text: &str, home: Option<&Path>) -> PathBuf {
    let quotes = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’')];
    let mut text = text.trim();
    while let Some(inner) =
        quotes.iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))
    {
        text = inner.trim();
    }
    let trimmed = text.trim_end_matches('/');
    let text = if trimmed.is_empty() && !text.is_empty() { "/" } else { trimmed };
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// Where the raw files of a data set are when no command line says so: its folder below the first of [`RAW_ROOTS`] that is
/// set.
#[must_use]
pub fn default_raw(descriptor: &Descriptor) -> Option<PathBuf> {
    let root = RAW_ROOTS.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.trim().is_empty()))?;
    Some(clean(&root).join(descriptor.raw.folder()))
}

/// A path of an index file (`dataset.json`, a table) below its folder: `./` goes, backslashes become slashes.
///
/// # Errors
/// Says what is wrong with a path that is empty or leads out of the folder.
pub(super) fn below(text: &str) -> Result<String, &'static str> {
    let text = text.trim().replace('\\', "/");
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if text.starts_with('/') || drive || parts.contains(&"..") {
        return Err("leads out of the folder; expected a path below it");
    }
    if parts.is_empty() { Err("is no path") } else { Ok(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_a_path() {
        let home = Path::new("/home/a");
        let cleaned = |text: &str| clean_with(text, Some(home)).display().to_string();
        for (typed, path) in [
            ("data/raw/", "data/raw"),
            ("\"/data/my raw/\"", "/data/my raw"),
            (" '~/raw' ", "/home/a/raw"),
            ("~", "/home/a"),
            ("~/", "/home/a"),
            ("“data”", "data"),
            ("/", "/"),
            ("~other/raw", "~other/raw"),
            ("it's", "it's"),
        ] {
            assert_eq!(cleaned(typed), path, "{typed}");
        }
        assert_eq!(clean_with("~/raw", None), Path::new("~/raw"));
    }

    #[test]
    fn paths_of_an_index_stay_below_it() {
        assert_eq!(below("./imagesTr/a b.nii.gz").unwrap(), "imagesTr/a b.nii.gz");
        assert_eq!(below("imagesTr\\a.nii.gz").unwrap(), "imagesTr/a.nii.gz");
        for text in ["/etc/passwd", "../a", "a/../../b", "C:\\data\\a.nii", "", "./"] {
            assert!(below(text).is_err(), "{text}");
        }
    }
}
