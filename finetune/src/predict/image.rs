//! One image to its label map, and what is said of one that cannot be used.

use super::jobs::Job;
use super::output::Format;
use super::write::stack_info;
use crate::model::{Model, ModelPlan};
use crate::objective::{AffinityPlan, Objective};
use crate::semantic::Semantic;
use crate::stacks::{Failure, Sections, create_affinities};
use crate::task::{Output, predict_image};
use data_manifests::cases;
use data_manifests::descriptor::Modality;
use data_manifests::raw::open::{self, RawImage};
use stage::{Message, interrupt, limits};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use tch::{Device, Tensor};
use torch_runtime::Precision;
use training::error::BoxedError;
use training::predict::SlidingWindow;
use volume::intensity::{self, NonFinite};
use volume::prepare::{Probabilities, ProbabilitySlabs, Steps};
use volume::resample::ProbabilityNumbers;
use volume::{Grid, VolumeError, prepare, same_geometry};

/// Corners that are no farther apart are the same, mm: a hundredth of a nanometre.
const SAME_MM: f64 = 1e-8;

/// How images are read. It knows no network, so that it may be in another thread.
pub(super) struct Reader<'a> {
    pub(super) plan: &'a ModelPlan,
    pub(super) format: Format,
}

/// An image as the network takes it.
pub(super) struct Image {
    /// Channel, z, y, x.
    data: Vec<f32>,
    channels: usize,
    steps: Steps,
    /// Where the image itself lies.
    grid: Grid,
    /// What people should know of it: flaws that did not stop it, and how it is predicted.
    pub(super) messages: Vec<Message>,
}

/// How images are predicted.
pub(super) struct Predictor<'a> {
    pub(super) model: &'a Model,
    pub(super) options: &'a SlidingWindow,
    /// Of affinities, and of probabilities where these are wanted.
    pub(super) numbers: ProbabilityNumbers,
    /// Whether the probabilities of classes or regions are wanted.
    pub(super) probabilities: bool,
    pub(super) device: Device,
    pub(super) precision: Precision,
}

/// A label map on the image's own grid.
pub(super) struct Labelled {
    /// z, y, x.
    pub(super) labels: Vec<u16>,
    pub(super) grid: Grid,
    /// What they are read off, where it is wanted.
    pub(super) probabilities: Option<Probabilities>,
}

/// What became of an image.
pub(super) enum Predicted {
    /// A label map.
    Labels(Box<Labelled>),
    /// Affinities, which were written as they came.
    Written,
}

impl Reader<'_> {
    /// Reads and prepares the image of a case.
    pub(super) fn read(&self, job: &Job) -> anyhow::Result<Image> {
        let descriptor = &self.plan.descriptor;
        let file = job.case.image.path();
        let stack = self.format != Format::Nifti && self.plan.objective.is_semantic();
        if stack && job.case.image.nifti().is_some() {
            return Err(no_orientation(file).into());
        }
        let in_image = |e: VolumeError| job.case.image.in_own_file(e.naming_channels(&descriptor.channels));
        let RawImage { channels, grid, mut data, mut warnings } = open::image(&job.case.image)?;
        if channels != descriptor.channels.len() {
            let found = format!("found {channels} channels, expected {}", descriptor.channels.len());
            let detail = format!("{}: the model takes {}", file.display(), descriptor.channels.join(", "));
            let fix = "Give one file with these channels, or one for each: ID_0000, ID_0001 and so on";
            return Err(Message::error("E141", found).detail(detail).fix(fix).into());
        }
        if stack && !is_unturned(&grid) {
            return Err(no_orientation(file).into());
        }
        intensity::check_finite(&mut data, channels, NonFinite::Error).map_err(in_image)?;
        let method = descriptor.method();
        method.rules.check_all_vary(&data, channels).map_err(in_image)?;
        let is_ct = descriptor.modality == Modality::Ct;
        warnings.extend(method.rules.hounsfield_warning_of(&data, channels, is_ct));
        let prepared = prepare::image(&data, channels, &grid, &method).map_err(in_image)?;
        drop(data);
        let (own, theirs) = (&grid, &prepared.grid);
        if !self.plan.objective.is_semantic()
            && (same_geometry(theirs, own) > SAME_MM || theirs.shape_zyx != own.shape_zyx)
        {
            let nm = |grid: &Grid| cases::triple(&grid.spacing_zyx_nm().map(|s| (s * 100.0).round() / 100.0));
            let detail = format!(
                "{}: voxels of {} nm and shape {}; the model's are of {} nm",
                file.display(),
                nm(own),
                cases::triple(&own.shape_zyx),
                nm(theirs)
            );
            return Err(Message::error("E417", "affinities belong to the model's own voxels")
                .detail(detail)
                .fix(
                    "Resample the stack to the model's voxel size, with axes along z, y, x, and predict that",
                )
                .into());
        }
        let mut messages: Vec<Message> =
            warnings.iter().map(|warning| Message::warning(warning.code(), warning.to_string())).collect();
        messages.extend(streaming(self.plan.network.classes(), grid.shape_zyx, limits::memory_bytes()));
        Ok(Image { data: prepared.data, channels, steps: prepared.steps, grid, messages })
    }
}

impl Predictor<'_> {
    /// Predicts an image; affinities go to `path`.
    pub(super) fn predict(&self, image: Image, path: &Path) -> anyhow::Result<Predicted> {
        let Image { data, channels, steps, grid, .. } = image;
        let [z, y, x] = steps.grid().shape_zyx.map(|n| n as i64);
        let volume = Tensor::from_slice(&data).view([channels as i64, z, y, x]);
        drop(data);
        match &self.model.plan.objective {
            Objective::Classes | Objective::Regions => {
                let (labels, probabilities) = self.labels(&volume, &steps, path)?;
                Ok(Predicted::Labels(Box::new(Labelled { labels, grid, probabilities })))
            }
            Objective::Affinities(plan) => {
                self.write_affinities(&volume, &grid, plan, path)?;
                Ok(Predicted::Written)
            }
        }
    }

    /// The label map on the image's own grid, and the probabilities. Scores become labels as windows become final: they are never in memory as
    /// a whole. Probabilities go to temporary files beside `path`.
    fn labels(
        &self,
        volume: &Tensor,
        steps: &Steps,
        path: &Path,
    ) -> anyhow::Result<(Vec<u16>, Option<Probabilities>)> {
        let plan = &self.model.plan;
        let semantic =
            Semantic::of(&plan.objective, plan.descriptor.labels.as_ref())?.ok_or_else(no_classes)?;
        let mut labels = steps.labels_in_slabs(semantic.rule())?;
        if !self.probabilities {
            self.scores(volume, &mut |scores| Ok(labels.push(scores)?))?;
            return Ok((labels.finish()?, None));
        }
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut both = ProbabilitySlabs::new(labels, self.numbers, directory.unwrap_or(Path::new(".")))?;
        self.scores(volume, &mut |scores| Ok(both.push(scores)?))?;
        let (labels, probabilities) = both.finish()?;
        Ok((labels, Some(probabilities)))
    }

    /// Hands over the scores of the network slab by slab.
    fn scores(
        &self,
        volume: &Tensor,
        take: &mut dyn FnMut(&[f32]) -> Result<(), BoxedError>,
    ) -> Result<(), Message> {
        let compute = (self.precision, self.device);
        let filling = self.model.plan.filling();
        let networks = (self.model.networks.as_slice(), &filling);
        predict_image(volume, self.options, networks, compute, Output::Scores, &go_on, &mut |_, slab| {
            take(&numbers(slab)?)
        })
        .map_err(|e| e.message())
    }

    /// Affinities section by section, as windows become final: they are never in memory as a whole. A slab is compressed and written while the next
    /// is computed.
    fn write_affinities(
        &self,
        volume: &Tensor,
        grid: &Grid,
        plan: &AffinityPlan,
        path: &Path,
    ) -> anyhow::Result<()> {
        let info = stack_info("affinities", grid);
        let fill = |file: &dyn Sections| -> Result<(), Failure> {
            thread::scope(|scope| {
                let (sender, slabs) = sync_channel::<(usize, Vec<f32>)>(1);
                let writer = scope.spawn(move || -> Result<(), Failure> {
                    slabs.into_iter().try_for_each(|(first, values)| file.put(first, &values))
                });
                let compute = (self.precision, self.device);
                let filling = self.model.plan.filling();
                let networks = (self.model.networks.as_slice(), &filling);
                let mut emit = |first: i64, slab: &Tensor| {
                    let values = Vec::<f32>::try_from(&slab.view(-1))?;
                    sender
                        .send((first as usize, values))
                        .map_err(|_| "the slabs before were not written".into())
                };
                let predicted = predict_image(
                    volume,
                    self.options,
                    networks,
                    compute,
                    Output::Sigmoid,
                    &go_on,
                    &mut emit,
                );
                drop(sender);
                // where both failed, the one that writes is the cause
                match writer.join() {
                    Ok(written) => written?,
                    Err(panic) => resume_unwind(panic),
                }
                predicted.map_err(|e| Failure(e.message()))
            })
        };
        let made = create_affinities(path, &info, &plan.offsets_zyx, self.numbers, fill);
        made.map_err(|failure| failure.0.into())
    }
}

/// Says of scores that would not fit into memory as a whole that they need not.
fn streaming(channels: i64, [z, y, x]: [usize; 3], memory: Option<u64>) -> Option<Message> {
    let bytes = 4.0 * channels as f64 * z as f64 * y as f64 * x as f64;
    memory.filter(|memory| bytes > *memory as f64).map(|memory| {
        let giga = |bytes: f64| bytes / 1e9;
        let text = format!(
            "scores of {channels}x{z}x{y}x{x} voxels would take {:.1} GB, and there are {:.1}: they become labels slab by slab",
            giga(bytes),
            giga(memory as f64)
        );
        Message::warning("W407", text)
    })
}

/// What a network gave for a slab; a label map of no numbers would look like any other.
fn numbers(slab: &Tensor) -> Result<Vec<f32>, BoxedError> {
    let values = Vec::<f32>::try_from(&slab.view(-1))?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(Message::error("E433", "the network's output is not finite")
            .cause("Its weights went out of range in training, or the image is far from what it was trained on")
            .fix("Look at the image with 'preprocess info', predict with --precision fp32, or use an earlier checkpoint")
            .into()),
    }
}

/// Whether nobody asked for a stop; volumes take minutes, and a stop has to be heard within seconds.
fn go_on() -> bool {
    !interrupt::requested()
}

fn no_classes() -> Message {
    Message::error("E410", "the model's data set has no classes")
        .fix("Train the model again: its plan is damaged")
}

/// The message of an image that cannot be predicted.
pub(super) fn of_error(case: &str, error: &anyhow::Error) -> Message {
    if let Some(message) = error.downcast_ref::<Message>() {
        return message.clone().case(case);
    }
    if let Some(message) = stage::disk::full(error.as_ref(), None) {
        return message.case(case);
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

/// Whether x, y, z run along the world's axes, as those of stacks do: all that formats of stacks can tell.
fn is_unturned(grid: &Grid) -> bool {
    let [x, y, z] = [0, 1, 2].map(|row: usize| grid.affine[row][3]);
    Grid::from_spacing(grid.shape_zyx, grid.spacing_zyx_mm(), [x, y, z])
        .is_ok_and(|plain| same_geometry(&plain, grid) <= grid.same_within_mm())
}

fn no_orientation(file: &Path) -> Message {
    Message::error("E427", "neither HDF5 in CREMI's layout nor OME-Zarr holds an orientation")
        .detail(file.display().to_string())
        .fix("Predict images that have one with --format nifti")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_would_not_fit_are_said_to_be_streamed() {
        let said = streaming(118, [900, 700, 700], Some(16_000_000_000)).unwrap().to_string();
        assert!(said.contains("W407 scores of 118x900x700x700 voxels would take 208.2 GB"), "{said}");
        assert!(said.contains("there are 16.0"), "{said}");
        assert!(streaming(2, [90, 70, 70], Some(16_000_000_000)).is_none());
        assert!(streaming(118, [900, 700, 700], None).is_none());
    }

    #[test]
    fn remedies_name_no_flag_that_this_command_lacks() {
        let mut data = [1.0, f32::NAN];
        let error = intensity::check_finite(&mut data, 1, NonFinite::Error).unwrap_err().in_file("a.nii");
        let message = of_error("a", &error.into()).to_string();
        assert!(message.starts_with("E130 case a: a.nii: "), "{message}");
        assert!(message.contains("without NaN") && !message.contains("--"), "{message}");
        assert_eq!(of_error("a", &anyhow::anyhow!("odd")).code, "E499");
    }

    #[test]
    fn only_what_a_stack_can_tell_is_unturned() {
        let plain = Grid::from_spacing([4, 5, 6], [40e-6, 4e-6, 4e-6], [1e-3, -2e-3, 0.0]).unwrap();
        assert!(is_unturned(&plain));
        let mut turned = plain;
        turned.affine[0][0] = -4e-6;
        assert!(!is_unturned(&turned));
    }
}
