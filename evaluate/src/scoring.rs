//! One case: read, check, measure.

use crate::pairing::Pair;
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::{Descriptor, digest};
use metrics::{ClassScore, Protocol, diagonal_mm, score_case};
use stage::Message;
use std::collections::BTreeSet;
use std::path::Path;
use volume::{Grid, SAME_GEOMETRY_MM, VolumeError, nifti, same_geometry};

/// What was measured of a case.
#[derive(Debug, Clone)]
pub(crate) struct CaseResult {
    /// Case id.
    pub(crate) id: String,
    /// Diagonal of the volume, for means that need a finite distance.
    pub(crate) diagonal_mm: f64,
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

/// Labels of one file, class values only, with their grid.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    /// Axes z, y, x.
    pub(crate) voxels: Vec<u32>,
    /// Where they lie.
    pub(crate) grid: Grid,
}

/// A flaw of a file as a message of this case.
fn flaw(case: &str, error: &VolumeError) -> Message {
    let message = Message::error(error.code(), error.to_string()).case(case);
    match error.hint() {
        Some(hint) => message.fix(hint),
        None => message,
    }
}

/// Reads the reference: declared values only, after the descriptor's map.
pub(crate) fn reference(pair: &Pair, descriptor: &Descriptor) -> Result<Labels, Message> {
    let labels = open::labels(&pair.reference, descriptor).map_err(|e| flaw(&pair.id, &e))?;
    let voxels = match labels.voxels {
        RawVoxels::Narrow(voxels) => voxels,
        RawVoxels::Wide(_) => {
            return Err(Message::error("E508", "the reference holds object ids, not classes")
                .case(&pair.id)
                .detail(pair.reference.path().display().to_string())
                .fix("Give a data set with semantic labels"));
        }
    };
    let declared = descriptor.labels.as_ref().map(|labels| labels.allowed()).unwrap_or_default();
    volume::labels::check(volume::labels::counts(&voxels), &declared)
        .map_err(|e| flaw(&pair.id, &e.in_file(pair.reference.path())))?;
    Ok(Labels { voxels, grid: labels.grid })
}

/// Reads a prediction: declared values only, the bytes that its manifest lists.
pub(crate) fn prediction(pair: &Pair, path: &Path, descriptor: &Descriptor) -> Result<Labels, Message> {
    if let Some(expected) = &pair.expected {
        let (_, sha256) =
            digest::file(path).map_err(|e| Message::error("E100", e.to_string()).case(&pair.id))?;
        if sha256 != expected.sha256 {
            return Err(Message::error("E505", "the prediction was changed after it was written")
                .case(&pair.id)
                .detail(format!("{}: found SHA-256 {sha256}, expected {}", path.display(), expected.sha256))
                .fix("Run 'finetune predict' again"));
        }
    }
    let labels = nifti::read_labels(path).map_err(|e| flaw(&pair.id, &e))?;
    check_values(&labels.data, descriptor).map_err(|e| flaw(&pair.id, &e.in_file(path)))?;
    Ok(Labels { voxels: labels.data, grid: labels.grid })
}

fn check_values(voxels: &[u32], descriptor: &Descriptor) -> volume::Result<()> {
    let classes = descriptor.foreground_classes().len() as u64 + 1;
    let declared: BTreeSet<u64> = (0..classes).collect();
    volume::labels::check(volume::labels::counts(voxels), &declared).map(drop)
}

fn describe(grid: &Grid) -> String {
    let [z, y, x] = grid.shape_zyx;
    let [sz, sy, sx] = grid.spacing_zyx_mm().map(|s| (s * 1e6).round() / 1e6);
    format!("{z}x{y}x{x} @{sz},{sy},{sx} mm")
}

/// Checks that a prediction lies on its reference's grid; gives the corner displacement in mm when it is worth a warning.
fn check_grid(pair: &Pair, reference: &Grid, prediction: &Grid) -> Result<Option<f64>, Message> {
    let mismatch = |what: &str, cause: &str| {
        Message::error(
            "E503",
            format!(
                "{what} (z, y, x): prediction {}, reference {}",
                describe(prediction),
                describe(reference)
            ),
        )
        .case(&pair.id)
        .detail(format!(
            "{} and {}",
            pair.prediction.as_deref().unwrap_or(Path::new("no file")).display(),
            pair.reference.path().display()
        ))
        .cause(cause.to_owned())
        .fix("Write the prediction on the grid of the image that the reference was drawn on")
    };
    if reference.shape_zyx != prediction.shape_zyx {
        return Err(mismatch("shapes differ", "The prediction was made on a cropped or resampled image"));
    }
    let corner_mm = same_geometry(reference, prediction);
    let tenth = reference.spacing_zyx_mm().into_iter().fold(f64::INFINITY, f64::min) / 10.0;
    if corner_mm < SAME_GEOMETRY_MM.min(tenth) {
        Ok(None)
    } else if corner_mm <= tenth {
        Ok(Some(corner_mm))
    } else {
        let what = format!("grids differ by {corner_mm:.3} mm at a corner");
        Err(mismatch(&what, "The prediction lost or changed the image's affine"))
    }
}

/// Voxels that nobody annotated become background in both maps, so that no class gains or loses by them.
fn leave_out(ignore: u32, reference: &mut [u32], prediction: &mut [u32]) {
    for (truth, guess) in reference.iter_mut().zip(prediction) {
        if *truth == ignore {
            (*truth, *guess) = (0, 0);
        }
    }
}

/// Scores one pair; without a prediction, an empty one stands in. Gives the result and a warning.
pub(crate) fn score(
    pair: &Pair,
    descriptor: &Descriptor,
    protocol: &Protocol,
) -> Result<(CaseResult, Option<Message>), Message> {
    let mut reference = reference(pair, descriptor)?;
    let grid = reference.grid;
    let mut warning = None;
    let mut guess = match &pair.prediction {
        Some(path) => {
            let labels = prediction(pair, path, descriptor)?;
            warning = check_grid(pair, &grid, &labels.grid)?.map(|corner_mm| {
                Message::warning(
                    "W503",
                    format!("prediction and reference differ by {corner_mm:.4} mm at a corner"),
                )
                .case(&pair.id)
                .detail("Less than a tenth of a voxel: scored on the reference's grid")
            });
            labels.voxels
        }
        None => vec![0; reference.voxels.len()],
    };
    if let Some(ignore) = descriptor.labels.as_ref().and_then(|labels| labels.ignore) {
        leave_out(ignore, &mut reference.voxels, &mut guess);
    }
    let spacing = grid.spacing_zyx_mm();
    let scores = score_case(&reference.voxels, &guess, grid.shape_zyx, spacing, protocol)
        .map_err(|e| Message::error("E509", e.to_string()).case(&pair.id))?;
    let result = CaseResult {
        id: pair.id.clone(),
        diagonal_mm: diagonal_mm(grid.shape_zyx, spacing),
        scores,
        missing: pair.prediction.is_none(),
    };
    Ok((result, warning))
}
