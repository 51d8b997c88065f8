//! The captions of all cases: each case on its own where slices are measured, picture by picture where a model describes them.

use crate::captioner::{Captioner, PictureCaptioner, Seen};
use crate::slabs;
use crate::slices::{self, PlanOptions, Slice};
use crate::writer::Rejected;
use data_manifests::Descriptor;
use data_manifests::records::Caption;
use patches::{Case, ShardStore};
use rayon::prelude::*;
use stage::{Context, Message, interrupt};
use std::collections::BTreeSet;

/// What a run made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Slices of the cases that could be read.
    pub planned: Vec<Slice>,
    /// Their captions, in the same order; slices without a usable caption are left out.
    pub captions: Vec<Caption>,
    /// Cases that could not be read.
    pub failed: Vec<(String, anyhow::Error)>,
    /// Texts of models that were not used.
    pub rejected: Vec<Rejected>,
    /// Pictures without an answer.
    pub unanswered: Vec<Message>,
    /// What the captioner counted.
    pub counts: Vec<(&'static str, u64)>,
}

fn caption(
    dataset: &str,
    slice: &Slice,
    text: String,
    captioner: &str,
    facts: crate::facts::Facts,
) -> Caption {
    Caption {
        id: slice.id(),
        case: slice.case.clone(),
        dataset: dataset.to_owned(),
        plane: slice.plane,
        index: slice.index,
        box_zyx: slice.box_zyx,
        caption: text,
        captioner: captioner.to_owned(),
        facts: facts.into_record(),
    }
}

fn plan(case: &Case, options: &PlanOptions) -> Vec<Slice> {
    let record = case.record();
    slices::plan(&record.id, record.shape_zyx, record.spacing_zyx_mm, options)
}

/// By a captioner that needs nothing but the slice, `workers` cases at once; none when the run was asked to stop.
pub(super) fn by_slice(
    store: &ShardStore,
    options: &PlanOptions,
    captioner: &impl Captioner,
    workers: usize,
    context: &Context,
) -> anyhow::Result<Option<Made>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let progress = context.progress("captions of cases", store.rows().len() as u64);
    let done: Vec<Option<anyhow::Result<Described>>> = pool.install(|| {
        store
            .rows()
            .par_iter()
            .with_max_len(1)
            .map(|row| {
                if interrupt::requested() {
                    return None;
                }
                let described = store
                    .case(&row.id)
                    .map_err(Into::into)
                    .and_then(|case| of_case(&case, store.descriptor(), options, captioner));
                progress.step(&row.id);
                described.transpose()
            })
            .collect()
    });
    progress.finish();
    let Some(done) = done.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut made = Made::default();
    for (row, result) in store.rows().iter().zip(done) {
        match result {
            Ok((planned, captions)) => {
                made.planned.extend(planned);
                made.captions.extend(captions);
            }
            Err(error) => made.failed.push((row.id.clone(), error)),
        }
    }
    Ok(Some(made))
}

/// The slices of a case and their captions.
type Described = (Vec<Slice>, Vec<Caption>);

fn of_case(
    case: &Case,
    descriptor: &Descriptor,
    options: &PlanOptions,
    captioner: &impl Captioner,
) -> anyhow::Result<Option<Described>> {
    let (planned, name) = (plan(case, options), captioner.name());
    let mut captions = Vec::with_capacity(planned.len());
    let finished = slabs::each(case, descriptor, planned.clone(), |images| {
        for image in images {
            let described = captioner.caption(image)?;
            captions.push(caption(
                &case.record().dataset,
                image.slice,
                described.text,
                &name,
                described.facts,
            ));
        }
        Ok(())
    })?;
    Ok(finished.then_some((planned, captions)))
}

/// By a model that looks at pictures; none when the run was asked to stop. Pictures are handed over in equal batches across cases,
/// so that batches do not depend on how many slices a case has.
pub(super) fn by_picture(
    store: &ShardStore,
    options: &PlanOptions,
    captioner: &mut dyn PictureCaptioner,
    workers: usize,
    context: &Context,
) -> anyhow::Result<Option<Made>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build()?;
    let progress = context.progress("captions of cases", store.rows().len() as u64);
    let mut batches = Batches { captioner, context, waiting: Vec::new(), made: Made::default() };
    for row in store.rows() {
        let mut broken = None;
        let read = store.case(&row.id).map_err(anyhow::Error::from).and_then(|case| {
            let planned = plan(&case, options);
            batches.made.planned.extend(planned.iter().cloned());
            slabs::each(&case, store.descriptor(), planned, |images| {
                // in pieces, so that no more pictures wait than a batch and a piece
                for images in images.chunks(batches.captioner.batch()) {
                    let seen: Vec<Seen> = pool.install(|| images.par_iter().map(Seen::of).collect());
                    let slices = images.iter().map(|i| (i.record.dataset.clone(), i.slice.clone()));
                    batches.waiting.extend(slices.zip(seen));
                    match batches.flush(false) {
                        Ok(true) => {}
                        stopped => {
                            broken = Some(stopped);
                            anyhow::bail!("the run ends")
                        }
                    }
                }
                Ok(())
            })
        });
        match (broken, read) {
            (Some(Err(error)), _) => return Err(error),
            (Some(Ok(_)), _) | (None, Ok(false)) => return Ok(None),
            (None, Ok(true)) => {}
            (None, Err(error)) => batches.made.failed.push((row.id.clone(), error)),
        }
        progress.step(&row.id);
    }
    if !batches.flush(true)? {
        return Ok(None);
    }
    progress.finish();
    let mut made = batches.made;
    made.counts = captioner.finish(context)?;
    let failed: BTreeSet<&str> = made.failed.iter().map(|(id, _)| id.as_str()).collect();
    made.planned.retain(|s| !failed.contains(s.case.as_str()));
    made.captions.retain(|c| !failed.contains(c.case.as_str()));
    Ok(Some(made))
}

/// Pictures on their way to a captioner.
struct Batches<'a> {
    captioner: &'a mut dyn PictureCaptioner,
    context: &'a Context,
    /// Data set, slice and picture.
    waiting: Vec<((String, Slice), Seen)>,
    made: Made,
}

impl Batches<'_> {
    /// Hands over whole batches, and at the `end` the rest; gives false when the run was asked to stop.
    fn flush(&mut self, end: bool) -> anyhow::Result<bool> {
        let batch = self.captioner.batch();
        while self.waiting.len() >= batch || (end && !self.waiting.is_empty()) {
            let rest = self.waiting.split_off(batch.min(self.waiting.len()));
            let (slices, seen): (Vec<_>, Vec<_>) =
                std::mem::replace(&mut self.waiting, rest).into_iter().unzip();
            let Some(told) = self.captioner.describe(&seen, self.context)? else { return Ok(false) };
            let name = self.captioner.name();
            for (((dataset, slice), seen), told) in slices.into_iter().zip(seen).zip(told) {
                self.made.rejected.extend(told.rejected);
                self.made.unanswered.extend(told.unanswered);
                if let Some(text) = told.text {
                    self.made.captions.push(caption(&dataset, &slice, text, &name, seen.facts));
                }
            }
        }
        Ok(true)
    }
}
