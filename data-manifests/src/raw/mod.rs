//! Finds the cases of a data set in its raw files.

pub(crate) mod check;
mod declared;
mod images;
pub(crate) mod index;
mod json;
mod msd;
mod nnunet;
pub mod open;
pub(crate) mod paths;
pub mod planes;
mod source;
mod stack;
mod table;

pub use check::check;
pub(crate) use images::check_pattern;
pub use nnunet::numbered;
pub use paths::{RAW_ROOTS, clean, default_raw};
pub use source::{Sections, Source};

use crate::CaseSplit;
use crate::descriptor::{Descriptor, Raw, SectionPart};
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use volume::links;

/// One case in the raw files.
#[derive(Debug, Clone, PartialEq)]
pub struct RawCase {
    /// Case id.
    pub id: String,
    /// Subject id.
    pub subject: String,
    /// Image.
    pub image: Source,
    /// Label, when the data set has one for this case.
    pub label: Option<Source>,
    /// Published role.
    pub split: CaseSplit,
}

/// What is said of half a pair.
const NO_LABEL: &str = "the image has no label";
const NO_IMAGE: &str = "the label has no image";
/// Bytes of an id: file systems allow names of 255, and temporary ones are longer than the id.
const LONGEST_ID: usize = 200;
/// Names in a message that sums up many files.
const NAMES_SHOWN: usize = 5;

/// What was found below a raw directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Usable cases, sorted by id.
    pub cases: Vec<RawCase>,
    /// Cases that cannot be used (a file is missing), and warnings.
    pub problems: Vec<Message>,
    /// The cases that lack a file, with the names of all files that they should have.
    pub unusable: Vec<RawCase>,
}

impl Listing {
    /// Adds a case that cannot be used.
    fn refuse(&mut self, case: RawCase, problem: Message) {
        self.problems.push(problem.case(&case.id));
        self.unusable.push(case);
    }
}

/// Lists the cases below `root`, which is the data set's own folder.
///
/// # Errors
/// `E190` for ids that cannot be file names, `E191` when the folder or its `dataset.json` is not there or not readable;
/// missing files of single cases are [`Listing::problems`].
pub fn list(descriptor: &Descriptor, root: &Path) -> anyhow::Result<Listing> {
    let listing = found(descriptor, root)?;
    match unusable_ids(&listing).into_iter().next() {
        Some(message) => Err(message.into()),
        None => Ok(listing),
    }
}

/// As [`list`], with ids that cannot be file names.
fn found(descriptor: &Descriptor, root: &Path) -> anyhow::Result<Listing> {
    if !root.is_dir() {
        return Err(Message::error("E191", "the raw directory does not exist")
            .detail(root.display().to_string())
            .fix(format!("Give the folder of {} ({})", descriptor.title, descriptor.raw.folder()))
            .into());
    }
    let mut listing = match &descriptor.raw {
        Raw::Msd { .. } => msd::list(root)?,
        Raw::Nnunet { .. } => nnunet::list(root)?,
        Raw::Cremi { files, labels, parts, .. } => list_cremi(root, files, labels.as_deref(), parts),
        Raw::Stack { images, labels, .. } => {
            stack::list(root, images.as_deref(), labels.as_deref(), descriptor.raw.spacing_zyx_mm())?
        }
        Raw::Images { images, exclude, subject, .. } => images::list(root, images, exclude, *subject)?,
        Raw::Table { file: Some(file), .. } => table::list(root, file)?,
        Raw::Table { cases, file: None, .. } => {
            let mut listing = Listing::default();
            for case in cases {
                let raw = RawCase {
                    id: case.id.clone(),
                    subject: case.subject.clone().unwrap_or_else(|| case.id.clone()),
                    image: Source::named(&case.image, root),
                    label: case.label.as_ref().map(|l| Source::named(l, root)),
                    split: CaseSplit::Train,
                };
                add(&mut listing, root, raw);
            }
            listing
        }
    };
    for case in &mut listing.cases {
        case.label = case.label.take().map(|label| label.beside(&case.image));
    }
    listing.cases.sort_by(|a, b| a.id.cmp(&b.id));
    count_against_published(descriptor, &mut listing);
    Ok(listing)
}

/// Adds a case whose files exist; a missing file is a problem of this case alone.
fn add(listing: &mut Listing, root: &Path, case: RawCase) {
    let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    // one of several channels may be what is missing
    let shown = |source: &Source| below(source.missing().as_deref().unwrap_or_else(|| source.path()));
    if case.label.as_ref().is_some_and(|label| case.image.reads(label)) {
        let problem = Message::error("E189", "image and label are one file")
            .detail(below(case.image.path()))
            .fix("Name the file with the labels, or none, in the data set's list");
        listing.refuse(case, problem);
        return;
    }
    let image = case.image.missing().is_none();
    // one file may hold both
    let label = case.label.as_ref().filter(|label| !label.shares_files(&case.image));
    let (code, what, detail) = match label.map(|label| (label, label.missing().is_none())) {
        None | Some((_, true)) if image => {
            listing.cases.push(case);
            return;
        }
        Some((label, false)) if image => {
            ("E192", NO_LABEL, format!("{} is there, {} is not", shown(&case.image), shown(label)))
        }
        Some((label, true)) => {
            ("E193", NO_IMAGE, format!("{} is there, {} is not", shown(label), shown(&case.image)))
        }
        Some((label, false)) => {
            let text = format!("{} and {} do not exist", shown(&case.image), shown(label));
            ("E194", "image and label are missing", text)
        }
        None => ("E194", "the image is missing", format!("{} does not exist", shown(&case.image))),
    };
    let message = Message::error(code, what).detail(detail);
    let missing = [Some(&case.image), label].into_iter().flatten().find_map(Source::missing);
    let message = match missing.and_then(|path| links::dangling(&path)) {
        Some(target) => message
            .cause(format!("It is a link to {}, where nothing is", target.display()))
            .fix(links::UNFETCHED),
        None => message.fix("Fetch the missing file, or take the case off the data set's list"),
    };
    listing.refuse(case, message);
}

/// Says how many of macOS's resource files were passed over; `listed` of them stood in an index.
fn resource_forks(root: &Path, listed: usize, listing: &mut Listing) {
    let found = ["imagesTr", "labelsTr", "imagesTs"]
        .iter()
        .filter_map(|folder| fs_err::read_dir(root.join(folder)).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("._"))
        .count();
    if listed + found > 0 {
        let text = format!("ignored {} macOS resource files (._*)", listed.max(found));
        listing.problems.push(Message::warning("W102", text));
    }
}

/// Names of the volumes in a folder, sorted; none where there is no such folder.
fn volumes_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| {
            SCAN_ENDINGS.iter().any(|end| without(name, end).is_some()) && !name.starts_with(['.', '_'])
        })
        .collect();
    names.sort();
    names
}

fn list_cremi(root: &Path, files: &[String], labels: Option<&str>, parts: &[SectionPart]) -> Listing {
    let mut listing = Listing::default();
    for file in files {
        let path = root.join(file);
        let whole = [(stem(file).to_owned(), None)];
        let cut = parts.iter().map(|part| {
            let [first, end] = part.sections;
            (part_id(file, part), Some(Sections { first, end }))
        });
        let cases: Vec<(String, Option<Sections>)> =
            if parts.is_empty() { whole.into() } else { cut.collect() };
        for (id, sections) in cases {
            let label = labels.map(|name| Source::CremiLabels(path.clone(), name.to_owned(), sections));
            let image = Source::CremiRaw(path.clone(), sections);
            let subject = stem(file).to_owned();
            add(&mut listing, root, RawCase { subject, id, image, label, split: CaseSplit::Train });
        }
    }
    listing
}

/// Id of the case that a part of a file is.
pub(crate) fn part_id(file: &str, part: &SectionPart) -> String {
    format!("{}_{}", stem(file), part.name)
}

/// Endings of files that hold one scan: NIfTI, NRRD and MetaImage.
pub const SCAN_ENDINGS: [&str; 6] = [".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"];
/// Endings of stacks; a name's own comes before one that it ends with, too.
const STACK_ENDINGS: [&str; 7] = [".hdf5", ".hdf", ".h5", ".tif", ".tiff", ".ome.zarr", ".zarr"];

/// Endings of volumes that are read.
fn endings() -> impl Iterator<Item = &'static str> {
    SCAN_ENDINGS.into_iter().chain(STACK_ENDINGS)
}

/// File name without the endings of volumes: `a.nii.gz` → `a`.
#[must_use]
pub fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    endings().find_map(|end| without(name, end)).unwrap_or(name)
}

/// A name without an ending, in lower case or capitals.
fn without<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (rest, found) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    found.eq_ignore_ascii_case(ending).then_some(rest)
}

/// Whether a name has the ending of a volume that is read.
fn names_volume(name: &str) -> bool {
    endings().any(|end| without(name, end).is_some())
}

/// Volumes that lie in a folder, by the endings of their names, sorted.
///
/// # Errors
/// A folder that cannot be listed.
pub fn volumes_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with('.') && names_volume(&name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Name of the case that a single file or folder is: its stem; of a level of an image in OME-Zarr, the image's.
#[must_use]
pub fn case_name(path: &Path) -> String {
    let is_zarr = |part: &&Path| part.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zarr"));
    let named = path.ancestors().find(is_zarr).unwrap_or(path);
    stem(&named.file_name().unwrap_or_default().to_string_lossy()).to_owned()
}

/// Ids become names of files and folders: each must be one, and a different one.
fn unusable_ids(listing: &Listing) -> Vec<Message> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<String, &RawCase> = BTreeMap::new();
    for case in &listing.cases {
        let unusable = |c: char| c == '/' || c == '\\' || c.is_control();
        if case.id.is_empty() || case.id.starts_with('.') || case.id.contains(unusable) {
            found.push(
                Message::error("E190", format!("'{}' cannot name a case", case.id.escape_debug()))
                    .cause("Cases become folders of their names")
                    .fix("Use letters, digits, '-', '_' and '.', and begin with none of the last"),
            );
        }
        if case.id.len() > LONGEST_ID {
            found.push(
                Message::error("E190", format!("an id has {} bytes, at most {LONGEST_ID} can be", case.id.len()))
                    .detail(&case.id)
                    .cause("Cases become folders of their names, beside which others are made while they are worked on")
                    .fix("Give the case a shorter id, or rename its files"),
            );
        }
        if let Some(other) = seen.insert(case.id.to_lowercase(), case) {
            let (what, cause) = if other.id == case.id {
                (format!("'{}' is listed twice", case.id), "Two files have names that give one case")
            } else {
                let what = format!("'{}' and '{}' collide", other.id, case.id);
                (what, "Ids that differ in case only are one file on some disks")
            };
            let detail = format!("{} and {}", other.image.path().display(), case.image.path().display());
            found.push(Message::error("E190", what).detail(detail).cause(cause).fix("Rename one of them"));
        }
    }
    found
}

fn count_against_published(descriptor: &Descriptor, listing: &mut Listing) {
    let roles = [
        (CaseSplit::Train, descriptor.train_cases, "training"),
        (CaseSplit::Test, descriptor.test_cases, "test"),
    ];
    for (split, published, word) in roles {
        let cases = listing.cases.iter().filter(|c| c.split == split);
        // parts of a published sample are one
        let found = match &descriptor.raw {
            Raw::Cremi { parts, .. } if !parts.is_empty() => {
                cases.map(|case| case.subject.as_str()).collect::<BTreeSet<_>>().len()
            }
            _ => cases.count(),
        };
        if let Some(published) = published
            && found != published
        {
            let text = format!("found {found} {word} cases, the published data set has {published}");
            listing.problems.push(Message::warning("W104", text));
        }
    }
}
