//! Images and label images in OME-Zarr 0.4 and 0.5 (Zarr 2 and 3), read by planes.
//!
//! A group is read at its finest level; another level is named by the path of its array (`a.zarr/1`). Scale and translation give the grid:
//! without a unit, a sidecar `NAME.zarr.json` states the voxel size as for other stacks. Axes count as RAS+ unless they carry anatomical
//! orientations. Chunks that are not there stand for the fill value, as the format has it, and are counted in a warning.

mod metadata;
mod place;
mod planes;
mod values;

use crate::error::{Result, VolumeError};
use crate::geometry::Grid;
use crate::limits::ReadLimits;
use crate::stack::spacing::{self, SpacingSource};
use crate::stack::tags::{Tags, Writer};
use crate::warning::Warning;
use metadata::{Axis, EXPECTED, Level};
pub use planes::Planes;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tiff::decoder::DecodingResult;
use values::Numbers;
use zarrs::array::{Array, ArrayShardedExt, ArraySubset, CodecOptions};
use zarrs::filesystem::FilesystemStore;

/// Most bytes, as stored, of a layer of chunks that is kept decoded while its planes are handed out. Larger layers, and
/// those that limits of memory do not grant, are decoded anew for every read.
pub const LAYER_BYTES: u64 = 128 << 20;

/// An open image, or label image, at one level.
#[derive(Debug)]
pub struct OmeZarr {
    path: PathBuf,
    array: Array<FilesystemStore>,
    numbers: Numbers,
    /// The array's group on disk, from which keys start.
    group: PathBuf,
    axes: Vec<Axis>,
    channels: usize,
    shape_zyx: [usize; 3],
    /// Plane of the array that is the first one here.
    first: usize,
    /// Planes of a chunk.
    depth: usize,
    /// Edge of a voxel, and place of the first one, z, y, x, mm.
    place: Option<([f64; 3], [f64; 3])>,
    source: Option<SpacingSource>,
    missing: String,
    world: [(usize, bool); 3],
    labels: Vec<String>,
    is_label: bool,
    warnings: Vec<Warning>,
    limits: ReadLimits,
}

/// Whether `path` is a group or an array of Zarr 2 or 3.
#[must_use]
pub fn is_zarr(path: &Path) -> bool {
    ["zarr.json", ".zattrs", ".zgroup", ".zarray"].iter().any(|name| path.join(name).is_file())
}

/// The group of the label image `name` of the image in the group `path`.
#[must_use]
pub fn label_group(path: &Path, name: &str) -> PathBuf {
    path.join("labels").join(name)
}

/// Names of the label images of the image in the group `path`; none for a level, or a label image.
///
/// # Errors
/// Metadata that cannot be read.
pub fn label_names(path: &Path) -> Result<Vec<String>> {
    metadata::labels(path)
}

/// What the image in the group (or level) `path` consists of: files with metadata, and the folder of the array.
///
/// # Errors
/// As [`OmeZarr::open`], except for flaws of the array.
pub fn parts(path: &Path) -> Result<(Vec<PathBuf>, PathBuf)> {
    let level = Level::find(path)?;
    let metadata = ["zarr.json", ".zattrs", ".zgroup"].map(|name| level.group.join(name));
    let sidecar = spacing::beside(path, true);
    let files = metadata.into_iter().chain([sidecar]).filter(|file| file.is_file()).collect();
    Ok((files, level.group.join(&level.array)))
}

impl OmeZarr {
    /// Opens the image in the group `path` at its finest level, or the level whose array `path` is. `spacing_zyx_mm` wins over every other
    /// source of the voxel size. Reads metadata only.
    ///
    /// # Errors
    /// A folder that is no image of this kind, more than one time point, axes in another order, numbers or codecs that are not read.
    pub fn open(path: &Path, spacing_zyx_mm: Option<[f64; 3]>, limits: ReadLimits) -> Result<Self> {
        fs_err::metadata(path)?;
        let level = Level::find(path)?;
        let axes = level.axes()?;
        let place = level.place(&axes)?;
        let folder = level.group.join(&level.array);
        let wrong = |found: String| VolumeError::OmeZarr { path: folder.clone(), found, fix: EXPECTED };
        let array =
            FilesystemStore::new(&level.group).map_err(|e| wrong(e.to_string())).and_then(|store| {
                let node = format!("/{}", level.array.trim_matches('/'));
                Array::open(Arc::new(store), &node).map_err(|e| wrong(e.to_string()))
            })?;
        let numbers = Numbers::of(array.data_type())
            .ok_or_else(|| wrong(format!("it holds {:?}, no numbers that are read", array.data_type())))?;
        if array.shape().len() != axes.len() {
            return Err(wrong(format!("its shape is {:?} for {} axes", array.shape(), axes.len())));
        }
        let size = |axis: Axis| axes.iter().position(|a| *a == axis).map_or(1, |i| array.shape()[i] as usize);
        let times = size(Axis::Time);
        if times != 1 {
            return Err(VolumeError::StackAxes { path: folder, found: format!("{times} time points") });
        }
        let shape_zyx = [size(Axis::Z), size(Axis::Y), size(Axis::X)];
        let channels = size(Axis::Channel);
        if shape_zyx.contains(&0) || channels == 0 {
            return Err(VolumeError::EmptyShape { shape_zyx }.in_file(&folder));
        }
        if let Some(found) = spacing_zyx_mm.filter(|spacing| !spacing::usable(*spacing)) {
            let found = format!("--spacing-zyx is {found:?} mm");
            return Err(VolumeError::Spacing { path: path.into(), found });
        }
        let own = place.mm.map(|mm| (mm.map(|pair| pair[0]), mm.map(|pair| pair[1])));
        let tags = Tags { spacing: own.map(|(scale, _)| (Writer::Ome, scale)), missing: place.missing };
        let sidecars = spacing::existing(vec![spacing::beside(path, true)])?;
        let (chosen, mut warnings) = spacing::choose(spacing_zyx_mm, sidecars, &tags);
        if shape_zyx[0] == 1 {
            warnings.push(Warning::SingleSlice { shape_zyx });
        }
        warnings.extend(place.unknown.map(|found| Warning::OrientationUnknown { found }));
        let origin = own.map_or([0.0; 3], |(_, origin)| origin);
        let labels = metadata::labels(&level.group)?;
        let depth = Self::chunk_depth(&array, &axes);
        let (source, place_mm) = chosen.unzip();
        Ok(Self {
            path: path.into(),
            numbers,
            group: level.group,
            channels,
            shape_zyx,
            first: 0,
            depth,
            place: place_mm.map(|spacing| (spacing, origin)),
            source,
            missing: tags.missing,
            world: place.world,
            labels,
            is_label: level.is_label,
            warnings,
            limits,
            array,
            axes,
        })
    }

    /// The same image, of which only these planes along z are there.
    ///
    /// # Errors
    /// [`VolumeError::OutsideVolume`] for none, or planes that the image does not have.
    pub fn with_sections(mut self, sections: Range<usize>) -> Result<Self> {
        let [depth, height, width] = self.shape_zyx;
        if sections.is_empty() || sections.end > depth {
            return Err(VolumeError::OutsideVolume {
                start_zyx: [sections.start, 0, 0],
                end_zyx: [sections.end, height, width],
                shape_zyx: self.shape_zyx,
            }
            .in_file(&self.path));
        }
        self.first += sections.start;
        self.shape_zyx[0] = sections.len();
        Ok(self)
    }

    /// Planes of a chunk; of shards, of a chunk in them.
    fn chunk_depth(array: &Array<FilesystemStore>, axes: &[Axis]) -> usize {
        let Some(z) = axes.iter().position(|axis| *axis == Axis::Z) else { return 1 };
        let inner = array.effective_subchunk_shape();
        let shape = inner.or_else(|| array.chunk_shape(&vec![0; axes.len()]).ok());
        shape.map_or(1, |shape| usize::try_from(shape[z].get()).unwrap_or(usize::MAX))
    }

    /// Channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Shape z, y, x.
    #[must_use]
    pub fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    /// NumPy's name of the type of the voxels.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        self.numbers.name()
    }

    /// Whether the voxels are whole numbers.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !matches!(self.numbers, Numbers::F16 | Numbers::F32 | Numbers::F64)
    }

    /// Who stated the voxel size; `None` if nobody did.
    #[must_use]
    pub fn spacing_source(&self) -> Option<&SpacingSource> {
        self.source.as_ref()
    }

    /// Whether it is marked as a label image.
    #[must_use]
    pub fn is_label(&self) -> bool {
        self.is_label
    }

    /// Names of the label images beside it.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What somebody should know about the image.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Most bytes of decoded planes that a reader holds: a layer of chunks, or of larger ones as many planes as make up [`LAYER_BYTES`].
    #[must_use]
    pub fn layer_bytes(&self) -> u64 {
        self.planes_held() as u64 * self.plane_bytes()
    }

    /// Bytes of a plane as stored.
    fn plane_bytes(&self) -> u64 {
        let [_, height, width] = self.shape_zyx;
        (height as u64).saturating_mul(width as u64).saturating_mul(self.numbers.bytes() as u64)
    }

    /// Planes that are decoded at once.
    fn planes_held(&self) -> usize {
        // what is handed out needs room beside it
        let bytes = LAYER_BYTES.min(self.limits.for_voxels() / 2);
        let most = usize::try_from(bytes / self.plane_bytes()).unwrap_or(usize::MAX).max(1);
        self.depth.min(self.shape_zyx[0]).min(most)
    }

    /// The grid in mm.
    ///
    /// # Errors
    /// [`VolumeError::StackSpacing`] if nobody states the voxel size.
    pub fn grid(&self) -> Result<Grid> {
        let Some((spacing_zyx_mm, _)) = self.place else {
            return Err(VolumeError::StackSpacing { path: self.path.clone(), found: self.missing.clone() });
        };
        self.grid_of(spacing_zyx_mm)
    }

    /// The grid with voxels of this size, for labels that state none and take their image's.
    ///
    /// # Errors
    /// As [`Grid::new`].
    pub fn grid_of(&self, spacing_zyx_mm: [f64; 3]) -> Result<Grid> {
        let mut origin = self.place.map_or([0.0; 3], |(_, origin)| origin);
        origin[0] += self.first as f64 * spacing_zyx_mm[0];
        let mut affine = [[0.0; 4]; 4];
        for (axis, (world, backwards)) in self.world.into_iter().enumerate() {
            let sign = if backwards { -1.0 } else { 1.0 };
            affine[world][2 - axis] = sign * spacing_zyx_mm[axis];
            affine[world][3] = sign * origin[axis];
        }
        affine[3][3] = 1.0;
        Grid::new(self.shape_zyx, affine)
    }

    /// All planes, from the first channel's first on.
    #[must_use]
    pub fn planes(self) -> Planes {
        Planes::new(self)
    }

    /// The voxels of planes of one channel.
    fn read(&self, channel: usize, first: usize, planes: usize) -> Result<DecodingResult> {
        let [_, height, width] = self.shape_zyx;
        let (mut start, mut shape) = (Vec::new(), Vec::new());
        for axis in &self.axes {
            let (from, count) = match axis {
                Axis::Time => (0, 1),
                Axis::Channel => (channel, 1),
                Axis::Z => (self.first + first, planes),
                Axis::Y => (0, height),
                Axis::X => (0, width),
            };
            start.push(from as u64);
            shape.push(count as u64);
        }
        let failed = |reason: String| VolumeError::Chunk {
            path: self.group.join(self.array.path().as_str().trim_start_matches('/')),
            first,
            last: first + planes - 1,
            reason,
        };
        let part = ArraySubset::new_with_start_shape(start, shape).map_err(|e| failed(e.to_string()))?;
        self.numbers.read(&self.array, &part, &CodecOptions::default()).map_err(|e| failed(e.to_string()))
    }

    /// Chunk files that hold planes of one channel: how many there are, and how many of them are not there.
    fn chunks(&self, channel: usize, first: usize, planes: usize) -> (u64, u64) {
        let zeros = vec![0; self.axes.len()];
        let Ok(chunk) = self.array.chunk_shape(&zeros) else { return (0, 0) };
        let ranges: Vec<Range<u64>> = self
            .axes
            .iter()
            .zip(&chunk)
            .zip(self.array.chunk_grid_shape())
            .map(|((axis, size), count)| {
                let size = size.get();
                match axis {
                    Axis::Channel => channel as u64 / size..channel as u64 / size + 1,
                    // each is counted with the first of its planes that is here
                    Axis::Z => {
                        let (from, end) = ((self.first + first) as u64, (self.first + first + planes) as u64);
                        let begin = if first == 0 { from / size } else { from.div_ceil(size) };
                        begin..end.div_ceil(size).min(*count).max(begin)
                    }
                    Axis::Time => 0..1,
                    Axis::Y | Axis::X => 0..*count,
                }
            })
            .collect();
        let of: u64 = ranges.iter().map(|range| range.end.saturating_sub(range.start)).product();
        let mut absent = 0;
        for index in 0..of {
            let mut rest = index;
            let mut at = vec![0; ranges.len()];
            for (axis, range) in ranges.iter().enumerate().rev() {
                let count = range.end - range.start;
                at[axis] = range.start + rest % count;
                rest /= count;
            }
            absent += u64::from(!self.group.join(self.array.chunk_key(&at).as_str()).is_file());
        }
        (of, absent)
    }
}

impl OmeZarr {
    /// The fill value as the metadata have it.
    fn fill(&self) -> String {
        let metadata = serde_json::to_value(self.array.metadata()).unwrap_or_default();
        match &metadata["fill_value"] {
            serde_json::Value::Null => "0".to_owned(),
            value => value.to_string(),
        }
    }
}
