//! What the training cases are like: shapes, spacings, and a sample of their foreground.
//!
//! Memory: a worker holds one case as stored; of it stay at most the sampled voxels.

use crate::case::place::Place;
use crate::resources;
use crate::treatment::Treatment;
use data_manifests::descriptor::LabelKind;
use data_manifests::plan::{CaseSize, ChannelStatistics, Fingerprint};
use data_manifests::raw::RawCase;
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::{Descriptor, digest};
use patches::sampler;
use rand::RngExt;
use stage::{Context, Message, interrupt};
use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use volume::crop::BoundingBox;
use volume::intensity;
use volume::resample::{Aligned, Label};
use volume::{Grid, InMemory, Orientation, VolumeError, Voxels, labels};

/// How much of the foreground is taken, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampling {
    /// Voxels per case.
    pub(super) voxels: usize,
    pub(super) seed: u64,
}

/// The measured cases, and those that could not be measured.
#[derive(Debug)]
pub(super) struct Measured {
    found: Vec<Found>,
    channels: usize,
    pub(super) failed: Vec<(String, anyhow::Error)>,
}

/// One measured case.
#[derive(Debug)]
pub(super) struct Found {
    /// Its place among the cases.
    pub(super) place: usize,
    size: CaseSize,
    /// Grid as stored.
    pub(super) grid: Grid,
    /// Of each channel, by the data set's own rule.
    pub(super) statistics: Vec<volume::intensity::ChannelStatistics>,
    /// Share of the volume that the crop to what is not zero leaves.
    share: f64,
    /// Sampled foreground intensities of each channel.
    samples: Vec<Vec<f32>>,
}

impl Measured {
    /// What the measured cases are like.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let channel = |channel: usize| {
            let pooled: Vec<f32> =
                self.found.iter().flat_map(|found| &found.samples[channel]).copied().collect();
            ChannelStatistics::of(&pooled)
        };
        let sizes = self.found.iter().map(|found| found.size.clone()).collect();
        let shares: Vec<f64> = self.found.iter().map(|found| found.share).collect();
        Fingerprint::new(sizes, &shares, (0..self.channels).filter_map(channel).collect())
    }

    /// Takes out the cases that `check` refuses.
    pub(super) fn refuse(
        &mut self,
        check: impl Fn(&Found) -> anyhow::Result<()>,
    ) -> Vec<(String, anyhow::Error)> {
        let mut refused = Vec::new();
        self.found.retain(|found| match check(found) {
            Ok(()) => true,
            Err(error) => {
                refused.push((found.size.id.clone(), error));
                false
            }
        });
        refused
    }
}

/// Measures the cases, several at once; the result does not depend on how many.
pub(super) fn measure(
    cases: &[RawCase],
    descriptor: &Descriptor,
    sampling: Sampling,
    treatment: Treatment,
    max_ram: Option<f64>,
    context: &Context,
) -> anyhow::Result<Measured> {
    // the image, then the labels: 64-bit ids beside their own narrow form at worst, and twice more while they are aligned
    let per_label = if treatment.align_labels.is_some() { 28 } else { 12 };
    let bytes = |case: &RawCase| -> u64 {
        let voxels = |(channels, grid): (usize, volume::Grid)| {
            let voxels = grid.shape_zyx.iter().map(|n| *n as u64).product::<u64>();
            voxels.saturating_mul(4 * channels as u64 + per_label)
        };
        open::header(&case.image).map_or(0, voxels)
    };
    let largest = cases.iter().map(bytes).max().unwrap_or(0);
    let workers = resources::concurrency(None, max_ram, largest, cases.len(), context);
    let progress = context.progress("cases measured", cases.len() as u64);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(i).filter(|_| !interrupt::requested()) else { return done };
            done.push((i, one(case, descriptor, sampling, treatment)));
            progress.step(&case.id);
        }
    };
    let mut results: Vec<(usize, anyhow::Result<Found>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
            .collect()
    });
    progress.finish();
    results.sort_by_key(|(i, _)| *i);
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for (place, result) in results {
        match result {
            Ok(one) => found.push(Found { place, ..one }),
            Err(error) => failed.push((cases[place].id.clone(), error)),
        }
    }
    Ok(Measured { found, channels: descriptor.channels.len(), failed })
}

fn one(
    case: &RawCase,
    descriptor: &Descriptor,
    sampling: Sampling,
    treatment: Treatment,
) -> anyhow::Result<Found> {
    let mut image = open::image(&case.image)?;
    if image.channels != descriptor.channels.len() {
        let (found, expected) = (image.channels, descriptor.channels.len());
        return Err(Message::error("E141", format!("found {found} channels, expected {expected}"))
            .detail(case.image.path().display().to_string())
            .fix("Correct the file, or the descriptor's 'channels'")
            .into());
    }
    // as in a run: what it refuses is no case to plan for, and what it fills in is sampled
    let in_image = |error: VolumeError| case.image.in_own_file(error.naming_channels(&descriptor.channels));
    intensity::check_finite(&mut image.data, image.channels, treatment.non_finite).map_err(in_image)?;
    let rules = descriptor.intensity.rules();
    rules.check_all_vary(&image.data, image.channels).map_err(in_image)?;
    let shape = image.grid.shape_zyx;
    let voxels = shape.iter().product::<usize>();
    let each = rules.of(image.channels).map_err(in_image)?;
    let fitted = image.data.chunks_exact(voxels).zip(&each).enumerate();
    let statistics = fitted
        .map(|(number, (channel, rule))| {
            rule.fit(channel)
                .map(|transform| transform.statistics)
                .map_err(|error| error.of_channel(number, image.channels))
        })
        .collect::<volume::Result<_>>()
        .map_err(in_image)?;
    let mut samples = vec![Vec::new(); image.channels];
    if let Some(source) = &case.label {
        let labels = open::labels(source, descriptor)?;
        check_classes(&labels.voxels, descriptor).map_err(|error| error.in_file(source.path()))?;
        let place = Place::of(treatment, (case.image.path(), &image.grid), (source.path(), &labels.grid))?;
        let ignore = descriptor.labels.as_ref().and_then(|labels| labels.ignore).map(u64::from);
        let is_foreground = |value: u64| value != 0 && Some(value) != ignore;
        let places = match &labels.voxels {
            RawVoxels::Narrow(v) => {
                let v = on_image_grid(v, &place, &image.grid)?;
                sample(&v, |v| is_foreground(u64::from(v)), case, sampling)
            }
            RawVoxels::Wide(v) => {
                let v = on_image_grid(v, &place, &image.grid)?;
                sample(&v, is_foreground, case, sampling)
            }
        };
        for (channel, values) in samples.iter_mut().zip(image.data.chunks_exact(voxels)) {
            channel.extend(places.iter().map(|i| values[*i]));
        }
    }
    let (lo, hi) = nonzero_box(&image.data, shape);
    let cropped: [usize; 3] = std::array::from_fn(|a| hi[a] - lo[a]);
    let orientation = Orientation::to_canonical(&image.grid);
    Ok(Found {
        place: 0,
        grid: image.grid,
        statistics,
        size: CaseSize {
            id: case.id.clone(),
            shape_zyx: orientation.shape(cropped),
            spacing_zyx_mm: orientation.apply_to_grid(&image.grid).spacing_zyx_mm(),
        },
        share: cropped.iter().product::<usize>() as f64 / voxels as f64,
        samples,
    })
}

/// Classes must be declared.
fn check_classes(voxels: &RawVoxels, descriptor: &Descriptor) -> volume::Result<()> {
    let semantic = descriptor.labels.as_ref().filter(|labels| labels.kind == LabelKind::Semantic);
    if let (Some(declared), RawVoxels::Narrow(values)) = (semantic, voxels) {
        labels::check(labels::counts(values), &declared.allowed())?;
    }
    Ok(())
}

/// The labels on the grid of their image, both as stored.
fn on_image_grid<'a, T: Label>(labels: &'a [T], place: &Place, image: &Grid) -> volume::Result<Cow<'a, [T]>> {
    let Some(alignment) = &place.alignment else { return Ok(Cow::Borrowed(labels)) };
    let own = &place.grid;
    let source = InMemory::oriented(labels, 1, own.shape_zyx, Orientation::to_canonical(own))?;
    let aligned = Aligned::new(&source, alignment)?;
    let canonical_zyx = aligned.shape_zyx();
    let canonical = aligned.read(0, &BoundingBox::whole(canonical_zyx))?;
    let (stored, _) = Orientation::to_canonical(image).invert().apply(&canonical, canonical_zyx)?;
    Ok(Cow::Owned(stored))
}

/// Places of a uniform sample of the foreground, in order: reservoir sampling in one pass, seeded by the case's id.
fn sample<T: Copy>(
    labels: &[T],
    is_foreground: impl Fn(T) -> bool,
    case: &RawCase,
    sampling: Sampling,
) -> Vec<usize> {
    let id = digest::sha256_hex(case.id.as_bytes());
    let stream = id.bytes().take(12).fold(0_u64, |all, digit| all << 4 | u64::from(digit & 15));
    let mut generator = sampler::generator(sampling.seed, stream, 0);
    let mut kept = Vec::new();
    let foreground = labels.iter().enumerate().filter(|(_, label)| is_foreground(**label));
    for (seen, (i, _)) in foreground.enumerate() {
        if kept.len() < sampling.voxels {
            kept.push(i);
        } else {
            let at = generator.random_range(0..=seen);
            if let Some(place) = kept.get_mut(at) {
                *place = i;
            }
        }
    }
    kept.sort_unstable();
    kept
}

/// The smallest box that holds every voxel that is not 0 in some channel; the whole volume where there is none.
fn nonzero_box(data: &[f32], shape: [usize; 3]) -> ([usize; 3], [usize; 3]) {
    let [depth, height, width] = shape;
    let (mut lo, mut hi) = (shape, [0; 3]);
    for (row, values) in data.chunks_exact(width).enumerate() {
        let Some(first) = values.iter().position(|v| *v != 0.0) else { continue };
        let last = values.iter().rposition(|v| *v != 0.0).unwrap_or(first);
        let at = [row / height % depth, row % height];
        for axis in 0..2 {
            lo[axis] = lo[axis].min(at[axis]);
            hi[axis] = hi[axis].max(at[axis] + 1);
        }
        lo[2] = lo[2].min(first);
        hi[2] = hi[2].max(last + 1);
    }
    if hi == [0; 3] { ([0; 3], shape) } else { (lo, hi) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::CaseSplit;
    use data_manifests::raw::Source;

    #[test]
    fn the_box_holds_what_is_not_zero_in_any_channel() {
        let shape = [3, 4, 5];
        let mut data = vec![0.0; 120];
        assert_eq!(nonzero_box(&data, shape), ([0; 3], shape));
        data[(4 + 2) * 5 + 3] = 1.0;
        assert_eq!(nonzero_box(&data, shape), ([1, 2, 3], [2, 3, 4]));
        data[60 + (2 * 4 + 1) * 5] = -1.0;
        assert_eq!(nonzero_box(&data, shape), ([1, 1, 0], [3, 3, 4]));
    }

    #[test]
    fn a_sample_is_uniform_seeded_and_of_the_foreground() {
        let case = |id: &str| RawCase {
            id: id.to_owned(),
            subject: id.to_owned(),
            image: Source::Scan("a.nii".into()),
            label: None,
            split: CaseSplit::Train,
        };
        let labels: Vec<u32> = (0..20_000).map(|i| u32::from(i % 2 == 1)).collect();
        let of = |id: &str, seed: u64, voxels: usize| {
            sample(&labels, |v| v != 0, &case(id), Sampling { voxels, seed })
        };
        let found = of("a", 0, 1000);
        assert_eq!(found.len(), 1000);
        assert!(found.iter().all(|i| labels[*i] == 1) && found.windows(2).all(|pair| pair[0] < pair[1]));
        let mean = found.iter().sum::<usize>() as f64 / 1000.0;
        assert!((mean - 10_000.0).abs() < 800.0, "{mean}");
        assert_eq!(found, of("a", 0, 1000));
        assert_ne!(found, of("b", 0, 1000));
        assert_ne!(found, of("a", 1, 1000));
        assert_eq!(of("a", 0, 50_000).len(), 10_000);
    }
}
