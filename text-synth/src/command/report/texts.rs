//! The texts of a run: slices, then what contradicts again, then volumes.

use crate::facts::Facts;
use crate::grounding::Grounding;
use crate::grounding::refine::{self, Checked, Known, Tally};
use crate::volume_facts;
use crate::writer::{Subject, Task, Writer, Written};
use data_manifests::records::Caption;
use stage::Context;
use std::collections::{BTreeMap, HashSet};

/// Most slice reports of which a volume's report is made: evenly spread ones of a longer list, so that prompts stay short.
pub(super) const SLICES_OF_A_VOLUME: usize = 24;

/// All texts.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// One entry per caption; none where there is no usable text.
    pub(super) slices: Vec<Option<Checked>>,
    /// One entry per case that has slice reports.
    pub(super) volumes: Vec<Volume>,
    /// What was rejected, what got no reply, why the run stops; its texts are taken.
    pub(super) written: Written,
    /// What became of the sentences.
    pub(super) tally: Tally,
}

/// The text of a case.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) case: String,
    pub(super) dataset: String,
    /// Ids of the reports that it sums up.
    pub(super) slices: Vec<String>,
    pub(super) facts: Facts,
    pub(super) text: Option<Checked>,
}

/// Writes and checks.
#[derive(Debug)]
pub(super) struct Texting<'a> {
    /// What texts are compared with; none: they are taken as they come.
    pub(super) grounding: Option<&'a Grounding>,
    /// Whether contradicted texts are written again.
    pub(super) rewrite: bool,
    /// Whether volumes have reports of their own.
    pub(super) volumes: bool,
    pub(super) context: &'a Context,
}

impl Texting<'_> {
    pub(super) fn all(&self, writer: &mut dyn Writer, captions: &[Caption]) -> anyhow::Result<Texts> {
        let tasks: Vec<Task> = captions.iter().map(Task::of_slice).collect();
        let facts: Vec<&Facts> = tasks.iter().map(|task| &task.facts).collect();
        let known: Vec<Known<'_>> = facts.iter().map(|whole| Known { whole, parts: &[] }).collect();
        let mut texts = Texts::default();
        texts.slices = self.some(writer, &tasks, &known, &mut texts)?;
        if texts.written.stopped.is_some() || !self.volumes {
            return Ok(texts);
        }
        let by_case = by_case(captions, &texts);
        let parts: Vec<Vec<&Facts>> =
            by_case.values().map(|slices| slices.iter().map(|i| facts[*i]).collect()).collect();
        let mut volumes: Vec<Volume> = by_case
            .iter()
            .zip(&parts)
            .map(|((case, slices), parts)| Volume {
                case: (*case).to_owned(),
                dataset: captions[slices[0]].dataset.clone(),
                slices: slices.iter().map(|i| captions[*i].id.clone()).collect(),
                facts: volume_facts::of_slices(parts),
                text: None,
            })
            .collect();
        let tasks: Vec<Task> = volumes
            .iter()
            .zip(by_case.values())
            .map(|(volume, slices)| {
                let reports =
                    evenly(slices).filter_map(|i| texts.slices[i].as_ref()).map(|text| text.text.as_str());
                Task {
                    id: volume.case.clone(),
                    subject: Subject::Volume,
                    caption: reports.collect::<Vec<_>>().join("\n"),
                    facts: volume.facts.clone(),
                    draft: None,
                }
            })
            .collect();
        let known: Vec<Known<'_>> =
            tasks.iter().zip(&parts).map(|(task, parts)| Known { whole: &task.facts, parts }).collect();
        let found = self.some(writer, &tasks, &known, &mut texts)?;
        for (volume, text) in volumes.iter_mut().zip(found) {
            volume.text = text;
        }
        texts.volumes = volumes;
        Ok(texts)
    }

    /// Writes and checks some texts; what did not go well is added to `texts`.
    fn some(
        &self,
        writer: &mut dyn Writer,
        tasks: &[Task],
        known: &[Known<'_>],
        texts: &mut Texts,
    ) -> anyhow::Result<Vec<Option<Checked>>> {
        let mut written = writer.write(tasks, self.context)?;
        let checked = match self.grounding {
            _ if written.stopped.is_some() => Vec::new(),
            None => {
                let taken = std::mem::take(&mut written.texts).into_iter();
                let as_it_is = |text: crate::writer::Text| Checked {
                    text: text.text,
                    request: text.request,
                    sentences: Vec::new(),
                };
                taken.map(|text| text.map(as_it_is)).collect()
            }
            Some(grounding) if self.rewrite && writer.model().is_some() => {
                let tally = &mut texts.tally;
                refine::refine(grounding, writer, (tasks, known), &mut written, tally, self.context)?
            }
            Some(grounding) => {
                let taken = std::mem::take(&mut written.texts);
                refine::check_all(grounding, known, taken, &mut texts.tally)
            }
        };
        texts.written.rejected.extend(written.rejected);
        texts.written.unanswered.extend(written.unanswered);
        texts.written.stopped = written.stopped;
        Ok(checked)
    }
}

/// The slices of each case that have a text. A case with a slice that got no answer waits for the run that brings it: its volume would be asked
/// for again then.
fn by_case<'a>(captions: &'a [Caption], texts: &Texts) -> BTreeMap<&'a str, Vec<usize>> {
    let unanswered: HashSet<&str> =
        texts.written.unanswered.iter().filter_map(|message| message.case.as_deref()).collect();
    let waiting: HashSet<&str> = captions
        .iter()
        .filter(|caption| unanswered.contains(caption.id.as_str()))
        .map(|caption| caption.case.as_str())
        .collect();
    let mut by_case: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, _) in texts.slices.iter().enumerate().filter(|(_, text)| text.is_some()) {
        if !waiting.contains(captions[i].case.as_str()) {
            by_case.entry(&captions[i].case).or_default().push(i);
        }
    }
    by_case
}

/// At most [`SLICES_OF_A_VOLUME`] of the slices, evenly spread.
fn evenly(slices: &[usize]) -> impl Iterator<Item = usize> + '_ {
    let n = slices.len();
    let taken = n.min(SLICES_OF_A_VOLUME);
    (0..taken).map(move |i| slices[i * n / taken])
}
