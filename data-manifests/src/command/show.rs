//! `data-manifests show NAME`.

use crate::Descriptor;
use stage::{Context, ExitStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Name of a built-in data set, or a descriptor file
    #[arg(value_name = "NAME|FILE")]
    dataset: String,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let descriptor = Descriptor::find(&arguments.dataset)?;
    let text = match Descriptor::built_in_text(&arguments.dataset) {
        Some(text) => text.to_owned(),
        None => toml::to_string(&descriptor)?,
    };
    context.print(text.trim_end())?;
    Ok(ExitStatus::Done)
}
