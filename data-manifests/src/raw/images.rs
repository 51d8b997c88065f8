//! Images without labels that patterns find below a folder.

use super::{Listing, NAMES_SHOWN, RawCase, Source, add, endings, names_volume, paths, stem};
use crate::CaseSplit;
use crate::descriptor::SubjectOf;
use glob::{MatchOptions, Pattern};
use stage::Message;
use stage::message::counted;
use std::collections::BTreeSet;
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
    let exclude: Vec<Pattern> = exclude.iter().map(|text| Pattern::new(text)).collect::<Result<_, _>>()?;
    let all = [ALL.to_owned()];
    let patterns = if images.is_empty() { &all } else { images };
    let mut listing = Listing::default();
    let (mut volumes, mut others) = (BTreeSet::new(), BTreeSet::new());
    for pattern in patterns {
        let found = below(root, pattern)?;
        if found.is_empty() && !images.is_empty() {
            let what = format!("the pattern '{pattern}' finds nothing");
            listing.problems.push(Message::warning("W109", what).detail(root.display().to_string()));
        }
        let kept = |path: &PathBuf| !exclude.iter().any(|out| out.matches_path_with(path, OPTIONS));
        for path in found.into_iter().filter(kept) {
            let is_volume = names_volume(&path.file_name().unwrap_or_default().to_string_lossy());
            if is_volume { &mut volumes } else { &mut others }.insert(path);
        }
    }
    if volumes.is_empty() {
        return Err(nothing(root, patterns, &others).into());
    }
    // without patterns of one's own, tables and sidecars are what one expects beside the images
    if !others.is_empty() && !images.is_empty() {
        let what = format!("no volume, and left out: {}", counted(others.len(), "file"));
        listing.problems.push(Message::warning("W103", what).detail(shown(&others)));
    }
    for path in volumes {
        let id = id_of(&path);
        let subject = subject_of(&path, subject).unwrap_or_else(|| id.clone());
        let image = Source::image(root.join(&path));
        add(&mut listing, root, RawCase { id, subject, image, label: None, split: CaseSplit::Train });
    }
    Ok(listing)
}

/// Files, and images in OME-Zarr, that a pattern finds, as paths below `root`.
fn below(root: &Path, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let full = format!("{}/{pattern}", Pattern::escape(&root.to_string_lossy()));
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
        if !in_zarr && (path.is_file() || is_zarr(inside)) {
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
