//! `caption --dry-run`: what would be sent.

use super::{Arguments, CHOSEN, Kind, parameters, work};
use data_manifests::Manifest;
use patches::ShardStore;
use stage::{Context, ExitStatus, Message, limits};

/// Prints an estimate: looks at all pictures, contacts nobody, locks nothing and writes nothing.
pub(super) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    if arguments.captioner != Kind::Api {
        context.print("requests to do: 0 (this captioner asks no server)")?;
        return Ok(ExitStatus::Done);
    }
    let (store, out) = (ShardStore::open(&arguments.shards)?, arguments.out.as_path());
    let descriptor = store.descriptor();
    let Some(ready) = arguments.models.ready(arguments.captioner, &descriptor.text.vocabulary)? else {
        return Ok(ExitStatus::Done);
    };
    let parameters = parameters(arguments, descriptor, Some(&ready));
    // without its inputs: only its options are looked at
    let manifest =
        Manifest::new("caption", env!("CARGO_PKG_VERSION"), context.program(), &parameters, Vec::new())?;
    arguments.replacing.check(&CHOSEN, &manifest, ready.header()?.as_ref(), out)?;
    let Some(mut estimating) = ready.estimating(out)? else { return Ok(ExitStatus::Done) };
    let workers = arguments.workers.map_or_else(limits::cores, usize::from);
    let Some(made) = work::by_picture(&store, &parameters.plan, &mut estimating, workers, context)? else {
        return Ok(ExitStatus::Interrupted);
    };
    context.print(&estimating.estimate().to_string())?;
    context.print("tokens of pictures are estimated: servers count them by rules of their own")?;
    let failed = made.failed.len();
    for (case, error) in made.failed {
        let message = Message::error("E217", "the case cannot be described").case(case);
        context.tell(message.detail(format!("{error:#}")));
    }
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}
