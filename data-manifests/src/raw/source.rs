//! Where voxels are read from.

use super::paths;
use crate::Artefact;
use std::io;
use std::path::{Path, PathBuf};

/// Between the files of [`Source::Channels`] in tables and manifests.
const BETWEEN: &str = ";$RAW/";

/// Where voxels are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A NIfTI file.
    Nifti(PathBuf),
    /// One source per channel, all on one grid; two at least.
    Channels(Vec<Source>),
    /// `/volumes/raw` of a CREMI HDF5 file.
    CremiRaw(PathBuf),
    /// `/volumes/labels/NAME` of a CREMI HDF5 file.
    CremiLabels(PathBuf, String),
}

impl Source {
    /// The source of an image that a path names: NIfTI unless the ending says HDF5.
    #[must_use]
    pub fn image(path: PathBuf) -> Self {
        if is_hdf5(&path.to_string_lossy()) { Self::CremiRaw(path) } else { Self::Nifti(path) }
    }

    /// The source of a label that a path names; labels in HDF5 are named behind a `#`: `a.h5#neuron_ids`.
    #[must_use]
    pub fn label(path: &str, root: &Path) -> Self {
        match path.split_once('#') {
            Some((file, name)) if is_hdf5(file) => Self::CremiLabels(root.join(file), name.to_owned()),
            _ => Self::image(root.join(path)),
        }
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
            Self::Nifti(path) | Self::CremiRaw(path) | Self::CremiLabels(path, _) => path,
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
            _ => Ok(vec![self.path().to_owned()]),
        }
    }

    /// The first path that is not there.
    #[must_use]
    pub fn missing(&self) -> Option<&Path> {
        match self {
            Self::Channels(channels) => channels.iter().find_map(Self::missing),
            _ => Some(self.path()).filter(|path| !path.is_file()),
        }
    }

    /// The NIfTI file whose header says how the voxels lie, where there is one: label maps on this grid take it over.
    #[must_use]
    pub fn nifti(&self) -> Option<&Path> {
        match self {
            Self::Nifti(path) => Some(path),
            Self::Channels(channels) => channels.first().and_then(Self::nifti),
            Self::CremiRaw(_) | Self::CremiLabels(..) => None,
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
            Self::CremiLabels(_, name) => format!("$RAW/{inside}#{name}"),
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
                let (file, name) = path.split_once('#').map_or((path, None), |(f, n)| (f, Some(n)));
                let file = paths::below(file).ok()?;
                Some(match name {
                    Some(name) => Self::CremiLabels(root.join(file), name.to_owned()),
                    None => Self::image(root.join(file)),
                })
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
            (Source::CremiRaw(root.join("a.hdf")), "$RAW/a.hdf"),
            (Source::CremiLabels(root.join("a.hdf"), "neuron_ids".into()), "$RAW/a.hdf#neuron_ids"),
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
