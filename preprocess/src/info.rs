//! `preprocess info PATH…`: geometry, values and what a run would do, without a run.

mod describe;
mod statistics;
mod text;

use crate::messages;
use data_manifests::Descriptor;
use data_manifests::raw;
use describe::Volume;
use serde::Serialize;
use stage::{Context, ExitStatus, Message};
use std::path::{Path, PathBuf};
use volume::ome_zarr;

const EXAMPLES: &str = "\
Examples:
  preprocess info data/Task04_Hippocampus/imagesTr/hippocampus_001.nii.gz
  preprocess info data/Task04_Hippocampus/*Tr/*_001.nii.gz --dataset msd04-hippocampus
  preprocess info sample_A_20160501.hdf --json | python3 -m json.tool

Files that a run would refuse get the run's message. Exit codes: 0 all files are usable, 1 some are not.";

/// Say what a volume holds and what a run would do with it
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Scans (NIfTI, MetaImage, NRRD), HDF5 files, TIFF stacks, folders of slices, OME-Zarr
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Print JSON in place of text (docs/preprocess.md describes it)
    #[arg(long)]
    json: bool,
    /// Data set whose target grid, intensity rule and classes apply: a built-in name, or a descriptor in TOML
    #[arg(long, value_name = "NAME|FILE")]
    dataset: Option<String>,
}

/// Schema id of the JSON object.
const SCHEMA: &str = "gtgm/info/1";

/// The JSON object.
#[derive(Serialize)]
struct Info {
    schema: &'static str,
    /// Usable parts of the files, in their order.
    volumes: Vec<Volume>,
    /// What makes files unusable.
    errors: Vec<Message>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let descriptor = arguments.dataset.as_deref().map(Descriptor::find).transpose()?;
    let mut info = Info { schema: SCHEMA, volumes: Vec::new(), errors: Vec::new() };
    for path in &arguments.paths {
        match one(path, descriptor.as_ref()) {
            Ok(volumes) => {
                for volume in volumes {
                    if !arguments.json {
                        context.print(&text::of_volume(&volume))?;
                    }
                    info.errors.extend(volume.errors.iter().cloned());
                    info.volumes.push(volume);
                }
            }
            Err(error) => info.errors.push(messages::of_error(&raw::case_name(path), &error, Path::new(""))),
        }
    }
    context.count("volumes", info.volumes.len() as u64);
    if arguments.json {
        context.print(&serde_json::to_string_pretty(&info)?)?;
    }
    let failed = !info.errors.is_empty();
    info.errors.into_iter().for_each(|message| context.tell(message));
    Ok(if failed { ExitStatus::Failed } else { ExitStatus::Done })
}

fn one(path: &Path, descriptor: Option<&Descriptor>) -> anyhow::Result<Vec<Volume>> {
    if path.is_dir() && !ome_zarr::is_zarr(path) && !holds_slices(path)? {
        return Err(Message::error("E103", "this is a folder, not a volume")
            .detail(path.display().to_string())
            .fix("Name the files in it; 'preprocess --dry-run' lists what a run would do with a data set")
            .into());
    }
    describe::volumes(path, descriptor)
}

/// Whether a folder is a stack of slices.
fn holds_slices(folder: &Path) -> anyhow::Result<bool> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if ending.is_some_and(|e| ["tif", "tiff", "png"].contains(&e.as_str())) {
            return Ok(true);
        }
    }
    Ok(false)
}
