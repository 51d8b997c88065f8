//! Label maps from scores, without scores on the target grid, and without all scores at a time.

use super::grid::Line;
use super::linear::blend_rows;
use super::taps::LinearTaps;
use crate::crop::BoundingBox;
use crate::error::{Result, VolumeError};
use crate::expect_length;
use rayon::prelude::*;
use std::borrow::Cow;

/// How scores become a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelRule {
    /// Scores of so many classes: the class with the highest; of equal ones the lower.
    Highest(usize),
    /// Scores of regions that may overlap: each paints its value where its score is above 0, the later ones over the earlier.
    Paint(Vec<u16>),
}

impl LabelRule {
    /// How many scores there are for a voxel.
    pub(crate) fn channels(&self) -> usize {
        match self {
            Self::Highest(classes) => *classes,
            Self::Paint(values) => values.len(),
        }
    }
}

/// Sees the next finished section: its scores (class or region, y, x) and its labels (y, x).
pub(crate) type See<'a> = &'a mut dyn FnMut(Vec<f32>, &[u16]) -> Result<()>;

/// Takes scores slab by slab along z and makes labels of the scores that are interpolated along the lines; along the axis `apart`
/// the nearest voxel's. The result does not depend on the slabs.
///
/// Memory: the result, 2 bytes per voxel, and those sections of scores that the next slab still needs.
#[derive(Debug)]
pub(crate) struct Labeller {
    rule: LabelRule,
    from_zyx: [usize; 3],
    to_zyx: [usize; 3],
    axes: [LinearTaps; 3],
    /// Scores (class, z, y, x) of the sections `start..end`.
    held: Vec<f32>,
    start: usize,
    end: usize,
    out: Vec<u16>,
    /// Finished sections of `out`.
    done: usize,
}

impl Labeller {
    pub(crate) fn new(
        rule: LabelRule,
        lines: &[Line; 3],
        from_zyx: [usize; 3],
        to_zyx: [usize; 3],
        apart: Option<usize>,
    ) -> Result<Self> {
        if let LabelRule::Highest(classes) = rule
            && classes > usize::from(u16::MAX) + 1
        {
            return Err(VolumeError::TooManyLabels { found: classes as u32 - 1, limit: u16::MAX.into() });
        }
        let taps =
            |axis: usize| LinearTaps::new(&lines[axis], from_zyx[axis], to_zyx[axis], apart == Some(axis));
        let axes = [taps(0), taps(1), taps(2)];
        let out = vec![0_u16; crate::voxels(to_zyx)];
        Ok(Self { rule, from_zyx, to_zyx, axes, held: Vec::new(), start: 0, end: 0, out, done: 0 })
    }

    /// Takes the next sections: class or region, z, y, x.
    pub(crate) fn push(&mut self, slab: &[f32]) -> Result<()> {
        self.push_seen(slab, None)
    }

    /// As [`Self::push`]; `see` is shown the sections of the result that this finishes.
    pub(crate) fn push_seen(&mut self, slab: &[f32], see: Option<See<'_>>) -> Result<()> {
        let [depth, ny, nx] = self.from_zyx;
        let section = ny * nx;
        let sections = slab.len() / (self.rule.channels() * section).max(1);
        let shape = [sections.min(depth - self.end), ny, nx];
        expect_length("scores to resample", slab.len(), self.rule.channels(), shape)?;
        let kept = self.end - self.start;
        let scores = if kept == 0 {
            Cow::Borrowed(slab)
        } else {
            let mut joined = Vec::with_capacity(self.held.len() + slab.len());
            for (old, new) in self.held.chunks(kept * section).zip(slab.chunks(sections * section)) {
                joined.extend_from_slice(old);
                joined.extend_from_slice(new);
            }
            Cow::Owned(joined)
        };
        self.end += sections;
        let held = BoundingBox { start_zyx: [self.start, 0, 0], end_zyx: [self.end, ny, nx] };
        let first = self.done;
        while let Some(tap) = self.axes[0].taps.get(self.done)
            && (tap.low as usize + usize::from(tap.weight > 0.0)).min(depth - 1) < self.end
        {
            self.done += 1;
        }
        self.label(&scores, &held, first);
        if let Some(see) = see {
            let area = self.to_zyx[1] * self.to_zyx[2];
            for z in first..self.done {
                see(self.section(&scores, &held, z), &self.out[z * area..(z + 1) * area])?;
            }
        }
        // what the next section of the result begins with
        let next = self.axes[0]
            .taps
            .get(self.done)
            .map_or(self.end, |tap| tap.low as usize)
            .clamp(self.start, self.end);
        let rest = |class: &[f32]| class[(next - held.start_zyx[0]) * section..].to_vec();
        self.held = if next == self.end {
            Vec::new()
        } else {
            scores.chunks(held.shape()[0] * section).flat_map(rest).collect()
        };
        self.start = next;
        Ok(())
    }

    /// Makes the sections `first..done` of the result.
    fn label(&mut self, scores: &[f32], held: &BoundingBox, first: usize) {
        let [_, height, width] = self.to_zyx;
        let (axes, rule) = (&self.axes, &self.rule);
        let out = &mut self.out[first * height * width..self.done * height * width];
        out.par_chunks_mut(height * width).enumerate().for_each_init(
            || (vec![0.0_f32; held.shape()[2] + 1], vec![0.0_f32; width]),
            |(blend, best), (z, target)| {
                for (y, row) in target.chunks_mut(width).enumerate() {
                    best.fill(f32::NEG_INFINITY);
                    for (number, channel) in scores.chunks_exact(held.voxels()).enumerate() {
                        blend_rows(channel, held, axes, first + z, y, blend);
                        let scores = axes[2].taps.iter().map(|tap| {
                            let pair = &blend[tap.low as usize..][..2];
                            tap.mix(pair[0], pair[1])
                        });
                        match rule {
                            LabelRule::Highest(_) => {
                                for ((label, best), score) in row.iter_mut().zip(best.iter_mut()).zip(scores)
                                {
                                    if score > *best {
                                        *best = score;
                                        *label = number as u16;
                                    }
                                }
                            }
                            LabelRule::Paint(values) => {
                                for (label, score) in row.iter_mut().zip(scores) {
                                    if score > 0.0 {
                                        *label = values[number];
                                    }
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// The interpolated scores of a section of the result: class or region, y, x.
    fn section(&self, scores: &[f32], held: &BoundingBox, z: usize) -> Vec<f32> {
        let [_, height, width] = self.to_zyx;
        let mut out = vec![0.0; self.rule.channels() * height * width];
        out.par_chunks_mut(width).enumerate().for_each_init(
            || vec![0.0_f32; held.shape()[2] + 1],
            |blend, (row, target)| {
                let channel = &scores[row / height * held.voxels()..][..held.voxels()];
                blend_rows(channel, held, &self.axes, z, row % height, blend);
                for (score, tap) in target.iter_mut().zip(&self.axes[2].taps) {
                    let pair = &blend[tap.low as usize..][..2];
                    *score = tap.mix(pair[0], pair[1]);
                }
            },
        );
        out
    }

    /// The rule.
    pub(crate) fn rule(&self) -> &LabelRule {
        &self.rule
    }

    /// The labels, z, y, x.
    pub(crate) fn finish(self) -> Result<Vec<u16>> {
        let [depth, ny, nx] = self.from_zyx;
        expect_length("scores to resample", self.end * ny * nx, 1, [depth, ny, nx])?;
        Ok(self.out)
    }
}
