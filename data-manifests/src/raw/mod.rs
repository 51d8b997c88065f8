//! Finds the cases of a data set in its raw files.

pub mod open;

use crate::CaseSplit;
use crate::descriptor::{Descriptor, Raw};
use anyhow::Context;
use serde::Deserialize;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where voxels are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A NIfTI file.
    Nifti(PathBuf),
    /// `/volumes/raw` of a CREMI HDF5 file.
    CremiRaw(PathBuf),
    /// `/volumes/labels/NAME` of a CREMI HDF5 file.
    CremiLabels(PathBuf, String),
}

impl Source {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Nifti(path) | Self::CremiRaw(path) | Self::CremiLabels(path, _) => path,
        }
    }

    /// The path below a named root, for tables and manifests: `$RAW/imagesTr/a.nii.gz`, `$RAW/a.h5#neuron_ids`.
    #[must_use]
    pub fn portable(&self, root: &Path) -> String {
        let inside = self.path().strip_prefix(root).unwrap_or(self.path());
        let inside =
            inside.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        match self {
            Self::CremiLabels(_, name) => format!("$RAW/{inside}#{name}"),
            _ => format!("$RAW/{inside}"),
        }
    }
}

/// One case in the raw files.
#[derive(Debug, Clone, PartialEq, Eq)]
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
/// Names in a message that sums up many files.
const NAMES_SHOWN: usize = 5;

/// What was found below a raw directory.
#[derive(Debug, Default)]
pub struct Listing {
    /// Usable cases, sorted by id.
    pub cases: Vec<RawCase>,
    /// Cases that cannot be used (a file is missing), and warnings.
    pub problems: Vec<Message>,
}

#[derive(Deserialize)]
struct MsdJson {
    #[serde(default)]
    training: Vec<MsdPair>,
    #[serde(default)]
    test: Vec<serde_json::Value>,
    #[serde(default)]
    modality: Option<BTreeMap<String, String>>,
    #[serde(default)]
    channel_names: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct MsdPair {
    image: String,
    label: String,
}

/// Lists the cases below `root`, which is the data set's own folder.
///
/// # Errors
/// `E190` for ids that cannot be file names, `E191` when the folder or its `dataset.json` is not there or not readable;
/// missing files of single cases are [`Listing::problems`].
pub fn list(descriptor: &Descriptor, root: &Path) -> anyhow::Result<Listing> {
    if !root.is_dir() {
        return Err(Message::error("E191", "the raw directory does not exist")
            .detail(root.display().to_string())
            .fix(format!("Give --raw the folder of {} ({})", descriptor.title, descriptor.raw.folder()))
            .into());
    }
    let mut listing = match &descriptor.raw {
        Raw::Msd { .. } => list_msd(root)?,
        Raw::Cremi { files, labels, .. } => list_cremi(root, files, labels.as_deref()),
        Raw::Table { cases, .. } => {
            let mut listing = Listing::default();
            for case in cases {
                let raw = RawCase {
                    id: case.id.clone(),
                    subject: case.subject.clone().unwrap_or_else(|| case.id.clone()),
                    image: Source::Nifti(root.join(&case.image)),
                    label: case.label.as_ref().map(|l| Source::Nifti(root.join(l))),
                    split: CaseSplit::Train,
                };
                add(&mut listing, root, raw);
            }
            listing
        }
    };
    listing.cases.sort_by(|a, b| a.id.cmp(&b.id));
    refuse_unusable_ids(&listing)?;
    count_against_published(descriptor, &mut listing);
    Ok(listing)
}

/// Adds a case whose files exist; a missing file is a problem of this case alone.
fn add(listing: &mut Listing, root: &Path, case: RawCase) {
    let shown = |source: &Source| {
        let path = source.path();
        path.strip_prefix(root).unwrap_or(path).display().to_string()
    };
    let image = case.image.path().is_file();
    // one file may hold both
    let label = case.label.as_ref().filter(|label| label.path() != case.image.path());
    let (code, what, detail) = match label.map(|label| (label, label.path().is_file())) {
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
    let message = Message::error(code, what).case(&case.id).detail(detail);
    listing.problems.push(message.fix("Fetch the missing file, or take the case off the data set's list"));
}

fn list_msd(root: &Path) -> anyhow::Result<Listing> {
    let path = root.join("dataset.json");
    let wrong = |detail: String, fix: &str| {
        Message::error("E191", "this is not a Medical Segmentation Decathlon folder").detail(detail).fix(fix)
    };
    if !path.is_file() {
        let inner: Vec<_> = subfolders_with(root, "dataset.json");
        let fix = match inner.first() {
            Some(inner) => format!("Use --raw {}", inner.display()),
            None => "Give --raw the folder TaskXX_Name that holds dataset.json".to_owned(),
        };
        return Err(wrong(format!("{} is missing", path.display()), &fix).into());
    }
    let json: MsdJson = serde_json::from_str(&fs_err::read_to_string(&path)?)
        .map_err(|e| wrong(format!("{}: {e}", path.display()), "Correct the line"))?;
    if json.channel_names.is_some() && json.modality.is_none() {
        let text = format!("{} has 'channel_names' and no 'modality'", path.display());
        return Err(wrong(text, "This is nnU-Net's raw layout; give the original Decathlon folder").into());
    }
    let mut listing = Listing::default();
    let mut hidden = 0;
    let mut pushed = |listing: &mut Listing, image: &str, label: Option<&str>, split: CaseSplit| {
        let name = image.rsplit('/').next().unwrap_or(image);
        if name.starts_with(['.', '_']) {
            hidden += 1;
            return;
        }
        let id = stem(name).to_owned();
        let at = |p: &str| Source::Nifti(root.join(p.trim_start_matches("./")));
        let case = RawCase { subject: id.clone(), id, image: at(image), label: label.map(at), split };
        add(listing, root, case);
    };
    for pair in &json.training {
        pushed(&mut listing, &pair.image, Some(&pair.label), CaseSplit::Train);
    }
    for test in &json.test {
        // the tasks list plain paths; some copies list objects like those of `training`
        let image = test.as_str().or_else(|| test.get("image").and_then(|i| i.as_str()));
        let image =
            image.with_context(|| format!("{}: 'test' holds {test}, expected a path", path.display()))?;
        pushed(&mut listing, image, None, CaseSplit::Test);
    }
    let resource_forks = ["imagesTr", "labelsTr", "imagesTs"]
        .iter()
        .filter_map(|folder| fs_err::read_dir(root.join(folder)).ok())
        .flat_map(|entries| entries.filter_map(Result::ok))
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("._"))
        .count();
    if hidden + resource_forks > 0 {
        let text = format!("ignored {} macOS resource files (._*)", hidden.max(resource_forks));
        listing.problems.push(Message::warning("W102", text));
    }
    unlisted_files(root, &json, &mut listing);
    Ok(listing)
}

/// Files that lie in the folder but not in `dataset.json`: nothing is lost silently.
fn unlisted_files(root: &Path, json: &MsdJson, listing: &mut Listing) {
    let clean = |p: &str| p.trim_start_matches("./").to_owned();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for pair in &json.training {
        known.extend([clean(&pair.image), clean(&pair.label)]);
    }
    known.extend(json.test.iter().filter_map(|t| t.as_str().or_else(|| t.get("image")?.as_str())).map(clean));
    // labels of the test images, where someone has them, lie in labelsTs and are no training data
    let folders: BTreeMap<&str, Vec<String>> =
        ["imagesTr", "labelsTr", "imagesTs"].into_iter().map(|f| (f, volumes_in(&root.join(f)))).collect();
    let has = |folder: &str, id: &str| folders[folder].iter().any(|name| stem(name) == id);
    let mut left_out = Vec::new();
    for (folder, names) in &folders {
        for path in names.iter().map(|name| format!("{folder}/{name}")).filter(|path| !known.contains(path)) {
            let id = stem(&path);
            let half = match *folder {
                "imagesTr" if !has("labelsTr", id) => Some(("E192", NO_LABEL, "labelsTr holds no label")),
                "labelsTr" if !has("imagesTr", id) && !has("imagesTs", id) => {
                    Some(("E193", NO_IMAGE, "imagesTr holds no image"))
                }
                _ => None,
            };
            match half {
                Some((code, what, other)) => listing.problems.push(
                    Message::error(code, what)
                        .case(id)
                        .detail(format!("{path} is there, {other} of this name, dataset.json lists neither"))
                        .fix("Fetch the missing file and list the pair under 'training', or move this file away"),
                ),
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

/// Names of the volumes in a folder, sorted; none where there is no such folder.
fn volumes_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|n| (n.ends_with(".nii") || n.ends_with(".nii.gz")) && !n.starts_with(['.', '_']))
        .collect();
    names.sort();
    names
}

fn list_cremi(root: &Path, files: &[String], labels: Option<&str>) -> Listing {
    let mut listing = Listing::default();
    for file in files {
        let path = root.join(file);
        let id = stem(file).to_owned();
        let label = labels.map(|name| Source::CremiLabels(path.clone(), name.to_owned()));
        let image = Source::CremiRaw(path);
        let case = RawCase { subject: id.clone(), id, image, label, split: CaseSplit::Train };
        add(&mut listing, root, case);
    }
    listing
}

fn subfolders_with(root: &Path, file: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(root) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|e| e.path()).filter(|p| p.join(file).is_file()).collect()
}

/// File name without the endings of volumes: `a.nii.gz` → `a`.
#[must_use]
pub fn stem(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    [".nii.gz", ".nii", ".hdf5", ".hdf", ".h5"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Ids become names of files and folders: each must be one, and a different one.
fn refuse_unusable_ids(listing: &Listing) -> anyhow::Result<()> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for case in &listing.cases {
        let unusable = |c: char| c == '/' || c == '\\' || c.is_control();
        if case.id.is_empty() || case.id.starts_with('.') || case.id.contains(unusable) {
            return Err(Message::error("E190", format!("'{}' cannot name a case", case.id.escape_debug()))
                .cause("Cases become folders of their names")
                .fix("Use letters, digits, '-', '_' and '.', and begin with none of the last")
                .into());
        }
        if let Some(other) = seen.insert(case.id.to_lowercase(), &case.id) {
            let (what, cause) = if other == case.id {
                (format!("'{other}' is listed twice"), "Two files of one name give one case")
            } else {
                let what = format!("'{other}' and '{}' collide", case.id);
                (what, "Ids that differ in case only are one file on some disks")
            };
            return Err(Message::error("E190", what).cause(cause).fix("Rename one of them").into());
        }
    }
    Ok(())
}

fn count_against_published(descriptor: &Descriptor, listing: &mut Listing) {
    let roles = [
        (CaseSplit::Train, descriptor.train_cases, "training"),
        (CaseSplit::Test, descriptor.test_cases, "test"),
    ];
    for (split, published, word) in roles {
        let found = listing.cases.iter().filter(|c| c.split == split).count();
        if let Some(published) = published
            && found != published
        {
            let text = format!("found {found} {word} cases, the published data set has {published}");
            listing.problems.push(Message::warning("W104", text));
        }
    }
}
