//! Agglomeration of regions in the order of their borders' scores, with waterz's semantics (J. Funke et al., IEEE TPAMI 41
//! (2019) 1669–1680; github.com/funkey/waterz).
//!
//! A border's score is one minus its mean affinity, or one minus a quantile of its affinities. While the lowest score is
//! below the threshold, the two regions of that border become one; borders to a common neighbour become one, which keeps
//! the lower of the two scores until it is at the head of the queue, is scored anew and put back. Among equal scores the
//! border of the smaller pair of labels comes first, so that the result depends on nothing but the graph.

use crate::disjoint::{join, root};
use crate::region_graph::RegionGraph;
use crate::samples::Samples;
use crate::{LabelMapError, Result};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// With what a border's histogram begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HistogramStart {
    /// With the largest affinity alone, waterz's default.
    #[default]
    Largest,
    /// With all affinities.
    All,
}

/// What a border is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Score {
    /// One minus the mean affinity.
    Mean,
    /// One minus the affinity at a quantile of a histogram of 256 bins.
    Quantile {
        /// The quantile, 0 to 99.
        percent: u8,
        /// What the histogram of a border between fragments holds.
        start: HistogramStart,
    },
}

impl Score {
    /// Whether the graph must hold histograms.
    #[must_use]
    pub fn needs_histograms(self) -> bool {
        matches!(self, Self::Quantile { .. })
    }

    /// Fails on a quantile beyond 99.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::Quantile { percent: 100.., .. } => {
                Err(LabelMapError::parameter("percent", "0 to 99", self))
            }
            _ => Ok(()),
        }
    }

    fn of(self, samples: &Samples) -> f64 {
        let affinity = match self {
            Self::Mean => samples.mean(),
            // that there are histograms is checked before the first score
            Self::Quantile { percent, .. } => samples.quantile(percent).unwrap_or(0.0),
        };
        1.0 - affinity
    }
}

/// An agglomeration that can go on to a higher threshold.
#[derive(Debug, Clone)]
pub struct Agglomeration<'a> {
    graph: &'a RegionGraph,
    score: Score,
    samples: Vec<Samples>,
    scores: Vec<f64>,
    stale: Vec<bool>,
    gone: Vec<bool>,
    /// Scores and borders, lowest first. A score of 0 or more orders as its bits do.
    queue: BinaryHeap<Reverse<(u64, u32)>>,
    /// Border to each neighbour of a region that leads a set.
    neighbours: Vec<FxHashMap<u32, u32>>,
    /// Region that leads the set.
    leaders: Vec<u32>,
    /// Forest whose roots are the smallest regions of the sets.
    parents: Vec<u32>,
}

impl<'a> Agglomeration<'a> {
    /// Scores all borders.
    ///
    /// # Errors
    /// A quantile beyond 99, or of a graph without histograms.
    pub fn new(graph: &'a RegionGraph, score: Score) -> Result<Self> {
        score.check()?;
        let samples: Vec<Samples> = match score {
            Score::Quantile { start: HistogramStart::Largest, .. } => {
                graph.samples().iter().map(Samples::largest_only).collect()
            }
            _ => graph.samples().to_vec(),
        };
        if score.needs_histograms() && samples.iter().any(|s| s.quantile(0).is_none()) {
            return Err(LabelMapError::parameter("score", "the mean of a graph without histograms", score));
        }
        let regions = graph.labels().len();
        let mut neighbours: Vec<FxHashMap<u32, u32>> = vec![FxHashMap::default(); regions];
        for (border, [a, b]) in (0_u32..).zip(graph.edges()) {
            neighbours[*a as usize].insert(*b, border);
            neighbours[*b as usize].insert(*a, border);
        }
        let scores: Vec<f64> = samples.iter().map(|s| score.of(s)).collect();
        let queue = (0_u32..).zip(&scores).map(|(border, s)| Reverse((bits(*s), border))).collect();
        Ok(Self {
            graph,
            score,
            stale: vec![false; scores.len()],
            gone: vec![false; scores.len()],
            samples,
            scores,
            queue,
            neighbours,
            // the graph has at most 2³² regions
            leaders: (0..regions as u32).collect(),
            parents: (0..regions as u32).collect(),
        })
    }

    /// Merges while the lowest score is below `threshold`; thresholds at or below an earlier one change nothing.
    pub fn merge_until(&mut self, threshold: f64) {
        while let Some(Reverse((lowest, border))) = self.queue.peek().copied() {
            if f64::from_bits(lowest) >= threshold || threshold.is_nan() {
                break;
            }
            self.queue.pop();
            let at = border as usize;
            if self.gone[at] {
                continue;
            }
            if self.stale[at] {
                self.stale[at] = false;
                self.scores[at] = self.score.of(&self.samples[at]);
                self.queue.push(Reverse((bits(self.scores[at]), border)));
                continue;
            }
            self.gone[at] = true;
            let [a, b] = self.graph.edges()[at];
            self.merge(a, b);
        }
    }

    /// Label of each region of the graph: the smallest label of its set.
    #[must_use]
    pub fn labels(&self) -> Vec<u64> {
        let mut parents = self.parents.clone();
        (0..parents.len() as u32)
            .map(|region| self.graph.labels()[root(&mut parents, region) as usize])
            .collect()
    }

    /// Joins two sets. The one with fewer neighbours gives them to the other, so that a region that takes in many small
    /// ones does not have its own neighbours moved each time.
    fn merge(&mut self, a: u32, b: u32) {
        let (a, b) = (root(&mut self.parents, a), root(&mut self.parents, b));
        let (mut into, mut from) = (self.leaders[a as usize], self.leaders[b as usize]);
        if self.neighbours[into as usize].len() < self.neighbours[from as usize].len() {
            (into, from) = (from, into);
        }
        let joined = join(&mut self.parents, a, b);
        self.leaders[joined as usize] = into;
        self.neighbours[into as usize].remove(&from);
        let moving = std::mem::take(&mut self.neighbours[from as usize]);
        for (other, border) in moving {
            if other == into {
                continue;
            }
            let kept = match self.neighbours[into as usize].get(&other) {
                None => border,
                Some(present) => self.unite(*present, border),
            };
            self.neighbours[into as usize].insert(other, kept);
            let back = &mut self.neighbours[other as usize];
            back.remove(&from);
            back.insert(into, kept);
        }
    }

    /// Makes two borders to one neighbour one, and returns it: the one that is sooner in the queue.
    fn unite(&mut self, a: u32, b: u32) -> u32 {
        let order = |border: u32| (bits(self.scores[border as usize]), border);
        let (kept, lost) = if order(a) < order(b) { (a, b) } else { (b, a) };
        let samples = std::mem::take(&mut self.samples[lost as usize]);
        self.samples[kept as usize].merge(&samples);
        self.stale[kept as usize] = true;
        self.gone[lost as usize] = true;
        kept
    }
}

/// Bits that order as the scores do, of which none is negative.
fn bits(score: f64) -> u64 {
    score.max(0.0).to_bits()
}

/// Label of each region of the graph after merging all borders that score below `threshold`.
///
/// # Errors
/// As [`Agglomeration::new`], or a threshold that is not a number.
pub fn agglomerate(graph: &RegionGraph, score: Score, threshold: f64) -> Result<Vec<u64>> {
    if threshold.is_nan() {
        return Err(LabelMapError::parameter("threshold", "a number", threshold));
    }
    let mut agglomeration = Agglomeration::new(graph, score)?;
    agglomeration.merge_until(threshold);
    Ok(agglomeration.labels())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinities::{Affinities, NEAREST};
    use proptest::prelude::*;

    fn volumes() -> impl Strategy<Value = (Vec<u64>, Vec<f32>, [usize; 3])> {
        (1_usize..4, 2_usize..6, 2_usize..6).prop_flat_map(|(z, y, x)| {
            let n = z * y * x;
            (
                prop::collection::vec(0_u64..12, n),
                prop::collection::vec(0.0_f32..=1.0, 3 * n),
                Just([z, y, x]),
            )
        })
    }

    /// The same rule on plain lists: search the lowest score, merge, join borders.
    fn slow(graph: &RegionGraph, score: Score, threshold: f64) -> Vec<u64> {
        struct Border {
            ends: [usize; 2],
            score: f64,
            number: usize,
            samples: Samples,
            stale: bool,
        }
        let mut sets: Vec<usize> = (0..graph.labels().len()).collect();
        let mut borders: Vec<Border> = graph
            .edges()
            .iter()
            .zip(graph.samples())
            .enumerate()
            .map(|(number, (ends, samples))| {
                let samples = match score {
                    Score::Quantile { start: HistogramStart::Largest, .. } => samples.largest_only(),
                    _ => samples.clone(),
                };
                Border {
                    ends: ends.map(|e| e as usize),
                    score: score.of(&samples),
                    number,
                    samples,
                    stale: false,
                }
            })
            .collect();
        while let Some(next) = (0..borders.len())
            .min_by(|a, b| (borders[*a].score, *a).partial_cmp(&(borders[*b].score, *b)).unwrap())
        {
            if borders[next].score >= threshold {
                break;
            }
            if borders[next].stale {
                borders[next].stale = false;
                borders[next].score = score.of(&borders[next].samples);
                continue;
            }
            let [a, b] = borders.remove(next).ends;
            let (low, high) = (a.min(b), a.max(b));
            sets.iter_mut().filter(|s| **s == high).for_each(|s| *s = low);
            for border in &mut borders {
                border.ends = border.ends.map(|e| if e == high { low } else { e });
                border.ends.sort_unstable();
            }
            for i in (0..borders.len()).rev() {
                let twin = (0..i).find(|j| borders[*j].ends == borders[i].ends);
                if let Some(j) = twin {
                    let mut lost = borders.remove(i);
                    if (lost.score, lost.number) < (borders[j].score, borders[j].number) {
                        std::mem::swap(&mut lost, &mut borders[j]);
                    }
                    borders[j].samples.merge(&lost.samples);
                    borders[j].stale = true;
                }
            }
            borders.sort_by_key(|b| b.number);
        }
        sets.into_iter().map(|s| graph.labels()[s]).collect()
    }

    proptest! {
        #[test]
        fn equals_the_slow_rule((labels, values, shape) in volumes(), threshold in 0.0_f64..1.1) {
            let affinities = Affinities::new(&values, &NEAREST, shape).unwrap();
            let graph = RegionGraph::of_volume(&labels, &affinities, true).unwrap();
            let scores = [HistogramStart::All, HistogramStart::Largest]
                .into_iter()
                .flat_map(|start| [20, 50, 85].map(|percent| Score::Quantile { percent, start }))
                .chain([Score::Mean]);
            for score in scores {
                let found = agglomerate(&graph, score, threshold).unwrap();
                prop_assert_eq!(&found, &slow(&graph, score, threshold), "{:?}", score);
                // going on from a lower threshold ends at the same place
                let mut steps = Agglomeration::new(&graph, score).unwrap();
                steps.merge_until(threshold / 2.0);
                steps.merge_until(threshold);
                prop_assert_eq!(found, steps.labels());
            }
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let affinities = Affinities::new(&[0.5; 6], &NEAREST, [1, 1, 2]).unwrap();
        let graph = RegionGraph::of_volume(&[1, 2], &affinities, false).unwrap();
        let median = Score::Quantile { percent: 50, start: HistogramStart::All };
        assert!(agglomerate(&graph, median, 0.5).unwrap_err().to_string().contains("without histograms"));
        let beyond = Score::Quantile { percent: 100, start: HistogramStart::All };
        assert!(
            agglomerate(&graph, beyond, 0.5)
                .unwrap_err()
                .to_string()
                .starts_with("`percent` must be 0 to 99")
        );
        assert!(agglomerate(&graph, Score::Mean, f64::NAN).is_err());
        // at the threshold itself nothing is merged
        assert_eq!(agglomerate(&graph, Score::Mean, 0.5).unwrap(), [1, 2]);
        assert_eq!(agglomerate(&graph, Score::Mean, 0.501).unwrap(), [1, 1]);
    }
}
