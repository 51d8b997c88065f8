//! Raw cases some planes at a time, in bounded memory: the same values, grids and errors as [`super::open`].

use super::Source;
use super::open::{
    CremiLabels, channel_headers, cremi, cremi_labels, header, is_semantic, ome, ome_labels, stack_grid,
};
use crate::Descriptor;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use volume::crop::BoundingBox;
use volume::hdf5::CremiFile;
use volume::stack::Stack;
use volume::{Grid, ReadLimits, Result, VolumeError, Warning, ome_zarr, scan};

/// An image in stored order: the z-planes of channel 0, then those of channel 1, …
#[derive(Debug)]
pub struct ImagePlanes {
    channels: usize,
    grid: Grid,
    warnings: Vec<Warning>,
    files: VecDeque<ImageFile>,
}

#[derive(Debug)]
enum ImageFile {
    Scan(Box<scan::Planes>),
    Stack { stack: Box<Stack>, next: usize },
    Ome(Box<ome_zarr::Planes>),
    Cremi { file: Box<CremiFile>, next: usize },
}

/// Opens an image for reading by planes.
///
/// # Errors
/// As [`super::open::image`], except for flaws of the voxels.
pub fn image(source: &Source, limits: ReadLimits) -> Result<ImagePlanes> {
    let (channels, grid, warnings) = match source {
        Source::Channels(channels) => {
            let (grid, warnings) = channel_headers(channels)?;
            (channels.len(), grid, warnings)
        }
        _ => {
            let (channels, grid) = header(source)?;
            (channels, grid, Vec::new())
        }
    };
    let parts = match source {
        Source::Channels(parts) => parts.as_slice(),
        one => std::slice::from_ref(one),
    };
    let files = parts.iter().map(|part| ImageFile::open(part, limits)).collect::<Result<_>>()?;
    Ok(ImagePlanes { channels, grid, warnings, files })
}

impl ImageFile {
    fn open(source: &Source, limits: ReadLimits) -> Result<Self> {
        Ok(match source {
            Source::Scan(path) => Self::Scan(Box::new(scan::Planes::open(path, limits)?)),
            Source::Stack { path, spacing_zyx_mm, .. } => {
                Self::Stack { stack: Box::new(Stack::open(path, *spacing_zyx_mm)?), next: 0 }
            }
            Source::Ome { .. } => Self::Ome(Box::new(ome(source, limits)?.0.planes())),
            Source::CremiRaw(path, sections) | Source::CremiLabels(path, _, sections) => {
                Self::Cremi { file: Box::new(cremi(path, *sections)?), next: 0 }
            }
            Source::Channels(_) => {
                return Err(VolumeError::Channels { path: source.path().into(), found: 2, expected: 1 });
            }
        })
    }

    fn remaining(&self) -> usize {
        match self {
            Self::Scan(planes) => planes.remaining(),
            Self::Stack { stack, next } => stack.shape_zyx()[0] - next,
            Self::Ome(planes) => planes.remaining(),
            Self::Cremi { file, next } => file.raw().shape_zyx[0] - next,
        }
    }

    fn warnings(&self) -> &[Warning] {
        match self {
            Self::Scan(planes) => planes.warnings(),
            Self::Stack { stack, .. } => stack.warnings(),
            Self::Ome(planes) => planes.warnings(),
            Self::Cremi { .. } => &[],
        }
    }

    fn next_planes(&mut self, planes: usize, out: &mut Vec<f32>) -> Result<usize> {
        let planes = planes.min(self.remaining());
        out.clear();
        if planes == 0 {
            return Ok(0);
        }
        match self {
            Self::Scan(file) => file.next_planes(planes, out),
            Self::Ome(file) => file.next_planes(planes, out),
            Self::Stack { stack, next } => {
                *out = stack.read_slab(*next..*next + planes)?;
                *next += planes;
                Ok(planes)
            }
            Self::Cremi { file, next } => {
                let bytes = file.read_raw_slab(*next..*next + planes)?;
                out.extend(bytes.into_iter().map(f32::from));
                *next += planes;
                Ok(planes)
            }
        }
    }
}

impl ImagePlanes {
    /// Channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Voxel grid of each channel.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What was repaired or decided on the way; complete after the last plane.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        for file in &self.files {
            say_once(&mut warnings, file.warnings());
        }
        warnings
    }

    /// Planes still to come, of all channels.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.files.iter().map(ImageFile::remaining).sum()
    }

    /// Replaces `out` by the next planes in C order z, y, x: `planes` of them or fewer; returns how many, 0 after the last.
    ///
    /// # Errors
    /// Whatever is wrong with the file; see [`volume::VolumeError`]. Nothing more comes after an error.
    pub fn next_planes(&mut self, planes: usize, out: &mut Vec<f32>) -> Result<usize> {
        out.clear();
        if planes == 0 {
            return Ok(0);
        }
        while let Some(file) = self.files.front_mut() {
            let read = file.next_planes(planes, out)?;
            if read > 0 {
                return Ok(read);
            }
            say_once(&mut self.warnings, file.warnings());
            self.files.pop_front();
        }
        Ok(0)
    }
}

/// What all files share is said once.
fn say_once(warnings: &mut Vec<Warning>, more: &[Warning]) {
    for warning in more {
        if !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
}

/// Labels in stored order on the grid of [`LabelPlanes::grid`], with `labels.map` applied.
#[derive(Debug)]
pub struct LabelPlanes {
    grid: Grid,
    map: BTreeMap<u64, u64>,
    path: PathBuf,
    file: LabelFile,
}

#[derive(Debug)]
enum LabelFile {
    Classes(Box<scan::LabelPlanes<u32>>, Vec<u32>),
    Objects(Box<scan::LabelPlanes<u64>>),
    Stack { stack: Box<Stack>, next: usize },
    Ome(Box<ome_zarr::Planes>),
    Cremi(Box<CremiStack>),
}

/// Labels of an HDF5 file on the way.
#[derive(Debug)]
struct CremiStack {
    file: CremiFile,
    name: String,
    /// Voxels of the raw stack that have labels; the others become `around`.
    bounds: BoundingBox,
    around: u64,
    /// The next section of the raw stack.
    next: usize,
    warnings: Vec<Warning>,
}

/// Opens labels for reading by planes.
///
/// # Errors
/// As [`super::open::labels`], except for flaws of the voxels.
pub fn labels(source: &Source, descriptor: &Descriptor, limits: ReadLimits) -> Result<LabelPlanes> {
    let semantic = is_semantic(descriptor);
    let (grid, file) = match source {
        Source::Scan(path) | Source::CremiRaw(path, _) if semantic => {
            let planes = scan::LabelPlanes::<u32>::open(path, limits)?;
            (*planes.grid(), LabelFile::Classes(Box::new(planes), Vec::new()))
        }
        Source::Scan(path) | Source::CremiRaw(path, _) => {
            let planes = scan::LabelPlanes::<u64>::open(path, limits)?;
            (*planes.grid(), LabelFile::Objects(Box::new(planes)))
        }
        Source::Stack { path, spacing_zyx_mm, like } => {
            let stack = Stack::open(path, *spacing_zyx_mm)?;
            let grid = stack_grid(&stack, like.as_deref(), *spacing_zyx_mm)?;
            (grid, LabelFile::Stack { stack: Box::new(stack), next: 0 })
        }
        Source::Ome { .. } => {
            let (image, grid) = ome_labels(source, limits)?;
            (grid, LabelFile::Ome(Box::new(image.planes())))
        }
        Source::CremiLabels(path, name, sections) => {
            let CremiLabels { file, grid, bounds, around, warning } =
                cremi_labels(path, name, *sections, descriptor)?;
            let stack = CremiStack {
                file,
                name: name.clone(),
                bounds,
                around,
                next: 0,
                warnings: warning.into_iter().collect(),
            };
            (grid, LabelFile::Cremi(Box::new(stack)))
        }
        Source::Channels(channels) => {
            let path = source.path().to_owned();
            return Err(VolumeError::Channels { path, found: channels.len(), expected: 1 });
        }
    };
    let map = descriptor.labels.as_ref().map(|labels| labels.mapping()).unwrap_or_default();
    Ok(LabelPlanes { grid, map, path: source.path().to_owned(), file })
}

impl LabelPlanes {
    /// Voxel grid; of CREMI labels that of the raw stack.
    #[must_use]
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What was repaired or decided on the way; complete after the last plane.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        match &self.file {
            LabelFile::Classes(planes, _) => planes.warnings(),
            LabelFile::Objects(planes) => planes.warnings(),
            LabelFile::Stack { stack, .. } => stack.warnings(),
            LabelFile::Ome(planes) => planes.warnings(),
            LabelFile::Cremi(stack) => &stack.warnings,
        }
    }

    /// Planes still to come.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.file {
            LabelFile::Classes(planes, _) => planes.remaining(),
            LabelFile::Objects(planes) => planes.remaining(),
            LabelFile::Ome(planes) => planes.remaining(),
            LabelFile::Stack { next, .. } => self.grid.shape_zyx[0] - next,
            LabelFile::Cremi(stack) => self.grid.shape_zyx[0] - stack.next,
        }
    }

    /// Replaces `out` by the next planes in C order z, y, x: `planes` of them or fewer; returns how many, 0 after the last.
    ///
    /// # Errors
    /// Whatever is wrong with the file; see [`volume::VolumeError`]. Nothing more comes after an error.
    pub fn next_planes(&mut self, planes: usize, out: &mut Vec<u64>) -> Result<usize> {
        let planes = planes.min(self.remaining());
        out.clear();
        if planes == 0 {
            return Ok(0);
        }
        let read = match &mut self.file {
            LabelFile::Classes(file, values) => {
                let read = file.next_planes(planes, values)?;
                out.extend(values.iter().map(|value| u64::from(*value)));
                read
            }
            LabelFile::Objects(file) => file.next_planes(planes, out)?,
            LabelFile::Ome(file) => file.next_labels(planes, out)?,
            LabelFile::Stack { stack, next } => {
                *out = stack.read_label_slab(*next..*next + planes)?;
                *next += planes;
                planes
            }
            // the map is for the file's values, not for what lies around them
            LabelFile::Cremi(stack) => {
                *out = stack.slab(planes, &self.map).map_err(|e| e.in_file(&self.path))?;
                return Ok(planes);
            }
        };
        volume::labels::remap(out, &self.map);
        Ok(read)
    }
}

impl CremiStack {
    /// The next planes of the raw stack's grid.
    fn slab(&mut self, planes: usize, map: &BTreeMap<u64, u64>) -> Result<Vec<u64>> {
        let first = self.next;
        self.next += planes;
        let [_, height, width] = self.file.raw().shape_zyx;
        let mut out = vec![self.around; planes * height * width];
        let [z0, y0, x0] = self.bounds.start_zyx;
        let covered = first.max(z0)..(first + planes).min(self.bounds.end_zyx[0]);
        if covered.is_empty() {
            return Ok(out);
        }
        let mut labels = self.file.read_label_slab(&self.name, covered.start - z0..covered.end - z0)?;
        volume::labels::remap(&mut labels, map);
        let [_, rows, columns] = self.bounds.shape();
        for (i, row) in labels.chunks_exact(columns).enumerate() {
            let (z, y) = (covered.start - first + i / rows, y0 + i % rows);
            let at = (z * height + y) * width + x0;
            out[at..at + columns].copy_from_slice(row);
        }
        Ok(out)
    }
}
