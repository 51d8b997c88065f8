//! Label maps to compare, and their values some planes at a time: NIfTI, HDF5 in CREMI's layout, stacks, label images in OME-Zarr, and cases of shards.

use crate::remarks::Remark;
use crate::scoring::flaw;
use data_manifests::raw::{Source, open, planes};
use data_manifests::{Artefact, Descriptor, digest};
use patches::{Case, Region};
use stage::Message;
use std::io;
use std::path::{Path, PathBuf};
use volume::hdf5::CremiFile;
use volume::{Grid, ReadLimits, Warning, ome_zarr};

/// Where a label map is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Map {
    /// A file, a stack of slices, or a label image in OME-Zarr.
    File(Source),
    /// The folder of a case in shards.
    Shards(PathBuf),
}

impl Map {
    /// The map that a text names below `root`: `FILE.h5#NAME`, a NIfTI file, a stack, or the folder of a case in shards.
    pub(crate) fn named(text: &str, root: &Path) -> Self {
        let path = root.join(text);
        // a case has its image beside its labels
        if path.join("zarr.json").is_file() && path.join("image").is_dir() {
            Self::Shards(path)
        } else {
            Self::File(Source::named(text, root))
        }
    }

    /// Its file or folder.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::File(source) => source.path(),
            Self::Shards(folder) => folder,
        }
    }

    /// The path that is not there.
    pub(crate) fn missing(&self) -> Option<PathBuf> {
        match self {
            Self::File(source) => source.missing(),
            Self::Shards(folder) => Some(folder.clone()).filter(|folder| !folder.is_dir()),
        }
    }

    /// Voxels along z, y, x, as far as its header tells.
    pub(crate) fn shape_zyx(&self) -> Option<[usize; 3]> {
        match self {
            Self::File(source) => open::header(source).ok().map(|(_, grid)| grid.shape_zyx),
            Self::Shards(folder) => Case::open(folder).ok().map(|case| case.record().shape_zyx),
        }
    }

    /// The same map with the labels of its HDF5 file, or of its image in OME-Zarr, where that was named without: the only ones that it holds. An
    /// image in OME-Zarr without any is taken for the label map itself.
    pub(crate) fn with_labels(self, case: &str) -> Result<Self, Message> {
        let (path, sections) = match self {
            Self::File(Source::CremiRaw(path, sections)) => (path, sections),
            Self::File(Source::Ome { path, label: None, sections, spacing_zyx_mm, like }) => {
                let names = ome_zarr::label_names(&path).map_err(|e| flaw(case, &e))?;
                let label = match names.as_slice() {
                    [] => None,
                    [name] => Some(name.clone()),
                    several => return Err(several_maps(case, "OME-Zarr image", several, &path)),
                };
                return Ok(Self::File(Source::Ome { path, label, sections, spacing_zyx_mm, like }));
            }
            other => return Ok(other),
        };
        let file = CremiFile::open(&path).map_err(|e| flaw(case, &e))?;
        let names: Vec<&str> = file.labels().map(|info| info.name.as_str()).collect();
        match names[..] {
            [name] => {
                let name = name.to_owned();
                Ok(Self::File(Source::CremiLabels(path, name, sections)))
            }
            [] => Err(Message::error("E508", "this HDF5 file holds no labels")
                .case(case)
                .detail(path.display().to_string())
                .fix("Store label maps below /volumes/labels")),
            _ => {
                let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
                Err(several_maps(case, "HDF5 file", &names, &path))
            }
        }
    }

    /// Its name below a root, as [`Source::portable`]; the path itself where it lies elsewhere.
    pub(crate) fn portable(&self, root: &Path) -> String {
        if self.path().strip_prefix(root).is_err() {
            return self.path().display().to_string();
        }
        match self {
            Self::File(source) => source.portable(root),
            Self::Shards(folder) => Source::Scan(folder.clone()).portable(root),
        }
    }

    /// Its files as inputs of a stage that writes into `out`.
    pub(crate) fn artefacts(&self, role: &str, out: &Path) -> io::Result<Vec<Artefact>> {
        artefacts(role, self.path(), out)
    }
}

/// Says that it is not clear which label map is meant.
fn several_maps(case: &str, what: &str, names: &[String], path: &Path) -> Message {
    Message::error("E508", format!("this {what} holds several label maps: {}", names.join(", ")))
        .case(case)
        .detail(path.display().to_string())
        .fix("Name one, FILE.h5#NAME or IMAGE.zarr#NAME, in a table for --pairs")
}

/// A file, with that of its voxels where they lie in another, or a folder with all that it holds, as inputs of a stage that writes into `out`.
pub(crate) fn artefacts(role: &str, path: &Path, out: &Path) -> io::Result<Vec<Artefact>> {
    if !path.is_dir() {
        let files = Source::image(path.to_owned()).files()?;
        return files.iter().map(|file| Artefact::of_file(role, file, out)).collect();
    }
    let (bytes, sha256) = digest::tree(path)?;
    Ok(vec![Artefact { role: role.to_owned(), path: format!("{}/", path.display()), bytes, sha256 }])
}

/// Voxels of a slab of object ids: 64 MiB.
const SLAB: usize = 8 << 20;

/// An open label map.
pub(crate) struct Reader {
    /// Its file or folder.
    pub(crate) path: PathBuf,
    /// Where it lies.
    pub(crate) grid: Grid,
    planes: Planes,
}

enum Planes {
    File(Box<planes::LabelPlanes>),
    Shards { case: Box<Case>, next: usize },
}

impl Reader {
    /// Opens a map; `descriptor` says whether its values are classes or objects, and which map of values applies.
    pub(crate) fn open(case: &str, map: &Map, descriptor: &Descriptor) -> Result<Self, Message> {
        let path = map.path().to_owned();
        let failed = |e: volume::VolumeError| flaw(case, &e);
        match map {
            Map::Shards(folder) => {
                let shards = Case::open(folder).map_err(|e| e.message(case))?;
                let record = shards.record();
                if record.label.is_none() {
                    return Err(Message::error("E506", "a case in shards has no labels")
                        .case(case)
                        .detail(folder.display().to_string())
                        .fix("Leave it out, or give the folder of a labelled case"));
                }
                let grid = Grid::new(record.shape_zyx, record.affine).map_err(failed)?;
                Ok(Self { path, grid, planes: Planes::Shards { case: Box::new(shards), next: 0 } })
            }
            Map::File(source) => {
                if let Some(missing) = source.missing() {
                    return Err(Message::error("E506", "a label map is not there")
                        .case(case)
                        .detail(missing.display().to_string())
                        .fix(
                            "Give a file, FILE.h5#NAME for labels in HDF5, or the folder of a case in shards",
                        ));
                }
                let planes = planes::labels(source, descriptor, ReadLimits::UNLIMITED).map_err(failed)?;
                Ok(Self { path, grid: *planes.grid(), planes: Planes::File(Box::new(planes)) })
            }
        }
    }

    /// What is odd about its file; complete after the last plane. Cases of shards were judged when they were made.
    pub(crate) fn remarks(&self, case: &str) -> Vec<Remark> {
        let warnings = match &self.planes {
            Planes::File(planes) => planes.warnings(),
            Planes::Shards { .. } => &[],
        };
        let remark = |warning: &Warning| Remark {
            case: case.to_owned(),
            path: self.path.clone(),
            warning: warning.clone(),
        };
        warnings.iter().map(remark).collect()
    }

    /// Planes that make a slab of objects.
    pub(crate) fn depth(&self) -> usize {
        let [_, ny, nx] = self.grid.shape_zyx;
        (SLAB / (ny * nx).max(1)).max(1)
    }

    /// Replaces `out` by at most `depth` planes more, z, y, x; returns how many.
    pub(crate) fn next(&mut self, case: &str, depth: usize, out: &mut Vec<u64>) -> Result<usize, Message> {
        let [nz, ny, nx] = self.grid.shape_zyx;
        match &mut self.planes {
            Planes::File(planes) => planes.next_planes(depth, out).map_err(|e| flaw(case, &e)),
            Planes::Shards { case: shards, next } => {
                let planes = depth.min(nz - *next);
                out.clear();
                if planes > 0 {
                    // shapes of arrays in memory are far below 2^63
                    let region = Region::at([*next as i64, 0, 0], [planes, ny, nx]);
                    *out = shards.read_label_wide(&region).map_err(|e| e.message(case))?;
                    *next += planes;
                }
                Ok(planes)
            }
        }
    }
}
