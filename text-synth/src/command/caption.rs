//! `caption`: describes planned slices of all cases.

use super::planning::Planning;
use crate::captioner::Captioner;
use crate::measure::Measure;
use crate::slabs;
use crate::slices::{self, PlanOptions, Slice};
use data_manifests::descriptor::Text;
use data_manifests::records::{self, Caption};
use data_manifests::{Descriptor, Manifest};
use patches::{Case, ShardStore};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use stage::{Context, ExitStatus, Message, atomic, interrupt, limits};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  text-synth caption --shards runs/spleen/shards --out runs/spleen/captions
  text-synth caption --shards shards --out captions --plane axial,coronal --stride 5 --workers 4";

/// Slices of one case with their captions.
type Described = Vec<(Slice, Caption)>;

/// How slices are described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Facts measured on the slice: deterministic, no model, no labels
    Measure,
}

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'preprocess' wrote
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// Where the captions go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How slices are described
    #[arg(long, value_enum, default_value = "measure")]
    captioner: Kind,
    #[command(flatten)]
    planning: Planning,
    /// Cases worked on at once [default: the cores granted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
}

/// What decides the captions, as the manifest keeps it; `report` finds the vocabulary here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// Name and version of the captioner.
    pub captioner: String,
    /// Slice plan.
    pub plan: PlanOptions,
    /// What the descriptor says for texts.
    pub text: Text,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    context.report_to(out);
    let store = ShardStore::open(&arguments.shards)?;
    let descriptor = store.descriptor();
    let captioner = match arguments.captioner {
        Kind::Measure => Measure { seed: arguments.planning.seed },
    };
    let parameters = Parameters {
        captioner: captioner.name(),
        plan: arguments.planning.options(descriptor),
        text: descriptor.text.clone(),
    };

    let _lock = context.lock(out)?;
    let inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    let mut manifest =
        Manifest::new("caption", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    // failed cases are tried again: memory or a disk may have been at fault
    if let Some(found) = manifest.reusable(out)?
        && found.counts.get("failed") == Some(&0)
    {
        let n = found.counts.get("captions").copied().unwrap_or_default();
        context.say(&format!("Nothing to do: {} holds these {n} captions already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;

    let workers = arguments.workers.map_or_else(limits::cores, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let progress = context.progress("captions of cases", store.rows().len() as u64);
    let done: Vec<Option<anyhow::Result<Described>>> = pool.install(|| {
        store
            .rows()
            .par_iter()
            .with_max_len(1)
            .map(|row| {
                if interrupt::requested() {
                    return None;
                }
                let captions = store.case(&row.id).map_err(Into::into).and_then(|case| {
                    let options = &parameters.plan;
                    of_case(&case, descriptor, options, &captioner)
                });
                progress.step(&row.id);
                captions.transpose()
            })
            .collect()
    });
    progress.finish();
    if done.iter().any(Option::is_none) {
        context.say("Interrupted; the same command starts over, captions take little time.");
        return Ok(ExitStatus::Interrupted);
    }

    let (mut planned, mut captions, mut failed) = (Vec::new(), Vec::new(), 0_u64);
    for (row, result) in store.rows().iter().zip(done.into_iter().flatten()) {
        match result {
            Ok(pairs) => {
                for (slice, caption) in pairs {
                    planned.push(slice);
                    captions.push(caption);
                }
            }
            Err(error) => {
                failed += 1;
                context.tell(
                    Message::error("E217", "the case cannot be described")
                        .case(&row.id)
                        .detail(format!("{error:#}"))
                        .fix("Run 'data-manifests verify' on the shards, and 'preprocess' again if it complains"),
                );
            }
        }
    }
    if captions.is_empty() {
        return Err(Message::error("E217", "no caption could be made")
            .detail(format!("{}: {} cases, {failed} failed", arguments.shards.display(), store.rows().len()))
            .into());
    }
    atomic::write(&out.join(slices::FILE_NAME), &records::to_lines(&planned)?)?;
    atomic::write(&out.join(records::CAPTIONS), &records::to_lines(&captions)?)?;
    for (name, value) in [
        ("cases", store.rows().len() as u64 - failed),
        ("failed", failed),
        ("captions", captions.len() as u64),
    ] {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    manifest.datasets.clone_from(&store.manifest().datasets);
    manifest.licence.clone_from(&store.manifest().licence);
    manifest.finish(out, |path| if path == slices::FILE_NAME { "slices" } else { "captions" })?;
    context.say(&format!("{} captions of {} cases in {}", captions.len(), store.rows().len(), out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// The captions of one case, slab by slab; none when the run was asked to stop.
fn of_case(
    case: &Case,
    descriptor: &Descriptor,
    options: &PlanOptions,
    captioner: &impl Captioner,
) -> anyhow::Result<Option<Described>> {
    let record = case.record();
    let planned = slices::plan(&record.id, record.shape_zyx, record.spacing_zyx_mm, options);
    let mut done = Vec::with_capacity(planned.len());
    let finished = slabs::each(case, descriptor, planned, |images| {
        for image in images {
            let described = captioner.caption(image)?;
            let slice = image.slice.clone();
            let caption = Caption {
                id: slice.id(),
                case: record.id.clone(),
                dataset: record.dataset.clone(),
                plane: slice.plane,
                index: slice.index,
                box_zyx: slice.box_zyx,
                caption: described.text,
                captioner: captioner.name(),
                facts: described.facts.into_record(),
            };
            done.push((slice, caption));
        }
        Ok(())
    })?;
    Ok(finished.then_some(done))
}
