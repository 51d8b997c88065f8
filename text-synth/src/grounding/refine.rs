//! What becomes of texts that contradict what is known: they are written again once, with the reasons, and what is still
//! wrong then gives way to the template.

use super::check::Grounding;
use super::words;
use crate::facts::Facts;
use crate::writer::template::Template;
use crate::writer::{Draft, Objection, Rejected, Task, Text, Writer, Written};
use data_manifests::records::{Origin, Replaced, Sentence, Verdict};
use stage::Context;

/// The reason against a text of which nothing is borne.
const NOTHING_BORNE: &str = "none of its sentences states anything that was measured or declared";

/// A text whose sentences were checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The text.
    pub text: String,
    /// SHA-256 of the request that it answers.
    pub request: String,
    /// Its sentences.
    pub sentences: Vec<Sentence>,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sentences that are borne by facts, declarations or terms.
    pub supported: usize,
    /// Sentences that state something else, too.
    pub unsupported: usize,
    /// Sentences of the template itself that contradict its facts.
    pub contradicted: usize,
    /// Texts that contradicted something.
    pub refused: usize,
    /// Of those, texts that were right when they were written again.
    pub rewritten: usize,
    /// Sentences in whose place the template's stand.
    pub replaced: usize,
    /// Whole texts in whose place the template's stand.
    pub replaced_whole: usize,
    /// Contradicted sentences for which the template has none.
    pub dropped: usize,
}

/// What a text may state: the facts of what it describes, and those of its parts (the slices of a volume).
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Of the whole.
    pub whole: &'a Facts,
    /// Of parts; a sentence may speak of one of them.
    pub parts: &'a [&'a Facts],
}

impl Grounding {
    /// Sentences of a text, each judged by the facts that speak best for it.
    #[must_use]
    pub fn check_known(&self, text: &str, known: &Known<'_>) -> Vec<Sentence> {
        let mut best = self.check(text, known.whole);
        for facts in known.parts {
            if best.iter().all(|sentence| sentence.verdict == Verdict::Supported) {
                break;
            }
            for (kept, found) in best.iter_mut().zip(self.check(text, facts)) {
                if found.verdict < kept.verdict {
                    *kept = found;
                }
            }
        }
        best
    }
}

/// What is wrong with a text as a whole; nothing when it can stay.
fn objections(sentences: &[Sentence]) -> Vec<Objection> {
    let contradicted = sentences.iter().filter(|s| s.verdict == Verdict::Contradicted);
    let mut objections: Vec<Objection> = contradicted
        .map(|s| Objection { sentence: Some(s.text.clone()), reason: s.reasons.join("; ") })
        .collect();
    if objections.is_empty() && !sentences.iter().any(|s| s.verdict == Verdict::Supported) {
        objections.push(Objection { sentence: None, reason: NOTHING_BORNE.to_owned() });
    }
    objections
}

/// Checks texts that only need checking: those of the template.
pub fn check_all(
    grounding: &Grounding,
    known: &[Known<'_>],
    texts: Vec<Option<Text>>,
    tally: &mut Tally,
) -> Vec<Option<Checked>> {
    let checked = texts.into_iter().zip(known).map(|(text, known)| {
        let Text { text, request } = text?;
        let sentences = grounding.check_known(&text, known);
        tally.add(&sentences);
        Some(Checked { text, request, sentences })
    });
    checked.collect()
}

/// Checks the texts of a language model; those that contradict something are written again once, and what is still wrong
/// gives way to the template. `written` gains what the second round rejected and could not get; where it stops the run, the
/// texts are incomplete.
///
/// # Errors
/// As the writer's.
pub fn refine(
    grounding: &Grounding,
    writer: &mut dyn Writer,
    (tasks, known): (&[Task], &[Known<'_>]),
    written: &mut Written,
    tally: &mut Tally,
    context: &Context,
) -> anyhow::Result<Vec<Option<Checked>>> {
    let texts = std::mem::take(&mut written.texts);
    let mut done: Vec<Option<Checked>> = Vec::with_capacity(texts.len());
    let mut again: Vec<(usize, Task)> = Vec::new();
    for (i, ((text, known), task)) in texts.into_iter().zip(known).zip(tasks).enumerate() {
        let Some(Text { text, request }) = text else {
            done.push(None);
            continue;
        };
        let sentences = grounding.check_known(&text, known);
        let objections = objections(&sentences);
        if !objections.is_empty() {
            again.push((i, Task { draft: Some(Draft { text: text.clone(), objections }), ..task.clone() }));
        }
        done.push(Some(Checked { text, request, sentences }));
    }
    tally.refused += again.len();
    let drafts: Vec<Task> = again.iter().map(|(_, task)| task.clone()).collect();
    let second = if drafts.is_empty() { Written::default() } else { writer.write(&drafts, context)? };
    if let Some(stopped) = second.stopped {
        written.stopped = Some(stopped);
        return Ok(done);
    }
    let unanswered: Vec<String> =
        second.unanswered.iter().filter_map(|message| message.case.clone()).collect();
    // the template stands in for what was rejected
    written
        .rejected
        .extend(second.rejected.into_iter().map(|rejected| Rejected { replaced: true, ..rejected }));
    written.unanswered.extend(second.unanswered);
    for ((i, task), text) in again.into_iter().zip(second.texts) {
        if text.is_none() && unanswered.contains(&task.id) {
            done[i] = None;
            continue;
        }
        let was_rewritten = text.is_some();
        if let Some(Text { text, request }) = text {
            let mut sentences = grounding.check_known(&text, &known[i]);
            sentences.iter_mut().for_each(|sentence| sentence.origin = Origin::Rewrite);
            if let Some(checked) = &mut done[i] {
                *checked = Checked { text, request, sentences };
            }
        }
        let Some(checked) = &mut done[i] else { continue };
        if was_rewritten && objections(&checked.sentences).is_empty() {
            tally.rewritten += 1;
        } else {
            replace(grounding, checked, &task, &known[i], written, tally);
        }
    }
    for checked in done.iter().flatten() {
        tally.add(&checked.sentences);
    }
    Ok(done)
}

/// Puts sentences of the template in the place of those that contradict something; of a text of which nothing is borne, in
/// the place of all.
fn replace(
    grounding: &Grounding,
    checked: &mut Checked,
    task: &Task,
    known: &Known<'_>,
    written: &mut Written,
    tally: &mut Tally,
) {
    let own = Template::default().text(task).unwrap_or_default();
    let of_template = |text: &str| -> Vec<Sentence> {
        let mut sentences = grounding.check_known(text, known);
        sentences.iter_mut().for_each(|sentence| sentence.origin = Origin::Template);
        sentences
    };
    let mut rejected = |text: &str, reasons: Vec<String>| {
        written.rejected.push(Rejected {
            id: task.id.clone(),
            request: checked.request.clone(),
            attempt: 2,
            reasons: vec![format!("contradicts what is known: {}", reasons.join("; "))],
            finish_reason: None,
            text: text.to_owned(),
            replaced: true,
        });
    };
    if !checked.sentences.iter().any(|s| s.verdict == Verdict::Supported) {
        let reasons: Vec<String> = objections(&checked.sentences).iter().map(ToString::to_string).collect();
        rejected(&checked.text, reasons.clone());
        let mut sentences = of_template(&own);
        if let Some(first) = sentences.first_mut() {
            first.replaces = Some(Replaced { text: checked.text.clone(), reasons });
        }
        checked.sentences = sentences;
        tally.replaced_whole += 1;
    } else {
        let said: Vec<String> = checked.sentences.iter().map(|s| s.text.clone()).collect();
        let mut unused =
            words::sentences(&own).into_iter().filter(|sentence| !said.iter().any(|s| s == sentence));
        let mut kept = Vec::with_capacity(checked.sentences.len());
        for sentence in std::mem::take(&mut checked.sentences) {
            if sentence.verdict != Verdict::Contradicted {
                kept.push(sentence);
                continue;
            }
            rejected(&sentence.text, sentence.reasons.clone());
            let Some(mut instead) = unused.next().and_then(|own| of_template(own).into_iter().next()) else {
                tally.dropped += 1;
                continue;
            };
            instead.replaces = Some(Replaced { text: sentence.text, reasons: sentence.reasons });
            kept.push(instead);
            tally.replaced += 1;
        }
        checked.sentences = kept;
    }
    let texts: Vec<&str> = checked.sentences.iter().map(|s| s.text.as_str()).collect();
    checked.text = texts.join(" ");
}

impl Tally {
    fn add(&mut self, sentences: &[Sentence]) {
        for sentence in sentences {
            match sentence.verdict {
                Verdict::Supported => self.supported += 1,
                Verdict::Unsupported => self.unsupported += 1,
                Verdict::Contradicted => self.contradicted += 1,
            }
        }
    }

    /// All sentences.
    #[must_use]
    pub fn sentences(&self) -> usize {
        self.supported + self.unsupported + self.contradicted
    }
}
