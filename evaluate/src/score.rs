//! `evaluate score`: measures predictions against references.

mod arguments;

pub use arguments::ScoreArguments;

use crate::maps::artefacts;
use crate::missing::Missing;
use crate::pairing::{self, Pairing};
use crate::scoring::CaseResult;
use crate::summary::{self, CaseCounts, CaseEntry, Dataset, DefinitionNote, Details, SummaryFile};
use crate::targets::{self, MeanRule, Named};
use crate::warned::{self, Warned};
use crate::{aggregate, overlay, pool, splits};
use anyhow::Result;
use data_manifests::raw::Source;
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use metrics::{Policy, Protocol};
use serde::Serialize;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::collections::BTreeSet;
use std::path::Path;

/// Table of all values.
pub(crate) const METRICS: &str = "metrics.csv";

/// What decides the outputs.
#[derive(Debug, Serialize)]
struct Parameters<'a> {
    dataset: &'a str,
    descriptor: String,
    definitions: Vec<String>,
    policy: Policy,
    mean: MeanRule,
    missing: Missing,
    splits: &'a [String],
    cases: Vec<&'a str>,
}

/// Runs `score`.
///
/// # Errors
/// A data set without classes, directories that cannot be used, missing predictions (unless allowed), or no case scored.
pub(crate) fn run(arguments: &ScoreArguments, context: &Context) -> Result<ExitStatus> {
    let descriptor = Descriptor::find(&arguments.dataset)?;
    let targets = targets::of(&descriptor)?;
    let (tolerance_mm, tolerance_source) = targets::tolerance(arguments, &descriptor)?;
    let protocol = Protocol {
        targets: targets.iter().map(|named| named.target.clone()).collect(),
        ignore: descriptor.labels.as_ref().and_then(|labels| labels.ignore).map(u64::from),
        definitions: targets::definitions(arguments, tolerance_mm)?,
        policy: arguments.policy,
    };
    let mut pairing = pairing::pair(arguments, &descriptor, context)?;
    let counts = match resolve_missing(arguments, &mut pairing, context) {
        Ok(counts) => counts,
        Err(refusal) => {
            // nothing will be scored, and whoever adds the missing ones wants to know of the others
            let errors = pool::check_all(arguments, &pairing.pairs, &descriptor, &protocol, context);
            if interrupt::requested() {
                return Ok(ExitStatus::Interrupted);
            }
            pairing.failed.into_iter().chain(errors).for_each(|message| context.tell(message));
            return Err(refusal);
        }
    };
    refuse_foreign(&arguments.out)?;
    let output = context.open_output(&arguments.out)?;
    let parameters = Parameters {
        dataset: &descriptor.name,
        descriptor: digest::digest_of(&descriptor)?,
        definitions: protocol.definitions.iter().map(|d| d.id()).collect(),
        policy: arguments.policy,
        mean: arguments.mean_rule(),
        missing: arguments.missing,
        splits: &arguments.split,
        cases: pairing.pairs.iter().map(|p| p.id.as_str()).collect(),
    };
    let inputs = inputs(arguments, &pairing)?;
    let mut manifest = Manifest::new("score", env!("CARGO_PKG_VERSION"), "evaluate", &parameters, inputs)?;
    if let Some(found) = manifest.reusable(&arguments.out)?
        && found.counts.get("failed") == Some(&0)
        && pairing.failed.is_empty()
    {
        context.tell(Message::info(
            "I500",
            format!("{} is up to date: same inputs, same parameters", arguments.out.display()),
        ));
        return Ok(ExitStatus::Done);
    }
    output.to_write()?;
    atomic::sweep(&arguments.out)?;
    Manifest::withdraw(&arguments.out)?;
    clear(&arguments.out)?;

    let (results, errors) = pool::score_all(arguments, &pairing.pairs, &descriptor, &protocol, context);
    if interrupt::requested() {
        return Ok(ExitStatus::Interrupted);
    }
    let failed = errors.len() + pairing.failed.len();
    for message in pairing.failed.drain(..).chain(errors) {
        context.tell(message);
    }
    let counts = CaseCounts { scored: results.len() as u64, failed: failed as u64, ..counts };
    if results.is_empty() {
        return Err(Message::error(
            "E507",
            format!("none of {} could be scored", counted(counts.listed as usize, "case")),
        )
        .fix("Correct the errors above")
        .into());
    }
    let overlays = overlay::draw(&arguments.out, &results, &pairing.pairs, &descriptor, context)?;
    write_table(&arguments.out, &results)?;
    let dataset = Dataset::of(&descriptor, tolerance_mm, tolerance_source);
    let summary = summarise(
        arguments,
        dataset,
        &targets,
        &protocol,
        counts,
        &pairing,
        &results,
        (overlays, warned::so_far(context)),
    );
    tell_counts(&summary.gtgm, context);
    atomic::write(&arguments.out.join(summary::FILE_NAME), &pretty(&summary)?)?;

    manifest.datasets = vec![descriptor.name.clone()];
    manifest.licence = descriptor.licence.clone();
    for (name, value) in [
        ("listed", counts.listed),
        ("scored", counts.scored),
        ("failed", counts.failed),
        ("missing", counts.missing),
    ] {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    manifest.finish(&arguments.out, |path| match path {
        METRICS => "metrics",
        summary::FILE_NAME => "summary",
        _ => "overlay",
    })?;
    Ok(if counts.failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// Applies `--missing`.
fn resolve_missing(
    arguments: &ScoreArguments,
    pairing: &mut Pairing,
    context: &Context,
) -> Result<CaseCounts> {
    let missing: Vec<_> =
        pairing.pairs.iter().filter(|p| p.prediction.is_none()).map(|p| p.id.clone()).collect();
    let listed = pairing.pairs.len() + pairing.failed.len();
    let counts = CaseCounts { listed: listed as u64, missing: missing.len() as u64, ..CaseCounts::default() };
    let place = match (&pairing.absent, &arguments.pairs) {
        (Some(path), Some(table)) => {
            format!("{} names {}, which is not there", table.display(), path.display())
        }
        (_, Some(table)) => table.display().to_string(),
        _ => pairing::describe(arguments)?,
    };
    arguments.missing.tell(&missing, listed, place, context)?;
    if arguments.missing == Missing::Skip {
        pairing.pairs.retain(|p| p.prediction.is_some());
    }
    Ok(counts)
}

/// Digests of everything that is read.
fn inputs(arguments: &ScoreArguments, pairing: &Pairing) -> Result<Vec<Artefact>> {
    let out = arguments.out.as_path();
    let mut inputs = Vec::new();
    if let Some(table) = &arguments.pairs {
        inputs.push(Artefact::of_file("pairs", table, out)?);
    }
    if pairing.has_manifest {
        for directory in arguments.predictions() {
            inputs.push(Manifest::as_input("predictions", directory, out)?);
        }
    } else {
        for map in pairing.pairs.iter().filter_map(|p| p.prediction.as_ref()) {
            inputs.extend(map.artefacts("predictions", out)?);
        }
    }
    // one CREMI file may hold the references of several cases
    let references: BTreeSet<&Path> = pairing.pairs.iter().map(|p| p.reference.path()).collect();
    for path in references {
        let rooted = arguments.pairs.is_none() && path.is_file();
        inputs.extend(if rooted {
            Source::image(path.to_owned()).artefacts("references", arguments.references())?
        } else {
            artefacts("references", path, out)?
        });
    }
    Ok(inputs)
}

/// Refuses an output directory that holds what is not of an earlier run: raw data, predictions, a model.
pub(crate) fn refuse_foreign(out: &Path) -> Result<()> {
    Manifest::refuse_foreign(out, |name| [METRICS, summary::FILE_NAME, overlay::DIRECTORY].contains(&name))
}

/// Removes an earlier run's outputs, so that the manifest lists this run's only.
pub(crate) fn clear(out: &Path) -> std::io::Result<()> {
    for file in [METRICS, summary::FILE_NAME] {
        atomic::remove(&out.join(file))?;
    }
    match fs_err::remove_dir_all(out.join(overlay::DIRECTORY)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// `metrics.csv`: case, class, metric, definition, value; the class is its label value or those of a region, `n/a` is "not scored".
fn write_table(out: &Path, results: &[CaseResult]) -> Result<()> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["case", "class", "metric", "definition", "value"])?;
    for result in results {
        for score in &result.scores {
            for measured in &score.values {
                let value = measured.value.map_or_else(|| "n/a".to_owned(), |v| v.to_string());
                let definition = measured.definition;
                let class = score.counts.target.to_string();
                table.write_record([&result.id, &class, definition.name(), &definition.id(), &value])?;
            }
        }
    }
    Ok(atomic::write(&out.join(METRICS), &table.into_inner()?)?)
}

#[expect(clippy::too_many_arguments, reason = "everything that the summary states, once")]
fn summarise(
    arguments: &ScoreArguments,
    dataset: Dataset,
    targets: &[Named],
    protocol: &Protocol,
    cases: CaseCounts,
    pairing: &Pairing,
    results: &[CaseResult],
    (overlays, warnings): (Vec<summary::Overlay>, Vec<Warned>),
) -> SummaryFile {
    let entries: Vec<CaseEntry> = results
        .iter()
        .filter_map(|result| {
            let pair = pairing.pairs.iter().find(|p| p.id == result.id)?;
            let prediction = pair.prediction.as_ref().map(|map| {
                let name = map.portable(arguments.predictions_of(map.path()));
                name.strip_prefix("$RAW/").map_or(name.clone(), str::to_owned)
            });
            Some(CaseEntry {
                case: result.id.clone(),
                reference_file: pair.reference.portable(arguments.references()),
                prediction_file: prediction.filter(|_| !result.missing),
                voxel_ml: Some(result.voxel_ml),
                metrics: aggregate::case_metrics(result),
            })
        })
        .collect();
    let rule = arguments.mean_rule();
    let (foreground_mean, mean) = aggregate::nnunet_means(&entries, rule);
    let classes = aggregate::classes(results, targets, &protocol.definitions);
    let foreground = aggregate::foreground(results, &classes, &protocol.definitions, rule);
    SummaryFile {
        foreground_mean,
        mean,
        metric_per_case: entries,
        gtgm: Details {
            schema: summary::SCHEMA.to_owned(),
            dataset,
            splits: splits::distinct(pairing.pairs.iter().map(|pair| pair.split.as_deref())),
            policy: arguments.policy,
            mean_rule: rule,
            missing_rule: arguments.missing.name().to_owned(),
            definitions: protocol.definitions.iter().map(|d| DefinitionNote::of(*d)).collect(),
            cases,
            classes,
            foreground,
            overlays,
            warnings,
        },
    }
}

/// Says what the policy did to each class.
fn tell_counts(details: &Details, context: &Context) {
    for class in &details.classes {
        let p = class.presence;
        context.tell(Message::info(
            "I504",
            format!(
                "class {} ({}): {} scored, {} both empty, {} missed, {} invented (policy {})",
                class.class, class.name, p.both, p.both_empty, p.missed, p.invented, details.policy
            ),
        ));
    }
}

/// Indented JSON with a final newline.
pub(crate) fn pretty<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}
