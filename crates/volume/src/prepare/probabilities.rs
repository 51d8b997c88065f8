//! Probabilities on the stored grid, beside the labels that they make.

use super::steps::LabelSlabs;
use crate::crop::{self, BoundingBox};
use crate::error::Result;
use crate::resample::{LabelRule, ProbabilityNumbers};
use crate::spool::{Spool, SpoolWriter};
use crate::voxels::{Voxels, check_request};
use std::path::Path;

/// Scores on [`Steps::grid`](super::Steps::grid) on their way to labels and probabilities on the stored grid.
///
/// Scores are interpolated first and become probabilities then, as in nnU-Net's export. Outside of what was kept the background is certain:
/// the first of classes has 1, all others and regions 0.
///
/// Memory: that of [`LabelSlabs`], and one section of probabilities; these go to temporary files, 4 bytes per voxel and class or region.
#[derive(Debug)]
pub struct ProbabilitySlabs<'a> {
    slabs: LabelSlabs<'a>,
    numbers: ProbabilityNumbers,
    /// Of each class or region, in canonical orientation, to be read as stored.
    writers: Vec<SpoolWriter<f32>>,
}

impl<'a> ProbabilitySlabs<'a> {
    /// As [`LabelSlabs`], with temporary files in `directory`.
    ///
    /// # Errors
    /// A directory in which no file can be made.
    pub fn new(slabs: LabelSlabs<'a>, numbers: ProbabilityNumbers, directory: &Path) -> Result<Self> {
        let (shape, back) = (slabs.steps.canonical.shape_zyx, slabs.steps.orientation.invert());
        let writer = |_| SpoolWriter::new(directory, 1, shape, back);
        let writers = (0..slabs.labeller.rule().channels()).map(writer).collect::<Result<_>>()?;
        let mut this = Self { slabs, numbers, writers };
        this.fill(this.slabs.covered.start_zyx[0])?;
        Ok(this)
    }

    /// Writes `sections` of what was not kept.
    fn fill(&mut self, sections: usize) -> Result<()> {
        let [_, height, width] = self.slabs.steps.canonical.shape_zyx;
        let rule = self.slabs.labeller.rule();
        for (channel, writer) in self.writers.iter_mut().enumerate() {
            let plane = vec![outside(rule, channel); height * width];
            (0..sections).try_for_each(|_| writer.write(&plane))?;
        }
        Ok(())
    }

    /// Takes the scores of the next sections: class or region, z, y, x.
    ///
    /// # Errors
    /// As [`LabelSlabs::push`]; no room on disk.
    pub fn push(&mut self, scores: &[f32]) -> Result<()> {
        let Self { slabs: LabelSlabs { steps, covered, labeller }, numbers, writers } = self;
        let [_, height, width] = steps.canonical.shape_zyx;
        let plane = BoundingBox {
            start_zyx: [0, covered.start_zyx[1], covered.start_zyx[2]],
            end_zyx: [1, covered.end_zyx[1], covered.end_zyx[2]],
        };
        let rule = labeller.rule().clone();
        let mut see = |mut section: Vec<f32>, labels: &[u16]| {
            numbers.replace_scores(&rule, &mut section, labels);
            let channels = section.chunks_exact(plane.voxels()).zip(writers.iter_mut()).enumerate();
            for (channel, (part, writer)) in channels {
                let whole = crop::uncrop(part, 1, [1, height, width], &plane, outside(&rule, channel))?;
                writer.write(&whole)?;
            }
            Ok(())
        };
        labeller.push_seen(scores, Some(&mut see))
    }

    /// The labels, as [`LabelSlabs::finish`] gives them, and the probabilities that they are read off.
    ///
    /// # Errors
    /// Sections that never came; no room on disk.
    pub fn finish(mut self) -> Result<(Vec<u16>, Probabilities)> {
        let behind = self.slabs.steps.canonical.shape_zyx[0] - self.slabs.covered.end_zyx[0];
        self.fill(behind)?;
        let shape_zyx = self.slabs.steps.source.shape_zyx;
        let labels = self.slabs.finish()?;
        let channels = self.writers.into_iter().map(SpoolWriter::finish).collect::<Result<_>>()?;
        Ok((labels, Probabilities { channels, shape_zyx }))
    }
}

/// What a voxel outside of what was kept has.
fn outside(rule: &LabelRule, channel: usize) -> f32 {
    f32::from(u8::from(channel == 0 && matches!(rule, LabelRule::Highest(_))))
}

/// Probabilities on the stored grid, in temporary files: class or region, z, y, x.
#[derive(Debug)]
pub struct Probabilities {
    channels: Vec<Spool<f32>>,
    shape_zyx: [usize; 3],
}

impl Voxels<f32> for Probabilities {
    fn channels(&self) -> usize {
        self.channels.len()
    }

    fn shape_zyx(&self) -> [usize; 3] {
        self.shape_zyx
    }

    fn read(&self, channel: usize, bounds: &BoundingBox) -> Result<Vec<f32>> {
        check_request(channel, self.channels.len(), bounds, self.shape_zyx)?;
        self.channels[channel].read(0, bounds)
    }
}
