//! `review`: one HTML page for people over a sample of slices.

use super::{fresh_input, short};
use crate::review::Material;
use crate::review::page::{self, Source};
use crate::{render, slabs};
use data_manifests::manifest::FILE_NAME;
use data_manifests::{Manifest, digest};
use patches::ShardStore;
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  text-synth review --shards runs/spleen/shards --captions runs/spleen/captions --reports runs/spleen/reports \\
      --out runs/spleen/review.html
  text-synth review --shards shards --captions captions --reports reports --out review.html --sample 100 --seed 7

The page needs no network and no server: open the file in any browser. It holds pictures of patients, so treat it as the shards.";

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What 'text-synth report' wrote
    #[arg(long, value_name = "DIR")]
    reports: PathBuf,
    /// What 'text-synth caption' wrote
    #[arg(long, value_name = "DIR")]
    captions: PathBuf,
    /// What 'preprocess' wrote
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// The page
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Slices to show; there is a picture in the page for each
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Decides which
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let reports = fresh_input(&arguments.reports, "report")?;
    let captions = fresh_input(&arguments.captions, "caption")?;
    let store = ShardStore::open(&arguments.shards)?;
    store.manifest().check_fresh(store.directory())?;
    same(&reports, "captions", &arguments.captions)?;
    same(&captions, "shards", &arguments.shards)?;
    let folder = match arguments.out.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if arguments.out.is_dir() {
        return Err(Message::error("E221", "the page cannot be written")
            .detail(format!("{} is a directory, expected a file", arguments.out.display()))
            .fix("Give --out a name such as review.html")
            .into());
    }
    // a file in a stage's directory would be none of that stage's outputs
    if folder.join(FILE_NAME).is_file() {
        return Err(Message::error("E221", "the page would lie among the files of a stage")
            .detail(format!("{} holds {FILE_NAME}", folder.display()))
            .fix("Give --out a place beside that directory")
            .into());
    }
    fs_err::create_dir_all(folder)?;

    let directories = [(arguments.captions.as_path(), &captions), (arguments.reports.as_path(), &reports)];
    let material = Material::read(directories, arguments.sample as usize, arguments.seed)?;
    let (mut pictures, mut failed) = (HashMap::new(), 0);
    let progress = context.progress("slices shown", material.shown.len() as u64);
    for of_case in material.shown.chunk_by(|a, b| a.slice.case == b.slice.case) {
        let id = &of_case[0].slice.case;
        let planned = of_case.iter().map(|s| s.slice.clone()).collect();
        let drawn = store.case(id).map_err(anyhow::Error::from).and_then(|case| {
            slabs::each(&case, store.descriptor(), planned, |images| {
                for image in images {
                    let picture = render::picture(image);
                    pictures.insert(image.slice.id(), page::Picture::new(&picture)?);
                    progress.step("");
                }
                Ok(())
            })
        });
        if let Err(error) = drawn {
            failed += 1;
            context.tell(
                Message::error("E217", "the slices of the case cannot be shown")
                    .case(id)
                    .detail(format!("{error:#}"))
                    .fix("Run 'data-manifests verify' on the shards, and 'preprocess' again if it complains"),
            );
        }
        if interrupt::requested() {
            context.say("Interrupted; nothing was written.");
            return Ok(ExitStatus::Interrupted);
        }
    }
    progress.finish();
    let sources = [
        ("shards", store.manifest(), &arguments.shards),
        ("captions", &captions, &arguments.captions),
        ("reports", &reports, &arguments.reports),
    ]
    .into_iter()
    .map(|(role, manifest, directory)| {
        let (_, sha256) = digest::file(&directory.join(FILE_NAME))?;
        Ok(Source { role, manifest, sha256 })
    })
    .collect::<anyhow::Result<Vec<_>>>()?;
    let html = page::render(&material, &sources, &pictures, arguments.seed)?;
    atomic::write(&arguments.out, html.as_bytes())?;
    context.say(&format!(
        "{} of {} slices are shown in {}",
        material.shown.len(),
        material.captions,
        arguments.out.display()
    ));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// Refuses a directory other than the one that `user` read.
fn same(user: &Manifest, role: &str, directory: &Path) -> anyhow::Result<()> {
    let read = user.input(role)?;
    let (_, found) = digest::file(&directory.join(FILE_NAME))?;
    if found == read.sha256 {
        return Ok(());
    }
    Err(Message::error("E214", format!("'{}' read other {role}", user.stage))
        .detail(format!("{}: recorded {}, found {}", directory.display(), short(&read.sha256), short(&found)))
        .fix(format!("Give --{role} the directory that '{}' was given, or run '{0}' again", user.stage))
        .into())
}
