//! What `evaluate instances` writes: the table of values and the summary.

use crate::aggregate;
use crate::instances::{InstancesArguments, Zero};
use crate::summary::{
    self, CaseCounts, CaseEntry, ClassSummary, Dataset, DefinitionNote, Details, MetricSummary, SummaryFile,
};
use crate::targets::MeanRule;
use crate::warned::Warned;
use anyhow::Result;
use data_manifests::Descriptor;
use metrics::policy::PresenceCounts;
use metrics::{NamedScore, Policy};
use std::collections::BTreeMap;

/// What was measured of a case.
pub(crate) struct Measured {
    pub(crate) case: String,
    pub(crate) reference: String,
    /// None where there was none: one without objects was scored.
    pub(crate) prediction: Option<String>,
    pub(crate) scores: Vec<NamedScore>,
    /// Evaluated, and all.
    pub(crate) voxels: [u64; 2],
    /// In reference and prediction.
    pub(crate) objects: [u64; 2],
}

/// Class of the rows of `metrics.csv`.
pub(crate) const OBJECTS: &str = "objects";

/// `metrics.csv`: case, class, metric, definition, value.
pub(crate) fn table(measured: &[Measured]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["case", "class", "metric", "definition", "value"])?;
    for case in measured {
        for score in &case.scores {
            let value = score.value.map_or_else(|| "n/a".to_owned(), |v| v.to_string());
            table.write_record([&case.case, OBJECTS, score.name, &score.id, &value])?;
        }
    }
    Ok(table.into_inner()?)
}

pub(crate) fn summarise(
    arguments: &InstancesArguments,
    described: Option<&Descriptor>,
    splits: Vec<String>,
    cases: CaseCounts,
    measured: &[Measured],
    warnings: Vec<Warned>,
) -> SummaryFile {
    let entries: Vec<CaseEntry> = measured
        .iter()
        .map(|case| {
            let mut row: BTreeMap<String, serde_json::Value> =
                case.scores.iter().map(|s| (s.id.clone(), aggregate::number(s.value))).collect();
            let counts = [
                ("voxels_evaluated", case.voxels[0]),
                ("voxels", case.voxels[1]),
                ("n_ref", case.objects[0]),
                ("n_pred", case.objects[1]),
            ];
            row.extend(counts.map(|(name, n)| (name.to_owned(), serde_json::json!(n))));
            CaseEntry {
                case: case.case.clone(),
                reference_file: case.reference.clone(),
                prediction_file: case.prediction.clone(),
                voxel_ml: None,
                metrics: [(OBJECTS.to_owned(), row)].into(),
            }
        })
        .collect();
    let (foreground_mean, mean) = aggregate::nnunet_means(&entries, MeanRule::Scored);
    let first = measured.first().map(|m| m.scores.as_slice()).unwrap_or_default();
    let of_id = |score: &NamedScore| -> MetricSummary {
        let same = measured.iter().flat_map(|m| &m.scores).filter(|s| s.id == score.id);
        let values: Vec<f64> = same.filter_map(|s| s.value).collect();
        aggregate::summary_of(score.id.clone(), score.name, &values)
    };
    let metrics: Vec<MetricSummary> = first.iter().map(of_id).collect();
    let note =
        |s: &NamedScore| DefinitionNote { id: s.id.clone(), name: s.name.to_owned(), text: s.text.clone() };
    let presence = PresenceCounts { both: measured.len() as u64, ..PresenceCounts::default() };
    let zero = match arguments.zero() {
        Zero::Ignore => "0 in the reference is not evaluated",
        Zero::Score => "0 in the reference is an object",
    };
    let border = arguments.border_nm.map_or_else(String::new, |nm| {
        format!("; voxels within {nm} nm of a border in their section are not evaluated")
    });
    SummaryFile {
        foreground_mean,
        mean,
        metric_per_case: entries,
        gtgm: Details {
            schema: summary::SCHEMA.to_owned(),
            dataset: Dataset::of_objects(described),
            splits,
            policy: Policy::default(),
            mean_rule: MeanRule::Scored,
            missing_rule: format!("{zero}{border}"),
            definitions: first.iter().map(note).collect(),
            cases,
            classes: vec![ClassSummary {
                class: OBJECTS.to_owned(),
                name: OBJECTS.to_owned(),
                presence,
                metrics: metrics.clone(),
            }],
            foreground: metrics,
            overlays: Vec::new(),
            warnings,
        },
    }
}
