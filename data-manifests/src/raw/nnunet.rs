//! Raw folders of nnU-Net v2: `imagesTr/ID_0000.nii.gz` with one file per channel, `labelsTr/ID.nii.gz`, `imagesTs`.

use super::index::{self, FILE_NAME, Index, Kind, ListedCase};
use super::{Listing, NAMES_SHOWN, NO_IMAGE, RawCase, SCAN_ENDINGS, Source, add, stem};
use crate::CaseSplit;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const WHAT: &str = "this is not an nnU-Net raw folder";

/// What to do with a folder in this layout that was given as another.
pub(super) const USE_IT: &str =
    "Give the folder itself as --dataset, or write layout = \"nnunet\" below [raw] in the descriptor";

/// Endings of stacks that nnU-Net has beside scans.
const STACKS: [&str; 2] = [".tif", ".tiff"];

pub(super) fn list(root: &Path) -> anyhow::Result<Listing> {
    if !root.join(FILE_NAME).is_file() {
        return Err(index::missing(root, WHAT, "DatasetNNN_Name").into());
    }
    let index = Index::read(root)
        .map_err(|e| Message::error("E191", WHAT).detail(format!("{e:#}")).fix("Correct the line"))?;
    let place = root.join(FILE_NAME).display().to_string();
    if let Some(file) = first_version(root, &index) {
        return Err(is_first_version(root, &file).into());
    }
    if index.kind == Kind::Msd {
        return Err(Message::error("E191", WHAT)
            .detail(format!("{place} has no 'channel_names'"))
            .cause("This is a folder of the Medical Segmentation Decathlon")
            .fix("Give the folder itself as --dataset, or write layout = \"msd\" below [raw] in the descriptor")
            .into());
    }
    if index.channels.is_empty() {
        return Err(index.refusal().into());
    }
    let endings = [SCAN_ENDINGS.as_slice(), &STACKS].concat();
    if !endings.contains(&index.file_ending.as_str()) {
        return Err(Message::error(
            "E191",
            format!("volumes ending in '{}' cannot be read", index.file_ending),
        )
        .detail(format!("{}: expected one of {}", index.place(&["file_ending"]), endings.join(", ")))
        .cause(reason(&index.file_ending))
        .fix("Convert the files to .nii.gz (SimpleITK and nibabel do) and change 'file_ending'")
        .into());
    }
    let mut listing = Listing { problems: index.files.clone(), ..Listing::default() };
    let train = Folder::read(&root.join("imagesTr"), &index.file_ending);
    let test = Folder::read(&root.join("imagesTs"), &index.file_ending);
    let listed = match &index.dataset {
        Some(cases) => {
            for case in cases {
                listed_case(root, case, &index, &mut listing);
            }
            cases.len()
        }
        None => training(root, &train, &index, &mut listing),
    };
    for (id, files) in &test.cases {
        let case = files_of(root, "imagesTs", id, files, &index, &mut listing);
        if let Some(image) = case {
            let (id, subject) = (id.clone(), id.clone());
            add(&mut listing, root, RawCase { id, subject, image, label: None, split: CaseSplit::Test });
        }
    }
    super::resource_forks(root, 0, &mut listing);
    if index.dataset.is_none() {
        unnumbered("imagesTr", &train.unnumbered, &mut listing);
    }
    unnumbered("imagesTs", &test.unnumbered, &mut listing);
    if let Some(number) = index.num_training.filter(|number| *number != listed) {
        let text = format!("found {listed} training cases, dataset.json says numTraining {number}");
        listing.problems.push(Message::warning("W104", text).detail(index.place(&["numTraining"])));
    }
    Ok(listing)
}

fn reason(ending: &str) -> String {
    match ending {
        ".png" | ".bmp" | ".jpg" | ".jpeg" => {
            "Such files are pictures of two dimensions, not volumes".to_owned()
        }
        _ => format!("There is no reader for '{ending}'"),
    }
}

/// Cases of `imagesTr` and `labelsTr`; returns their number.
fn training(root: &Path, folder: &Folder, index: &Index, listing: &mut Listing) -> usize {
    let labels: BTreeSet<String> = names_in(&root.join("labelsTr"))
        .into_iter()
        .filter_map(|name| Some(name.strip_suffix(&index.file_ending)?.to_owned()))
        .collect();
    for (id, files) in &folder.cases {
        if let Some(image) = files_of(root, "imagesTr", id, files, index, listing) {
            let label = Some(label_of(root, id, index));
            let (id, subject) = (id.clone(), id.clone());
            add(listing, root, RawCase { id, subject, image, label, split: CaseSplit::Train });
        }
    }
    let lonely: Vec<_> = labels.iter().filter(|id| !folder.cases.contains_key(*id)).collect();
    for id in &lonely {
        let ending = &index.file_ending;
        let problem = Message::error("E193", NO_IMAGE)
            .detail(format!("labelsTr/{id}{ending} is there, imagesTr/{id}_0000{ending} is not"))
            .fix("Fetch the missing file, or move this one away");
        refuse(root, "imagesTr", id, index, problem, listing);
    }
    folder.cases.len() + lonely.len()
}

fn label_of(root: &Path, id: &str, index: &Index) -> Source {
    Source::image(root.join("labelsTr").join(format!("{id}{}", index.file_ending)))
}

/// Adds a case that lacks files, with the names that they would have.
fn refuse(root: &Path, folder: &str, id: &str, index: &Index, problem: Message, listing: &mut Listing) {
    let file = |channel| root.join(folder).join(format!("{id}_{channel:04}{}", index.file_ending));
    let channels = (0..index.channels.len()).map(|channel| Source::image(file(channel))).collect();
    let is_train = folder == "imagesTr";
    if let Some(image) = Source::channels(channels) {
        let label = is_train.then(|| label_of(root, id, index));
        let split = if is_train { CaseSplit::Train } else { CaseSplit::Test };
        listing.refuse(RawCase { id: id.to_owned(), subject: id.to_owned(), image, label, split }, problem);
    }
}

/// A case of the `dataset` member.
fn listed_case(root: &Path, case: &ListedCase, index: &Index, listing: &mut Listing) {
    let found = case.images.len();
    let images = case.images.iter().map(|path| Source::image(root.join(path))).collect();
    // none at all are named as they would be by rule
    let image = Source::channels(images).unwrap_or_else(|| {
        Source::image(root.join(format!("imagesTr/{}_0000{}", case.id, index.file_ending)))
    });
    let label = Some(Source::image(root.join(&case.label)));
    let (id, subject) = (case.id.clone(), case.id.clone());
    let raw = RawCase { id, subject, image, label, split: CaseSplit::Train };
    if found == index.channels.len() {
        add(listing, root, raw);
        return;
    }
    let problem =
        Message::error("E141", format!("found {found} channels, expected {}", index.channels.len()))
            .detail(index.place(&["dataset", &case.id, "images"]))
            .fix("List one file for each of 'channel_names'");
    listing.refuse(raw, problem);
}

/// The image of a case from its files by channel; a channel that is missing or too much is the case's problem.
fn files_of(
    root: &Path,
    folder: &str,
    id: &str,
    files: &BTreeMap<usize, String>,
    index: &Index,
    listing: &mut Listing,
) -> Option<Source> {
    let ending = &index.file_ending;
    let missing: Vec<String> = (0..index.channels.len())
        .filter(|channel| !files.contains_key(channel))
        .map(|channel| format!("{folder}/{id}_{channel:04}{ending} ({})", index.channels[channel]))
        .collect();
    let beyond: Vec<&String> = files.range(index.channels.len()..).map(|(_, name)| name).collect();
    let problem = if let Some(first) = missing.first() {
        let what = if missing.len() == 1 { "a channel is missing" } else { "channels are missing" };
        let there: Vec<&str> = files.values().map(String::as_str).collect();
        let detail = if missing.len() == 1 { format!("{first} is not there") } else { missing.join(", ") };
        Message::error("E194", what)
            .detail(format!("{detail}; found {}", there.join(", ")))
            .fix("Fetch the missing file, or move the others of this case away")
    } else if let Some(name) = beyond.first() {
        let last = index.channels.len().saturating_sub(1);
        Message::error("E141", format!("found {} channels, expected {}", files.len(), index.channels.len()))
            .detail(format!("{folder}/{name}: 'channel_names' goes to {last}"))
            .fix("Declare the channel in 'channel_names', or move the file away")
    } else {
        let spacing = sidecar(&root.join(folder).join(format!("{id}.json")));
        let channels =
            files.values().map(|name| Source::image(root.join(folder).join(name)).spaced(spacing)).collect();
        return Source::channels(channels);
    };
    refuse(root, folder, id, index, problem, listing);
    None
}

/// The voxel size that nnU-Net keeps beside TIFF files, `ID.json` with `{"spacing": [z, y, x]}` in mm; where there is none, the
/// files' own tags must state it.
fn sidecar(path: &Path) -> Option<[f64; 3]> {
    let text = fs_err::read_to_string(path).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let spacing: Vec<f64> = value.get("spacing")?.as_array()?.iter().filter_map(|v| v.as_f64()).collect();
    spacing.try_into().ok().filter(|spacing: &[f64; 3]| spacing.iter().all(|s| s.is_finite() && *s > 0.0))
}

/// Names in a folder that are not hidden, sorted; none where there is no such folder.
fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with(['.', '_']))
        .collect();
    names.sort();
    names
}

/// Files of an image folder by case and channel.
struct Folder {
    cases: BTreeMap<String, BTreeMap<usize, String>>,
    /// Volumes without a channel number.
    unnumbered: Vec<String>,
}

impl Folder {
    fn read(folder: &Path, ending: &str) -> Self {
        let mut found = Self { cases: BTreeMap::new(), unnumbered: Vec::new() };
        for name in names_in(folder) {
            let Some(rest) = name.strip_suffix(ending) else { continue };
            match numbered(rest) {
                Some((id, channel)) => {
                    found.cases.entry(id.to_owned()).or_default().insert(channel, name.clone());
                }
                None => found.unnumbered.push(name),
            }
        }
        found
    }
}

/// `a_0001` → `a`, 1: nnU-Net's numbers of channels.
#[must_use]
pub fn numbered(name: &str) -> Option<(&str, usize)> {
    let (id, number) = name.rsplit_once('_')?;
    let digits = number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit());
    (digits && !id.is_empty()).then_some(())?;
    Some((id, number.parse().ok()?))
}

fn unnumbered(folder: &str, names: &[String], listing: &mut Listing) {
    let Some(first) = names.first() else { return };
    let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = match names.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what = format!("{} of {folder} have no channel number and are left out", names.len());
    let id = stem(first);
    listing.problems.push(
        Message::warning("W103", what)
            .detail(format!("{shown}{more}"))
            .fix(format!("Name the channels' files {id}_0000, {id}_0001 and so on")),
    );
}

/// Whether a folder with the Decathlon's `dataset.json` has nnU-Net's files: then it is of nnU-Net's first version, and this
/// file says so.
pub(super) fn first_version(root: &Path, index: &Index) -> Option<String> {
    if index.kind != Kind::Msd {
        return None;
    }
    let pair = index.training.iter().find(|pair| !root.join(&pair.image).exists())?;
    let id = stem(&pair.image);
    let file = format!("imagesTr/{id}_0000.nii.gz");
    root.join(&file).is_file().then_some(file)
}

pub(super) fn is_first_version(root: &Path, file: &str) -> Message {
    let name = root.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let number: String =
        name.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    let rest = name.split_once('_').map_or("Name", |(_, rest)| rest);
    let new = format!("Dataset{:0>3}_{rest}", if number.is_empty() { "001" } else { &number });
    Message::error("E191", "this is a raw folder of nnU-Net's first version")
        .detail(format!(
            "{} has 'modality', and the files are numbered by channel ({file})",
            root.join(FILE_NAME).display()
        ))
        .fix(format!(
            "Convert it with 'nnUNetv2_convert_old_nnUNet_dataset {} {new}', then use $nnUNet_raw/{new}",
            root.display()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channel_numbers_have_four_digits() {
        assert_eq!(numbered("a_b_0001"), Some(("a_b", 1)));
        assert_eq!(numbered("a_0000_0012"), Some(("a_0000", 12)));
        for name in ["a", "a_1", "a_00001", "_0000", "a_00x0"] {
            assert_eq!(numbered(name), None, "{name}");
        }
    }
}
