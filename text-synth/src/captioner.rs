//! What a captioner is and what it sees.

use crate::facts::Facts;
use crate::slices::{self, Slice};
use data_manifests::Descriptor;
use patches::CaseRecord;

/// One slice or tile with all that is known of it, but its labels.
#[derive(Debug, Clone, Copy)]
pub struct SliceImage<'a> {
    /// Data set.
    pub descriptor: &'a Descriptor,
    /// Case.
    pub record: &'a CaseRecord,
    /// Place in the case.
    pub slice: &'a Slice,
    /// Stored values `[channel, row, column]`.
    pub pixels: &'a [f32],
}

impl SliceImage<'_> {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> [usize; 2] {
        let shape = self.slice.region().shape();
        let [_, row, column] = slices::axes(self.slice.plane);
        [shape[row], shape[column]]
    }

    /// Distance of rows and of columns, mm.
    #[must_use]
    pub fn spacing_mm(&self) -> [f64; 2] {
        let [_, row, column] = slices::axes(self.slice.plane);
        [self.record.spacing_zyx_mm[row], self.record.spacing_zyx_mm[column]]
    }

    /// Stored values of a channel, row by row.
    #[must_use]
    pub fn channel(&self, channel: usize) -> &[f32] {
        let n: usize = self.shape().iter().product();
        &self.pixels[channel * n..(channel + 1) * n]
    }

    /// Values of a channel as they were before the normalisation (HU for CT, grey values for EM), row by row.
    #[must_use]
    pub fn raw(&self, channel: usize) -> Vec<f32> {
        let normalisation = &self.record.channels[channel].normalisation;
        self.channel(channel).iter().map(|v| normalisation.raw(*v)).collect()
    }

    /// Whether the image shows its section from one end to the other along the columns.
    #[must_use]
    pub fn spans_columns(&self) -> bool {
        self.slice.tiles[1] == 1
    }
}

/// A caption with the facts behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Captioned {
    /// The caption.
    pub text: String,
    /// What it says, as named numbers and words.
    pub facts: Facts,
}

/// Describes slices.
pub trait Captioner: Sync {
    /// Name and version, which stand in every record.
    fn name(&self) -> String;

    /// Describes one slice.
    ///
    /// # Errors
    /// When the slice cannot be described; the case fails then.
    fn caption(&self, image: &SliceImage<'_>) -> anyhow::Result<Captioned>;
}
