//! Where voxels are read from.

use super::paths;
use crate::Artefact;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Between the files of [`Source::Channels`] in tables and manifests.
const BETWEEN: &str = ";$RAW/";

/// Where voxels are read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A NIfTI file.
    Nifti(PathBuf),
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

    /// The source that a text names: an HDF5 file with its labels behind a `#`, and its sections behind these.
    fn source(text: &str, root: &Path) -> Option<Source> {
        let (text, sections) = Self::of(text);
        match text.split_once('#') {
            Some((file, name)) if is_hdf5(file) => {
                Some(Source::CremiLabels(root.join(file), name.to_owned(), sections))
            }
            None if is_hdf5(text) => Some(Source::CremiRaw(root.join(text), sections)),
            _ => None,
        }
    }
}

impl Source {
    /// The source of an image that a path names: HDF5 or a TIFF stack by its ending, a stack of slices where it is a folder,
    /// else NIfTI.
    #[must_use]
    pub fn image(path: PathBuf) -> Self {
        let name = path.to_string_lossy().to_lowercase();
        if is_hdf5(&name) {
            Self::CremiRaw(path, None)
        } else if [".tif", ".tiff"].iter().any(|end| name.ends_with(end)) || path.is_dir() {
            Self::Stack { path, spacing_zyx_mm: None, like: None }
        } else {
            Self::Nifti(path)
        }
    }

    /// The same source, where it is a stack with this voxel size (mm, z, y, x) in place of what sidecars and tags say.
    #[must_use]
    pub fn spaced(self, spacing_zyx_mm: Option<[f64; 3]>) -> Self {
        match self {
            Self::Stack { path, spacing_zyx_mm: own, like } => {
                Self::Stack { path, spacing_zyx_mm: spacing_zyx_mm.or(own), like }
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
            (label, Self::Channels(channels)) => match channels.first() {
                Some(first) => label.beside(first),
                None => label,
            },
            (label, _) => label,
        }
    }

    /// The source of a label that a path names; labels in HDF5 are named behind a `#`, and a part of their sections behind that:
    /// `a.h5#neuron_ids[75:125]`.
    #[must_use]
    pub fn label(path: &str, root: &Path) -> Self {
        Sections::source(path, root).unwrap_or_else(|| Self::image(root.join(path)))
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
            Self::Nifti(path)
            | Self::Stack { path, .. }
            | Self::CremiRaw(path, _)
            | Self::CremiLabels(path, ..) => path,
            Self::Channels(channels) => channels.first().map_or(Path::new(""), Self::path),
        }
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
            _ => Ok(vec![self.path().to_owned()]),
        }
    }

    /// Whether this is, or has for a channel, what another source reads: one file of HDF5 may hold an image and its labels.
    pub(super) fn reads(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Channels(channels), other) => channels.iter().any(|channel| channel.reads(other)),
            (_, Self::CremiLabels(..)) => self == other,
            _ => self.path() == other.path(),
        }
    }

    /// The first path that is not there.
    #[must_use]
    pub fn missing(&self) -> Option<&Path> {
        match self {
            Self::Channels(channels) => channels.iter().find_map(Self::missing),
            Self::Stack { path, .. } => Some(path.as_path()).filter(|path| !path.exists()),
            _ => Some(self.path()).filter(|path| !path.is_file()),
        }
    }

    /// The NIfTI file whose header says how the voxels lie, where there is one: label maps on this grid take it over.
    #[must_use]
    pub fn nifti(&self) -> Option<&Path> {
        match self {
            Self::Nifti(path) => Some(path),
            Self::Channels(channels) => channels.first().and_then(Self::nifti),
            Self::Stack { .. } | Self::CremiRaw(..) | Self::CremiLabels(..) => None,
        }
    }

    /// All files as inputs of a stage, below the named root `RAW`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn artefacts(&self, role: &str, root: &Path) -> io::Result<Vec<Artefact>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_tables() {
        let root = Path::new("/data/raw");
        let nifti = |name: &str| Source::Nifti(root.join(name));
        for (source, text) in [
            (nifti("imagesTr/ä b.nii.gz"), "$RAW/imagesTr/ä b.nii.gz"),
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
            (nifti("a[1:2].nii"), "$RAW/a[1:2].nii"),
            (Source::Stack { path: root.join("a.tif"), spacing_zyx_mm: None, like: None }, "$RAW/a.tif"),
            (Source::CremiLabels(root.join("a.hdf"), "neuron_ids".into(), None), "$RAW/a.hdf#neuron_ids"),
            (
                Source::Channels(vec![nifti("a;_0000.nii.gz"), nifti("a;_0001.nii.gz")]),
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
