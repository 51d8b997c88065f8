//! What is said of cases and texts before the first step.

use super::{Pairs, Source};
use crate::text::{Text, are_alike};
use stage::message::counted;
use stage::{Context, Message, Severity};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Share of alike pairs of reports from which that is said,
const MANY_ALIKE: f64 = 0.5;
/// of so many drawn reports.
const DRAWN_REPORTS: usize = 512;

/// Says which folders of texts are given twice.
fn tell_of_doubles<'a>(folders: impl Iterator<Item = &'a Path>, context: &Context) {
    let mut seen = BTreeSet::new();
    for folder in folders {
        // one that cannot be resolved was opened under this name
        let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        if !seen.insert(place) {
            let text = "the same text is given twice: a second wording that says the same";
            context.tell(
                Message::warning("W342", text)
                    .detail(folder.display().to_string())
                    .fix("Leave the second --text out, or give that of another writer"),
            );
        }
    }
}

fn of_no_case(text: &Path, shards: &Path) -> Message {
    Message::error("E342", "the text describes no case of the shards")
        .detail(format!("{} was not made from {}", text.display(), shards.display()))
        .fix("Give the --text that 'text-synth embed' made for these shards, or leave it out to train without text")
}

impl Pairs {
    /// Opens every case, so that a damaged one is known before the first step and not days later. With `skip_bad` every byte is compared, too, and
    /// up to so many damaged cases are left out; gives these by data set.
    ///
    /// # Errors
    /// `E301` for more, `E320` where a data set has no other.
    pub(crate) fn sound(
        mut self,
        skip_bad: Option<u32>,
        context: &Context,
    ) -> anyhow::Result<(Self, BTreeMap<String, Vec<String>>)> {
        let mut damaged: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for Source { store, ids, held_out, .. } in &self.sources {
            for id in ids.iter().chain(held_out) {
                let opened = store.case(id);
                let found =
                    if skip_bad.is_some() { opened.and_then(|case| case.check()) } else { opened.map(drop) };
                if let Err(error) = found {
                    damaged.entry(store.descriptor().name.clone()).or_default().push(id.clone());
                    let mut message = error.message(id);
                    if skip_bad.is_some() {
                        (message.code, message.severity) = ("W301", Severity::Warning);
                    }
                    context.tell(message);
                }
            }
        }
        let count: usize = damaged.values().map(Vec::len).sum();
        if count > skip_bad.unwrap_or(0) as usize {
            return Err(Message::error("E301", format!("{} cannot be read", counted(count, "case")))
                .fix("Run preprocess again: it makes damaged cases anew and keeps the others; --skip-bad N goes on without them")
                .into());
        }
        for Source { store, ids, held_out, .. } in &mut self.sources {
            let name = &store.descriptor().name;
            if let Some(bad) = damaged.get(name) {
                ids.retain(|id| !bad.contains(id));
                held_out.retain(|id| !bad.contains(id));
                if ids.is_empty() {
                    return Err(Message::error("E320", format!("no case of {name} is left to train on"))
                        .fix("Run preprocess again: it makes damaged cases anew and keeps the others")
                        .into());
                }
            }
        }
        context.count("cases_skipped", count as u64);
        Ok((self.mixed(), damaged))
    }

    /// Refuses texts of other shards and of no case at all, and says which reports are of none. `skipped` are the damaged cases that were left out, by data set.
    pub(crate) fn check_texts(
        &self,
        skipped: &BTreeMap<String, Vec<String>>,
        context: &Context,
    ) -> anyhow::Result<()> {
        let texts = self.sources.iter().flat_map(|source| &source.texts);
        tell_of_doubles(texts.map(Text::directory), context);
        for source in &self.sources {
            let skipped = skipped.get(&source.store.descriptor().name).map_or(&[][..], Vec::as_slice);
            for text in &source.texts {
                if !source.store.rows().iter().any(|row| text.describes(&row.id)) {
                    return Err(of_no_case(text.directory(), source.store.directory()).into());
                }
                let unknown = text.check(&source.store, skipped)?;
                text.check_origin(&source.store, skipped)?
                    .into_iter()
                    .for_each(|message| context.tell(message));
                if let Some(first) = unknown.first() {
                    let what =
                        format!("left out reports of {} not in the shards", counted(unknown.len(), "case"));
                    let detail = format!("{}: first {first}", text.directory().display());
                    context.tell(Message::warning("W311", what).detail(detail));
                }
            }
        }
        Ok(())
    }

    /// Share of pairs of drawn reports that are alike, of some drawn as they are for training.
    fn alike(&self) -> f64 {
        let mut drawn = Vec::new();
        let parts = self.ends.iter().scan(0.0, |below, end| Some(end - std::mem::replace(below, *end)));
        for (source, part) in self.sources.iter().zip(parts) {
            let mut rows = Vec::new();
            for id in &source.ids {
                for (text, likeness) in source.texts.iter().zip(&source.likeness) {
                    rows.extend(text.rows_of(id).iter().map(|row| &likeness[*row]));
                }
            }
            let wanted = (part * DRAWN_REPORTS as f64).round() as usize;
            // one may be drawn twice, as in training
            drawn.extend((0..wanted).filter_map(|i| rows.get(i * rows.len() / wanted).copied()));
        }
        let pairs = drawn.len() * drawn.len().saturating_sub(1);
        let alike = |at: usize| {
            let others = drawn.iter().enumerate().filter(|(other, _)| *other != at);
            others.filter(|(_, other)| are_alike(drawn[at], other)).count()
        };
        (0..drawn.len()).map(alike).sum::<usize>() as f64 / pairs.max(1) as f64
    }

    /// Says which cases have no report, whether a batch holds enough reports for the image-text loss, and whether, where those that are alike
    /// are masked, most are.
    pub(crate) fn warn_about_text(&self, batch: usize, least: i64, masks: bool, context: &Context) {
        let all: usize = self.sources.iter().map(|s| s.ids.len()).sum();
        let described: usize = self.sources.iter().map(Source::described).sum();
        if described < all {
            let without = all - described;
            let text = format!("{without} of {all} cases have no report: used for the visual loss only");
            context.tell(Message::warning("W311", text));
        }
        if self.skipped > 0 {
            let text = format!("{} of {} cases have no report: left out", self.skipped, all + self.skipped);
            context.tell(Message::warning("W311", text));
        }
        let parts = self.ends.iter().scan(0.0, |below, end| Some(end - std::mem::replace(below, *end)));
        let share: f64 = self
            .sources
            .iter()
            .zip(parts)
            .map(|(s, part)| part * s.described() as f64 / s.ids.len() as f64)
            .sum();
        let expected = batch as f64 * share;
        let alike = if masks && described > 0 { self.alike() } else { 0.0 };
        if alike >= MANY_ALIKE {
            let text = format!(
                "{:.0} % of pairs of reports are alike, and no negatives of each other",
                alike * 100.0
            );
            let cause = if alike < 1.0 {
                "They are of one caption, in one group of nearly identical ones by 'text-synth embed', or equal"
            } else {
                "There is nothing to tell apart: the image-text loss is 0 in every step"
            };
            context.tell(Message::warning("W305", text).cause(cause).fix(
                "Give more cases, captions that tell slices apart, or a higher --similar to 'text-synth embed'; --alike-reports negatives contrasts them all the same",
            ));
        }
        if described > 0 && expected < least as f64 {
            let text = format!(
                "a batch of {batch} holds about {expected:.1} reports, and the image-text loss needs {least}: \
                 most steps go without it"
            );
            let fix = "Raise --batch, give the text of more data sets, or use --head-norm layer";
            context.tell(Message::warning("W327", text).fix(fix));
        }
    }
}
