//! The directory of label maps.

use crate::kept::Kept;
use crate::objective::Objective;

/// Table of a prediction directory.
pub(crate) const TABLE: &str = "predictions.csv";

/// Label maps, and affinities.
pub(super) const KEPT: Kept = Kept { stage: "predict", table: TABLE, endings: &[".nii.gz", ".h5"] };

/// File of a case's label map or affinities.
pub(super) fn file_name(id: &str, objective: &Objective) -> String {
    match objective {
        Objective::Classes | Objective::Regions => format!("{id}.nii.gz"),
        Objective::Affinities(_) => format!("{id}.h5"),
    }
}
