//! Generated slices of three modalities, whose facts are measured by the captioner.

use data_manifests::Descriptor;
use data_manifests::descriptor::Modality;
use data_manifests::records::Plane;
use patches::{CaseRecord, ChannelRecord, Normalisation, SourceRecord};
use rand::{Rng, RngExt};
use text_synth::captioner::SliceImage;
use text_synth::facts::Facts;
use text_synth::measure;
use text_synth::slices::Slice;

const DATASETS: [&str; 7] = [
    "msd03-liver",
    "msd04-hippocampus",
    "msd06-lung",
    "cremi-a",
    "msd01-braintumour",
    "msd02-heart",
    "msd07-pancreas",
];

/// A blob of the picture: place, radii and what it adds, in shares of the picture and raw values.
struct Blob {
    centre: [f32; 2],
    radii: [f32; 2],
    value: f32,
}

impl Blob {
    fn random(random: &mut impl Rng, radius: std::ops::Range<f32>, value: f32) -> Self {
        let mut share = |low: f32, high: f32| random.random_range(low..high);
        Self {
            centre: [share(0.2, 0.8), share(0.2, 0.8)],
            radii: [share(radius.start, radius.end), share(radius.start, radius.end)],
            value,
        }
    }

    fn holds(&self, y: f32, x: f32) -> bool {
        ((y - self.centre[0]) / self.radii[0]).powi(2) + ((x - self.centre[1]) / self.radii[1]).powi(2) < 1.0
    }
}

/// The data set and the facts of slice number `i`.
pub(crate) fn slice(i: u64, random: &mut impl Rng) -> (Descriptor, Facts) {
    let descriptor = Descriptor::find(DATASETS[i as usize % DATASETS.len()]).unwrap();
    let shape = [random.random_range(64..160), random.random_range(64..160)];
    let sections = random.random_range(6..60);
    let index = random.random_range(0..sections);
    let (spacing_zyx_mm, rule): ([f64; 3], Normalisation) = match descriptor.modality {
        Modality::Ct => (
            [3.0, 1.7, 1.7],
            Normalisation { clip: Some([-1000.0, 1000.0]), subtract: 0.0, divide: 1000.0, keep_zeros: false },
        ),
        Modality::Mri => {
            ([1.0, 1.0, 1.0], Normalisation { clip: None, subtract: 500.0, divide: 150.0, keep_zeros: false })
        }
        Modality::Em => (
            [4e-5, 8e-6, 8e-6],
            Normalisation { clip: None, subtract: 127.5, divide: 127.5, keep_zeros: false },
        ),
    };
    let channels: Vec<Vec<f32>> =
        descriptor.channels.iter().map(|_| picture(descriptor.modality, shape, random)).collect();
    let stored = |raw: f32| {
        let clipped = rule.clip.map_or(raw, |[low, high]| raw.clamp(low, high));
        (clipped - rule.subtract) / rule.divide
    };
    let pixels: Vec<f32> = channels.iter().flatten().map(|raw| stored(*raw)).collect();
    let n = shape[0] * shape[1];
    let ends = |values: &[f32], f: fn(f32, f32) -> f32, from: f32| values.iter().copied().fold(from, f);
    let record = CaseRecord {
        schema: CaseRecord::SCHEMA.into(),
        id: "case".into(),
        subject: "case".into(),
        dataset: descriptor.name.clone(),
        modality: descriptor.modality,
        channels: descriptor
            .channels
            .iter()
            .zip(pixels.chunks(n))
            .map(|(name, values)| ChannelRecord {
                name: name.clone(),
                normalisation: rule,
                minimum: ends(values, f32::min, f32::INFINITY),
                maximum: ends(values, f32::max, f32::NEG_INFINITY),
                moments: None,
            })
            .collect(),
        shape_zyx: [sections, shape[0], shape[1]],
        spacing_zyx_mm,
        affine: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
        work: String::new(),
        source: SourceRecord {
            image: String::new(),
            image_sha256: String::new(),
            label: None,
            label_sha256: None,
            steps: volume::prepare::Steps::identity(volume::Grid {
                shape_zyx: [sections, shape[0], shape[1]],
                affine: [
                    [1.0, 0.0, 0.0, 0.0],
                    [0.0, 1.0, 0.0, 0.0],
                    [0.0, 0.0, 1.0, 0.0],
                    [0.0, 0.0, 0.0, 1.0],
                ],
            }),
        },
        label: None,
        warnings: Vec::new(),
    };
    let slice = Slice {
        case: "case".into(),
        plane: Plane::Axial,
        index,
        tile: 0,
        tiles: [1, 1],
        box_zyx: [index, 0, 0, index + 1, shape[0], shape[1]],
    };
    let facts = measure::facts(&SliceImage {
        descriptor: &descriptor,
        record: &record,
        slice: &slice,
        pixels: &pixels,
    });
    (descriptor, facts)
}

/// Raw values, row by row.
fn picture(modality: Modality, shape: [usize; 2], random: &mut impl Rng) -> Vec<f32> {
    let (ground, body, values, radius, noise): (f32, f32, &[f32], _, f32) = match modality {
        Modality::Ct => (-1000.0, 50.0, &[-900.0, 400.0, -100.0, 200.0, 5.0], 0.02..0.12, 12.0),
        Modality::Mri => (0.0, 520.0, &[820.0, 220.0, 760.0, 300.0], 0.03..0.12, 40.0),
        Modality::Em => (170.0, 170.0, &[40.0, 60.0], 0.03..0.08, 22.0),
    };
    let outline = Blob {
        centre: [0.5, 0.5],
        radii: [random.random_range(0.35..0.49), random.random_range(0.35..0.49)],
        value: body,
    };
    let blobs: Vec<Blob> = (0..random.random_range(0..9))
        .map(|_| {
            let value = values[random.random_range(0..values.len())];
            Blob::random(random, radius.clone(), value)
        })
        .collect();
    let (cell, wall) = (random.random_range(14..40), random.random_range(2..4));
    let mut pixels = Vec::with_capacity(shape[0] * shape[1]);
    for row in 0..shape[0] {
        for column in 0..shape[1] {
            let (y, x) = (row as f32 / shape[0] as f32, column as f32 / shape[1] as f32);
            let mut value = if outline.holds(y, x) { outline.value } else { ground };
            if modality == Modality::Em && (row % cell < wall || (column + row / cell * 7) % cell < wall) {
                value = 70.0;
            }
            if let Some(blob) = blobs.iter().find(|blob| blob.holds(y, x)) {
                value = blob.value;
            }
            pixels.push(value + noise * (random.random::<f32>() - 0.5));
        }
    }
    pixels
}
