//! Images without labels that patterns find below a folder.

use super::{Listing, NAMES_SHOWN, RawCase, Source, add, endings, names_volume, paths, stem};
use crate::CaseSplit;
use crate::descriptor::SubjectOf;
use glob::{MatchOptions, Pattern};
use stage::Message;
use stage::message::counted;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Every file at every depth.
const ALL: &str = "**/*";
/// `*` stays within a name, and hidden files are found by no pattern.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Whether a pattern is one, and stays below its folder; the error says in words that follow the pattern why not.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    paths::below(pattern).map_err(str::to_owned)?;
    Pattern::new(pattern).map(drop).map_err(|error| format!("is no pattern: {}", error.msg))
}

/// Lists the volumes that `images` find below `root` and `exclude` does not.
///
/// # Errors
/// `E191` where they find none, or a folder cannot be read.
pub(super) fn list(
    root: &Path,
    images: &[String],
    exclude: &[String],
    subject: Option<SubjectOf>,
) -> anyhow::Result<Listing> {
    let mut exclude: Vec<Exclusion> =
        exclude.iter().map(|text| Exclusion::new(text)).collect::<anyhow::Result<_>>()?;
    let all = [ALL.to_owned()];
    let patterns = if images.is_empty() { &all } else { images };
    let mut listing = Listing::default();
    let dead = |member: &str, pattern: &str| {
        let what = format!("the pattern '{pattern}' of '{member}' finds nothing");
        Message::warning("W109", what).detail(root.display().to_string())
    };
    let (mut found, mut again) = (Found::default(), 0);
    for pattern in patterns {
        let paths = below(root, pattern)?;
        if paths.is_empty() && !images.is_empty() {
            listing.problems.push(dead("images", pattern));
        }
        for path in paths {
            again += usize::from(found.reached_again(root, path));
        }
    }
    // what is left out is so by its shortest path, however else it is reached
    let mut kept: Vec<PathBuf> = found.0.into_values().collect();
    kept.retain(|path| {
        exclude.iter_mut().map(|exclusion| usize::from(exclusion.meets(path))).sum::<usize>() == 0
    });
    listing.problems.extend(exclude.iter().filter(|e| e.met == 0).map(|e| dead("exclude", &e.text)));
    let names_one = |path: &PathBuf| names_volume(&path.file_name().unwrap_or_default().to_string_lossy());
    let (volumes, others): (BTreeSet<PathBuf>, BTreeSet<PathBuf>) = kept.into_iter().partition(names_one);
    if volumes.is_empty() {
        return Err(nothing(root, patterns, &others).into());
    }
    // without patterns of one's own, tables and sidecars are what one expects beside the images
    if !others.is_empty() && !images.is_empty() {
        let what = format!("no volume, and left out: {}", counted(others.len(), "file"));
        listing.problems.push(Message::warning("W103", what).detail(shown(&others)));
    }
    if again > 0 {
        let what =
            format!("reached again through links to folders, and left out: {}", counted(again, "path"));
        listing.problems.push(Message::warning("W103", what).detail(root.display().to_string()));
    }
    for path in volumes {
        let id = id_of(&path);
        let subject = subject_of(&path, subject).unwrap_or_else(|| id.clone());
        let image = Source::image(root.join(&path));
        add(&mut listing, root, RawCase { id, subject, image, label: None, split: CaseSplit::Train });
    }
    Ok(listing)
}

/// A pattern of paths that are left out: it meets a path, or a folder in which the path lies.
struct Exclusion {
    text: String,
    pattern: Pattern,
    met: usize,
}

impl Exclusion {
    fn new(text: &str) -> anyhow::Result<Self> {
        // a path as in an index: './' and a '/' at the end go
        let inside = paths::below(text).map_err(anyhow::Error::msg)?;
        Ok(Self { text: text.to_owned(), pattern: Pattern::new(&inside)?, met: 0 })
    }

    fn meets(&mut self, path: &Path) -> bool {
        let meets = path.ancestors().any(|part| self.pattern.matches_path_with(part, OPTIONS));
        self.met += usize::from(meets);
        meets
    }
}

/// Paths by their true folders and names: links to folders lead to the same file again, and back in a circle.
#[derive(Default)]
struct Found(BTreeMap<(PathBuf, OsString), PathBuf>);

impl Found {
    /// Takes a path; whether another one led there. The shortest stays.
    fn reached_again(&mut self, root: &Path, path: PathBuf) -> bool {
        let folder = root.join(&path).parent().map(Path::to_owned).unwrap_or_default();
        // a folder that was just listed can be resolved, else its own path has to do
        let folder = folder.canonicalize().unwrap_or(folder);
        let key = (folder, path.file_name().unwrap_or_default().to_owned());
        let rank = |path: &PathBuf| (path.components().count(), path.clone());
        match self.0.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(path);
                false
            }
            Entry::Occupied(mut entry) => {
                let differs = *entry.get() != path;
                if rank(&path) < rank(entry.get()) {
                    entry.insert(path);
                }
                differs
            }
        }
    }
}

/// Files, and images in OME-Zarr, that a pattern finds, as paths below `root`; links that lead nowhere are among them, to be named.
fn below(root: &Path, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let inside = paths::below(pattern).map_err(anyhow::Error::msg)?;
    // what a final '**' finds are folders
    let files = if inside.ends_with("**") { format!("{inside}/*") } else { inside };
    let full = format!("{}/{files}", Pattern::escape(&root.to_string_lossy()));
    let mut found = Vec::new();
    for path in glob::glob_with(&full, OPTIONS)? {
        let path = path.map_err(|error| {
            Message::error("E191", "a folder cannot be read")
                .detail(format!("{}: {}", error.path().display(), error.error()))
                .fix("Correct its permissions, or narrow the patterns of 'raw.images'")
        })?;
        let inside = path.strip_prefix(root).unwrap_or(&path);
        let is_zarr =
            |part: &Path| part.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zarr"));
        let in_zarr = inside.ancestors().skip(1).any(is_zarr);
        if !in_zarr && (is_zarr(inside) || !path.is_dir()) {
            found.push(inside.to_owned());
        }
    }
    Ok(found)
}

fn shown(files: &BTreeSet<PathBuf>) -> String {
    let names: Vec<String> = files.iter().take(NAMES_SHOWN).map(|path| path.display().to_string()).collect();
    match files.len().saturating_sub(NAMES_SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn nothing(root: &Path, patterns: &[String], others: &BTreeSet<PathBuf>) -> Message {
    let what = format!("no image below the folder is found by {}", patterns.join(", "));
    let detail = match others.len() {
        0 => root.display().to_string(),
        _ => format!("{} holds {}, of which none is a volume", root.display(), shown(others)),
    };
    let is_dicom = |path: &PathBuf| {
        path.extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("dcm") || ending.eq_ignore_ascii_case("ima"))
    };
    let fix = if others.iter().any(is_dicom) {
        "Convert DICOM series to NIfTI first: dcm2niix does".to_owned()
    } else {
        format!(
            "Correct 'raw.images' in the descriptor; volumes end in {}",
            endings().collect::<Vec<_>>().join(", ")
        )
    };
    Message::error("E191", what).detail(detail).fix(fix)
}

/// `sub-01/anat/sub-01_T1w.nii.gz` → `sub-01_anat_sub-01_T1w`: the same whatever else lies in the folder.
fn id_of(path: &Path) -> String {
    let parts: Vec<_> = path.components().map(|part| part.as_os_str().to_string_lossy()).collect();
    stem(&parts.join("_")).to_owned()
}

/// The subject that a path names; `None` where it names none.
fn subject_of(path: &Path, by: Option<SubjectOf>) -> Option<String> {
    match by {
        Some(SubjectOf::Image) => None,
        Some(SubjectOf::Folder) => {
            let folder = path.parent()?.components().next()?;
            Some(folder.as_os_str().to_string_lossy().into_owned())
        }
        Some(SubjectOf::Bids) | None => path.components().find_map(|part| {
            let part = part.as_os_str().to_string_lossy();
            let name = part.split(['_', '.']).find(|entity| entity.starts_with("sub-"))?;
            Some(name.to_owned())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_cases_and_subjects() {
        let bids = Path::new("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz");
        assert_eq!(id_of(bids), "sub-01_ses-2_anat_sub-01_ses-2_T1w");
        assert_eq!(id_of(Path::new("a.b.mha")), "a.b");
        assert_eq!(subject_of(bids, None).as_deref(), Some("sub-01"));
        assert_eq!(subject_of(Path::new("sub-7.nii"), Some(SubjectOf::Bids)).as_deref(), Some("sub-7"));
        assert_eq!(subject_of(bids, Some(SubjectOf::Image)), None);
        assert_eq!(subject_of(Path::new("anna/2/ct.nii"), None), None);
        assert_eq!(subject_of(Path::new("anna/2/ct.nii"), Some(SubjectOf::Folder)).as_deref(), Some("anna"));
        assert_eq!(subject_of(Path::new("ct.nii"), Some(SubjectOf::Folder)), None);
    }

    #[test]
    fn patterns_stay_below_the_folder() {
        for good in ["**/*_T1w.nii.gz", "*.mha", "a/[0-9]*.nrrd"] {
            assert_eq!(check_pattern(good), Ok(()), "{good}");
        }
        for bad in ["", "../*.nii", "/data/*.nii", "a/***.nii", "[a.nii"] {
            assert!(check_pattern(bad).is_err(), "{bad}");
        }
    }
}
