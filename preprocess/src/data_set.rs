//! Which data set, and where its raw files are: either may stand for both.

use data_manifests::Descriptor;
use data_manifests::raw;
use stage::{Context, Message};
use std::path::{Path, PathBuf};

/// The data set that `--dataset` (a built-in name, a descriptor, or a raw folder with `dataset.json`) or else the folder
/// `--raw` describes, and its raw folder: see [`raw_folder`].
pub(crate) fn find(
    dataset: Option<&str>,
    raw: Option<&Path>,
    context: &Context,
) -> anyhow::Result<(Descriptor, PathBuf)> {
    let named = dataset.map(raw::clean);
    let descriptor = match (&named, raw) {
        (Some(name), _) => Descriptor::find(&name.to_string_lossy())?,
        (None, Some(raw)) => Descriptor::from_folder(&given(raw))?,
        (None, None) => {
            return Err(Message::error("E020", "no data set").fix("Give --dataset or --raw").into());
        }
    };
    if let Some(doubt) = descriptor.doubtful_modality() {
        context.tell(doubt);
    }
    let own = named.filter(|path| path.is_dir());
    let raw = raw_folder(&descriptor, raw.or(own.as_deref()), context)?;
    Ok((descriptor, raw))
}

/// The raw folder of a data set: the one given, or its folder below `$GTGM_RAW` or `$nnUNet_raw`, which is told.
pub(crate) fn raw_folder(
    descriptor: &Descriptor,
    raw: Option<&Path>,
    context: &Context,
) -> anyhow::Result<PathBuf> {
    if let Some(raw) = raw {
        return Ok(given(raw));
    }
    let (place, variable) = raw::default_raw(descriptor)?;
    let text = format!("raw files are read from {}", place.display());
    context.tell(Message::info("I152", text).cause(format!("It lies below ${variable}")));
    Ok(place)
}

/// A path of the command line; `a/` and `a` are one folder, in messages too.
fn given(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) => raw::clean(text).components().collect(),
        None => path.components().collect(),
    }
}
