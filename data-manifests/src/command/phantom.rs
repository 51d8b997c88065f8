//! `data-manifests phantom`.

use crate::manifest::{self, Manifest};
use crate::phantom::{DESCRIPTOR, Kind, Size};
use stage::atomic::{self, PendingDirectory};
use stage::lock;
use stage::{Context, ExitStatus, Message};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each data set gets a folder with its raw data and its descriptor:
  preprocess --dataset DIR/phantom-ct/descriptor.toml --raw DIR/phantom-ct/PhantomCT --out SHARDS")]
pub(super) struct Arguments {
    /// Directory to write; it will hold exactly what is asked for here
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed: the same seed gives the same bytes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How much to make
    #[arg(long, value_enum, default_value = "demo")]
    size: Size,
    /// Make these only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND,…")]
    only: Vec<Kind>,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let out = &arguments.out;
    let mut kinds = if arguments.only.is_empty() { Kind::ALL.to_vec() } else { arguments.only.clone() };
    kinds.sort_unstable();
    kinds.dedup();
    refuse_foreign_files(out)?;
    let output = context.open_output(out)?;
    let parameters = serde_json::json!({ "seed": arguments.seed, "size": arguments.size, "only": kinds });
    let mut wanted =
        Manifest::new("phantom", env!("CARGO_PKG_VERSION"), context.program(), &parameters, Vec::new())?;
    if let Some(found) = wanted.reusable(out)? {
        let cases = found.counts.get("cases").copied().unwrap_or(0);
        context.count("cases", cases);
        context.tell(Message::info("I170", format!("{cases} cases reused, nothing to do")));
        return Ok(ExitStatus::Done);
    }
    output.to_write()?;
    Manifest::withdraw(out)?;
    atomic::sweep(out)?;
    for kind in Kind::ALL.into_iter().filter(|kind| !kinds.contains(kind)) {
        let stale = out.join(kind.dataset());
        if stale.is_dir() {
            fs_err::remove_dir_all(stale)?;
        }
    }
    let mut cases = 0;
    let progress = context.progress("phantom", kinds.len() as u64);
    for kind in &kinds {
        if stage::interrupt::requested() {
            return Ok(ExitStatus::Interrupted);
        }
        let pending = PendingDirectory::new(&out.join(kind.dataset()))?;
        cases += kind.write(arguments.size, arguments.seed, pending.path())? as u64;
        pending.publish()?;
        progress.step(kind.dataset());
    }
    progress.finish();
    wanted.datasets = kinds.iter().map(|kind| kind.dataset().to_owned()).collect();
    wanted.licence = "CC0-1.0".to_owned();
    wanted.counts.insert("cases".to_owned(), cases);
    context.count("cases", cases);
    wanted.finish(out, |path| if path.ends_with(DESCRIPTOR) { "descriptor" } else { "raw" })?;
    context.say(&format!("{}: {cases} cases in {} data sets.", out.display(), kinds.len()));
    Ok(ExitStatus::Done)
}

/// The directory becomes a stage directory: what it holds besides would be listed as its output, or lost.
fn refuse_foreign_files(out: &Path) -> anyhow::Result<()> {
    if !out.is_dir() {
        return Ok(());
    }
    let own = [manifest::FILE_NAME, "report.json", lock::FILE_NAME];
    for entry in fs_err::read_dir(out)? {
        let name = entry?.file_name();
        let known =
            name.to_str().is_some_and(|n| own.contains(&n) || Kind::ALL.iter().any(|k| k.dataset() == n));
        if !known && !atomic::is_temporary(&name) {
            return Err(Message::error("E017", "the directory holds other files")
                .detail(out.join(name).display().to_string())
                .fix("Give --out a new directory")
                .into());
        }
    }
    Ok(())
}
