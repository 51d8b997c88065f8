//! Small data sets in real layouts, and ways to run the stage on them.

use clap::Parser;
use data_manifests::Descriptor;
use data_manifests::descriptor::{Intensity, Labels, Modality};
use preprocess::Arguments;
use serde_json::{Value, json};
use stage::{Context, ExitStatus, Message, Severity};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use volume::Grid;
use volume::nifti::{self, ImageType};

/// A part of the shared data, or a line that says that it is absent.
pub(crate) fn shared(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("GTGM_SHARED")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into(), PathBuf::from);
    let path = root.join("data").join(part);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent (set GTGM_SHARED)", path.display());
    None
}

/// A Decathlon task folder, its descriptor and an output directory, all temporary.
pub(crate) struct Task {
    directory: tempfile::TempDir,
    training: Vec<Value>,
    test: Vec<Value>,
}

impl Task {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for folder in ["imagesTr", "labelsTr", "imagesTs"] {
            fs_err::create_dir_all(directory.path().join("raw").join(folder)).unwrap();
        }
        let task = Self { directory, training: Vec::new(), test: Vec::new() };
        task.describe(|_| {});
        task.list();
        task
    }

    pub(crate) fn raw(&self) -> PathBuf {
        self.directory.path().join("raw")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.directory.path().join("shards")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the descriptor: a CT with classes 1 and 2, 1 mm, window -1000…3000, unless `edit` says otherwise.
    pub(crate) fn describe(&self, edit: impl FnOnce(&mut Descriptor)) {
        let mut descriptor = Descriptor::find("msd04-hippocampus").unwrap();
        descriptor.name = "test".into();
        (descriptor.train_cases, descriptor.test_cases) = (None, None);
        descriptor.modality = Modality::Ct;
        descriptor.intensity = Intensity::CtWindow { low: -1000.0, high: 3000.0 }.into();
        edit(&mut descriptor);
        fs_err::write(self.file("dataset.toml"), toml::to_string(&descriptor).unwrap()).unwrap();
    }

    /// Lists a pair of files, there or not.
    pub(crate) fn pair(&mut self, id: &str) -> (PathBuf, PathBuf) {
        let paths = self.unlisted_pair(id);
        self.list();
        paths
    }

    fn unlisted_pair(&mut self, id: &str) -> (PathBuf, PathBuf) {
        let [image, label] = [format!("imagesTr/{id}.nii.gz"), format!("labelsTr/{id}.nii.gz")];
        self.training.push(json!({"image": format!("./{image}"), "label": format!("./{label}")}));
        (self.raw().join(image), self.raw().join(label))
    }

    /// Lists a test image, there or not.
    pub(crate) fn test_file(&mut self, name: &str) -> PathBuf {
        let path = format!("imagesTs/{name}");
        self.test.push(json!(format!("./{path}")));
        self.list();
        self.raw().join(path)
    }

    pub(crate) fn case(&mut self, id: &str, grid: &Grid, channels: usize, image: &[f32], labels: &[u32]) {
        let (image_path, label_path) = self.pair(id);
        nifti::write_image(image_path, image, channels, grid, ImageType::F32).unwrap();
        nifti::write_labels(label_path, labels, grid).unwrap();
    }

    pub(crate) fn test_image(&mut self, id: &str, grid: &Grid, channels: usize, image: &[f32]) {
        let path = self.test_file(&format!("{id}.nii.gz"));
        nifti::write_image(path, image, channels, grid, ImageType::F32).unwrap();
    }

    /// Cases of noise with both classes, named `c00`, `c01`, …
    pub(crate) fn noise(count: usize, shape_zyx: [usize; 3]) -> Self {
        Self::made(count, shape_zyx, noise)
    }

    /// Cases that `make` fills from a seed and the shape, named `c00`, `c01`, …
    pub(crate) fn made(
        count: usize,
        shape_zyx: [usize; 3],
        make: impl Fn(u64, [usize; 3]) -> (Vec<f32>, Vec<u32>),
    ) -> Self {
        let mut task = Self::new();
        let grid = Grid::from_spacing(shape_zyx, [1.0; 3], [0.0; 3]).unwrap();
        for i in 0..count {
            let (image, labels) = make(i as u64, shape_zyx);
            let (image_path, label_path) = task.unlisted_pair(&format!("c{i:02}"));
            nifti::write_image(image_path, &image, 1, &grid, ImageType::F32).unwrap();
            nifti::write_labels(label_path, &labels, &grid).unwrap();
        }
        // once: thousands of cases would write this list thousands of times
        task.list();
        task
    }

    fn list(&self) {
        let json =
            json!({"name": "Test", "modality": {"0": "CT"}, "training": self.training, "test": self.test});
        fs_err::write(self.raw().join("dataset.json"), json.to_string()).unwrap();
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut words = vec!["preprocess".to_owned()];
        let own = [("--dataset", self.file("dataset.toml")), ("--raw", self.raw()), ("--out", self.out())];
        for (flag, path) in own.into_iter().filter(|(flag, _)| !more.contains(flag)) {
            words.extend([flag.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    /// Runs in this process.
    pub(crate) fn run(&self, more: &[&str]) -> (anyhow::Result<ExitStatus>, Vec<Message>) {
        let context = Context::new("preprocess", true);
        let status = preprocess::run(Arguments::parse_from(self.arguments(more)), &context);
        (status, context.messages())
    }

    /// Runs and expects success without a warning.
    pub(crate) fn run_cleanly(&self, more: &[&str]) {
        let (status, messages) = self.run(more);
        assert_eq!((status.unwrap(), said(&flaws(messages))), (ExitStatus::Done, String::new()));
    }

    /// Runs another command of the program as a process; exit code, standard output and standard error.
    pub(crate) fn ask(&self, words: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_preprocess"));
        let Output { status, stdout, stderr } =
            command.current_dir(self.directory.path()).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub(crate) fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_preprocess"));
        command.args(self.arguments(more).into_iter().skip(1));
        command
    }

    /// Runs as a process; exit code and standard error.
    pub(crate) fn process(&self, more: &[&str]) -> (i32, String) {
        let Output { status, stderr, .. } = self.command(more).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stderr).unwrap())
    }

    pub(crate) fn report(&self) -> Value {
        serde_json::from_slice(&fs_err::read(self.out().join("report.json")).unwrap()).unwrap()
    }

    /// Converted, kept and failed cases by the run's report.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let report = self.report();
        ["converted", "kept", "failed"].map(|name| report["counts"][name].as_u64().unwrap())
    }

    /// Every file below the output but the run's report, which holds times.
    pub(crate) fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        tree(&self.out())
    }

    pub(crate) fn open(&self, id: &str) -> patches::Case {
        patches::Case::open(&patches::ShardStore::case_directory(&self.out(), id)).unwrap()
    }
}

/// Seeded noise inside a border of air, and labels 1 and 2 in the noise.
pub(crate) fn noise(seed: u64, shape_zyx: [usize; 3]) -> (Vec<f32>, Vec<u32>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut voxels = Vec::new();
    for z in 0..shape_zyx[0] {
        for y in 0..shape_zyx[1] {
            for x in 0..shape_zyx[2] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let border = [z, y, x].iter().zip(&shape_zyx).any(|(v, n)| *v < 2 || *v + 2 >= *n);
                let value = if border { -1000.0 } else { (state >> 52) as f32 - 900.0 };
                voxels.push((value, if border { 0 } else { (state >> 40) as u32 % 3 }));
            }
        }
    }
    voxels.into_iter().unzip()
}

/// Every file below an output directory but the run's report, which holds times.
pub(crate) fn tree(out: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = data_manifests::digest::files_below(out).unwrap();
    files
        .into_iter()
        .filter(|file| file != "report.json")
        .map(|file| {
            let bytes = fs_err::read(out.join(&file)).unwrap();
            (file, bytes)
        })
        .collect()
}

/// Without what is only worth knowing.
pub(crate) fn flaws(messages: Vec<Message>) -> Vec<Message> {
    messages.into_iter().filter(|message| message.severity != Severity::Info).collect()
}

/// Messages, one a line.
pub(crate) fn said(messages: &[Message]) -> String {
    messages.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Semantic labels of these classes.
pub(crate) fn classes(labels: &mut Option<Labels>, names: &[&str]) {
    labels.as_mut().unwrap().classes = names.iter().map(|name| (*name).to_owned()).collect();
}
