//! Cases one after the other, the next one being read and the last one written while one is predicted.
//!
//! Memory: at most three cases are under way, one in each part: an image as the network takes it, one that is predicted, and a label map. Probabilities of two are in
//! temporary files.

use super::image::{Image, Predicted, Predictor, Reader};
use super::jobs::Job;
use super::write::Writer;
use stage::{Message, interrupt};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread;

/// Where a case's files go.
pub(super) struct Files {
    /// The label map, or the affinities.
    pub(super) map: PathBuf,
    pub(super) probabilities: Option<PathBuf>,
}

impl Files {
    fn exist(&self) -> bool {
        self.map.exists() && self.probabilities.as_ref().is_none_or(|path| path.exists())
    }
}

/// What became of a case: what people should know of it, or what stopped it.
type Done = anyhow::Result<Vec<Message>>;

/// Predicts the jobs of which a file is not there yet; `report` gets each job's number and end, in order. Whether all were done; else a stop was
/// asked for.
pub(super) fn run(
    jobs: &[(&Job, Files)],
    reader: &Reader<'_>,
    predictor: &Predictor<'_>,
    writer: &Writer<'_>,
    report: &mut dyn FnMut(usize, Done),
) -> bool {
    let (to_predictor, images) = sync_channel::<(usize, Option<anyhow::Result<Image>>)>(0);
    let (to_writer, predictions) = sync_channel::<(usize, anyhow::Result<(Predicted, Vec<Message>)>)>(0);
    let (to_report, done) = channel::<(usize, Done)>();
    thread::scope(|scope| {
        scope.spawn(move || {
            for (number, (job, files)) in jobs.iter().enumerate() {
                let image = (!files.exist()).then(|| reader.read(job));
                // nobody listens any more: a stop was asked for
                if to_predictor.send((number, image)).is_err() {
                    return;
                }
            }
        });
        scope.spawn(move || {
            for (number, predicted) in predictions {
                let (job, files) = &jobs[number];
                let end = predicted.and_then(|(predicted, messages)| {
                    writer.write(job, predicted, files)?;
                    Ok(messages)
                });
                if to_report.send((number, end)).is_err() {
                    return;
                }
            }
        });
        let complete = predict(jobs, images, predictor, |number, predicted| {
            let sent = to_writer.send((number, predicted)).is_ok();
            done.try_iter().for_each(|(number, end)| report(number, end));
            sent
        });
        drop(to_writer);
        done.iter().for_each(|(number, end)| report(number, end));
        complete
    })
}

fn predict(
    jobs: &[(&Job, Files)],
    images: Receiver<(usize, Option<anyhow::Result<Image>>)>,
    predictor: &Predictor<'_>,
    mut hand_on: impl FnMut(usize, anyhow::Result<(Predicted, Vec<Message>)>) -> bool,
) -> bool {
    let mut handed_on = 0;
    while !interrupt::requested()
        && let Ok((number, image)) = images.recv()
    {
        let predicted = match image {
            None => Ok((Predicted::Written, Vec::new())),
            Some(image) => image.and_then(|mut image| {
                let messages = std::mem::take(&mut image.messages);
                Ok((predictor.predict(image, &jobs[number].1.map)?, messages))
            }),
        };
        // a volume that was broken off is no failed case: it is predicted when the command is repeated
        if predicted.is_err() && interrupt::requested() || !hand_on(number, predicted) {
            break;
        }
        handed_on += 1;
    }
    handed_on == jobs.len()
}
