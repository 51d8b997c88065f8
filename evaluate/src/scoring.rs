//! One case: read, check, measure.

use crate::maps::{Map, Reader};
use crate::pairing::Pair;
use crate::remarks::Remark;
use data_manifests::descriptor::LabelKind;
use data_manifests::{Descriptor, digest};
use metrics::{ClassScore, Protocol, diagonal_mm, score_case};
use stage::Message;
use std::collections::BTreeSet;
use std::path::Path;
use volume::labels::Counts;
use volume::{Grid, Orientation, VolumeError, length_text, same_geometry};

/// What was measured of a case.
#[derive(Debug, Clone)]
pub(crate) struct CaseResult {
    /// Case id.
    pub(crate) id: String,
    /// Diagonal of the volume, for means that need a finite distance.
    pub(crate) diagonal_mm: f64,
    /// Volume of a voxel.
    pub(crate) voxel_ml: f64,
    /// Per class, in the order of the protocol.
    pub(crate) scores: Vec<ClassScore>,
    /// Whether an empty prediction stood in for a missing one.
    pub(crate) missing: bool,
}

impl CaseResult {
    /// Mean Dice over the classes that were scored.
    pub(crate) fn mean_dice(&self) -> Option<f64> {
        let values: Vec<f64> = self
            .scores
            .iter()
            .flat_map(|s| &s.values)
            .filter(|m| m.definition == metrics::Definition::Dice)
            .filter_map(|m| m.value)
            .collect();
        metrics::statistics::summarise(&values).map(|s| s.mean)
    }
}

/// What class values are kept as: the narrowest type that holds the declared ones.
pub(crate) trait Class: Copy + Default + PartialEq + Into<u64> + TryFrom<u64> + Send + Sync {}

impl Class for u8 {}
impl Class for u32 {}

/// Labels of one file, class values only, with their grid.
#[derive(Debug, Clone)]
pub(crate) struct Labels<T> {
    /// Axes z, y, x.
    pub(crate) voxels: Vec<T>,
    /// Where they lie.
    pub(crate) grid: Grid,
    /// What is odd about the file.
    pub(crate) remarks: Vec<Remark>,
}

/// Values of about so many voxels are read at a time: what passes over them finds them in the cache.
const SLAB: usize = 1 << 17;

/// A flaw of a file as a message of this case.
pub(crate) fn flaw(case: &str, error: &VolumeError) -> Message {
    let message = Message::error(error.code(), error.to_string()).case(case);
    let holds_none = |values: String| ["NaN", "inf"].iter().any(|none| values.contains(none));
    match error.hint() {
        // no interpolation makes these
        _ if matches!(error, VolumeError::LabelNotInteger { values, .. } if holds_none(values.to_string())) => {
            message
                .cause("NaN and infinity come of a division by zero, or of a network that diverged")
                .fix("Correct the program that wrote it: a label map holds whole numbers")
        }
        Some(hint) => message.fix(hint),
        None => message,
    }
}

/// Reads the reference: declared values only, after the descriptor's map.
pub(crate) fn reference<T: Class>(pair: &Pair, descriptor: &Descriptor) -> Result<Labels<T>, Message> {
    let declared = descriptor.labels.as_ref().map(|labels| labels.allowed()).unwrap_or_default();
    read(pair, &pair.reference, descriptor, &declared)
}

/// Reads a prediction: declared values only, the bytes that its manifest lists.
pub(crate) fn prediction<T: Class>(
    pair: &Pair,
    map: &Map,
    descriptor: &Descriptor,
) -> Result<Labels<T>, Message> {
    if let Some((path, expected)) = &pair.expected {
        let digest = if path.is_dir() { digest::tree(path) } else { digest::file(path) };
        let (_, sha256) = digest.map_err(|e| Message::error("E100", e.to_string()).case(&pair.id))?;
        if sha256 != expected.sha256 {
            return Err(Message::error("E505", "the prediction was changed after it was written")
                .case(&pair.id)
                .detail(format!("{}: found SHA-256 {sha256}, expected {}", path.display(), expected.sha256))
                .fix("Remove the file and run 'finetune predict' again"));
        }
    }
    let classes = descriptor.foreground_classes().len() as u64 + 1;
    // the map is for the data set's own files; a prediction holds classes
    let mut plain = descriptor.clone();
    if let Some(labels) = &mut plain.labels {
        labels.map.clear();
    }
    read(pair, map, &plain, &(0..classes).collect()).map_err(|message| match message.code {
        // the map of the data set's own files does not apply here
        "E110" => Message { fix: None, ..message }
            .fix("Correct the program that wrote it, or declare the class in the data set's descriptor"),
        _ => message,
    })
}

/// Reads class labels some planes at a time, so that they are never in memory wider than `T`.
fn read<T: Class>(
    pair: &Pair,
    map: &Map,
    descriptor: &Descriptor,
    declared: &BTreeSet<u64>,
) -> Result<Labels<T>, Message> {
    if descriptor.labels.as_ref().is_some_and(|labels| labels.kind == LabelKind::Instances) {
        return Err(Message::error("E508", "the reference holds object ids, not classes")
            .case(&pair.id)
            .detail(map.path().display().to_string())
            .fix("Score it with 'evaluate instances'"));
    }
    let mut planes = Reader::open(&pair.id, &map.clone().with_labels(&pair.id)?, descriptor)?;
    let grid = planes.grid;
    let [nz, ny, nx] = grid.shape_zyx;
    let (mut voxels, mut slab) = (Vec::with_capacity(nz * ny * nx), Vec::new());
    let mut counts = Counts::new();
    let depth = (SLAB / (ny * nx).max(1)).max(1);
    while planes.next(&pair.id, depth, &mut slab)? > 0 {
        volume::labels::count_into(&mut counts, &slab);
        // a value that does not fit is not declared either: the check below names it
        voxels.extend(slab.iter().map(|value| T::try_from(*value).unwrap_or_default()));
    }
    volume::labels::check(counts, declared).map_err(|e| flaw(&pair.id, &e.in_file(map.path())))?;
    Ok(Labels { voxels, grid, remarks: planes.remarks(&pair.id) })
}

fn describe(grid: &Grid) -> String {
    let [z, y, x] = grid.shape_zyx;
    let spacing = grid.spacing_zyx_mm();
    let (factor, unit) = if spacing.iter().all(|s| *s < 1e-3) { (1e6, "nm") } else { (1.0, "mm") };
    let [sz, sy, sx] = spacing.map(|s| (s * factor * 1e6).round() / 1e6);
    format!("{z}x{y}x{x} @{sz},{sy},{sx} {unit}")
}

/// A label map's path and grid, for messages about both.
pub(crate) struct Placed<'a> {
    /// Its file.
    pub(crate) path: &'a Path,
    /// Its grid.
    pub(crate) grid: &'a Grid,
}

/// The grid with its axes ordered as those of the world.
fn canonical(grid: &Grid) -> Grid {
    Orientation::to_canonical(grid).apply_to_grid(grid)
}

/// Checks that a prediction lies on its reference's grid; gives a warning where they differ by less than a tenth of a voxel.
pub(crate) fn check_grid(
    case: &str,
    reference: &Placed<'_>,
    prediction: &Placed<'_>,
) -> Result<Option<Message>, Message> {
    let tenth = reference.grid.near_within_mm();
    let mismatch = |what: &str, cause: &str| {
        let message = Message::error(
            "E503",
            format!(
                "{what} (z, y, x): prediction {}, reference {}",
                describe(prediction.grid),
                describe(reference.grid)
            ),
        )
        .case(case)
        .detail(format!("{} and {}", prediction.path.display(), reference.path.display()));
        // the same voxels at the same places
        let [one, other] = [reference.grid, prediction.grid].map(canonical);
        if one.shape_zyx == other.shape_zyx && same_geometry(&one, &other) <= tenth {
            let codes = [prediction.grid, reference.grid].map(Grid::axis_codes);
            return message
                .cause(format!(
                    "It is the same grid with axes in another order: {} and {}",
                    codes[0], codes[1]
                ))
                .fix("Reorient the prediction to the reference's axes; nothing needs resampling");
        }
        message
            .cause(cause.to_owned())
            .fix("Write the prediction on the grid of the image that the reference was drawn on")
    };
    if reference.grid.shape_zyx != prediction.grid.shape_zyx {
        return Err(mismatch("shapes differ", "The prediction was made on a cropped or resampled image"));
    }
    let corner_mm = same_geometry(reference.grid, prediction.grid);
    if corner_mm < reference.grid.same_within_mm() {
        Ok(None)
    } else if corner_mm <= tenth {
        let text = format!("prediction and reference differ by {} at a corner", length_text(corner_mm));
        let warning = Message::warning("W503", text).case(case);
        Ok(Some(warning.detail("Less than a tenth of a voxel: scored on the reference's grid")))
    } else {
        let what = format!("grids differ by {} at a corner", length_text(corner_mm));
        Err(mismatch(&what, "The prediction lost or changed the image's affine"))
    }
}

/// Whether all declared values are bytes.
fn are_bytes(descriptor: &Descriptor) -> bool {
    let labels = descriptor.labels.as_ref();
    let largest = labels.and_then(|labels| labels.allowed().last().copied()).unwrap_or_default();
    largest <= u64::from(u8::MAX)
}

/// Reads one pair as [`score`] does, which measures it. Gives a warning.
pub(crate) fn check(
    pair: &Pair,
    descriptor: &Descriptor,
    remarks: &mut Vec<Remark>,
) -> Result<((), Option<Message>), Message> {
    let warning = match are_bytes(descriptor) {
        true => read_pair::<u8>(pair, descriptor, remarks)?.2,
        false => read_pair::<u32>(pair, descriptor, remarks)?.2,
    };
    Ok(((), warning))
}

/// Scores one pair; without a prediction, an empty one stands in. Gives the result and a warning; what is odd about its files is added to
/// `remarks`, also where they cannot be scored.
pub(crate) fn score(
    pair: &Pair,
    descriptor: &Descriptor,
    protocol: &Protocol,
    remarks: &mut Vec<Remark>,
) -> Result<(CaseResult, Option<Message>), Message> {
    if are_bytes(descriptor) {
        score_as::<u8>(pair, descriptor, protocol, remarks)
    } else {
        score_as::<u32>(pair, descriptor, protocol, remarks)
    }
}

/// The reference, the voxels of the prediction where there is one, and a warning of how they lie.
type ReadPair<T> = (Labels<T>, Option<Vec<T>>, Option<Message>);

fn read_pair<T: Class>(
    pair: &Pair,
    descriptor: &Descriptor,
    remarks: &mut Vec<Remark>,
) -> Result<ReadPair<T>, Message> {
    let mut reference = reference::<T>(pair, descriptor)?;
    remarks.append(&mut reference.remarks);
    let Some(map) = &pair.prediction else { return Ok((reference, None, None)) };
    let labels = prediction::<T>(pair, map, descriptor)?;
    remarks.extend(labels.remarks);
    let placed = |path, grid| Placed { path, grid };
    let own = placed(pair.reference.path(), &reference.grid);
    let warning = check_grid(&pair.id, &own, &placed(map.path(), &labels.grid))?;
    Ok((reference, Some(labels.voxels), warning))
}

fn score_as<T: Class>(
    pair: &Pair,
    descriptor: &Descriptor,
    protocol: &Protocol,
    remarks: &mut Vec<Remark>,
) -> Result<(CaseResult, Option<Message>), Message> {
    let (reference, guess, warning) = read_pair::<T>(pair, descriptor, remarks)?;
    let grid = reference.grid;
    let guess = guess.unwrap_or_else(|| vec![T::default(); reference.voxels.len()]);
    let spacing = grid.spacing_zyx_mm();
    let scores = score_case(&reference.voxels, &guess, grid.shape_zyx, spacing, protocol)
        .map_err(|e| Message::error("E509", e.to_string()).case(&pair.id))?;
    let result = CaseResult {
        id: pair.id.clone(),
        diagonal_mm: diagonal_mm(grid.shape_zyx, spacing),
        voxel_ml: spacing.iter().product::<f64>() / 1000.0,
        scores,
        missing: pair.prediction.is_none(),
    };
    Ok((result, warning))
}
