//! Questions on what was not trained on: fixed patches of held-out cases, and all of these cases' reports to choose from.

use crate::pairs::Pairs;
use crate::text::ReportMatch;
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
    pub(crate) candidates: usize,
}

impl Exam {
    /// Draws the patches; a function of the seed and the data.
    pub(crate) fn new(
        pairs: &Pairs,
        patch_zyx: [usize; 3],
        rule: ReportMatch,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut exam = Self { places: Vec::new(), texts: Vec::new(), candidates: 0 };
        let mut index = 0;
        // reports of one group of a wording are one candidate, and so are the same words wherever they stand
        let mut candidates: HashMap<(usize, usize, usize), i64> = HashMap::new();
        let mut words: HashMap<&str, i64> = HashMap::new();
        for (at, source) in pairs.sources().iter().enumerate() {
            let modality = source.store.descriptor().modality as i64;
            // one wording of a case's reports is enough to ask for
            let wording = |id: &str| source.texts.iter().position(|text| text.describes(id));
            for id in &source.held_out {
                let Some(number) = wording(id) else { continue };
                let text = &source.texts[number];
                // groups first that hold words which are known, in whatever order their rows stand
                for row in text.rows_of(id) {
                    if let Some(known) = text.words(*row).and_then(|digest| words.get(digest)) {
                        candidates.entry((at, number, text.group(*row))).or_insert(*known);
                    }
                }
                for row in text.rows_of(id) {
                    let digest = text.words(*row);
                    let same_words = digest.and_then(|digest| words.get(digest).copied());
                    let known = *candidates.entry((at, number, text.group(*row))).or_insert_with(|| {
                        same_words.unwrap_or_else(|| {
                            exam.texts.extend_from_slice(text.embedding(*row));
                            exam.candidates += 1;
                            exam.candidates as i64 - 1
                        })
                    });
                    if let Some(digest) = digest {
                        words.entry(digest).or_insert(known);
                    }
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
                    let group = wording(id).filter(|_| held_out).and_then(|number| {
                        let row = source.texts[number].choose(&mut generator, id, &patch, rule)?;
                        Some((at, number, source.texts[number].group(row)))
                    });
                    exam.places.push(Place {
                        source: at,
                        id: id.clone(),
                        channel,
                        patch,
                        modality,
                        target: group.and_then(|group| candidates.get(&group).copied()),
                        held_out,
                    });
                }
            }
        }
        Ok(exam)
    }

    /// Whether there is anything held out to ask about.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.iter().all(|place| !place.held_out)
    }
}
