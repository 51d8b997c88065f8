//! The end of `caption`: what was written, what could not be, and the manifest.

use super::work::Made;
use super::{Arguments, Kind};
use crate::captioner::blip::journal;
use crate::command::{rejected, tell_some};
use crate::ledger::{Header, place, round};
use crate::slices;
use crate::writer::{REJECTED, Rejected};
use data_manifests::{Manifest, records};
use patches::ShardStore;
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::BTreeMap;

/// How a run ends. What BLIP says of a picture is the same each time, so that a caption with nothing in it is no failure to be
/// mended by another run.
pub(super) fn status(kind: Kind, failed: u64, unanswered: u64, rejected: u64) -> ExitStatus {
    let is_partial = failed > 0 || unanswered > 0 || (kind == Kind::Api && rejected > 0);
    if is_partial { ExitStatus::Partial } else { ExitStatus::Done }
}

/// Writes what makes the directory a finished one, and says what is missing.
pub(super) fn finish(
    made: Made,
    mut manifest: Manifest,
    store: &ShardStore,
    (arguments, header): (&Arguments, Option<&Header>),
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let kind = arguments.captioner;
    let cases = store.rows().len();
    let (failed, unanswered) = (made.failed.len() as u64, made.unanswered.len() as u64);
    for (case, error) in &made.failed {
        context.tell(
            Message::error("E217", "the case cannot be described")
                .case(case)
                .detail(format!("{error:#}"))
                .fix("Run 'data-manifests verify' on the shards, and 'preprocess' again if it complains"),
        );
    }
    let lost: BTreeMap<&str, &Rejected> =
        made.rejected.iter().filter(|r| !r.replaced).map(|r| (r.id.as_str(), r)).collect();
    if !made.captions.is_empty() || !out.join(data_manifests::manifest::FILE_NAME).is_file() {
        Manifest::withdraw(out)?;
        for aside in place::take_over(out, header)? {
            context.tell(place::kept(&aside));
        }
        round::end(out)?;
        atomic::remove(&out.join(REJECTED))?;
        if kind != Kind::Measure {
            atomic::write(&out.join(REJECTED), &records::to_lines(&made.rejected)?)?;
        }
    }
    if !made.rejected.is_empty() {
        let (texts, slices) = (made.rejected.len(), lost.len());
        context.tell(
            Message::warning(
                "W205",
                format!("{texts} texts of the model were rejected; {slices} slices have no caption"),
            )
            .detail(format!("see {}", out.join(REJECTED).display())),
        );
    }
    let mut listed = made.unanswered;
    if kind == Kind::Api {
        let room = arguments.models.asking.sampling()?.more_room();
        listed.extend(lost.iter().map(|(id, last)| rejected::last(last, Some(&room)).case(*id)));
    }
    tell_some(context, listed);
    if made.captions.is_empty() {
        let mut message = Message::error("E217", "no caption could be made").detail(format!(
            "{}: {cases} cases, {failed} failed; {} slices with rejected texts, {unanswered} without an answer",
            arguments.shards.display(),
            lost.len()
        ));
        if kind == Kind::Api {
            message = message.fix(rejected::way_out(out, lost.len()));
        }
        return Err(message.into());
    }
    let rejected = lost.len() as u64;
    let mut counts =
        vec![("cases", cases as u64 - failed), ("failed", failed), ("captions", made.captions.len() as u64)];
    if kind != Kind::Measure {
        counts.extend([("rejected", rejected), ("unanswered", unanswered)]);
        counts.extend(made.counts);
    }
    atomic::write(&out.join(slices::FILE_NAME), &records::to_lines(&made.planned)?)?;
    atomic::write(&out.join(records::CAPTIONS), &records::to_lines(&made.captions)?)?;
    for (name, value) in counts {
        manifest.counts.insert(name.to_owned(), value);
        context.count(name, value);
    }
    manifest.datasets.clone_from(&store.manifest().datasets);
    manifest.licence.clone_from(&store.manifest().licence);
    journal::remove(out)?;
    manifest.finish(out, |path| match path {
        slices::FILE_NAME => "slices",
        REJECTED => "rejected",
        name if place::is_ledger(name) => "ledger",
        _ => "captions",
    })?;
    context.say(&format!("{} captions of {cases} cases in {}", made.captions.len(), out.display()));
    Ok(status(kind, failed, unanswered, rejected))
}
