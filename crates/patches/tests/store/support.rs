//! Cases to write.

use data_manifests::descriptor::{LabelKind, Modality};
use patches::{CaseRecord, ChannelRecord, LabelRecord, Normalisation, SourceRecord};

/// A labelled case of one-millimetre voxels at the world's origin.
pub(crate) fn record(channels: usize, shape_zyx: [usize; 3]) -> CaseRecord {
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let normalisation = |keep_zeros| Normalisation { clip: None, subtract: 1.0, divide: 2.0, keep_zeros };
    CaseRecord {
        schema: CaseRecord::SCHEMA.into(),
        id: "case".into(),
        subject: "case".into(),
        dataset: "test".into(),
        modality: Modality::Mri,
        channels: (0..channels)
            .map(|c| ChannelRecord {
                name: format!("c{c}"),
                normalisation: normalisation(c == ZEROS),
                minimum: -(c as f32) - 1.0,
                maximum: 1e6,
                moments: None,
            })
            .collect(),
        shape_zyx,
        spacing_zyx_mm: [1.0; 3],
        affine,
        work: String::new(),
        source: SourceRecord {
            image: "$RAW/a.nii.gz".into(),
            image_sha256: String::new(),
            label: None,
            label_sha256: None,
            steps: volume::prepare::Steps::identity(volume::Grid { shape_zyx, affine }),
        },
        label: Some(LabelRecord { kind: LabelKind::Semantic, distinct: 2, voxels: Vec::new() }),
        warnings: Vec::new(),
    }
}

/// The channel whose background is 0.
const ZEROS: usize = 1;

/// What a channel has outside the volume.
pub(crate) fn outside(channel: usize) -> f32 {
    if channel == ZEROS { 0.0 } else { -(channel as f32) - 1.0 }
}

/// Voxels `[channel, z, y, x]`, no two alike.
pub(crate) fn image(channels: usize, shape: [usize; 3]) -> Vec<f32> {
    (0..channels * shape.iter().product::<usize>()).map(|i| (i as f32 * 0.37).sin() * i as f32).collect()
}

/// The box of a volume.
pub(crate) fn cut<T: Copy>(values: &[T], shape: [usize; 3], lo: [usize; 3], part: [usize; 3]) -> Vec<T> {
    let mut out = Vec::new();
    for z in lo[0]..lo[0] + part[0] {
        for y in lo[1]..lo[1] + part[1] {
            let row = (z * shape[1] + y) * shape[2] + lo[2];
            out.extend_from_slice(&values[row..row + part[2]]);
        }
    }
    out
}
