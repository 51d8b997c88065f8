//! Questions on what was not trained on: fixed patches of held-out cases, and all of these cases' reports to choose from.

use crate::pairs::Pairs;
use crate::text::{ReportMatch, Text};
use patches::{Region, sampler};
use rand::RngExt;
use stage::{Context, Message};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Patches of each held-out case, where it has so many places for one.
const PATCHES: u64 = 8;
/// Draws for each of these: patches as large as their volume lie in one place, and to ask about it again tells nothing.
const DRAWS: u64 = 4;
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
    /// Number of its subject among those of all data sets.
    pub(crate) subject: i64,
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
    /// Positions of the data sets that have each of these.
    pub(crate) owners: Vec<BTreeSet<usize>>,
}

/// The reports to choose from: those of one group of a wording are one answer, and so are the same words wherever they stand.
#[derive(Default)]
struct Answers<'a> {
    /// By data set, wording and group.
    of_group: HashMap<([usize; 2], usize), i64>,
    /// By the digest of their words.
    of_words: HashMap<&'a str, i64>,
    embeddings: Vec<f32>,
    owners: Vec<BTreeSet<usize>>,
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
                self.owners.push(BTreeSet::new());
                self.owners.len() as i64 - 1
            });
            self.owners[answer as usize].insert(place[0]);
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
        let mut subjects: HashMap<(usize, &str), i64> = HashMap::new();
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
            let of_case: HashMap<&str, &str> =
                source.store.rows().iter().map(|row| (row.id.as_str(), row.subject.as_str())).collect();
            for id in ids.iter().take(most) {
                let case = source.store.case(id).map_err(|e| e.message(id))?;
                let known = subjects.len() as i64;
                let subject = of_case.get(id.as_str()).copied().unwrap_or(id);
                let subject = *subjects.entry((at, subject)).or_insert(known);
                let mut taken = HashSet::new();
                for _ in 0..each * DRAWS {
                    if taken.len() as u64 == each {
                        break;
                    }
                    let mut generator = sampler::generator(seed, STEP, index);
                    index += 1;
                    let patch = sampler::uniform(&mut generator, case.record().shape_zyx, patch_zyx);
                    let channel = generator.random_range(0..case.record().channels.len());
                    if !taken.insert((patch.lo, channel)) {
                        continue;
                    }
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
                        subject,
                        target,
                        held_out,
                    });
                }
            }
        }
        Ok(Self { places, texts: answers.embeddings, owners: answers.owners })
    }

    /// Says what will not be known of the run.
    pub(crate) fn tell_gaps(&self, has_texts: bool, context: &Context) {
        if self.is_empty() {
            let text = "no case is held out: nothing is validated, and no checkpoint is the best";
            context.tell(
                Message::info("I325", text)
                    .fix("Raise --holdout, which keeps a share of each data set's subjects"),
            );
        } else if has_texts && self.owners.len() < 2 {
            let text = format!("held-out cases have {} distinct reports to choose from", self.owners.len());
            context.tell(
                Message::info("I325", text).cause("No retrieval is measured, and no checkpoint is the best"),
            );
        }
    }

    /// Whether there is anything held out to ask about.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| !place.held_out)
    }
}
