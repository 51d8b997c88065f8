//! Raw data, predictions and models to score.

use clap::Parser;
use data_manifests::descriptor::{LabelKind, Modality};
use data_manifests::{Artefact, Manifest};
use evaluate::Arguments;
use evaluate::summary::SummaryFile;
use patches::{
    CaseRecord, ChannelRecord, LabelRecord, LabelType, LabelVoxels, Normalisation, SourceRecord, write_case,
};
use serde_json::{Value, json};
use stage::{Context, ExitStatus, Severity};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use volume::Grid;
use volume::nifti::{ImageType, write_image, write_labels};
use volume::prepare::Steps;

pub(crate) const SHAPE: [usize; 3] = [12, 14, 16];

pub(crate) fn grid() -> Grid {
    Grid::from_spacing(SHAPE, [2.0, 1.0, 1.0], [-5.0, 3.0, 8.0]).unwrap()
}

/// Class 1 in a box that begins at `x`, class 2 beside it.
pub(crate) fn labels(x: usize) -> Vec<u8> {
    (0..SHAPE.iter().product())
        .map(|i: usize| {
            let place = [i / (SHAPE[1] * SHAPE[2]), i / SHAPE[2] % SHAPE[1], i % SHAPE[2]];
            match place {
                [3..8, 4..9, c] if (x..x + 4).contains(&c) => 1,
                [3..8, 9..12, c] if (x..x + 4).contains(&c) => 2,
                _ => 0,
            }
        })
        .collect()
}

/// The same voxels at the same places, stored with x and z in each other's place and x to the left.
pub(crate) fn turned<T: Copy>(values: &[T], grid: &Grid) -> (Vec<T>, Grid) {
    let [nz, ny, nx] = grid.shape_zyx;
    let mut turned = *grid;
    turned.shape_zyx = [nx, ny, nz];
    for (row, stored) in turned.affine.iter_mut().zip(&grid.affine).take(3) {
        row[2] = -stored[0];
        row[3] = stored[3] + stored[0] * (nx - 1) as f64;
        row[0] = stored[2];
    }
    let mut moved = Vec::with_capacity(values.len());
    for x in 0..nx {
        for y in 0..ny {
            moved.extend((0..nz).map(|z| values[(z * ny + y) * nx + (nx - 1 - x)]));
        }
    }
    (moved, turned)
}

pub(crate) fn put_labels(path: &Path, labels: &[u8], grid: &Grid) {
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    let wide: Vec<u32> = labels.iter().map(|v| u32::from(*v)).collect();
    write_labels(path, &wide, grid).unwrap();
}

/// A case of shards with an empty image and, where given, labels.
pub(crate) fn put_shards(case: &Path, grid: &Grid, labels: Option<(LabelKind, LabelType, LabelVoxels<'_>)>) {
    let record = CaseRecord {
        schema: CaseRecord::SCHEMA.into(),
        id: "a".into(),
        subject: "a".into(),
        dataset: "made".into(),
        modality: Modality::Em,
        channels: vec![ChannelRecord {
            name: "EM".into(),
            normalisation: Normalisation { clip: None, subtract: 0.0, divide: 1.0, keep_zeros: false },
            minimum: 0.0,
            maximum: 0.0,
            moments: None,
        }],
        shape_zyx: grid.shape_zyx,
        spacing_zyx_mm: grid.spacing_zyx_mm(),
        affine: grid.affine,
        work: String::new(),
        source: SourceRecord {
            image: "$RAW/a".into(),
            image_sha256: String::new(),
            label: None,
            label_sha256: None,
            steps: Steps::identity(*grid),
        },
        label: labels.as_ref().map(|(kind, ..)| LabelRecord { kind: *kind, distinct: 2, voxels: Vec::new() }),
        warnings: Vec::new(),
    };
    fs_err::create_dir_all(case).unwrap();
    let image = vec![0.0; grid.shape_zyx.iter().product()];
    write_case(case, &record, &image, labels.map(|(_, kind, voxels)| (kind, voxels)), &[]).unwrap();
}

pub(crate) struct World {
    directory: TempDir,
}

impl World {
    /// Raw data of three cases, predictions of a "trained model" for them: perfect, one voxel off, class 2 missed.
    pub(crate) fn new() -> Self {
        let world = Self { directory: tempfile::tempdir().unwrap() };
        let mut training = Vec::new();
        for (id, shift) in [("a", 0), ("b", 1), ("c", 0)] {
            let image: Vec<f32> =
                labels(5).iter().enumerate().map(|(i, v)| f32::from(*v) * 40.0 + (i % 13) as f32).collect();
            let raw = world.path("raw");
            fs_err::create_dir_all(raw.join("imagesTr")).unwrap();
            write_image(raw.join(format!("imagesTr/{id}.nii.gz")), &image, 1, &grid(), ImageType::F32)
                .unwrap();
            put_labels(&raw.join(format!("labelsTr/{id}.nii.gz")), &labels(5), &grid());
            let mut guess = labels(5 + shift);
            if id == "c" {
                guess.iter_mut().filter(|v| **v == 2).for_each(|v| *v = 0);
            }
            put_labels(&world.path(&format!("predictions/{id}.nii.gz")), &guess, &grid());
            training.push(json!({"image": format!("./imagesTr/{id}.nii.gz"), "label": format!("./labelsTr/{id}.nii.gz")}));
        }
        let dataset = json!({"modality": {"0": "MRI"}, "training": training, "test": []});
        fs_err::write(world.path("raw/dataset.json"), dataset.to_string()).unwrap();
        world
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join(inside)
    }

    /// Turns the predictions into a finished stage, with a model and its training record behind it.
    pub(crate) fn seal(&self) {
        let settings = json!({"model": {"network": {"kind": "resenc"}}, "fraction": 0.1, "seed": 3});
        self.seal_as("model", "predictions", "encoder", &settings);
    }

    /// Scores the predictions as those of a model of its own, trained with these settings from this encoder, in the folder `name`.
    pub(crate) fn trained(&self, name: &str, encoder: &str, settings: &Value, extra: &[&str]) -> String {
        let [model, predictions, out] =
            ["model", "predictions", "scores"].map(|part| format!("{name}/{part}"));
        fs_err::create_dir_all(self.path(&predictions)).unwrap();
        for id in ["a", "b", "c"] {
            let file = format!("{id}.nii.gz");
            fs_err::copy(
                self.path(&format!("predictions/{file}")),
                self.path(&format!("{predictions}/{file}")),
            )
            .unwrap();
        }
        self.seal_as(&model, &predictions, encoder, settings);
        let [raw, predictions, out] = ["raw", &predictions, &out].map(|p| self.path(p).display().to_string());
        let words = ["score", "--references", &raw, "--predictions", &predictions, "--out", &out];
        let words = [&words[..], &["--dataset", "msd04-hippocampus"], extra].concat();
        assert_eq!(run(&words).0.unwrap(), ExitStatus::Done);
        out
    }

    fn seal_as(&self, model: &str, predictions: &str, encoder: &str, settings: &Value) {
        let model = self.path(model);
        fs_err::create_dir_all(&model).unwrap();
        let mut record = String::new();
        for step in 1..=20 {
            record.push_str(&format!(
                "{{\"step\":{step},\"kind\":\"step\",\"loss\":{},\"lr\":0.1}}\n",
                2.0 / f64::from(step)
            ));
        }
        record.push_str("{\"step\":20,\"kind\":\"validation\",\"dice\":0.7}\n");
        fs_err::write(model.join("metrics.jsonl"), record).unwrap();
        // the encoder is listed as a file of its stage
        let weights = encoder;
        let encoder = self.path(encoder);
        fs_err::create_dir_all(&encoder).unwrap();
        fs_err::write(encoder.join("encoder.safetensors"), weights).unwrap();
        fs_err::write(
            encoder.join("metrics.jsonl"),
            "{\"step\":1,\"kind\":\"step\",\"loss\":3.0,\"vlp_1\":2.0}\n",
        )
        .unwrap();
        let pretrain = Manifest::new("pretrain", "0.1.0", "pretrain", &json!({}), Vec::new()).unwrap();
        pretrain.finish(&encoder, |_| "encoder").unwrap();
        let weights =
            vec![Artefact::of_file("encoder", &encoder.join("encoder.safetensors"), &model).unwrap()];
        let train = Manifest::new("train", "0.1.0", "finetune", settings, weights).unwrap();
        train.finish(&model, |_| "record").unwrap();
        let predictions = self.path(predictions);
        let mut table = "id,split,file,image,label\n".to_owned();
        for id in ["a", "b", "c"].into_iter().filter(|id| predictions.join(format!("{id}.nii.gz")).is_file())
        {
            table.push_str(&format!(
                "{id},val,{id}.nii.gz,$RAW/imagesTr/{id}.nii.gz,$RAW/labelsTr/{id}.nii.gz\n"
            ));
        }
        table.push_str("t,test,t.nii.gz,$RAW/imagesTs/t.nii.gz,\n");
        fs_err::write(predictions.join("predictions.csv"), table).unwrap();
        let inputs = vec![Artefact::of_file("model", &model.join("manifest.json"), &predictions).unwrap()];
        let cases = json!({"cases": [["a", "val"], ["b", "val"], ["c", "val"], ["t", "test"]]});
        let predict = Manifest::new("predict", "0.1.0", "finetune", &cases, inputs).unwrap();
        predict.finish(&predictions, |_| "prediction").unwrap();
    }

    pub(crate) fn score(&self, extra: &[&str]) -> (anyhow::Result<ExitStatus>, Context) {
        let [raw, predictions, out] =
            ["raw", "predictions", "scores"].map(|p| self.path(p).display().to_string());
        let mut words = vec!["score", "--references", &raw, "--predictions", &predictions];
        words.extend(["--dataset", "msd04-hippocampus", "--out", &out]);
        words.extend(extra);
        run(&words)
    }

    pub(crate) fn summary(&self) -> SummaryFile {
        serde_json::from_slice(&fs_err::read(self.path("scores/summary.json")).unwrap()).unwrap()
    }

    /// What a message says, without the temporary directory's name.
    pub(crate) fn portable(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "DIR")
    }
}

pub(crate) fn run(words: &[&str]) -> (anyhow::Result<ExitStatus>, Context) {
    let arguments = Arguments::try_parse_from(["evaluate"].iter().chain(words)).unwrap();
    let context = Context::new("evaluate", true);
    (evaluate::run(arguments, &context), context)
}

pub(crate) fn errors(context: &Context) -> Vec<String> {
    context.messages().iter().filter(|m| m.severity == Severity::Error).map(ToString::to_string).collect()
}
