//! The end of `report`: what was written, what was rejected, and the manifest.

use super::{Arguments, MANY_EQUAL};
use crate::command::tell_some;
use crate::ledger;
use crate::writer::judge::normalised;
use crate::writer::{REJECTED, Rejected, Writer, Written};
use data_manifests::Manifest;
use data_manifests::records::{self, Caption, Report};
use stage::{Context, ExitStatus, Message, atomic};
use std::collections::HashMap;

/// Writes what makes the directory a finished one, and says what is missing.
pub(super) fn finish(
    writer: &dyn Writer,
    mut manifest: Manifest,
    input: &Manifest,
    captions: Vec<Caption>,
    written: Written,
    arguments: &Arguments,
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let out = arguments.out.as_path();
    let (asked, unanswered) = (captions.len(), written.unanswered.len());
    let mut reports = Vec::with_capacity(asked);
    for (caption, text) in captions.into_iter().zip(written.texts) {
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
                sentences: Vec::new(),
            });
        }
    }
    atomic::write(&out.join(REJECTED), &records::to_lines(&written.rejected)?)?;
    let lost: Vec<_> = written.rejected.iter().filter(|r| !r.replaced).collect();
    let mut last_of: HashMap<&str, &Rejected> = HashMap::new();
    for rejected in &lost {
        last_of.insert(&rejected.id, rejected);
    }
    let mut listed = written.unanswered;
    let mut ids: Vec<_> = last_of.keys().copied().collect();
    ids.sort_unstable();
    for id in ids {
        let rejected = last_of[id];
        let reasons = rejected.reasons.join("; ");
        let message = if rejected.finish_reason.as_deref() == Some("length") {
            Message::error("E204", format!("reply {reasons}")).detail("Not used").fix(format!(
                "Set --max-tokens {} or disable thinking",
                arguments.max_tokens.saturating_mul(4)
            ))
        } else {
            Message::error("E205", format!("all replies were rejected: {reasons}"))
                .fix(format!("See {}; pass --retry-rejected to ask again", REJECTED))
        };
        listed.push(message.case(id));
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
            .fix(format!("Look at {}", out.join(REJECTED).display()))
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
    atomic::write(&out.join(records::REPORTS), &records::to_lines(&reports)?)?;
    for (name, value) in
        [("reports", reports.len()), ("rejected", rejected), ("unanswered", unanswered), ("equal", equal)]
    {
        manifest.counts.insert(name.to_owned(), value as u64);
        context.count(name, value as u64);
    }
    manifest.datasets.clone_from(&input.datasets);
    manifest.licence.clone_from(&input.licence);
    manifest.finish(out, |path| match path {
        REJECTED => "rejected",
        ledger::FILE_NAME => "ledger",
        _ => "reports",
    })?;
    context.say(&format!("{} reports of {asked} captions in {}", reports.len(), out.display()));
    Ok(if partial { ExitStatus::Partial } else { ExitStatus::Done })
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
