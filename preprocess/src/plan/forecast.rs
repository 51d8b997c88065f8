//! Room and time that a run by a plan will take.

use crate::admission::Admission;
use crate::case::{self, Digests, Rules};
use crate::estimate::{self, Estimate};
use crate::resources;
use crate::treatment::Treatment;
use data_manifests::Descriptor;
use data_manifests::plan::Prediction;
use data_manifests::raw::RawCase;
use rayon::prelude::*;
use stage::{Context, limits};
use std::path::Path;
use std::time::Instant;

/// The prediction, and cases whose headers allow none.
#[derive(Debug)]
pub(super) struct Forecast {
    pub(super) prediction: Prediction,
    pub(super) failed: Vec<(String, anyhow::Error)>,
}

/// Predicts from the headers; the time, if it is wanted, from one case of median size, which is preprocessed into a folder that is
/// removed, in the memory that `timing` allows.
pub(super) fn of(
    cases: &[RawCase],
    descriptor: &Descriptor,
    raw: &Path,
    treatment: Treatment,
    timing: Option<Option<f64>>,
    context: &Context,
) -> anyhow::Result<Forecast> {
    let estimates: Vec<anyhow::Result<Estimate>> = cases
        .par_iter()
        .map(|case| {
            let estimate = estimate::of_case(case, descriptor, treatment.align_labels)?;
            estimate.refuse_explosion()?;
            Ok(estimate)
        })
        .collect();
    let mut failed = Vec::new();
    let mut sized = Vec::new();
    for (case, estimate) in cases.iter().zip(estimates) {
        match estimate {
            Ok(estimate) => sized.push((case, estimate)),
            Err(error) => failed.push((case.id.clone(), error)),
        }
    }
    sized.sort_by_key(|(case, estimate)| (work(estimate), case.id.clone()));
    let workers = limits::cores().min(sized.len()).max(1);
    let mut memory: Vec<u64> = sized.iter().map(|(_, estimate)| estimate.memory).collect();
    memory.sort_unstable_by(|a, b| b.cmp(a));
    let mut prediction = Prediction {
        bytes: sized.iter().map(|(_, estimate)| estimate.disk).fold(0, u64::saturating_add),
        peak_memory_bytes: memory.iter().take(workers).copied().fold(0, u64::saturating_add),
        seconds: None,
        measured_on: None,
    };
    if let Some(max_ram) = timing {
        // with labels where there are any: they are a part of the work; a flawed case is passed over
        let half = sized.len() / 2;
        let nearest = sized[half..].iter().chain(sized[..half].iter().rev());
        let (labelled, others): (Vec<_>, Vec<_>) = nearest.partition(|(case, _)| case.label.is_some());
        let total: f64 = sized.iter().map(|(_, estimate)| work(estimate) as f64).sum();
        for (case, estimate) in labelled.into_iter().chain(others).take(5) {
            let Ok(seconds) = time(case, descriptor, raw, (treatment, max_ram)) else { continue };
            prediction.seconds = Some(seconds * total / work(estimate).max(1) as f64 / workers as f64);
            prediction.measured_on =
                Some(format!("{}, times {} cases on {workers} cores", case.id, sized.len()));
            break;
        }
        if prediction.seconds.is_none() {
            context.say("No case could be preprocessed to measure the time.");
        }
    }
    Ok(Forecast { prediction, failed })
}

/// Values that are read and written; the time grows with them.
fn work(estimate: &Estimate) -> u64 {
    let voxels = |shape: &[usize; 3]| shape.iter().map(|n| *n as u64).product::<u64>();
    (voxels(&estimate.shape_zyx) + voxels(&estimate.resampled_zyx)).saturating_mul(estimate.channels as u64)
}

/// Seconds that one case takes.
fn time(
    case: &RawCase,
    descriptor: &Descriptor,
    raw: &Path,
    (treatment, max_ram): (Treatment, Option<f64>),
) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let rules = Rules { descriptor, treatment, raw_root: raw };
    let digests = Digests { image: String::new(), label: case.label.as_ref().map(|_| String::new()) };
    let estimate = estimate::of_case(case, descriptor, treatment.align_labels)?;
    let room = Admission::new(resources::budget(max_ram).0).room(&estimate, folder.path());
    let started = Instant::now();
    case::make(&rules, case, &digests, &folder.path().join("case"), &room)?.pending.publish()?;
    Ok(started.elapsed().as_secs_f64())
}
