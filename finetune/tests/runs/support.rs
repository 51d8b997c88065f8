//! Small data sets as raw folders and shards, and ways to run the stage on them.

use clap::Parser as _;
use data_manifests::descriptor::{LabelKind, PartRole, Raw, SectionPart};
use data_manifests::phantom::{DESCRIPTOR, Kind, Size};
use data_manifests::{Descriptor, cases, verify};
use networks::{Encoder, EncoderConfig, ResEncConfig, ResEncSize, weights};
use serde_json::Value;
use stage::{Context, ExitStatus};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::{Device, nn};
use test_peers::Ended;
use volume::hdf5::CremiFile;
use volume::nifti;
use volume::scan;

/// A phantom's raw folder, its shards, and room for outputs; all temporary.
pub(crate) struct Study {
    directory: tempfile::TempDir,
    descriptor: Descriptor,
}

impl Study {
    pub(crate) fn new(kind: Kind) -> Self {
        Self::edited(kind, |_, _| {})
    }

    /// With the descriptor and the raw folder changed before preprocessing.
    pub(crate) fn edited(kind: Kind, edit: impl FnOnce(&mut Descriptor, &Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        kind.write(Size::Small, 7, directory.path()).unwrap();
        let mut descriptor = kind.descriptor(Size::Small);
        let raw = directory.path().join(descriptor.raw.folder());
        edit(&mut descriptor, &raw);
        fs_err::write(directory.path().join(DESCRIPTOR), toml::to_string(&descriptor).unwrap()).unwrap();
        let study = Self { directory, descriptor };
        let [dataset, raw, out] = [study.path(DESCRIPTOR), study.raw(), study.shards()];
        let words = ["preprocess", "--dataset", text(&dataset), "--raw", text(&raw), "--out", text(&out)];
        let arguments = preprocess::Arguments::parse_from(words);
        let status = preprocess::run(arguments, &Context::new("preprocess", true)).unwrap();
        assert_eq!(status, ExitStatus::Done);
        study
    }

    /// EM whose neurons are objects: one stack, of which all sections but the last three are trained on.
    pub(crate) fn neurons() -> Self {
        Self::edited(Kind::Em, |descriptor, raw| {
            let Raw::Cremi { files, parts, .. } = &mut descriptor.raw else { panic!("another layout") };
            files.truncate(1);
            let depth = CremiFile::open(raw.join(&files[0])).unwrap().raw().shape_zyx[0];
            let part = |name: &str, sections, role| SectionPart { name: name.to_owned(), sections, role };
            *parts = vec![
                part("train", [0, depth - 3], PartRole::Train),
                part("val", [depth - 3, depth], PartRole::Val),
            ];
            descriptor.train_cases = Some(1);
            let labels = descriptor.labels.as_mut().unwrap();
            labels.kind = LabelKind::Instances;
            labels.classes.clear();
            let Raw::Cremi { labels, .. } = &mut descriptor.raw else { panic!("another layout") };
            *labels = Some("neuron_ids".to_owned());
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn raw(&self) -> PathBuf {
        self.path(self.descriptor.raw.folder())
    }

    pub(crate) fn shards(&self) -> PathBuf {
        self.path("shards")
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs_err::read(self.path(name)).unwrap()).unwrap()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    /// `finetune train` of a compact resenc into a folder of the study.
    pub(crate) fn train(&self, out: &str, steps: u64, more: &[&str]) -> Ended {
        let steps = steps.to_string();
        ran(self.train_command(out, &[&["--steps", &steps], more].concat()))
    }

    /// The command of [`Self::train`]; `more` says how long.
    pub(crate) fn train_command(&self, out: &str, more: &[&str]) -> Command {
        self.train_network("resenc", out, more)
    }

    pub(crate) fn train_network(&self, network: &str, out: &str, more: &[&str]) -> Command {
        let (shards, out) = (self.shards(), self.path(out));
        let words = ["train", "--shards", text(&shards), "--out", text(&out), "--network", network];
        command(&[&words[..], more].concat())
    }

    /// A model after two steps from scratch, in `model`.
    pub(crate) fn model(&self) {
        self.train("model", 2, &["--from-scratch", "--validate-every", "0"]).expect(0);
    }

    pub(crate) fn predict(&self, out: &str, inputs: &[&Path], more: &[&str]) -> Ended {
        run(&self.predict_words(out, inputs, more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub(crate) fn predict_words(&self, out: &str, inputs: &[&Path], more: &[&str]) -> Vec<String> {
        let (model, out) = (self.path("model"), self.path(out));
        let mut words = vec!["predict", "--model", text(&model), "--out", text(&out), "--overlap", "0.25"];
        words.extend(inputs.iter().flat_map(|input| ["--input", text(input)]));
        words.extend(more);
        words.into_iter().map(str::to_owned).collect()
    }

    /// Rows of a prediction table by id: split, file, image, label.
    pub(crate) fn table(&self, out: &str) -> BTreeMap<String, [String; 4]> {
        #[derive(serde::Deserialize)]
        struct Row {
            id: String,
            split: String,
            file: String,
            image: String,
            label: String,
        }
        let rows: Vec<Row> = cases::from_csv(&self.path(out).join("predictions.csv")).unwrap();
        rows.into_iter().map(|r| (r.id, [r.split, r.file, r.image, r.label])).collect()
    }

    /// Names of all files of a stage; every byte is as its manifest says.
    pub(crate) fn verified(&self, out: &str) -> Vec<String> {
        let out = self.path(out);
        assert_eq!(verify::verify(&out).unwrap(), Vec::<String>::new());
        data_manifests::digest::files_below(&out).unwrap()
    }

    /// A resenc encoder of one channel as 'pretrain' would write it, with random weights; its file.
    pub(crate) fn encoder(&self) -> PathBuf {
        let patch = self.descriptor.grid.patch_zyx.map(|n| n as i64);
        let spacing = self.descriptor.spacing_zyx_mm();
        let topology = ResEncConfig::for_patch(patch, spacing, ResEncSize::Compact).unwrap();
        self.encoder_of(&EncoderConfig::Resenc { in_channels: 1, topology })
    }

    /// Any encoder as 'pretrain' would write it, with random weights; its file.
    pub(crate) fn encoder_of(&self, config: &EncoderConfig) -> PathBuf {
        let store = nn::VarStore::new(Device::Cpu);
        let _encoder = Encoder::new(&store.root(), config, 5).unwrap();
        let path = self.path("encoder.safetensors");
        weights::save(&store, &path, &plan_of(config)).unwrap();
        path
    }
}

/// The metadata of an encoder's file.
pub(crate) fn plan_of(config: &EncoderConfig) -> BTreeMap<String, String> {
    BTreeMap::from([("plan".to_owned(), serde_json::json!({ "encoder": config }).to_string())])
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetune"));
    // tests run side by side: one core each
    command.args(words).env("SLURM_CPUS_PER_TASK", "1").env("OMP_NUM_THREADS", "1");
    command
}

pub(crate) fn run(words: &[&str]) -> Ended {
    ran(command(words))
}

pub(crate) fn ran(mut command: Command) -> Ended {
    let Output { status, stderr, .. } = command.output().unwrap();
    Ended { code: status.code().unwrap(), text: String::from_utf8(stderr).unwrap() }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The values of a name in a record, in its order.
pub(crate) fn recorded(metrics: &Path, kind: &str, name: &str) -> Vec<f64> {
    let lines = fs_err::read_to_string(metrics).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["kind"] == kind).filter_map(|line| line[name].as_f64()).collect()
}

/// Replaces a label value in the label files of a raw MSD folder, but in those of the first `kept` cases.
pub(crate) fn replace_label(raw: &Path, kept: usize, from: u32, to: u32) {
    let mut files: Vec<PathBuf> =
        fs_err::read_dir(raw.join("labelsTr")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for file in files.into_iter().skip(kept) {
        let mut labels = scan::read_labels(&file).unwrap().data;
        labels.iter_mut().filter(|value| **value == from).for_each(|value| *value = to);
        let changed = file.with_file_name("changed.nii.gz");
        nifti::write_labels_like(&changed, &labels, &file).unwrap();
        fs_err::rename(changed, file).unwrap();
    }
}
