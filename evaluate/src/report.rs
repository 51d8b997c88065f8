//! `evaluate report`: one self-contained HTML file over several scores.

use crate::chain::{self, Link, State};
use crate::methods;
use crate::names::names;
use crate::page::{self, REPORT};
use crate::recipe::{Recipe, models};
use crate::results::{self, Results};
use crate::score::pretty;
use crate::summary::SummaryFile;
use crate::tables;
use crate::values::Values;
use anyhow::Result;
use clap::Args;
use data_manifests::Manifest;
use serde_json::{Value, json};
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `report`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Loss curves, settings and the chain of digests are found through the scores' manifests.

Example:
  evaluate report --runs runs/scores runs/scores-from-scratch --out runs/report"
)]
pub struct ReportArguments {
    /// Directories that 'evaluate score' and 'evaluate instances' wrote
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub runs: Vec<PathBuf>,
    /// Output directory
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// One score with everything behind it.
#[derive(Debug)]
pub(crate) struct Run {
    /// Where the score lies.
    pub(crate) directory: PathBuf,
    /// What it says.
    pub(crate) summary: SummaryFile,
    /// `metrics.csv`.
    pub(crate) values: Values,
    /// The stages behind it, itself first.
    pub(crate) links: Vec<Link>,
    /// How the model was trained, in words.
    pub(crate) label: String,
    /// The same without fraction and seed: what rows of tables are named.
    pub(crate) method: String,
    /// What decides its numbers but the seed.
    pub(crate) recipe: Option<Recipe>,
    /// Share of the labels that the model was trained on, where known.
    pub(crate) fraction: Option<f64>,
}

/// Runs `report`.
///
/// # Errors
/// A run that is no finished score, or a training record that cannot be read.
pub(crate) fn run(arguments: &ReportArguments, context: &Context) -> Result<ExitStatus> {
    let mut seen = BTreeSet::new();
    for run in &arguments.runs {
        // one that is not there is named when it is loaded
        if !seen.insert(fs_err::canonicalize(run).unwrap_or_else(|_| run.clone())) {
            return Err(Message::error("E520", "a run is given twice")
                .detail(run.display().to_string())
                .cause("It would count as two runs")
                .fix("Give --runs each once")
                .into());
        }
    }
    let own = [REPORT, tables::MARKDOWN, tables::LATEX, results::FILE_NAME];
    Manifest::refuse_foreign(&arguments.out, |name| own.contains(&name))?;
    let output = context.open_output(&arguments.out)?;
    let mut runs = arguments.runs.iter().map(|d| load(d, &arguments.out)).collect::<Result<Vec<_>>>()?;
    tell_apart(&mut runs);
    let methods = methods::of(&runs);
    let mut told = BTreeSet::new();
    for link in runs.iter().flat_map(|r| &r.links).filter(|l| l.state != State::Current) {
        // runs may share a stage
        if !told.insert((&link.path, &link.role, link.state == State::Missing)) {
            continue;
        }
        let what = match link.state {
            State::Missing => "is not there (any more)",
            _ => "was written again after it was used",
        };
        context.tell(
            Message::warning("W511", format!("a stage behind these scores {what}"))
                .detail(format!("{} ({})", link.path, link.role))
                .fix("Run the stages after it again for a report that fits"),
        );
    }
    let mut inputs = Vec::new();
    for run in &runs {
        inputs.push(Manifest::as_input("score", &run.directory, &arguments.out)?);
    }
    let mut manifest =
        Manifest::new("evaluation-report", env!("CARGO_PKG_VERSION"), "evaluate", &json!({}), inputs)?;
    let paper = tables::of(&runs, &methods);
    let rows = runs.iter().flat_map(|r| results::rows(&r.summary, &r.label)).collect();
    let results = Results { schema: results::SCHEMA.to_owned(), rows };
    let files = [
        (REPORT, page::render(&runs, &methods)?.into_bytes()),
        (tables::MARKDOWN, tables::markdown(&paper).into_bytes()),
        (tables::LATEX, tables::latex(&paper).into_bytes()),
        (results::FILE_NAME, pretty(&results)?),
    ];
    // bytes decide, not the inputs: the report also holds what stages behind the scores are like now
    let is_there = |(name, bytes): &(&str, Vec<u8>)| {
        fs_err::read(arguments.out.join(name)).is_ok_and(|old| old == *bytes)
    };
    if manifest.reusable(&arguments.out)?.is_some() && files.iter().all(is_there) {
        let text = format!("{} is up to date: same runs, same results", arguments.out.display());
        context.tell(Message::info("I500", text));
        return Ok(ExitStatus::Done);
    }
    output.to_write()?;
    atomic::sweep(&arguments.out)?;
    Manifest::withdraw(&arguments.out)?;
    for (name, bytes) in &files {
        atomic::write(&arguments.out.join(name), bytes)?;
    }
    for run in &runs {
        let name = &run.summary.gtgm.dataset.name;
        if !manifest.datasets.contains(name) {
            manifest.datasets.push(name.clone());
        }
    }
    let mut licences: Vec<&str> = runs.iter().map(|r| r.summary.gtgm.dataset.licence.as_str()).collect();
    licences.sort_unstable();
    licences.dedup();
    manifest.licence = licences.join("; ");
    manifest.counts.insert("runs".to_owned(), runs.len() as u64);
    manifest.finish(&arguments.out, |path| match path {
        REPORT => "report",
        tables::MARKDOWN | tables::LATEX => "tables",
        _ => "results",
    })?;
    context.say(&format!("{} holds {}", arguments.out.join(REPORT).display(), counted(runs.len(), "run")));
    Ok(ExitStatus::Done)
}

fn load(directory: &Path, out: &Path) -> Result<Run> {
    let links = chain::walk(directory, out)?;
    let summary = SummaryFile::read(directory)?;
    let (method, label) = labels(directory, &links);
    let train = models(&links).first().and_then(|l| l.manifest.as_ref());
    let fraction = train.and_then(|m| m.parameters.get("fraction")).and_then(Value::as_f64);
    let values = Values::read(directory)?;
    let recipe = Recipe::of(&links, &summary);
    Ok(Run { directory: directory.to_owned(), summary, values, links, label, method, recipe, fraction })
}

/// Runs on one data set have labels of their own: where words do not tell them apart, their folders do.
fn tell_apart(runs: &mut [Run]) {
    let key = |run: &Run| (run.summary.gtgm.dataset.name.clone(), run.label.clone());
    let keys: Vec<_> = runs.iter().map(key).collect();
    for (i, own) in keys.iter().enumerate() {
        let same: Vec<usize> = (0..keys.len()).filter(|j| keys[*j] == *own).collect();
        if same.len() > 1 {
            let folders: Vec<PathBuf> = same.iter().map(|j| runs[*j].directory.clone()).collect();
            let place = same.iter().position(|j| *j == i).unwrap_or_default();
            runs[i].label = format!("{} ({})", own.1, names(&folders)[place]);
        }
    }
}

/// How objects were made of affinities: the method, what borders are scored by, and the threshold.
fn objects_by(parameters: &Value) -> Option<String> {
    let method = parameters.get("method")?;
    let mut words = vec![method.get("method")?.as_str()?.to_owned()];
    let score = method.get("score").and_then(|score| {
        score.as_str().or_else(|| score.as_object().and_then(|only| only.keys().next()).map(String::as_str))
    });
    words.extend(score.map(str::to_owned));
    let threshold = ["/threshold", "/costs/beta"].iter().find_map(|place| method.pointer(place)?.as_f64());
    words.extend(threshold.map(|threshold| format!("{threshold:.2}")));
    Some(words.join(" "))
}

/// How the model was made, and the same with label fraction and seed; the directory's name for predictions of other programs.
fn labels(directory: &Path, links: &[Link]) -> (String, String) {
    let models = models(links);
    let train = models.first().and_then(|l| l.manifest.as_ref());
    let name = || {
        directory
            .file_name()
            .map_or_else(|| directory.display().to_string(), |n| n.to_string_lossy().into_owned())
    };
    let Some(train) = train else { return (name(), name()) };
    let mut words = Vec::new();
    let network = ["/network", "/model/network/kind"]
        .iter()
        .find_map(|place| train.parameters.pointer(place)?.as_str());
    words.extend(network.map(str::to_owned));
    let encoder = train.inputs.iter().any(|i| i.role == "encoder");
    words.push(if encoder { "pretrained" } else { "from scratch" }.to_owned());
    if models.len() > 1 {
        words.push(format!("{} models", models.len()));
    }
    let objects = links.iter().find(|l| l.stage() == "instances").and_then(|l| l.manifest.as_ref());
    words.extend(objects.and_then(|made| objects_by(&made.parameters)));
    let method = words.join(", ");
    if let Some(fraction) = train.parameters.get("fraction").and_then(Value::as_f64) {
        words.push(format!("{} % of labels", page::compact(fraction * 100.0)));
    }
    if let Some(seed) = train.parameters.get("seed").and_then(Value::as_u64).filter(|_| models.len() == 1) {
        words.push(format!("seed {seed}"));
    }
    (method, words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn runs_say_how_objects_were_made() {
        let by = |method: Value| objects_by(&json!({"method": method, "smallest": 0}));
        let quantile =
            json!({"method": "agglomerate", "score": {"quantile": {"percent": 50}}, "threshold": 0.5});
        assert_eq!(by(quantile).as_deref(), Some("agglomerate quantile 0.50"));
        let mean = json!({"method": "agglomerate", "score": "mean", "threshold": 0.7});
        assert_eq!(by(mean).as_deref(), Some("agglomerate mean 0.70"));
        let multicut = json!({"method": "multicut", "costs": {"beta": 0.3}});
        assert_eq!(by(multicut).as_deref(), Some("multicut 0.30"));
        assert_eq!(by(json!({"method": "mutex-watershed"})).as_deref(), Some("mutex-watershed"));
        assert_eq!(by(json!(null)), None);
    }
}
