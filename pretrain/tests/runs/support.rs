//! Small shards with made-up text, and ways to run the stage on them.

use clap::Parser as _;
use data_manifests::phantom::{DESCRIPTOR, Kind, Size};
use data_manifests::records::{EMBEDDINGS, EmbeddingRow, ROWS};
use data_manifests::{Descriptor, Manifest, cases, verify};
use networks::weights;
use patches::ShardStore;
use serde_json::Value;
use stage::{Context, ExitStatus};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tch::Tensor;
use test_peers::Ended;

/// Features of the made-up text.
pub(crate) const FEATURES: usize = 6;

/// Phantoms, their shards and texts, and room for outputs; all temporary.
pub(crate) struct Study {
    directory: tempfile::TempDir,
}

impl Study {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// With the shards of one phantom in `ct`, `mri` or `em`.
    pub(crate) fn with(kinds: &[Kind]) -> Self {
        let study = Self::new();
        for kind in kinds {
            study.preprocess(*kind, |_| {});
        }
        study
    }

    /// Shards of a phantom; the descriptor may be changed before.
    pub(crate) fn preprocess(&self, kind: Kind, edit: impl FnOnce(&mut Descriptor)) -> PathBuf {
        let raw = self.path(&format!("raw-{}", name(kind)));
        fs_err::create_dir_all(&raw).unwrap();
        kind.write(Size::Small, 3, &raw).unwrap();
        let mut descriptor = kind.descriptor(Size::Small);
        edit(&mut descriptor);
        let dataset = raw.join(DESCRIPTOR);
        fs_err::write(&dataset, toml::to_string(&descriptor).unwrap()).unwrap();
        let (folder, out) = (raw.join(descriptor.raw.folder()), self.path(name(kind)));
        let words = ["preprocess", "--dataset", text(&dataset), "--raw", text(&folder), "--out", text(&out)];
        let arguments = preprocess::Arguments::parse_from(words);
        let status = preprocess::run(arguments, &Context::new("preprocess", true)).unwrap();
        assert_eq!(status, ExitStatus::Done);
        out
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    /// Text as 'text-synth embed' writes it: two slabs of each of the first cases, each a text of its own, its features
    /// drawn by `seed`.
    pub(crate) fn text(&self, kind: Kind, described: usize, seed: u64) -> PathBuf {
        let shards = ShardStore::open(&self.path(name(kind))).unwrap();
        let out = self.path(&format!("text-{}-{seed}", name(kind)));
        fs_err::create_dir_all(&out).unwrap();
        let mut rows = Vec::new();
        for id in shards.rows().iter().map(|row| &row.id).take(described) {
            let [z, y, x] = shards.case(id).unwrap().record().shape_zyx;
            for (half, (z0, z1)) in [(0, z / 2), (z / 2, z)].into_iter().enumerate() {
                let row = rows.len();
                rows.push(EmbeddingRow {
                    row,
                    id: format!("{id}:axial:{half}:0"),
                    dataset: shards.descriptor().name.clone(),
                    case: id.clone(),
                    z0,
                    y0: 0,
                    x0: 0,
                    z1,
                    y1: y,
                    x1: x,
                    group: row,
                    sha256: String::new(),
                });
            }
        }
        let values: Vec<f32> = (0..rows.len() * FEATURES)
            .map(|i| ((i as u64 * 2_654_435_761 + seed * 97) % 1000) as f32 / 500.0 - 1.0)
            .collect();
        let tensor = Tensor::from_slice(&values).view([rows.len() as i64, FEATURES as i64]);
        let tensors = BTreeMap::from([("embeddings".to_owned(), tensor)]);
        weights::save_tensors(&tensors, &out.join(EMBEDDINGS), &BTreeMap::new()).unwrap();
        fs_err::write(out.join(ROWS), cases::to_csv(&rows).unwrap()).unwrap();
        let inputs = vec![Manifest::as_input("shards", shards.directory(), &out).unwrap()];
        let mut manifest = Manifest::new("embed", "0", "text-synth", &seed, inputs).unwrap();
        manifest.datasets = vec![shards.descriptor().name.clone()];
        manifest.finish(&out, |_| "text").unwrap();
        out
    }

    /// `pretrain` of a compact resenc with small heads on these kinds' shards.
    pub(crate) fn pretrain(&self, kinds: &[Kind], texts: &[&Path], out: &str, more: &[&str]) -> Ended {
        ran(self.command(kinds, texts, out, more))
    }

    /// The command of [`Self::pretrain`].
    pub(crate) fn command(&self, kinds: &[Kind], texts: &[&Path], out: &str, more: &[&str]) -> Command {
        let out = self.path(out);
        let mut words: Vec<&str> = vec!["--out", text(&out), "--encoder", "resenc", "--lr", "1e-3"];
        words.extend(["--projection-hidden", "16", "--projection-out", "8"]);
        let shards: Vec<PathBuf> = kinds.iter().map(|kind| self.path(name(*kind))).collect();
        words.extend(shards.iter().flat_map(|shards| ["--shards", text(shards)]));
        words.extend(texts.iter().flat_map(|directory| ["--text", text(directory)]));
        words.extend(more);
        // phantoms have cases for testing
        if !more.contains(&"--test-cases") {
            words.extend(["--test-cases", "use"]);
        }
        command(&words)
    }

    /// Names of all files of a stage; every byte is as its manifest says.
    pub(crate) fn verified(&self, out: &str) -> Vec<String> {
        let out = self.path(out);
        assert_eq!(verify::verify(&out).unwrap(), Vec::<String>::new());
        data_manifests::digest::files_below(&out).unwrap()
    }

    /// The values of a name in a record, in its order.
    pub(crate) fn recorded(&self, out: &str, name: &str) -> Vec<f64> {
        let lines = fs_err::read_to_string(self.path(out).join("metrics.jsonl")).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter_map(|line| line[name].as_f64()).collect()
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Ct => "ct",
        Kind::Mri => "mri",
        Kind::Em => "em",
    }
}

pub(crate) fn run(words: &[&str]) -> Ended {
    ran(command(words))
}

pub(crate) fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pretrain"));
    // tests run side by side: one core each
    command.args(words).env("SLURM_CPUS_PER_TASK", "1").env("OMP_NUM_THREADS", "1");
    command
}

pub(crate) fn ran(mut command: Command) -> Ended {
    let Output { status, stderr, .. } = command.output().unwrap();
    Ended { code: status.code().unwrap(), text: String::from_utf8(stderr).unwrap() }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Changes the rows of a text, as if they had been embedded so.
pub(crate) fn reworded(directory: &Path, edit: impl Fn(&mut EmbeddingRow)) {
    let table = directory.join(ROWS);
    let mut rows: Vec<EmbeddingRow> = cases::from_csv(&table).unwrap();
    rows.iter_mut().for_each(edit);
    edited(directory, |_| fs_err::write(table, cases::to_csv(&rows).unwrap()).unwrap());
}

/// Changes a finished stage and its manifest, as if the stage had written both so.
pub(crate) fn edited(directory: &Path, edit: impl FnOnce(&mut Manifest)) {
    let mut manifest = Manifest::load_any(directory).unwrap();
    edit(&mut manifest);
    manifest.outputs.clear();
    fs_err::remove_file(directory.join("manifest.json")).unwrap();
    manifest.finish(directory, |_| "text").unwrap();
}
