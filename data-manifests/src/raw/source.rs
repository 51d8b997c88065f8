//! Where voxels are read from.

use super::{SCAN_ENDINGS, paths};
use crate::{Artefact, digest};
use std::path::{Path, PathBuf};
use std::{fmt, io};
use volume::{VolumeError, ome_zarr, scan};

/// Between the files of [`Source::Channels`] in tables and manifests.
const BETWEEN: &str = ";$RAW/";

/// Where voxels are read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A file of NIfTI, MetaImage or NRRD.
    Scan(PathBuf),
    /// One source per channel, all on one grid; two at least.
    Channels(Vec<Source>),
    /// A TIFF file of several pages, or a folder of TIFF or PNG slices.
    Stack {
        /// File or folder.
        path: PathBuf,
        /// Voxel size in mm that the data set's description states, z, y, x; it wins over sidecars and tags.
        spacing_zyx_mm: Option<[f64; 3]>,
        /// The image that a label without a voxel size lies on.
        like: Option<PathBuf>,
    },
    /// An image in OME-Zarr, at its finest level or at one that the path names, or one of its label images.
    Ome {
        /// The image's group, or the array of a level.
        path: PathBuf,
        /// The label image of this name beside it.
        label: Option<String>,
        /// A part of it along z.
        sections: Option<Sections>,
        /// Voxel size in mm that the data set's description states, z, y, x; it wins over the metadata.
        spacing_zyx_mm: Option<[f64; 3]>,
        /// The image that labels without a voxel size lie on.
        like: Option<PathBuf>,
    },
    /// `/volumes/raw` of a CREMI HDF5 file.
    CremiRaw(PathBuf, Option<Sections>),
    /// `/volumes/labels/NAME` of a CREMI HDF5 file.
    CremiLabels(PathBuf, String, Option<Sections>),
}

/// A run of a stack's sections; in tables and on command lines `[first:end]` behind the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// The first, counted from 0.
    pub first: usize,
    /// One past the last.
    pub end: usize,
}

impl fmt::Display for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.first, self.end)
    }
}

impl Sections {
    /// A text without the sections that it ends with, and these.
    fn of(text: &str) -> (&str, Option<Self>) {
        let found = text.strip_suffix(']').and_then(|text| {
            let (before, range) = text.rsplit_once('[')?;
            let (first, end) = range.split_once(':')?;
            Some((before, Self { first: first.parse().ok()?, end: end.parse().ok()? }))
        });
        match found {
            Some((before, sections)) => (before, Some(sections)),
            None => (text, None),
        }
    }

    /// The source that a text names: an HDF5 file or an image in OME-Zarr with its labels behind a `#`, and its sections behind these.
    fn source(text: &str, root: &Path) -> Option<Source> {
        let (text, sections) = Self::of(text);
        let ome = |path: &str, label: Option<&str>| {
            let (path, label) = (root.join(path), label.map(str::to_owned));
            Source::Ome { path, label, sections, spacing_zyx_mm: None, like: None }
        };
        match text.split_once('#') {
            Some((image, name)) if is_zarr(&root.join(image)) => Some(ome(image, Some(name))),
            None if is_zarr(&root.join(text)) => Some(ome(text, None)),
            Some((file, name)) if is_hdf5(file) => {
                Some(Source::CremiLabels(root.join(file), name.to_owned(), sections))
            }
            None if is_hdf5(text) => Some(Source::CremiRaw(root.join(text), sections)),
            _ => None,
        }
    }
}

impl Source {
    /// The source of an image that a path names: HDF5 or a TIFF stack by its ending, OME-Zarr by the ending or what is in the folder, a stack
    /// of slices where it is another folder, else a scan, whose format its first bytes tell.
    #[must_use]
    pub fn image(path: PathBuf) -> Self {
        let name = path.to_string_lossy().to_lowercase();
        if is_hdf5(&name) {
            Self::CremiRaw(path, None)
        } else if is_zarr(&path) {
            Self::Ome { path, label: None, sections: None, spacing_zyx_mm: None, like: None }
        } else if [".tif", ".tiff"].iter().any(|end| name.ends_with(end)) || path.is_dir() {
            Self::Stack { path, spacing_zyx_mm: None, like: None }
        } else {
            Self::Scan(path)
        }
    }

    /// The same source, where it is a stack with this voxel size (mm, z, y, x) in place of what sidecars and tags say.
    #[must_use]
    pub fn spaced(self, spacing_zyx_mm: Option<[f64; 3]>) -> Self {
        match self {
            Self::Stack { path, spacing_zyx_mm: own, like } => {
                Self::Stack { path, spacing_zyx_mm: spacing_zyx_mm.or(own), like }
            }
            Self::Ome { path, label, sections, spacing_zyx_mm: own, like } => {
                Self::Ome { path, label, sections, spacing_zyx_mm: spacing_zyx_mm.or(own), like }
            }
            Self::Channels(channels) => {
                Self::Channels(channels.into_iter().map(|c| c.spaced(spacing_zyx_mm)).collect())
            }
            other => other,
        }
    }

    /// The same source, where it is a stack of labels that takes the voxel size of its image if it has none.
    #[must_use]
    pub fn beside(self, image: &Self) -> Self {
        match (self, image) {
            (
                Self::Stack { path, spacing_zyx_mm, .. },
                Self::Stack { path: like, spacing_zyx_mm: size, .. },
            ) => Self::Stack { path, spacing_zyx_mm: spacing_zyx_mm.or(*size), like: Some(like.clone()) },
            (
                Self::Ome { path, label, sections, spacing_zyx_mm, .. },
                Self::Ome { path: like, spacing_zyx_mm: size, .. },
            ) => {
                let spacing_zyx_mm = spacing_zyx_mm.or(*size);
                Self::Ome { path, label, sections, spacing_zyx_mm, like: Some(like.clone()) }
            }
            (label, Self::Channels(channels)) => match channels.first() {
                Some(first) => label.beside(first),
                None => label,
            },
            (label, _) => label,
        }
    }

    /// The source that a text names: labels in HDF5 and OME-Zarr are named behind a `#`, and a part of the sections behind that:
    /// `a.h5#neuron_ids[75:125]`, `a.zarr[0:75]`; else as [`Source::image`].
    #[must_use]
    pub fn named(path: &str, root: &Path) -> Self {
        Sections::source(path, root).unwrap_or_else(|| Self::image(root.join(path)))
    }

    /// Whether a text names something below the raw folder; the error says in words that follow the text why not.
    ///
    /// # Errors
    /// Nothing, or a path that leads out of the folder.
    pub(crate) fn check_name(text: &str) -> Result<(), &'static str> {
        let file = Sections::of(text).0;
        let file = file.split_once('#').map_or(file, |(file, _)| file);
        paths::below(file).map(drop)
    }

    /// One source of several channels; a single one is itself. `None` without any.
    #[must_use]
    pub fn channels(mut sources: Vec<Self>) -> Option<Self> {
        match sources.len() {
            0 => None,
            1 => sources.pop(),
            _ => Some(Self::Channels(sources)),
        }
    }

    /// The file; of several channels the first one's.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Scan(path)
            | Self::Stack { path, .. }
            | Self::Ome { path, .. }
            | Self::CremiRaw(path, _)
            | Self::CremiLabels(path, ..) => path,
            Self::Channels(channels) => channels.first().map_or(Path::new(""), Self::path),
        }
    }

    /// The same error with the file that it is about: that of its channel, where each has its own.
    #[must_use]
    pub fn in_own_file(&self, error: VolumeError) -> VolumeError {
        let own = match (self, error.channel()) {
            (Self::Channels(channels), Some(channel)) => channels.get(channel),
            _ => None,
        };
        error.in_file(own.unwrap_or(self).path())
    }

    /// All files, in the order of the channels.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        match self {
            Self::Channels(channels) => {
                let files: Vec<_> = channels.iter().map(Self::files).collect::<io::Result<_>>()?;
                Ok(files.concat())
            }
            // a folder is its slices, and the file that states their spacing
            Self::Stack { path, .. } if path.is_dir() => {
                let mut files = Vec::new();
                for entry in fs_err::read_dir(path)? {
                    let entry = entry?.path();
                    let hidden =
                        entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
                    if !hidden && entry.is_file() {
                        files.push(entry);
                    }
                }
                files.sort();
                Ok(files)
            }
            // a header that cannot be read is told by whoever reads it
            Self::Scan(path) => match scan::data_file(path) {
                Ok(Some(voxels)) => Ok(vec![path.clone(), voxels]),
                Ok(None) | Err(_) => Ok(vec![path.clone()]),
            },
            Self::Ome { .. } => {
                let (mut files, array) = self.parts()?;
                files.extend(digest::files_below(&array)?.into_iter().map(|name| array.join(name)));
                Ok(files)
            }
            _ => Ok(vec![self.path().to_owned()]),
        }
    }

    /// The group, or the array, in which an image in OME-Zarr is looked for: that of its labels, where they are meant.
    fn node(path: &Path, label: Option<&str>) -> PathBuf {
        label.map_or_else(|| path.to_owned(), |name| ome_zarr::label_group(path, name))
    }

    /// Of an image in OME-Zarr the files of metadata, and the folder of the array.
    fn parts(&self) -> io::Result<(Vec<PathBuf>, PathBuf)> {
        let node = match self {
            Self::Ome { path, label, .. } => Self::node(path, label.as_deref()),
            other => other.path().to_owned(),
        };
        ome_zarr::parts(&node).map_err(io::Error::other)
    }

    /// Whether this and another are read from the same files: a file of HDF5 holds an image and its labels.
    #[must_use]
    pub fn shares_files(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ome { path, label, .. }, Self::Ome { path: other, label: other_label, .. }) => {
                path == other && label == other_label
            }
            _ => self.path() == other.path(),
        }
    }

    /// Whether this is, or has for a channel, what another source reads: one file of HDF5 may hold an image and its labels.
    pub(super) fn reads(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Channels(channels), other) => channels.iter().any(|channel| channel.reads(other)),
            (_, Self::CremiLabels(..) | Self::Ome { label: Some(_), .. }) => self == other,
            _ => self.path() == other.path(),
        }
    }

    /// The first path that is not there.
    #[must_use]
    pub fn missing(&self) -> Option<PathBuf> {
        match self {
            Self::Channels(channels) => channels.iter().find_map(Self::missing),
            Self::Stack { path, .. } => Some(path.clone()).filter(|path| !path.exists()),
            Self::Ome { path, label, .. } => {
                Some(Self::node(path, label.as_deref())).filter(|node| !node.is_dir())
            }
            // a header that cannot be read is told by whoever reads it
            Self::Scan(path) if path.is_file() => {
                scan::data_file(path).ok().flatten().filter(|voxels| !voxels.is_file())
            }
            _ => Some(self.path().to_owned()).filter(|path| !path.is_file()),
        }
    }

    /// The NIfTI file whose header says how the voxels lie, where there is one: label maps on this grid take it over.
    #[must_use]
    pub fn nifti(&self) -> Option<&Path> {
        match self {
            Self::Scan(path) if scan::is_nifti(path) => Some(path),
            Self::Channels(channels) => channels.first().and_then(Self::nifti),
            Self::Scan(_)
            | Self::Stack { .. }
            | Self::Ome { .. }
            | Self::CremiRaw(..)
            | Self::CremiLabels(..) => None,
        }
    }

    /// All files as inputs of a stage, below the named root `RAW`; the array of an image in OME-Zarr is one, whatever number of files it has.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn artefacts(&self, role: &str, root: &Path) -> io::Result<Vec<Artefact>> {
        match self {
            Self::Channels(channels) => {
                let each: Vec<_> =
                    channels.iter().map(|c| c.artefacts(role, root)).collect::<io::Result<_>>()?;
                return Ok(each.concat());
            }
            Self::Ome { .. } => {
                let (files, array) = self.parts()?;
                let metadata = files.iter().map(|file| Artefact::of_rooted(role, file, "RAW", root));
                let array = Artefact::of_rooted_tree(role, &array, "RAW", root);
                return metadata.chain([array]).collect();
            }
            _ => {}
        }
        self.files()?.iter().map(|file| Artefact::of_rooted(role, file, "RAW", root)).collect()
    }

    /// The path below a named root, for tables and manifests: `$RAW/imagesTr/a.nii.gz`, `$RAW/a.h5#neuron_ids`; several
    /// channels are parted by `;`.
    #[must_use]
    pub fn portable(&self, root: &Path) -> String {
        if let Self::Channels(channels) = self {
            return channels.iter().map(|c| c.portable(root)).collect::<Vec<_>>().join(";");
        }
        let inside = self.path().strip_prefix(root).unwrap_or(self.path());
        let inside =
            inside.components().map(|c| c.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        match self {
            Self::CremiLabels(_, name, None) => format!("$RAW/{inside}#{name}"),
            Self::CremiLabels(_, name, Some(sections)) => format!("$RAW/{inside}#{name}{sections}"),
            Self::CremiRaw(_, Some(sections)) => format!("$RAW/{inside}{sections}"),
            Self::Ome { label, sections, .. } => {
                let label = label.as_ref().map_or_else(String::new, |name| format!("#{name}"));
                let sections = sections.map_or_else(String::new, |sections| sections.to_string());
                format!("$RAW/{inside}{label}{sections}")
            }
            _ => format!("$RAW/{inside}"),
        }
    }

    /// The source that [`Source::portable`] wrote; `None` for a text that is empty or not below `$RAW`.
    #[must_use]
    pub fn from_portable(text: &str, root: &Path) -> Option<Self> {
        let inside = text.strip_prefix("$RAW/")?;
        let sources: Option<Vec<Self>> = inside
            .split(BETWEEN)
            .map(|path| {
                let file = path.split_once('#').map_or(path, |(file, _)| file);
                let file = paths::below(Sections::of(file).0).ok()?;
                Some(Sections::source(path, root).unwrap_or_else(|| Self::image(root.join(file))))
            })
            .collect();
        Self::channels(sources?)
    }
}

fn is_hdf5(path: &str) -> bool {
    [".h5", ".hdf", ".hdf5"].iter().any(|end| path.ends_with(end))
}

/// Whether a path is an image in OME-Zarr, or in one: by its ending, or by what is there. Files of other formats may lie in such a folder.
fn is_zarr(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    if SCAN_ENDINGS.iter().chain(&[".tif", ".tiff"]).any(|end| name.ends_with(end)) {
        return false;
    }
    let named = |part: &Path| part.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zarr"));
    path.ancestors().any(named) || ome_zarr::is_zarr(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_of_their_channel() {
        let scans = ["a_0000.nii", "a_0001.nii"].map(|name| Source::Scan(name.into()));
        let together = Source::Channels(scans.to_vec());
        let error = |channel: usize| VolumeError::Constant { channel: channel.into(), value: 3.0 };
        for (source, channel, file) in [
            (&together, 1, "a_0001.nii"),
            (&together, 0, "a_0000.nii"),
            (&together, 7, "a_0000.nii"),
            (&scans[1], 0, "a_0001.nii"),
        ] {
            let text = source.in_own_file(error(channel)).to_string();
            assert!(text.starts_with(&format!("{file}: channel {channel} is constant")), "{text}");
        }
        let other = VolumeError::NoChannel { channel: 4, channels: 2 };
        assert!(together.in_own_file(other).to_string().starts_with("a_0000.nii: "));
    }

    #[test]
    fn sources_survive_tables() {
        let root = Path::new("/data/raw");
        let scan = |name: &str| Source::Scan(root.join(name));
        let ome = |name: &str, label: Option<&str>, sections| {
            let (path, label) = (root.join(name), label.map(str::to_owned));
            Source::Ome { path, label, sections, spacing_zyx_mm: None, like: None }
        };
        for (source, text) in [
            (ome("a.ome.zarr", None, None), "$RAW/a.ome.zarr"),
            (ome("a.zarr/1", None, Some(Sections { first: 0, end: 9 })), "$RAW/a.zarr/1[0:9]"),
            (ome("b/a.zarr", Some("ids"), None), "$RAW/b/a.zarr#ids"),
            (ome("a.zarr", Some("ids"), Some(Sections { first: 2, end: 9 })), "$RAW/a.zarr#ids[2:9]"),
            (scan("imagesTr/ä b.nii.gz"), "$RAW/imagesTr/ä b.nii.gz"),
            (Source::CremiRaw(root.join("a.hdf"), None), "$RAW/a.hdf"),
            (Source::CremiRaw(root.join("a.hdf"), Some(Sections { first: 0, end: 75 })), "$RAW/a.hdf[0:75]"),
            (
                Source::CremiLabels(
                    root.join("a.hdf"),
                    "neuron_ids".into(),
                    Some(Sections { first: 75, end: 125 }),
                ),
                "$RAW/a.hdf#neuron_ids[75:125]",
            ),
            (scan("imagesTr/a.nrrd"), "$RAW/imagesTr/a.nrrd"),
            (scan("a[1:2].nii"), "$RAW/a[1:2].nii"),
            (scan("b.zarr/a.nii"), "$RAW/b.zarr/a.nii"),
            (Source::Stack { path: root.join("a.tif"), spacing_zyx_mm: None, like: None }, "$RAW/a.tif"),
            (Source::CremiLabels(root.join("a.hdf"), "neuron_ids".into(), None), "$RAW/a.hdf#neuron_ids"),
            (
                Source::Channels(vec![scan("a;_0000.nii.gz"), scan("a;_0001.nii.gz")]),
                "$RAW/a;_0000.nii.gz;$RAW/a;_0001.nii.gz",
            ),
        ] {
            assert_eq!(source.portable(root), text);
            assert_eq!(Source::from_portable(text, root), Some(source));
        }
        assert_eq!(Source::from_portable("", root), None);
        assert_eq!(Source::from_portable("/a.nii", root), None);
        assert_eq!(Source::from_portable("$RAW/../a.nii", root), None);
    }
}
