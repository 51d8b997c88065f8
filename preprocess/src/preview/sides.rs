//! The two sides of a picture: sections of the raw files and of the shards through one place.
//!
//! Memory: the raw image and label, one after the other; of the shards some planes at a time.

use super::section::{Cutter, Section, Stored};
use data_manifests::Descriptor;
use data_manifests::descriptor::LabelKind;
use data_manifests::raw::open::{self, RawLabels, RawVoxels};
use data_manifests::raw::{RawCase, Source};
use patches::{Case, Region};
use stage::Message;
use volume::crop::BoundingBox;
use volume::resample::{Aligned, Alignment, Label};
use volume::{Grid, InMemory, Orientation, Voxels, Warning};

/// Planes of labels that are read at a time.
const PLANES: usize = 32;

/// Sections across z, y and x of one side.
#[derive(Debug)]
pub(super) struct Side {
    /// Canonical axes.
    pub(super) grid: Grid,
    /// Raw values.
    pub(super) image: [Section<f32>; 3],
    /// Classes or ids.
    pub(super) label: Option<[Section<u64>; 3]>,
    /// As stored.
    pub(super) axis_codes: String,
}

/// The voxel of the shards, z, y, x, whose planes hold most of the labels; the middle where there are none.
pub(super) fn place(case: &Case) -> anyhow::Result<[usize; 3]> {
    let shape = case.record().shape_zyx;
    let middle = shape.map(|n| n / 2);
    // objects fill all planes alike
    if case.record().label.as_ref().is_none_or(|label| label.kind == LabelKind::Instances) {
        return Ok(middle);
    }
    let mut areas = shape.map(|n| vec![0_u64; n]);
    let [_, height, width] = shape;
    for z in (0..shape[0]).step_by(PLANES) {
        let planes = PLANES.min(shape[0] - z);
        let labels = case.read_label_wide(&Region::at([z as i64, 0, 0], [planes, height, width]))?;
        for (i, _) in labels.iter().enumerate().filter(|(_, label)| **label != 0) {
            areas[0][z + i / (height * width)] += 1;
            areas[1][i / width % height] += 1;
            areas[2][i % width] += 1;
        }
    }
    // of equal planes the one nearest to the middle
    let best = |axis: usize| {
        let distance = |i: usize| i.abs_diff(middle[axis]);
        (0..shape[axis]).max_by_key(|i| (areas[axis][*i], std::cmp::Reverse(distance(*i))))
    };
    Ok([0, 1, 2].map(|axis| best(axis).unwrap_or(middle[axis])))
}

/// The shards' side, in raw values.
pub(super) fn after(case: &Case, through_zyx: [usize; 3]) -> anyhow::Result<Side> {
    let record = case.record();
    let stored = Stored { orientation: Orientation::IDENTITY, shape_zyx: record.shape_zyx };
    let [_, height, width] = record.shape_zyx;
    let mut image = Cutter::new(stored, through_zyx);
    let mut label = record.label.as_ref().map(|_| Cutter::new(stored, through_zyx));
    for z in (0..record.shape_zyx[0]).step_by(PLANES) {
        let planes = PLANES.min(record.shape_zyx[0] - z);
        let region = Region::at([z as i64, 0, 0], [planes, height, width]);
        let values = case.read_image_channels(&[0], &region)?;
        let normalisation = record.channels[0].normalisation;
        let raw: Vec<f32> = values.iter().map(|v| normalisation.raw(*v)).collect();
        image.add(&raw);
        if let Some(label) = &mut label {
            label.add(&case.read_label_wide(&region)?);
        }
    }
    Ok(Side {
        grid: Grid::new(record.shape_zyx, record.affine)?,
        image: image.finish(),
        label: label.map(Cutter::finish),
        axis_codes: "RAS".to_owned(),
    })
}

/// The raw files' side, through the same place of the world.
pub(super) fn before(
    case: &Case,
    raw: &RawCase,
    descriptor: &Descriptor,
    through_zyx: [usize; 3],
) -> anyhow::Result<Side> {
    let record = case.record();
    let image = open::image(&raw.image)?;
    if image.grid.shape_zyx != record.source.steps.source.shape_zyx {
        let [found, expected] = [image.grid.shape_zyx, record.source.steps.source.shape_zyx];
        return Err(Message::error("E175", "the raw file is not the one that the case was made from")
            .detail(format!("{}: found {found:?} voxels, recorded {expected:?}", raw.image.path().display()))
            .fix("Give --raw the folder that the shards were made from, or run preprocess again")
            .into());
    }
    let stored = record.source.steps.source;
    let orientation = record.source.steps.orientation;
    let grid = orientation.apply_to_grid(&stored);
    let shards = Grid::new(record.shape_zyx, record.affine)?;
    let at = nearest(&grid, &shards, through_zyx);
    let place = Stored { orientation, shape_zyx: stored.shape_zyx };
    let mut cutter = Cutter::new(place, at);
    cutter.add(&image.data[..stored.shape_zyx.iter().product()]);
    drop(image);
    let label = raw.label.as_ref().map(|source| raw_label(case, (raw, source), descriptor, (place, at)));
    let label = label.transpose()?;
    Ok(Side { grid, image: cutter.finish(), label, axis_codes: stored.axis_codes() })
}

/// Sections of a label file on the grid of its image, onto which it is brought where the shards were made so.
fn raw_label(
    case: &Case,
    (raw, source): (&RawCase, &Source),
    descriptor: &Descriptor,
    (place, at): (Stored, [usize; 3]),
) -> anyhow::Result<[Section<u64>; 3]> {
    let RawLabels { grid, voxels, .. } = open::labels(source, descriptor)?;
    let aligned = case.record().warnings.iter().any(|warning| warning.code == Warning::ALIGNED);
    if !aligned {
        let mut cutter = Cutter::new(place, at);
        match voxels {
            RawVoxels::Narrow(v) => add_planes(&mut cutter, &v, place.shape_zyx, u64::from),
            RawVoxels::Wide(v) => add_planes(&mut cutter, &v, place.shape_zyx, |v| v),
        }
        return Ok(cutter.finish());
    }
    let image = case.record().source.steps.source;
    let alignment = Alignment::new(raw.image.path(), &image, source.path(), &grid)?;
    match voxels {
        RawVoxels::Narrow(v) => aligned_sections(&v, &grid, &alignment, at),
        RawVoxels::Wide(v) => aligned_sections(&v, &grid, &alignment, at),
    }
}

fn aligned_sections<T: Label + Into<u64>>(
    voxels: &[T],
    grid: &Grid,
    alignment: &Alignment,
    at: [usize; 3],
) -> anyhow::Result<[Section<u64>; 3]> {
    let source = InMemory::oriented(voxels, 1, grid.shape_zyx, Orientation::to_canonical(grid))?;
    let labels = Aligned::new(&source, alignment)?;
    let shape_zyx = labels.shape_zyx();
    let mut cutter = Cutter::new(Stored { orientation: Orientation::IDENTITY, shape_zyx }, at);
    for z in 0..shape_zyx[0] {
        let plane = BoundingBox { start_zyx: [z, 0, 0], end_zyx: [z + 1, shape_zyx[1], shape_zyx[2]] };
        add_planes(&mut cutter, &labels.read(0, &plane)?, [1, shape_zyx[1], shape_zyx[2]], Into::into);
    }
    Ok(cutter.finish())
}

fn add_planes<T: Copy>(cutter: &mut Cutter<u64>, voxels: &[T], shape: [usize; 3], value: impl Fn(T) -> u64) {
    for plane in voxels.chunks((shape[1] * shape[2]).max(1)) {
        let values: Vec<u64> = plane.iter().map(|v| value(*v)).collect();
        cutter.add(&values);
    }
}

/// Place of the first voxel of `to` along the axes of `from`, mm, z, y, x; both grids run the same way.
pub(super) fn offset_zyx_mm(from: &Grid, to: &Grid) -> [f64; 3] {
    let spacing = from.spacing_zyx_mm();
    [0, 1, 2].map(|axis: usize| {
        let column = 2 - axis;
        (0..3)
            .map(|row: usize| {
                from.affine[row][column] / spacing[axis] * (to.affine[row][3] - from.affine[row][3])
            })
            .sum()
    })
}

/// The voxel of `grid` nearest to one of `other`.
fn nearest(grid: &Grid, other: &Grid, voxel_zyx: [usize; 3]) -> [usize; 3] {
    let offset = offset_zyx_mm(grid, other);
    let (own, others) = (grid.spacing_zyx_mm(), other.spacing_zyx_mm());
    std::array::from_fn(|axis| {
        let mm = offset[axis] + voxel_zyx[axis] as f64 * others[axis];
        let last = (grid.shape_zyx[axis] - 1) as f64;
        (mm / own[axis]).round().clamp(0.0, last) as usize
    })
}
