//! `data-manifests validate DIR|FILE`.

use crate::raw::{check, index};
use crate::{Descriptor, manifest, rules};
use stage::{Context, ExitStatus, Message};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Files are known by their names: *.toml (descriptor), manifest.json, split.json, splits_final.json, *plan.json,
nnUNetPlans.json, cases.csv, captions.jsonl, reports.jsonl, volumes.jsonl, rows.csv; dataset.json is checked with
its folder. Bytes are not compared with their digests: 'verify' does that.

A raw folder is checked with --dataset, or by its own dataset.json (Decathlon, nnU-Net v2): index, missing files, headers,
channels, grids of images and labels. Voxels are not read.
  data-manifests validate data/Dataset027_ACDC
  data-manifests validate data/mine --dataset mine.toml")]
pub(super) struct Arguments {
    /// Directory of a finished stage, or one file of it, or a descriptor
    #[arg(value_name = "DIR|FILE", value_parser = clap::builder::ValueParser::from(cleaned))]
    path: PathBuf,
    /// Check DIR as the raw folder of this data set: a built-in name, or a descriptor
    #[arg(long, value_name = "NAME|FILE")]
    dataset: Option<String>,
}

fn cleaned(text: &str) -> Result<PathBuf, std::convert::Infallible> {
    Ok(crate::raw::clean(text))
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let path = &arguments.path;
    if let Some(dataset) = &arguments.dataset {
        return validate_raw(&Descriptor::find(dataset)?, path, context);
    }
    if path.join("dataset.json").is_file() && !path.join(manifest::FILE_NAME).exists() {
        return validate_raw(&Descriptor::from_folder(path)?, path, context);
    }
    let is_manifest = path.file_name().is_some_and(|name| name == manifest::FILE_NAME);
    if path.is_file() && path.file_name().is_some_and(|name| name == index::FILE_NAME) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return validate_raw(&Descriptor::from_folder(folder)?, folder, context);
    }
    if path.is_file() && !is_manifest {
        return validate_file(path, context);
    }
    let directory = if is_manifest { path.parent().unwrap_or(Path::new("")) } else { path };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    if directory.is_dir() && !directory.join(manifest::FILE_NAME).exists() {
        return Err(Message::error("E016", "neither a manifest.json nor a dataset.json is here")
            .detail(directory.display().to_string())
            .fix("Give the directory of a finished stage; for a raw folder, --dataset with a built-in name or a descriptor")
            .into());
    }
    let wrong = rules::check_directory(directory)?;
    for line in &wrong {
        context.print(line)?;
    }
    if wrong.is_empty() {
        context.say(&format!("{} is valid.", path.display()));
        return Ok(ExitStatus::Done);
    }
    Err(Message::error("E014", format!("{} rules are broken", wrong.len()))
        .detail(path.display().to_string())
        .fix("Run the stage again, or correct the files listed above")
        .into())
}

fn validate_file(path: &Path, context: &Context) -> anyhow::Result<ExitStatus> {
    match rules::check_file(path) {
        Ok(Some(kind)) => {
            context.say(&format!("{} is a valid {kind}.", path.display()));
            Ok(ExitStatus::Done)
        }
        Ok(None) => Err(Message::error("E016", "nothing is known about files of this name")
            .detail(path.display().to_string())
            .fix("See 'data-manifests validate --help' for the names")
            .into()),
        Err(error) if error.is::<Message>() => Err(error),
        Err(error) => Err(Message::error("E014", "the file breaks a rule")
            .detail(format!("{error:#}"))
            .fix("Correct it, or run the stage again that wrote it")
            .into()),
    }
}

/// Everything that is wrong with a raw folder, errors last.
fn validate_raw(descriptor: &Descriptor, root: &Path, context: &Context) -> anyhow::Result<ExitStatus> {
    let found: Vec<Message> =
        descriptor.doubtful_modality().into_iter().chain(check::check(descriptor, root)).collect();
    let errors = found.iter().filter(|message| check::is_error(message)).count();
    for message in found {
        context.tell(message);
    }
    if errors == 0 {
        context.say(&format!("{} is a valid raw folder of '{}'.", root.display(), descriptor.name));
        return Ok(ExitStatus::Done);
    }
    Err(Message::error("E014", format!("{errors} errors in the raw folder"))
        .detail(root.display().to_string())
        .fix("Correct what is listed above")
        .into())
}
