//! `finetune info`: what a model is, from its file, and how it was trained, from what lies beside it.

use crate::arguments::Info;
use crate::model::{self, ModelPlan};
use crate::objective::Objective;
use crate::wording::share_of_labels;
use data_manifests::cases::triple;
use data_manifests::seen::Seen;
use data_manifests::{Manifest, digest};
use networks::weights;
use serde::Serialize;
use serde_json::Value;
use stage::message::counted;
use stage::{Context, ExitStatus};
use std::path::Path;

/// What is told of a model.
#[derive(Debug, Serialize)]
struct Sheet {
    file: String,
    sha256: String,
    /// Numbers that training changes.
    parameters: u64,
    plan: ModelPlan,
    /// The cases that the weights and those they come from were trained on.
    seen: Seen,
    /// Absent where the file lies alone.
    training: Option<Training>,
}

/// How it was trained.
#[derive(Debug, Serialize)]
struct Training {
    /// As in `plan.json`.
    plan: Value,
    licence: String,
    /// The last validation that was recorded: step and pooled score, where it has one.
    validation: Option<(u64, Option<f64>)>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Info, context: &Context) -> anyhow::Result<ExitStatus> {
    let file = model::file_of(&arguments.model);
    let plan = model::stored_plan(&file)?;
    let sheet = Sheet {
        file: file.display().to_string(),
        sha256: digest::file(&file)?.1,
        parameters: weights::count_parameters(&weights::read_tensors(&file)?),
        plan,
        seen: model::stored_seen(&file, "E410")?,
        training: training(&arguments.model)?,
    };
    if arguments.json {
        context.print(&serde_json::to_string_pretty(&sheet)?)?;
    } else {
        for (name, value) in sheet.lines() {
            context.print(&format!("{name:<14} {value}"))?;
        }
    }
    Ok(ExitStatus::Done)
}

/// What a whole training directory tells beyond the model.
fn training(directory: &Path) -> anyhow::Result<Option<Training>> {
    let plan = directory.join("plan.json");
    if !plan.is_file() {
        return Ok(None);
    }
    let manifest = Manifest::load(directory, "train")?;
    let records = directory.join(training::record::METRICS);
    let validation =
        if records.is_file() { last_validation(&fs_err::read_to_string(records)?) } else { None };
    let plan = serde_json::from_slice(&fs_err::read(plan)?)?;
    Ok(Some(Training { plan, licence: manifest.licence, validation }))
}

/// Step and score of the last line of kind `validation`.
fn last_validation(records: &str) -> Option<(u64, Option<f64>)> {
    records.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_validation = line["kind"] == "validation";
        is_validation.then(|| Some((line["step"].as_u64()?, line["score"].as_f64())))?
    })
}

impl Sheet {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let descriptor = &self.plan.descriptor;
        let yes = |flags: &[bool; 3]| -> String {
            let axes: Vec<&str> =
                ["z", "y", "x"].into_iter().zip(flags).filter(|(_, f)| **f).map(|(a, _)| a).collect();
            if axes.is_empty() { "none".to_owned() } else { axes.join(", ") }
        };
        let mirrored = descriptor.mirrors();
        let mut lines = vec![
            ("file", self.file.clone()),
            ("sha256", self.sha256.clone()),
            (
                "network",
                format!(
                    "{}, {:.2} million parameters",
                    self.plan.network.kind(),
                    self.parameters as f64 / 1e6
                ),
            ),
            ("data set", format!("{} ({})", descriptor.name, descriptor.title)),
            ("channels", descriptor.channels.join(", ")),
            ("voxel, mm", format!("{} (z, y, x)", triple(&descriptor.spacing_zyx_mm()))),
            ("patch", format!("{} (z, y, x)", triple(&self.plan.patch_zyx))),
            ("mirror axes", yes(&mirrored)),
        ];
        lines.push(match &self.plan.objective {
            Objective::Classes => {
                let classes = descriptor.labels.iter().flat_map(|labels| labels.classes.iter().enumerate());
                let classes: Vec<String> = classes.map(|(value, name)| format!("{value} {name}")).collect();
                ("classes", classes.join(", "))
            }
            Objective::Regions => {
                let regions = descriptor.labels.iter().flat_map(|labels| &labels.regions);
                let regions: Vec<String> = regions
                    .map(|region| format!("{} of {:?} painted {}", region.name, region.values, region.paint))
                    .collect();
                ("regions", regions.join(", "))
            }
            Objective::Affinities(plan) => {
                let offsets: Vec<String> =
                    plan.offsets_zyx.iter().map(|[z, y, x]| format!("{z},{y},{x}")).collect();
                ("affinities", format!("{} (z,y,x)", offsets.join("  ")))
            }
        });
        for (dataset, cases) in &self.seen.datasets {
            let counts =
                format!("{}, {} with labels", counted(cases.images.len(), "image"), cases.labels.len());
            lines.push(("learnt from", format!("{dataset}: {counts}")));
        }
        if self.seen.incomplete {
            lines.push(("learnt from", "others: weights among its origins do not say".to_owned()));
        }
        let Some(training) = &self.training else {
            lines.push(("training", "not told: the file lies alone".to_owned()));
            return lines;
        };
        let plan = &training.plan;
        let count = |name: &str| plan[name].as_array().map_or(0, Vec::len);
        let start = match plan["encoder"].as_str() {
            Some(encoder) => format!("encoder {encoder}"),
            None => "random weights".to_owned(),
        };
        let steps = format!(
            "{} steps of {} patches, {}",
            plan["steps"],
            plan["batch"],
            plan["precision"].as_str().unwrap_or("?")
        );
        lines.extend([
            ("started from", start),
            ("trained", format!("{steps}, seed {}", plan["seed"])),
            (
                "cases",
                format!(
                    "{} trained on ({} of the labels), {} for validation",
                    count("train"),
                    share_of_labels(plan["fraction"].as_f64().unwrap_or(f64::NAN)),
                    count("val")
                ),
            ),
        ]);
        if let Some((step, score)) = training.validation {
            let score = score.map_or_else(|| "n/a".to_owned(), |score| format!("{score:.4} pooled"));
            lines.push(("validation", format!("{score}, at step {step}")));
        }
        lines.push(("licence", training.licence.clone()));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_validation_is_told() {
        let records = "{\"step\":2,\"kind\":\"validation\",\"score\":0.5}\n{\"step\":3,\"kind\":\"step\",\"loss\":1.0}\n";
        assert_eq!(last_validation(records), Some((2, Some(0.5))));
        // not the one before
        let not_finite = format!("{records}{{\"step\":4,\"kind\":\"validation\",\"loss\":\"NaN\"}}\n");
        assert_eq!(last_validation(&not_finite), Some((4, None)));
        assert_eq!(last_validation("{\"step\":3,\"kind\":\"step\"}\n"), None);
    }
}
