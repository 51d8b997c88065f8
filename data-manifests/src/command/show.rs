//! `data-manifests show NAME`.

use crate::descriptor::Modality;
use crate::{Descriptor, raw};
use stage::{Context, ExitStatus};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Name of a built-in data set, a descriptor file, or a raw folder, whose descriptor is derived
    #[arg(value_name = "NAME|FILE|DIR")]
    dataset: String,
    /// Describe DIR as images without labels, at any depth, of this modality
    #[arg(long, value_enum, value_name = "MODALITY")]
    images: Option<Kind>,
}

/// Modality of images.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// Computed tomography, in Hounsfield units
    Ct,
    /// Magnetic resonance imaging
    Mri,
    /// Electron microscopy, 8 bit
    Em,
}

pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let descriptor = match arguments.images {
        Some(kind) => {
            let modality = match kind {
                Kind::Ct => Modality::Ct,
                Kind::Mri => Modality::Mri,
                Kind::Em => Modality::Em,
            };
            Descriptor::of_images(&raw::clean(&arguments.dataset), modality)?
        }
        None => Descriptor::find(&arguments.dataset)?,
    };
    if let Some(doubt) = descriptor.doubtful_modality() {
        context.tell(doubt);
    }
    let text = match Descriptor::built_in_text(&arguments.dataset) {
        Some(text) if arguments.images.is_none() => text.to_owned(),
        _ => toml::to_string(&descriptor)?,
    };
    context.print(text.trim_end())?;
    Ok(ExitStatus::Done)
}
