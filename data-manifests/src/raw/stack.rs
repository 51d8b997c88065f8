//! Folders of TIFF files with several pages, of folders with slices, or of images in OME-Zarr.

use super::{Listing, RawCase, Source, add, stem};
use crate::CaseSplit;
use stage::Message;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Lists the stacks in `images` below `root` with those of the same name in `labels`, or where that is `#NAME`, with their own label images
/// of this name.
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
    let source = |path: &Path| Source::image(path.to_owned()).spaced(spacing_zyx_mm);
    let mut listing = Listing::default();
    if let Some(name) = labels.and_then(|labels| labels.strip_prefix('#')) {
        for (id, path) in stacks {
            let label = Source::named(&format!("{}#{name}", path.display()), root).spaced(spacing_zyx_mm);
            let (image, subject) = (source(&path), id.clone());
            add(
                &mut listing,
                root,
                RawCase { id, subject, image, label: Some(label), split: CaseSplit::Train },
            );
        }
        return Ok(listing);
    }
    let label_folder = labels.map(|labels| root.join(labels));
    let labels = label_folder.as_deref().map(self::stacks).transpose()?;
    // half a pair, whose other half would have its name
    let half = |id: &str, image: &Path, label: Option<PathBuf>| RawCase {
        id: id.to_owned(),
        subject: id.to_owned(),
        image: source(image),
        label: label.map(|label| source(&label)),
        split: CaseSplit::Train,
    };
    for (id, path) in &stacks {
        let image = source(path);
        let label = match &labels {
            Some(labels) => match labels.get(id) {
                Some(path) => Some(source(path).beside(&image)),
                None => {
                    let shown = path.strip_prefix(root).unwrap_or(path).display();
                    let problem = Message::error("E192", super::NO_LABEL)
                        .detail(format!("{shown} is there, the folder of the labels holds no '{id}'"))
                        .fix("Fetch the missing stack, or move this one away");
                    let label = label_folder.as_ref().zip(path.file_name()).map(|(at, name)| at.join(name));
                    listing.refuse(half(id, path, label), problem);
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
        let problem = Message::error("E193", super::NO_IMAGE)
            .detail(format!("{shown} is there, the folder of the images holds no '{id}'"))
            .fix("Fetch the missing stack, or move this one away");
        let image = folder.join(path.file_name().unwrap_or_default());
        listing.refuse(half(id, &image, Some(path.clone())), problem);
    }
    Ok(listing)
}

/// TIFF files, and folders, by their stems.
fn stacks(folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
    let wrong = |what: &'static str| {
        Message::error("E191", what)
            .detail(folder.display().to_string())
            .fix("Expected one TIFF file, one folder of TIFF or PNG slices, or one folder NAME.zarr, for each case; see [raw] in the descriptor")
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
            let id = stem(&name).to_owned();
            if let Some(other) = found.insert(id.clone(), path) {
                return Err(Message::error("E190", format!("two stacks are called '{id}'"))
                    .detail(format!("{} and {name}", other.display()))
                    .fix("Rename one of them, or move it away")
                    .into());
            }
        }
    }
    if found.is_empty() { Err(wrong("the folder holds no stack").into()) } else { Ok(found) }
}
