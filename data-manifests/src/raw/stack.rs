//! Folders of TIFF files with several pages, or of folders with slices.

use super::{Listing, RawCase, Source, add, stem};
use crate::CaseSplit;
use stage::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lists the stacks in `images` below `root` with those of the same name in `labels`.
///
/// # Errors
/// `E191` where a folder is missing or holds no stack.
pub(super) fn list(
    root: &Path,
    images: Option<&str>,
    labels: Option<&str>,
    spacing_zyx_mm: Option<[f64; 3]>,
) -> anyhow::Result<Listing> {
    let folder = images.map_or_else(|| root.to_owned(), |images| root.join(images));
    let stacks = stacks(&folder)?;
    let labels = labels.map(|labels| self::stacks(&root.join(labels))).transpose()?;
    let mut listing = Listing::default();
    for (id, path) in &stacks {
        let image = Source::Stack { path: path.clone(), spacing_zyx_mm, like: None };
        let label = match &labels {
            Some(labels) => match labels.get(id) {
                Some(path) => {
                    let label = Source::Stack { path: path.clone(), spacing_zyx_mm, like: None };
                    Some(label.beside(&image))
                }
                None => {
                    let shown = path.strip_prefix(root).unwrap_or(path).display();
                    listing.problems.push(
                        Message::error("E192", super::NO_LABEL)
                            .case(id)
                            .detail(format!("{shown} is there, the folder of the labels holds no '{id}'"))
                            .fix("Fetch the missing stack, or move this one away"),
                    );
                    continue;
                }
            },
            None => None,
        };
        let (id, subject) = (id.clone(), id.clone());
        add(&mut listing, root, RawCase { id, subject, image, label, split: CaseSplit::Train });
    }
    for (id, path) in labels.iter().flatten().filter(|(id, _)| !stacks.contains_key(*id)) {
        let shown = path.strip_prefix(root).unwrap_or(path).display();
        listing.problems.push(
            Message::error("E193", super::NO_IMAGE)
                .case(id)
                .detail(format!("{shown} is there, the folder of the images holds no '{id}'"))
                .fix("Fetch the missing stack, or move this one away"),
        );
    }
    Ok(listing)
}

/// TIFF files and folders by their stems.
fn stacks(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let wrong = |what: &'static str| {
        Message::error("E191", what)
            .detail(folder.display().to_string())
            .fix("Expected one TIFF file, or one folder of TIFF or PNG slices, for each case; see [raw] in the descriptor")
    };
    if !folder.is_dir() {
        return Err(wrong("the folder of the stacks does not exist").into());
    }
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let is_tiff = [".tif", ".tiff"].iter().any(|end| name.to_lowercase().ends_with(end));
        if !name.starts_with('.') && (is_tiff || path.is_dir()) {
            found.insert(stem(&name).to_owned(), path);
        }
    }
    if found.is_empty() { Err(wrong("the folder holds no stack").into()) } else { Ok(found) }
}
