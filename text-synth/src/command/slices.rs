//! `slices`: the plan of slices, and their pictures as captioners see them.

use super::planning::{self, Planning};
use super::replacing::{Chosen, Replacing};
use crate::slices::{self, PlanOptions, Slice};
use crate::{render, slabs};
use data_manifests::{Descriptor, Manifest, records};
use patches::{Case, ShardStore};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};
use stage::{Context, ExitStatus, Message, atomic, interrupt, limits};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  text-synth slices --shards runs/spleen/shards --out runs/spleen/slices
  text-synth slices --shards shards --out slices --png --plane axial,coronal --stride 20";

/// Folder of pictures.
const PICTURES: &str = "png";
/// Digest of the work that the pictures belong to, as long as they are not complete.
const WORK: &str = ".work";

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'preprocess' wrote
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// Where the plan and the pictures go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Write a PNG file for each slice: the very picture that a captioner sees
    #[arg(long)]
    png: bool,
    #[command(flatten)]
    planning: Planning,
    /// Cases worked on at once [default: the cores granted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    #[command(flatten)]
    replacing: Replacing,
}

/// What decides the files.
#[derive(Serialize)]
struct Parameters {
    plan: PlanOptions,
    pictures: Option<&'static str>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let store = ShardStore::open(&arguments.shards)?;
    let descriptor = store.descriptor();
    let parameters = Parameters {
        plan: arguments.planning.options(descriptor),
        pictures: arguments.png.then_some(render::VERSION),
    };
    Manifest::refuse_foreign(out, |name| [slices::FILE_NAME, PICTURES, WORK].contains(&name))?;
    let output = context.open_output(out)?;
    let inputs = vec![Manifest::as_input("shards", store.directory(), out)?];
    let mut manifest =
        Manifest::new("slices", env!("CARGO_PKG_VERSION"), context.program(), &parameters, inputs)?;
    // failed cases are tried again: memory or a disk may have been at fault
    if let Some(found) = manifest.reusable(out)?
        && found.counts.get("failed") == Some(&0)
    {
        let n = found.counts.get("slices").copied().unwrap_or_default();
        context.say(&format!("Nothing to do: {} holds these {n} slices already.", out.display()));
        return Ok(ExitStatus::Done);
    }
    let own = Value::from(descriptor.text.stride);
    let options = |parameters: &mut Map<String, Value>| {
        planning::chosen(parameters, Some(&own));
        let has_pictures = parameters.remove("pictures").is_some_and(|pictures| !pictures.is_null());
        parameters.insert("png".to_owned(), has_pictures.into());
    };
    let chosen = Chosen { what: "slices", options: &options, model: None };
    arguments.replacing.check(&chosen, &manifest, None, out)?;
    output.to_write()?;
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;
    let pictures = arguments.png.then(|| out.join(PICTURES));
    begin(out, pictures.as_deref(), &manifest.work)?;

    let workers = arguments.workers.map_or_else(limits::cores, usize::from);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let progress = context.progress("slices of cases", store.rows().len() as u64);
    let done: Vec<Option<anyhow::Result<Vec<Slice>>>> = pool.install(|| {
        store
            .rows()
            .par_iter()
            .with_max_len(1)
            .map(|row| {
                if interrupt::requested() {
                    return None;
                }
                let planned = store
                    .case(&row.id)
                    .map_err(Into::into)
                    .and_then(|case| of_case(&case, descriptor, &parameters.plan, pictures.as_deref()));
                progress.step(&row.id);
                planned.transpose()
            })
            .collect()
    });
    progress.finish();
    if done.iter().any(Option::is_none) {
        context.say("Interrupted; the same command goes on with the pictures that are missing.");
        return Ok(ExitStatus::Interrupted);
    }
    let (mut planned, mut failed) = (Vec::new(), 0_u64);
    for (row, result) in store.rows().iter().zip(done.into_iter().flatten()) {
        match result {
            Ok(slices) => planned.extend(slices),
            Err(error) => {
                failed += 1;
                context.tell(
                    Message::error("E217", "the slices of the case cannot be shown")
                        .case(&row.id)
                        .detail(format!("{error:#}"))
                        .fix("Run 'data-manifests verify' on the shards, and 'preprocess' again if it complains"),
                );
            }
        }
    }
    if planned.is_empty() {
        return Err(Message::error("E217", "no slice could be planned")
            .detail(format!("{}: {} cases, {failed} failed", arguments.shards.display(), store.rows().len()))
            .into());
    }
    atomic::write(&out.join(slices::FILE_NAME), &records::to_lines(&planned)?)?;
    for (name, value) in [
        ("cases", store.rows().len() as u64 - failed),
        ("failed", failed),
        ("slices", planned.len() as u64),
        ("pictures", if arguments.png { planned.len() as u64 } else { 0 }),
    ] {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    manifest.datasets.clone_from(&store.manifest().datasets);
    manifest.licence.clone_from(&store.manifest().licence);
    if pictures.is_some() {
        fs_err::remove_file(out.join(WORK))?;
    }
    manifest.finish(out, |path| if path == slices::FILE_NAME { "slices" } else { "picture" })?;
    context.say(&format!("{} slices of {} cases in {}", planned.len(), store.rows().len(), out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// Keeps the pictures of an interrupted run that did the same work, and removes those of any other.
fn begin(out: &Path, pictures: Option<&Path>, work: &str) -> anyhow::Result<()> {
    let marker = out.join(WORK);
    let is_same = marker.is_file() && fs_err::read_to_string(&marker)? == work;
    let folder = out.join(PICTURES);
    if !(is_same && pictures.is_some()) && folder.exists() {
        fs_err::remove_dir_all(&folder)?;
    }
    let Some(folder) = pictures else {
        if marker.exists() {
            fs_err::remove_file(&marker)?;
        }
        return Ok(());
    };
    fs_err::create_dir_all(folder)?;
    atomic::sweep(folder)?;
    atomic::write(&marker, work.as_bytes())?;
    Ok(())
}

/// The slices of one case, with their pictures written; none when the run was asked to stop.
fn of_case(
    case: &Case,
    descriptor: &Descriptor,
    options: &PlanOptions,
    pictures: Option<&Path>,
) -> anyhow::Result<Option<Vec<Slice>>> {
    let record = case.record();
    let planned = slices::plan(&record.id, record.shape_zyx, record.spacing_zyx_mm, options);
    let Some(folder) = pictures else { return Ok(Some(planned)) };
    let file = |slice: &Slice| folder.join(format!("{}.png", slice.file_stem()));
    let missing = planned.iter().filter(|slice| !file(slice).is_file()).cloned().collect();
    let finished = slabs::each(case, descriptor, missing, |images| {
        for image in images {
            atomic::write(&file(image.slice), &render::png(&render::picture(image))?)?;
        }
        Ok(())
    })?;
    Ok(finished.then_some(planned))
}
