//! Questions on what was not trained on: fixed patches of held-out cases, and all of these cases' reports to choose from.

use crate::pairs::Pairs;
use crate::text::{ReportMatch, Text};
use patches::{Region, sampler};
use rand::RngExt;
use std::collections::HashMap;

/// Patches of each held-out case.
const PATCHES: u64 = 8;
/// Patches of a data set without held-out cases; only the probe for modalities looks at them.
const PROBED: u64 = 16;
/// Stands for the step in what is drawn here: no training step has this number.
const STEP: u64 = u64::MAX;

/// A patch to look at.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Position of its data set.
    pub(crate) source: usize,
    pub(crate) id: String,
    pub(crate) channel: usize,
    pub(crate) patch: Region,
    /// Number of its modality.
    pub(crate) modality: i64,
    /// Its report among the candidates; none for a case without reports.
    pub(crate) target: Option<i64>,
    /// Whether its case is held out.
    pub(crate) held_out: bool,
}

/// The questions of a run.
#[derive(Debug)]
pub(crate) struct Exam {
    pub(crate) places: Vec<Place>,
    /// `[candidates, features]`: the distinct reports of all held-out cases.
    pub(crate) texts: Vec<f32>,
}

/// The reports to choose from: those of one group of a wording are one answer, and so are the same words wherever they stand.
#[derive(Default)]
struct Answers<'a> {
    /// By data set, wording and group.
    of_group: HashMap<([usize; 2], usize), i64>,
    /// By the digest of their words.
    of_words: HashMap<&'a str, i64>,
    embeddings: Vec<f32>,
    count: i64,
}

impl<'a> Answers<'a> {
    /// Adds the reports of a case in a wording.
    fn add(&mut self, place: [usize; 2], text: &'a Text, case: &str) {
        let rows = text.rows_of(case);
        // groups first that hold words which are known, in whatever order their rows stand
        for row in rows {
            if let Some(known) = text.words(*row).and_then(|digest| self.of_words.get(digest)) {
                self.of_group.entry((place, text.group(*row))).or_insert(*known);
            }
        }
        for row in rows {
            let answer = *self.of_group.entry((place, text.group(*row))).or_insert_with(|| {
                self.embeddings.extend_from_slice(text.embedding(*row));
                self.count += 1;
                self.count - 1
            });
            if let Some(digest) = text.words(*row) {
                self.of_words.entry(digest).or_insert(answer);
            }
        }
    }

    fn of(&self, place: [usize; 2], group: usize) -> Option<i64> {
        self.of_group.get(&(place, group)).copied()
    }
}

impl Exam {
    /// Draws the patches; a function of the seed and the data.
    pub(crate) fn new(
        pairs: &Pairs,
        patch_zyx: [usize; 3],
        rule: ReportMatch,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let (mut places, mut answers) = (Vec::new(), Answers::default());
        let mut index = 0;
        for (at, source) in pairs.sources().iter().enumerate() {
            let modality = source.store.descriptor().modality as i64;
            // one wording of a case's reports is enough to ask for
            let wording = |id: &str| source.texts.iter().position(|text| text.describes(id));
            for id in &source.held_out {
                if let Some(number) = wording(id) {
                    answers.add([at, number], &source.texts[number], id);
                }
            }
            let held_out = !source.held_out.is_empty();
            let (ids, each) = if held_out {
                (&source.held_out, PATCHES)
            } else {
                (&source.ids, PROBED.div_ceil(source.ids.len() as u64))
            };
            let most = if held_out { usize::MAX } else { PROBED as usize };
            for id in ids.iter().take(most) {
                let case = source.store.case(id).map_err(|e| e.message(id))?;
                for _ in 0..each {
                    let mut generator = sampler::generator(seed, STEP, index);
                    index += 1;
                    let patch = sampler::uniform(&mut generator, case.record().shape_zyx, patch_zyx);
                    let channel = generator.random_range(0..case.record().channels.len());
                    let target = wording(id).filter(|_| held_out).and_then(|number| {
                        let row = source.texts[number].choose(&mut generator, id, &patch, rule)?;
                        answers.of([at, number], source.texts[number].group(row))
                    });
                    places.push(Place {
                        source: at,
                        id: id.clone(),
                        channel,
                        patch,
                        modality,
                        target,
                        held_out,
                    });
                }
            }
        }
        Ok(Self { places, texts: answers.embeddings })
    }

    /// Whether there is anything held out to ask about.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| !place.held_out)
    }
}
