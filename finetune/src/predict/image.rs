//! One image to its label map, and what is said of one that cannot be used.

use super::jobs::Job;
use crate::model::Model;
use crate::task::scores;
use data_manifests::raw::open::{self, RawImage};
use stage::Message;
use std::path::Path;
use tch::{Device, Tensor};
use torch_runtime::Precision;
use training::predict::SlidingWindow;
use volume::intensity::{self, NonFinite};
use volume::{VolumeError, Warning, nifti, prepare};

/// How images are predicted.
pub(super) struct Predictor<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a SlidingWindow,
    pub(super) device: Device,
    pub(super) precision: Precision,
}

impl Predictor<'_> {
    /// Writes the label map of a case on its image's own grid; gives the flaws that did not stop it.
    pub(super) fn write(&self, job: &Job, path: &Path) -> anyhow::Result<Vec<Warning>> {
        let descriptor = &self.model.plan.descriptor;
        let file = job.case.image.path();
        let in_image = |e: VolumeError| e.in_file(file);
        let RawImage { channels, grid, mut data, warnings } = open::image(&job.case.image)?;
        if channels != descriptor.channels.len() {
            let found = format!("found {channels} channels, expected {}", descriptor.channels.len());
            let detail = format!("{}: the model takes {}", file.display(), descriptor.channels.join(", "));
            return Err(Message::error("E141", found).detail(detail).into());
        }
        intensity::check_finite(&mut data, channels, NonFinite::Error).map_err(in_image)?;
        intensity::check_varies(&data, channels).map_err(in_image)?;
        let prepared = prepare::image(&data, channels, &grid, &descriptor.method()).map_err(in_image)?;
        drop(data);
        let [z, y, x] = prepared.grid.shape_zyx.map(|n| n as i64);
        let volume = Tensor::from_slice(&prepared.data).view([channels as i64, z, y, x]);
        let scores = scores(&volume, self.options, &self.model.network, self.precision, self.device)
            .map_err(|e| e.message())?;
        let classes = scores.size()[0] as usize;
        let scores = Vec::<f32>::try_from(&scores.contiguous().view(-1))?;
        let labels = prepared.steps.classes_on_source(&scores, classes)?;
        match job.case.image.nifti() {
            Some(reference) => nifti::write_labels_like(path, &labels, reference)?,
            None => nifti::write_labels(path, &labels, &grid)?,
        }
        Ok(warnings)
    }
}

/// The message of an image that cannot be predicted.
pub(super) fn of_error(case: &str, error: &anyhow::Error) -> Message {
    if let Some(message) = error.downcast_ref::<Message>() {
        return message.clone().case(case);
    }
    match error.downcast_ref::<VolumeError>() {
        Some(volume) => {
            let message = Message::error(volume.code(), volume.to_string()).case(case);
            match fix(volume) {
                Some(hint) => message.fix(hint),
                None => message,
            }
        }
        None => Message::error("E499", format!("{error:#}")).case(case),
    }
}

/// Likely cause and remedy. Other stages have flags for some flaws; here the image itself must be put right.
fn fix(error: &VolumeError) -> Option<String> {
    match error {
        VolumeError::InFile { source, .. } => fix(source),
        VolumeError::NonFinite { .. } => Some("Export the image again without NaN and infinity".to_owned()),
        VolumeError::Memory { .. } => Some("Use a machine with more memory, or crop the image".to_owned()),
        other => other.hint(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedies_name_no_flag_that_this_command_lacks() {
        let mut data = [1.0, f32::NAN];
        let error = intensity::check_finite(&mut data, 1, NonFinite::Error).unwrap_err().in_file("a.nii");
        let message = of_error("a", &error.into()).to_string();
        assert!(message.starts_with("E130 case a: a.nii: "), "{message}");
        assert!(message.contains("without NaN") && !message.contains("--"), "{message}");
        assert_eq!(of_error("a", &anyhow::anyhow!("odd")).code, "E499");
    }
}
