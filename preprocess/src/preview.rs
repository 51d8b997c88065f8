//! `preprocess preview`: pictures of cases before and after, with label outlines.

mod montage;
mod section;
mod sides;

use crate::{data_set, messages};
use data_manifests::raw::{self, RawCase};
use patches::ShardStore;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  preprocess preview --shards runs/hippocampus/shards --raw data/Task04_Hippocampus --out runs/hippocampus/preview
  preprocess preview --shards shards --raw data/mine --out preview --only case_01,case_07

Each picture OUT/ID.png has three sections through the place with most of the labels, else through the middle: the raw
file (turned to canonical axes, not resampled) on the left, the shards on the right, in the same window and place. Images
of bodies are seen from the feet, from the front and from the left, with front or head up; R, L, A, P, S and I mark
where right, left, front, back, head and feet are. Electron microscopy is shown with y (or z) down and x (or y) right.";

/// Draw cases before and after, with label outlines
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Shard directory
    #[arg(long, value_name = "DIR")]
    shards: PathBuf,
    /// The data set's own folder [default: below $GTGM_RAW or $nnUNet_raw]
    #[arg(long, value_name = "DIR")]
    raw: Option<PathBuf>,
    /// Where the pictures go
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Only these cases
    #[arg(long, value_name = "ID", value_delimiter = ',', conflicts_with = "cases")]
    only: Vec<String>,
    /// This many cases, spread over the data set
    #[arg(long, value_name = "N", default_value_t = 12)]
    cases: usize,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let store = ShardStore::open(&arguments.shards)?;
    refuse_inside(&arguments.out, &arguments.shards)?;
    let raw = data_set::raw_folder(store.descriptor(), arguments.raw.as_deref(), context)?;
    let listing = raw::list(store.descriptor(), &raw)?;
    let ids = chosen(&store, arguments)?;
    fs_err::create_dir_all(&arguments.out)?;
    let progress = context.progress("pictures", ids.len() as u64);
    let mut failed = 0;
    for id in &ids {
        let picture = listing
            .cases
            .iter()
            .find(|case| case.id == *id)
            .ok_or_else(|| {
                Message::error("E194", "its raw files are not there")
                    .detail(raw.display().to_string())
                    .fix("Give --raw the folder that the shards were made from")
                    .into()
            })
            .and_then(|case| draw(&store, case));
        match picture {
            Ok(bytes) => atomic::write(&arguments.out.join(format!("{id}.png")), &bytes)?,
            Err(error) => {
                failed += 1;
                context.tell(messages::of_error(id, &error, &raw));
            }
        }
        progress.step(id);
    }
    progress.finish();
    let drawn = counted(ids.len() - failed, "picture");
    context.say(&format!("{drawn}: {}", arguments.out.display()));
    Ok(match failed {
        0 => ExitStatus::Done,
        _ if failed == ids.len() => ExitStatus::Failed,
        _ => ExitStatus::Partial,
    })
}

/// The wanted cases, or some that are spread over all.
fn chosen(store: &ShardStore, arguments: &Arguments) -> anyhow::Result<Vec<String>> {
    let all: Vec<&str> = store.rows().iter().map(|row| row.id.as_str()).collect();
    if arguments.only.is_empty() {
        let count = arguments.cases.min(all.len());
        return Ok((0..count).map(|i| all[i * all.len() / count].to_owned()).collect());
    }
    let unknown: Vec<_> = arguments.only.iter().filter(|id| !all.contains(&id.as_str())).cloned().collect();
    if unknown.is_empty() {
        return Ok(arguments.only.clone());
    }
    Err(Message::error("E196", format!("no such case: {}", unknown.join(", ")))
        .detail(format!("{} holds {} cases", arguments.shards.display(), all.len()))
        .fix("Name cases as in cases.csv")
        .into())
}

/// Pictures among the shards would be files that the manifest does not list.
fn refuse_inside(out: &Path, shards: &Path) -> anyhow::Result<()> {
    if std::path::absolute(out)?.starts_with(std::path::absolute(shards)?) {
        return Err(Message::error("E165", "--out lies in the shard directory")
            .detail(out.display().to_string())
            .fix("Give --out a directory of its own")
            .into());
    }
    Ok(())
}

fn draw(store: &ShardStore, raw: &RawCase) -> anyhow::Result<Vec<u8>> {
    let case = store.case(&raw.id)?;
    let through_zyx = sides::place(&case)?;
    let after = sides::after(&case, through_zyx)?;
    let before = sides::before(&case, raw, store.descriptor(), through_zyx)?;
    montage::draw(store.descriptor(), case.record(), &before, &after, through_zyx)
}
