//! The methods that people can name.

use crate::arguments::{Details, MethodName, Pieces};
use label_maps::affinities::NEAREST;
use label_maps::agglomerate::{HistogramStart, Score};
use label_maps::fragments::FragmentParameters;
use label_maps::multicut::CostParameters;
use label_maps::mutex::MutexParameters;
use label_maps::window::{Blocks, Stitch};
use label_maps::{Combine, Connectivity, Method};
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
            agglomerate(Score::Quantile { percent: details.quantile, start: HistogramStart::default() })
        }
        MethodName::MutexWatershed => {
            // every set of offsets begins with the nearest
            Method::MutexWatershed(MutexParameters {
                attractive: NEAREST.len(),
                strides_zyx: details.strides,
            })
        }
        MethodName::Multicut => Method::Multicut {
            fragments: FragmentParameters::multicut(),
            costs: CostParameters { beta: threshold, ..CostParameters::default() },
            sweeps: SWEEPS,
        },
    };
    method.check().map_err(|e| Message::error("E434", e.to_string()))?;
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
    let blocks = Blocks { block_zyx: pieces.block, halo_zyx: pieces.halo, stitch };
    blocks.check().map_err(|e| {
        Message::error("E434", e.to_string()).fix("Give a --halo of at most --block along each axis")
    })?;
    Ok(blocks)
}
