//! Folders of the Medical Segmentation Decathlon.

use super::index::{self, FILE_NAME, Index, Kind};
use super::{Listing, NAMES_SHOWN, NO_IMAGE, NO_LABEL, RawCase, Source, add, nnunet, stem, volumes_in};
use crate::CaseSplit;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const WHAT: &str = "this is not a Medical Segmentation Decathlon folder";

pub(super) fn list(root: &Path) -> anyhow::Result<Listing> {
    if !root.join(FILE_NAME).is_file() {
        return Err(index::missing(root, WHAT, "TaskXX_Name").into());
    }
    let index = Index::read(root)
        .map_err(|e| Message::error("E191", WHAT).detail(format!("{e:#}")).fix("Correct the line"))?;
    let place = root.join(FILE_NAME).display().to_string();
    if index.kind == Kind::Nnunet {
        return Err(Message::error("E191", WHAT)
            .detail(format!("{place} has 'channel_names' and no 'modality'"))
            .cause("This is nnU-Net's raw layout")
            .fix(nnunet::USE_IT)
            .into());
    }
    if let Some(file) = nnunet::first_version(root, &index) {
        return Err(nnunet::is_first_version(root, &file).into());
    }
    let mut listing = Listing { problems: index.files.clone(), ..Listing::default() };
    let mut hidden = 0;
    let mut pushed = |listing: &mut Listing, image: &str, label: Option<&str>, split: CaseSplit| {
        let name = image.rsplit('/').next().unwrap_or(image);
        if name.starts_with(['.', '_']) {
            hidden += 1;
            return;
        }
        let id = stem(name).to_owned();
        let at = |p: &str| Source::Scan(root.join(p));
        let case = RawCase { subject: id.clone(), id, image: at(image), label: label.map(at), split };
        add(listing, root, case);
    };
    for pair in &index.training {
        pushed(&mut listing, &pair.image, Some(&pair.label), CaseSplit::Train);
    }
    for image in &index.test {
        pushed(&mut listing, image, None, CaseSplit::Test);
    }
    super::resource_forks(root, hidden, &mut listing);
    unlisted_files(root, &index, &mut listing);
    Ok(listing)
}

/// Files that lie in the folder but not in `dataset.json`: nothing is lost silently.
fn unlisted_files(root: &Path, index: &Index, listing: &mut Listing) {
    let mut known: BTreeSet<&str> = BTreeSet::new();
    for pair in &index.training {
        known.extend([pair.image.as_str(), pair.label.as_str()]);
    }
    known.extend(index.test.iter().map(String::as_str));
    // labels of the test images, where someone has them, lie in labelsTs and are no training data
    let folders: BTreeMap<&str, Vec<String>> =
        ["imagesTr", "labelsTr", "imagesTs"].into_iter().map(|f| (f, volumes_in(&root.join(f)))).collect();
    let has = |folder: &str, id: &str| folders[folder].iter().any(|name| stem(name) == id);
    let mut left_out = Vec::new();
    for (folder, names) in &folders {
        let paths = names.iter().map(|name| format!("{folder}/{name}"));
        for path in paths.filter(|path| !known.contains(path.as_str())) {
            let id = stem(&path);
            let half = match *folder {
                "imagesTr" if !has("labelsTr", id) => Some(("E192", NO_LABEL, "labelsTr holds no label")),
                "labelsTr" if !has("imagesTr", id) && !has("imagesTs", id) => {
                    Some(("E193", NO_IMAGE, "imagesTr holds no image"))
                }
                _ => None,
            };
            match half {
                Some((code, what, other)) => {
                    let problem = Message::error(code, what)
                        .detail(format!("{path} is there, {other} of this name, dataset.json lists neither"))
                        .fix("Fetch the missing file and list the pair under 'training', or move this file away");
                    let name = path.rsplit('/').next().unwrap_or(&path);
                    let [image, label] =
                        ["imagesTr", "labelsTr"].map(|folder| Source::Scan(root.join(folder).join(name)));
                    let (id, subject) = (id.to_owned(), id.to_owned());
                    let case = RawCase { id, subject, image, label: Some(label), split: CaseSplit::Train };
                    listing.refuse(case, problem);
                }
                None => left_out.push(path),
            }
        }
    }
    if !left_out.is_empty() {
        let verb = if left_out.len() == 1 { "volume is" } else { "volumes are" };
        let more = match left_out.len().saturating_sub(NAMES_SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let names = left_out.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        let text = format!("{} {verb} not listed in dataset.json and left out", left_out.len());
        listing.problems.push(
            Message::warning("W103", text)
                .detail(format!("{names}{more}"))
                .fix("List them under 'training' (with their labels) or 'test' to use them"),
        );
    }
}
