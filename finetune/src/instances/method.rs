//! The methods that people can name.

use crate::arguments::{Details, MethodName, Pieces};
use label_maps::affinities::NEAREST;
use label_maps::agglomerate::{HistogramStart, Score};
use label_maps::fragments::FragmentParameters;
use label_maps::multicut::CostParameters;
use label_maps::mutex::MutexParameters;
use label_maps::window::{Blocks, Stitch};
use label_maps::{Combine, Connectivity, LabelMapError, Method};
use stage::Message;

/// Sweeps of the multicut's refinement at most.
const SWEEPS: usize = 100;
/// Hundredths of the smaller object's voxels that two objects of the mutex watershed share in a halo to be one.
const STITCH_PERCENT: u8 = 50;

/// A method with its parameters.
///
/// # Errors
/// `E434` for values with which it cannot work.
pub(crate) fn of(name: MethodName, threshold: f64, details: Details) -> Result<Method, Message> {
    let agglomerate =
        |score| Method::Agglomerate { fragments: FragmentParameters::waterz(), score, threshold };
    let method = match name {
        MethodName::Components => Method::Components {
            boundary: Combine::Strongest,
            threshold: threshold as f32,
            connectivity: Connectivity::Faces,
        },
        MethodName::Mean => agglomerate(Score::Mean),
        MethodName::Quantile => {
            agglomerate(Score::Quantile { percent: details.quantile(), start: HistogramStart::default() })
        }
        MethodName::MutexWatershed => {
            // every set of offsets begins with the nearest
            Method::MutexWatershed(MutexParameters {
                attractive: NEAREST.len(),
                strides_zyx: details.strides(),
            })
        }
        MethodName::Multicut => Method::Multicut {
            fragments: FragmentParameters::multicut(),
            costs: CostParameters { beta: threshold, ..CostParameters::default() },
            sweeps: SWEEPS,
        },
    };
    method.check().map_err(|error| refused(&error))?;
    Ok(method)
}

/// How a method's blocks are put together.
///
/// # Errors
/// `E434` for blocks and halos that do not fit each other.
pub(crate) fn blocks(method: &Method, pieces: Pieces) -> Result<Blocks, Message> {
    let stitch = match method {
        Method::MutexWatershed(_) => Stitch::Overlap { percent: STITCH_PERCENT },
        _ => Stitch::Rule,
    };
    let blocks = Blocks { block_zyx: pieces.block, halo_zyx: pieces.halo(), stitch };
    blocks.check().map_err(|error| refused(&error))?;
    Ok(blocks)
}

/// What makes no objects, by the names of options, and what to do.
pub(crate) fn refused(error: &LabelMapError) -> Message {
    let (text, fix) = match error {
        LabelMapError::Parameter { name, expected, found } => {
            let (option, fix) = match *name {
                "beta" | "threshold" => ("--threshold", "Give another --threshold"),
                "block_zyx" => ("--block", "Give another --block"),
                "halo_zyx" => (
                    "--halo",
                    "Give --halo from 1 to --block along each axis along which --block cuts volumes; along others 0 will do",
                ),
                "strides_zyx" => ("--strides", "Give other --strides"),
                "attractive" => (
                    "the number of affinities that attract",
                    "Choose another --method, or train with --affinities long-range",
                ),
                other => (other, "Choose another --method"),
            };
            (format!("{option} must be {expected}, found {found}"), fix)
        }
        LabelMapError::Probability { .. } => {
            (error.to_string(), "The file is damaged, or no prediction: run 'finetune predict' again")
        }
        LabelMapError::TooLarge { .. } | LabelMapError::TooManyComponents { .. } => {
            (error.to_string(), "Give a smaller --block")
        }
        _ => (
            error.to_string(),
            "Choose another --method, or train with --affinities long-range where repulsion is needed",
        ),
    };
    Message::error("E434", text).fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_not_blamed_on_the_method() {
        let what = "affinities";
        let nan = LabelMapError::Probability { what, found: f32::NAN, channel: 1, place_zyx: [4, 5, 6] };
        insta::assert_snapshot!(refused(&nan), @"E434 affinities must be numbers from 0 to 1, found NaN at [4, 5, 6] (z, y, x) of channel 1. The file is damaged, or no prediction: run 'finetune predict' again.");
        let large = LabelMapError::TooLarge { what, found: 5_000_000_000 };
        assert!(refused(&large).to_string().ends_with("Give a smaller --block."));
        let missing = LabelMapError::NoNearest { axis: 'z', offsets: NEAREST[1..].to_vec() };
        assert!(refused(&missing).to_string().contains("--affinities long-range"));
    }
}
