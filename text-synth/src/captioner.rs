//! What a captioner is and what it sees.

pub mod api;
pub mod blip;
pub mod clean;

use crate::facts::Facts;
use crate::slices::{self, Slice};
use crate::writer::Rejected;
use crate::{measure, render};
use data_manifests::Descriptor;
use data_manifests::descriptor::{Intensity, Modality};
use networks::blip::GreyImage;
use patches::CaseRecord;
use stage::{Context, Message};
use std::borrow::Cow;

/// What raw values mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// Hounsfield units.
    Hounsfield,
    /// Nothing but more and less: MRI, and CT whose rule is not one for Hounsfield units.
    Relative,
    /// Grey values between black and white.
    Grey([f32; 2]),
}

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

    /// Values of a channel in standard deviations from the volume's mean, row by row.
    #[must_use]
    pub fn standardised(&self, channel: usize) -> Cow<'_, [f32]> {
        let values = self.channel(channel);
        match self.record.channels[channel].moments {
            None => Cow::Borrowed(values),
            Some([_, deviation]) if deviation.is_nan() || deviation <= 0.0 => {
                Cow::Owned(vec![0.0; values.len()])
            }
            Some([mean, deviation]) => values.iter().map(|value| (value - mean) / deviation).collect(),
        }
    }

    /// What its first channel's values mean.
    #[must_use]
    pub fn scale(&self) -> Scale {
        let rule = self.descriptor.intensity.channel(0);
        match self.record.modality {
            Modality::Ct => match rule {
                Some(
                    Intensity::CtWindow { .. } | Intensity::CtPercentile { .. } | Intensity::MriZscore { .. },
                ) => Scale::Hounsfield,
                _ => Scale::Relative,
            },
            Modality::Mri => Scale::Relative,
            Modality::Em => match rule {
                Some(Intensity::EmScale {}) => Scale::Grey([0.0, 255.0]),
                _ => {
                    let channel = &self.record.channels[0];
                    Scale::Grey(
                        [channel.minimum, channel.maximum].map(|value| channel.normalisation.raw(value)),
                    )
                }
            },
        }
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

/// Describes slices by themselves.
pub trait Captioner: Sync {
    /// Name and version, which stand in every record.
    fn name(&self) -> String;

    /// Describes one slice.
    ///
    /// # Errors
    /// When the slice cannot be described; the case fails then.
    fn caption(&self, image: &SliceImage<'_>) -> anyhow::Result<Captioned>;
}
/// A slice as captioners of pictures get it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Id of the slice, for messages and records; no model may see it.
    pub id: String,
    /// What was measured on it.
    pub facts: Facts,
    /// Its picture.
    pub picture: GreyImage,
}

impl Seen {
    /// Measures and renders a slice.
    #[must_use]
    pub fn of(image: &SliceImage<'_>) -> Self {
        Self { id: image.slice.id(), facts: measure::facts(image), picture: render::picture(image) }
    }
}

/// What came of one picture.
#[derive(Debug, Default)]
pub struct Told {
    /// The caption; none where no usable text came.
    pub text: Option<String>,
    /// Texts that were not used.
    pub rejected: Vec<Rejected>,
    /// Why there was no answer at all; a rerun asks again.
    pub unanswered: Option<Message>,
}

/// Describes pictures by a model, many at a time.
pub trait PictureCaptioner {
    /// Name and version, which stand in every record.
    fn name(&self) -> String;

    /// How many pictures to hand over at a time.
    fn batch(&self) -> usize;

    /// Describes pictures: one entry for each, in their order, or none when the run was asked to stop.
    ///
    /// # Errors
    /// When no picture can be described.
    fn describe(&mut self, seen: &[Seen], context: &Context) -> anyhow::Result<Option<Vec<Told>>>;

    /// Told once, after the last picture; gives counts worth keeping in the manifest.
    ///
    /// # Errors
    /// Any I/O error.
    fn finish(&mut self, context: &Context) -> anyhow::Result<Vec<(&'static str, u64)>>;
}
