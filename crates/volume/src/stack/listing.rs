//! The slices of a directory, in the order in which people number them.

use super::order::{Order, order};
use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use std::path::{Path, PathBuf};

/// Which decoder the slices need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    Tiff,
    Png,
}

/// The kind by the extension.
pub(super) fn file_kind(path: &Path) -> Option<FileKind> {
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    match extension.as_str() {
        "tif" | "tiff" => Some(FileKind::Tiff),
        "png" => Some(FileKind::Png),
        _ => None,
    }
}

/// Slices of a directory in the order of their numbers; hidden files and `spacing.json` are passed over, other files with a warning.
pub(super) fn slices(directory: &Path) -> Result<(FileKind, Vec<PathBuf>, Vec<Warning>)> {
    let mut files: Vec<(String, FileKind, PathBuf)> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    for entry in fs_err::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') || name == super::spacing::INSIDE {
            continue;
        }
        let path = entry.path();
        match file_kind(&path) {
            Some(kind) if path.is_file() => files.push((name, kind, path)),
            _ => others.push(name),
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    others.sort();
    let refused = |found: String, fix| VolumeError::StackContent {
        path: directory.into(),
        found,
        expected: "a directory of slices, all TIFF or all PNG",
        fix,
    };
    let Some((first_name, kind, _)) = files.first() else {
        let found = match others.first() {
            None => "the directory is empty".to_owned(),
            Some(other) => format!("no .tif, .tiff or .png among {} files, e.g. {other}", others.len()),
        };
        return Err(refused(found, "Check the path"));
    };
    if let Some((name, ..)) = files.iter().find(|file| file.1 != *kind) {
        let found = format!("TIFF and PNG are mixed: {first_name} and {name}");
        return Err(refused(found, "Put each stack into a directory of its own"));
    }
    let mut warnings = Vec::new();
    if let Some(example) = others.first() {
        warnings.push(Warning::IgnoredFiles { count: others.len(), example: example.clone() });
    }
    let names: Vec<&str> = files.iter().map(|file| file.0.as_str()).collect();
    let Order { places, warnings: odd, twins } = order(&names);
    if let Some([one, other]) = twins {
        let found = format!("{} and {} have the same number", names[one], names[other]);
        return Err(refused(found, "Rename one of them, or put each stack into a directory of its own"));
    }
    warnings.extend(odd);
    Ok((*kind, places.into_iter().map(|place| files[place].2.clone()).collect(), warnings))
}
