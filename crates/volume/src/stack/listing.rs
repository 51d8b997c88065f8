//! The slices of a directory, in the order in which people number them.

use crate::error::{Result, VolumeError};
use crate::warning::Warning;
use std::cmp::Ordering;
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

/// Slices of a directory in natural order; hidden files and `spacing.json` are passed over, other files with a warning.
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
    files.sort_by(|a, b| natural(&a.0, &b.0));
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
    warnings.extend(gap(&names));
    Ok((*kind, files.into_iter().map(|file| file.2).collect(), warnings))
}

/// Runs of digits compare as numbers of any length, the rest as text; equal numbers (`s1`, `s01`) by the whole name.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(&mut left), digits(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            left = &left[x.len_utf8()..];
            right = &right[y.len_utf8()..];
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Takes the leading digits off, without leading zeros.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

/// The first place where the last number of the names does not go on by the usual step (the smallest one).
fn gap(names: &[&str]) -> Option<Warning> {
    let numbers: Option<Vec<(&str, u64)>> = names.iter().map(|name| last_number(name)).collect();
    let numbers = numbers?;
    if numbers.iter().any(|(prefix, _)| *prefix != numbers[0].0) {
        return None;
    }
    let steps: Vec<u64> = numbers.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1)).collect();
    let step = *steps.iter().min()?;
    let at = steps.iter().position(|other| *other != step)?;
    Some(Warning::SliceGap { before: names[at].to_owned(), after: names[at + 1].to_owned() })
}

/// What precedes the last number of a name, and the number.
fn last_number(name: &str) -> Option<(&str, u64)> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = stem[..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
    Some((&stem[..start], stem[start..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = ["s10", "s2", "s01", "s1", "s1b", "t", "s99999999999999999999999", "é2", "s"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["s", "s01", "s1", "s1b", "s2", "s10", "s99999999999999999999999", "t", "é2"]);
    }

    #[test]
    fn missing_slices_are_noticed() {
        assert_eq!(gap(&["s1.png", "s2.png", "s3.png"]), None);
        assert_eq!(gap(&["s10.png", "s20.png"]), None);
        assert_eq!(gap(&["a.png", "b.png"]), None);
        let found = gap(&["s1.png", "s2.png", "s4.png"]).unwrap();
        assert!(found.to_string().contains("from s2.png to s4.png"), "{found}");
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[a0-2]{0,5}", b in "[a0-2]{0,5}", c in "[a0-2]{0,5}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            prop_assert_eq!(natural(&a, &b) == Ordering::Equal, a == b);
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }
    }
}
