//! The end of `report`: what was written, what was rejected, and the manifest.

use super::texts::Texts;
use super::{Arguments, MANY_EQUAL};
use crate::command::{rejected, tell_some};
use crate::grounding::refine::Tally;
use crate::ledger::{place, round};
use crate::writer::api::batch::state;
use crate::writer::judge::normalised;
use crate::writer::{REJECTED, Rejected, Writer};
use data_manifests::Manifest;
use data_manifests::records::{self, Caption, Report, VolumeReport};
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::HashMap;

/// Percentage of unsupported sentences from which the user is told.
const UNSUPPORTED_TOLD: f64 = 5.0;

/// Writes what makes the directory a finished one, and says what is missing.
pub(super) fn finish(
    writer: &dyn Writer,
    mut manifest: Manifest,
    input: &Manifest,
    captions: Vec<Caption>,
    texts: Texts,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    state::end(out, context)?;
    let Texts { slices, volumes, written, tally } = texts;
    let (asked, unanswered) = (captions.len(), written.unanswered.len());
    let mut reports = Vec::with_capacity(asked);
    for (caption, text) in captions.into_iter().zip(slices) {
        if let Some(text) = text {
            reports.push(Report {
                id: caption.id,
                case: caption.case,
                dataset: caption.dataset,
                plane: caption.plane,
                index: caption.index,
                box_zyx: caption.box_zyx,
                text: text.text,
                writer: writer.name(),
                model: writer.model(),
                request: text.request,
                sentences: text.sentences,
            });
        }
    }
    let volumes: Vec<VolumeReport> = volumes
        .into_iter()
        .filter_map(|volume| {
            let text = volume.text?;
            Some(VolumeReport {
                case: volume.case,
                dataset: volume.dataset,
                text: text.text,
                writer: writer.name(),
                model: writer.model(),
                request: text.request,
                sentences: text.sentences,
                slices: volume.slices,
                facts: volume.facts.into_record(),
            })
        })
        .collect();
    if !reports.is_empty() || !out.join(data_manifests::manifest::FILE_NAME).is_file() {
        Manifest::withdraw(out)?;
        for aside in place::take_over(out, writer.header()?.as_ref())? {
            context.tell(place::kept(&aside));
        }
        round::end(out)?;
        atomic::write(&out.join(REJECTED), &records::to_lines(&written.rejected)?)?;
    }
    let lost: Vec<_> = written.rejected.iter().filter(|r| !r.replaced).collect();
    let mut last_of: HashMap<&str, &Rejected> = HashMap::new();
    for rejected in &lost {
        last_of.insert(&rejected.id, rejected);
    }
    let mut listed = written.unanswered;
    let mut ids: Vec<_> = last_of.keys().copied().collect();
    ids.sort_unstable();
    let room = writer.more_room();
    for id in ids {
        listed.push(rejected::last(last_of[id], room.as_deref()).case(id));
    }
    let rejected = last_of.len();
    if !written.rejected.is_empty() {
        context.tell(
            Message::warning(
                "W205",
                format!("{} replies were rejected: {}", written.rejected.len(), summary(&written.rejected)),
            )
            .detail(format!("see {}", out.join(REJECTED).display())),
        );
    }
    let partial = !listed.is_empty();
    tell_some(context, listed);
    if reports.is_empty() {
        return Err(Message::error("E205", "no caption got a report")
            .detail(format!(
                "{asked} captions, {rejected} with rejected replies, {unanswered} without a reply"
            ))
            .fix(rejected::way_out(out, rejected))
            .into());
    }
    let equal = equal_texts(&reports);
    if equal as f64 > MANY_EQUAL * reports.len() as f64 {
        let share = equal as f64 / reports.len() as f64 * 100.0;
        context.tell(Message::warning(
            "W211",
            format!("{share:.0} % of reports are identical to another after normalisation: they are no negatives of each other"),
        ));
    }
    tell_of_sentences(&tally, context);
    atomic::write(&out.join(records::REPORTS), &records::to_lines(&reports)?)?;
    atomic::write(&out.join(records::VOLUMES), &records::to_lines(&volumes)?)?;
    for (name, value) in [
        ("reports", reports.len()),
        ("volumes", volumes.len()),
        ("rejected", rejected),
        ("unanswered", unanswered),
        ("equal", equal),
        ("sentences_supported", tally.supported),
        ("sentences_unsupported", tally.unsupported),
        ("sentences_contradicted", tally.contradicted),
        ("texts_refused", tally.refused),
        ("texts_rewritten", tally.rewritten),
        ("texts_replaced", tally.replaced_whole),
        ("sentences_replaced", tally.replaced),
        ("sentences_dropped", tally.dropped),
    ] {
        manifest.counts.insert(name.to_owned(), value as u64);
        context.count(name, value as u64);
    }
    manifest.datasets.clone_from(&input.datasets);
    manifest.licence.clone_from(&input.licence);
    manifest.finish(out, |path| match path {
        REJECTED => "rejected",
        name if place::is_ledger(name) => "ledger",
        records::VOLUMES => "volumes",
        _ => "reports",
    })?;
    context.say(&format!("{} reports of {asked} captions in {}", reports.len(), out.display()));
    Ok(if partial { ExitStatus::Partial } else { ExitStatus::Done })
}

/// What the check of the sentences found.
fn tell_of_sentences(tally: &Tally, context: &Context) {
    let all = tally.sentences().max(1) as f64;
    let share = |n: usize| 100.0 * n as f64 / all;
    if tally.refused > 0 {
        let text = format!(
            "{} texts contradicted what is known: {} were right when written again, {} gave way to the template, and so did {} sentences of the others",
            tally.refused, tally.rewritten, tally.replaced_whole, tally.replaced
        );
        context.tell(
            Message::warning("W215", text).detail(format!("see {REJECTED}, and 'replaces' in the reports")),
        );
    }
    if share(tally.unsupported) >= UNSUPPORTED_TOLD {
        let text =
            format!("{:.0} % of sentences state something that nothing measured", share(tally.unsupported));
        context
            .tell(Message::warning("W214", text).detail("see the reasons of each sentence in the reports"));
    }
    if tally.contradicted > 0 {
        let text = format!("{} sentences contradict what is known and were kept", tally.contradicted);
        context.tell(
            Message::warning("W216", text)
                .fix("Pass --grounding rewrite, or look at them with 'text-synth review'"),
        );
    }
}

/// `2 empty, 1 refusal`, the most frequent first.
fn summary(rejected: &[Rejected]) -> String {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for reason in rejected.iter().flat_map(|r| &r.reasons) {
        *counts.entry(reason.split([':', '=', '(']).next().unwrap_or(reason).trim()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts.iter().map(|(reason, n)| format!("{n} {reason}")).collect::<Vec<_>>().join(", ")
}

/// How many reports equal an earlier one after normalisation.
fn equal_texts(reports: &[Report]) -> usize {
    let distinct: std::collections::HashSet<String> = reports.iter().map(|r| normalised(&r.text)).collect();
    reports.len() - distinct.len()
}
