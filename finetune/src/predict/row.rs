//! The table of a prediction directory.

use super::jobs::Job;
use super::output::{Names, TABLE};
use data_manifests::cases;
use data_manifests::raw::Source;
use serde::{Deserialize, Serialize};
use stage::{Context, Message};
use std::path::Path;

/// A row of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    /// `train`, `val`, `test` or `given`.
    pub(crate) split: String,
    /// The label map, or the affinities.
    pub(crate) file: String,
    /// Source image below `$RAW`.
    pub(crate) image: String,
    /// Its label below `$RAW`; empty without one.
    pub(crate) label: String,
    /// The probabilities, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) probabilities: Option<String>,
}

impl Row {
    /// The reference of this case below `references`; `code` is that of the command that wants it.
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) fn reference(&self, references: &Path, code: &'static str) -> Result<Source, Message> {
        let source = Source::from_portable(&self.label, references);
        source.filter(|source| source.missing().is_none()).ok_or_else(|| {
            Message::error(code, "the reference of this case is missing")
                .case(&self.id)
                .detail(format!("{} is not below {}", self.label, references.display()))
                .fix("Give --references the raw folder that was predicted")
        })
    }

    pub(super) fn of(job: &Job, names: Names) -> Self {
        Self {
            id: job.case.id.clone(),
            split: job.split.to_owned(),
            file: names.map,
            probabilities: names.probabilities,
            image: job.case.image.portable(&job.root),
            label: job.case.label.as_ref().map(|l| l.portable(&job.root)).unwrap_or_default(),
        }
    }
}

/// The rows of cases whose image is gone and whose files are kept, from the table of the run that made them; says so of each.
pub(super) fn kept(
    out: &Path,
    gone: &[String],
    map: impl Fn(&str) -> String,
    context: &Context,
) -> anyhow::Result<Vec<Row>> {
    let kept: Vec<&String> = gone.iter().filter(|id| out.join(map(id)).exists()).collect();
    for id in &kept {
        let text = "its image is gone: what an earlier run with the same options made of it is kept";
        context
            .tell(Message::warning("W448", text).case(*id).detail(out.join(map(id)).display().to_string()));
    }
    let table = out.join(TABLE);
    let rows: Vec<Row> = match kept.is_empty() || !table.is_file() {
        true => Vec::new(),
        false => cases::from_csv(&table)?,
    };
    Ok(rows.into_iter().filter(|row| kept.contains(&&row.id) && row.file == map(&row.id)).collect())
}
