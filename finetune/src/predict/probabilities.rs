//! Probabilities of classes or regions to their file, on the image's own grid.

use super::output::ProbabilityKind;
use super::write::stack_info;
use crate::model::ModelPlan;
use crate::objective::Objective;
use crate::semantic::Semantic;
use crate::stacks::{Failure, create_probabilities};
use serde_json::{Value, json};
use std::path::Path;
use volume::crop::BoundingBox;
use volume::prepare::Probabilities;
use volume::resample::ProbabilityNumbers;
use volume::{Grid, Voxels, nifti};

/// Schema id of the file that says what the channels are.
const SCHEMA: &str = "gtgm/probabilities/1";

/// What probabilities are of, and how they are stored.
pub(super) struct Channels {
    /// A name and a value for each.
    names: Value,
    count: usize,
    numbers: ProbabilityNumbers,
    /// The text of the file that says what they are.
    pub(super) text: String,
}

impl Channels {
    /// Those of a model; none of one of objects.
    ///
    /// # Errors
    /// As [`Semantic::of`]; when it cannot be written as JSON.
    pub(super) fn of(plan: &ModelPlan, kind: ProbabilityKind) -> anyhow::Result<Option<Self>> {
        let Some(labels) = &plan.descriptor.labels else { return Ok(None) };
        let Some(semantic) = Semantic::of(&plan.objective, Some(labels))? else { return Ok(None) };
        let regions = plan.objective == Objective::Regions;
        let names: Vec<Value> = match regions {
            true => labels
                .regions
                .iter()
                .enumerate()
                .map(|(channel, region)| {
                    json!({ "channel": channel, "name": region.name, "value": region.paint, "classes": region.values })
                })
                .collect(),
            false => labels
                .classes
                .iter()
                .enumerate()
                .map(|(channel, name)| json!({ "channel": channel, "name": name, "value": channel }))
                .collect(),
        };
        let (function, label_map) = match regions {
            true => (
                "sigmoid",
                "each channel paints its value where it is above 0.5, the later over the earlier; 0 elsewhere",
            ),
            false => ("softmax", "the value of the highest channel, of equal ones of the first"),
        };
        let text = serde_json::to_string_pretty(&json!({
            "schema": SCHEMA,
            "axes": "channel, z, y, x; NIfTI counts them the other way round: x, y, z, channel",
            "function": function,
            "numbers": kind,
            "label_map": label_map,
            "channels": names,
        }))?;
        let numbers = kind.numbers();
        Ok(Some(Self { names: names.into(), count: semantic.channels(), numbers, text: text + "\n" }))
    }

    /// Writes the probabilities of a case whose label map is in a file.
    pub(super) fn write(
        &self,
        path: &Path,
        found: &Probabilities,
        label_map: &Path,
        grid: &Grid,
    ) -> Result<(), Failure> {
        /// As many as a chunk of OME-Zarr has.
        const SECTIONS: usize = 8;
        if path.extension().is_some_and(|extension| extension == "gz") {
            let names = self.names.to_string();
            return Ok(nifti::write_channels_like(path, found, self.numbers, &names, label_map)?);
        }
        let [depth, height, width] = grid.shape_zyx;
        let info = stack_info("probabilities", grid);
        create_probabilities(path, &info, (self.count, &self.names), self.numbers, |file| {
            for first in (0..depth).step_by(SECTIONS) {
                let end_zyx = [(first + SECTIONS).min(depth), height, width];
                let sections = BoundingBox { start_zyx: [first, 0, 0], end_zyx };
                let mut values = Vec::with_capacity(self.count * sections.voxels());
                for channel in 0..self.count {
                    values.extend(found.read(channel, &sections)?);
                }
                file.put(first, &values)?;
            }
            Ok(())
        })
    }
}
