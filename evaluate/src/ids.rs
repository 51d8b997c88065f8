//! Object ids of 64 bits, some planes at a time: HDF5 in CREMI's layout, NIfTI, stacks, and cases of shards (Zarr).

use crate::scoring::flaw;
use data_manifests::Descriptor;
use data_manifests::raw::{Source, planes};
use patches::{Case, Region};
use stage::Message;
use std::path::{Path, PathBuf};
use volume::{Grid, ReadLimits};

/// Voxels of a slab: 64 MiB of ids.
const SLAB: usize = 8 << 20;

/// An open map of objects.
pub(crate) struct Ids {
    /// Its file or folder.
    pub(crate) path: PathBuf,
    /// Where it lies.
    pub(crate) grid: Grid,
    reader: Reader,
}

enum Reader {
    Planes(Box<planes::LabelPlanes>),
    Shards { case: Box<Case>, next: usize },
}

impl Ids {
    /// Opens `FILE.h5#NAME`, a NIfTI file, a stack, or the folder of a case in shards. `objects` describes a data set of objects,
    /// with the map of label values that applies.
    pub(crate) fn open(case: &str, text: &str, objects: &Descriptor) -> Result<Self, Message> {
        let path = Path::new(text);
        if path.join("zarr.json").is_file() {
            let error = |e: patches::Error| e.message(case);
            let shards = Case::open(path).map_err(error)?;
            let record = shards.record();
            let grid = Grid::new(record.shape_zyx, record.affine).map_err(|e| flaw(case, &e))?;
            let reader = Reader::Shards { case: Box::new(shards), next: 0 };
            return Ok(Self { path: path.to_owned(), grid, reader });
        }
        let source = Source::label(text, Path::new(""));
        if let Some(missing) = source.missing() {
            return Err(Message::error("E506", "a label map is not there")
                .case(case)
                .detail(missing.display().to_string())
                .fix("Give a file, FILE.h5#NAME for labels in HDF5, or the folder of a case in shards"));
        }
        let planes = planes::labels(&source, objects, ReadLimits::UNLIMITED).map_err(|e| flaw(case, &e))?;
        let grid = *planes.grid();
        Ok(Self { path: source.path().to_owned(), grid, reader: Reader::Planes(Box::new(planes)) })
    }

    /// Planes that make a slab.
    pub(crate) fn depth(&self) -> usize {
        let [_, ny, nx] = self.grid.shape_zyx;
        (SLAB / (ny * nx).max(1)).max(1)
    }

    /// Replaces `out` by at most `depth` planes more, z, y, x; returns how many.
    pub(crate) fn next(&mut self, case: &str, depth: usize, out: &mut Vec<u64>) -> Result<usize, Message> {
        let [nz, ny, nx] = self.grid.shape_zyx;
        match &mut self.reader {
            Reader::Planes(planes) => planes.next_planes(depth, out).map_err(|e| flaw(case, &e)),
            Reader::Shards { case: shards, next } => {
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
