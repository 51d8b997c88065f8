//! A volume like a preprocessed CT: air clipped to one value, organs, noise, resampled and normalised.

use anyhow::Result;
use data_manifests::descriptor::{LabelKind, Modality};
use patches::{
    CaseRecord, CaseWriter, ChannelRecord, Error, LabelRecord, LabelType, Layout, Normalisation, SourceRecord,
};
use std::path::Path;

/// Edge of the lattice of organs, in voxels.
const ORGAN: f32 = 48.0;

/// A made volume and its labels.
pub(crate) struct Made {
    shape: [usize; 3],
    image: Vec<f32>,
    labels: Vec<u8>,
}

impl Made {
    pub(crate) fn new(shape: [usize; 3]) -> Self {
        let count = shape.iter().product();
        let (mut image, mut labels) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for z in 0..shape[0] {
            for y in 0..shape[1] {
                for x in 0..shape[2] {
                    let at = [z, y, x];
                    // an ellipse of body in every section, as in a CT
                    let off: f32 = (1..3)
                        .map(|a| ((at[a] as f32 + 0.5) / shape[a] as f32 * 2.0 - 1.0) / 0.85)
                        .map(|v| v * v)
                        .sum();
                    let organ = smooth(at.map(|v| v as f32 / ORGAN), 1);
                    let inside = off < 1.0;
                    labels.push(if inside { ((organ - 0.35) * 12.0).clamp(0.0, 5.0) as u8 } else { 0 });
                    image.push(if inside { value(at, organ) } else { -1.9 });
                }
            }
        }
        Self { shape, image, labels }
    }

    pub(crate) fn voxels(&self) -> usize {
        self.image.len()
    }

    /// Writes it into an empty directory.
    pub(crate) fn write(&self, directory: &Path, layout: Layout) -> Result<()> {
        let mut writer = CaseWriter::create(directory)?.with_layout(layout);
        let shape = self.shape;
        writer.image(1, shape, |_, lo, part| Ok::<_, Error>(cut(&self.image, shape, lo, part)))?;
        writer.label(LabelType::U8, shape, |lo, part| Ok::<_, Error>(cut(&self.labels, shape, lo, part)))?;
        writer.finish(&self.record())?;
        Ok(())
    }

    fn record(&self) -> CaseRecord {
        let shape = self.shape;
        let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
        CaseRecord {
            schema: CaseRecord::SCHEMA.into(),
            id: "made".into(),
            subject: "made".into(),
            dataset: "made".into(),
            modality: Modality::Ct,
            channels: vec![ChannelRecord {
                name: "CT".into(),
                normalisation: Normalisation { clip: None, subtract: 0.0, divide: 1.0, keep_zeros: false },
                minimum: -1.9,
                maximum: 4.0,
                moments: None,
            }],
            shape_zyx: shape,
            spacing_zyx_mm: [1.0; 3],
            affine,
            work: String::new(),
            source: SourceRecord {
                image: "$RAW/made".into(),
                image_sha256: String::new(),
                label: None,
                label_sha256: None,
                steps: ::volume::prepare::Steps::identity(::volume::Grid { shape_zyx: shape, affine }),
            },
            label: Some(LabelRecord { kind: LabelKind::Semantic, distinct: 5, voxels: Vec::new() }),
            warnings: Vec::new(),
        }
    }
}

/// Whole Hounsfield units with noise, then what trilinear resampling by a third of a voxel and a z-score make of them.
fn value(at: [usize; 3], organ: f32) -> f32 {
    let unit = |x: usize| {
        let noise = (0..3).map(|i| uniform([at[0], at[1], x], 7 + i)).sum::<f32>() - 1.5;
        ((organ - 0.5) * 300.0 + noise * 40.0).round()
    };
    (unit(at[2]) * 0.67 + unit(at[2] + 1) * 0.33 - 18.4) / 161.7
}

/// A number in 0..1 that depends on a place alone.
fn uniform(at: [usize; 3], seed: u64) -> f32 {
    let mut v = (at[0] as u64) << 40 ^ (at[1] as u64) << 20 ^ at[2] as u64 ^ seed << 60;
    v = (v ^ (v >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    v = (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((v ^ (v >> 31)) >> 40) as f32 / (1u64 << 24) as f32
}

/// Trilinear interpolation of uniform numbers on a lattice.
fn smooth(at: [f32; 3], seed: u64) -> f32 {
    let cell = at.map(|v| v as usize);
    let t: [f32; 3] = std::array::from_fn(|a| at[a] - cell[a] as f32);
    let mut sum = 0.0;
    for corner in 0..8 {
        let bit = |a: usize| corner >> a & 1;
        let weight: f32 = (0..3).map(|a| if bit(a) == 1 { t[a] } else { 1.0 - t[a] }).product();
        sum += weight * uniform(std::array::from_fn(|a| cell[a] + bit(a)), seed);
    }
    sum
}

fn cut<T: Copy>(values: &[T], shape: [usize; 3], lo: [usize; 3], part: [usize; 3]) -> Vec<T> {
    let mut out = Vec::with_capacity(part.iter().product());
    for z in lo[0]..lo[0] + part[0] {
        for y in lo[1]..lo[1] + part[1] {
            let row = (z * shape[1] + y) * shape[2] + lo[2];
            out.extend_from_slice(&values[row..row + part[2]]);
        }
    }
    out
}
