//! A folder in the layout of the Medical Segmentation Decathlon.

use super::Sizes;
use rayon::prelude::*;
use serde_json::json;
use std::path::Path;
use volume::nifti::{ImageType, write_image, write_labels};

/// What `dataset.json` says.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) folder: &'static str,
    pub(super) prefix: &'static str,
    pub(super) description: &'static str,
    pub(super) modality: &'static [&'static str],
    pub(super) labels: &'static [&'static str],
}

/// One case: image `[c, z, y, x]` and label `[z, y, x]` in C order.
#[derive(Debug)]
pub(super) struct Volume {
    pub(super) grid: volume::Grid,
    pub(super) channels: usize,
    pub(super) image: Vec<f32>,
    pub(super) label: Vec<u8>,
}

/// Writes `train` labelled and `test` unlabelled cases and `dataset.json` into `folder`.
pub(super) fn write(
    task: &Task,
    sizes: &Sizes,
    folder: &Path,
    make: impl Fn(usize) -> anyhow::Result<Volume> + Sync,
) -> anyhow::Result<()> {
    let names: Vec<String> =
        (0..sizes.train + sizes.test).map(|i| format!("{}_{:03}", task.prefix, i + 1)).collect();
    for inner in ["imagesTr", "labelsTr", "imagesTs"] {
        fs_err::create_dir_all(folder.join(inner))?;
    }
    names.par_iter().enumerate().try_for_each(|(case, name)| -> anyhow::Result<()> {
        let made = make(case)?;
        let labelled = case < sizes.train;
        let images = folder.join(if labelled { "imagesTr" } else { "imagesTs" });
        let file = format!("{name}.nii.gz");
        write_image(images.join(&file), &made.image, made.channels, &made.grid, ImageType::I16)?;
        if labelled {
            write_labels(folder.join("labelsTr").join(&file), &made.label, &made.grid)?;
        }
        Ok(())
    })?;
    let (train, test) = names.split_at(sizes.train);
    let numbered = |items: &[&str]| {
        items.iter().enumerate().map(|(i, v)| (i.to_string(), json!(v))).collect::<serde_json::Map<_, _>>()
    };
    let json = json!({
        "name": task.folder,
        "description": task.description,
        "reference": "data-manifests phantom",
        "licence": "CC0-1.0",
        "release": "1.0",
        "tensorImageSize": if task.modality.len() > 1 { "4D" } else { "3D" },
        "modality": numbered(task.modality),
        "labels": numbered(task.labels),
        "numTraining": train.len(),
        "numTest": test.len(),
        "training": train
            .iter()
            .map(|n| json!({"image": format!("./imagesTr/{n}.nii.gz"), "label": format!("./labelsTr/{n}.nii.gz")}))
            .collect::<Vec<_>>(),
        "test": test.iter().map(|n| format!("./imagesTs/{n}.nii.gz")).collect::<Vec<_>>(),
    });
    let mut text = stage::sealed::canonical(&json);
    text.push('\n');
    Ok(stage::atomic::write(&folder.join("dataset.json"), text.as_bytes())?)
}
