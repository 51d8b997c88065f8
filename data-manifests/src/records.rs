//! The records of the text stage, one JSON object a line, and the table of embedding rows.

use anyhow::Context;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// File of [`Caption`] lines in a caption directory.
pub const CAPTIONS: &str = "captions.jsonl";
/// File of [`Report`] lines in a report directory.
pub const REPORTS: &str = "reports.jsonl";
/// File of [`VolumeReport`] lines in a report directory.
pub const VOLUMES: &str = "volumes.jsonl";
/// File of embeddings in a text directory: tensor `embeddings`, float32 `[rows, features]`.
pub const EMBEDDINGS: &str = "embeddings.safetensors";
/// File of [`EmbeddingRow`] rows in a text directory, in the order of the tensor's rows.
pub const ROWS: &str = "rows.csv";

/// Anatomical or section plane of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Constant z.
    Axial,
    /// Constant y.
    Coronal,
    /// Constant x.
    Sagittal,
}

/// A caption of one slice or tile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Caption {
    /// Unique: `CASE:PLANE:INDEX:TILE`.
    pub id: String,
    /// Case in the shards.
    pub case: String,
    /// Data set.
    pub dataset: String,
    /// Plane.
    pub plane: Plane,
    /// Slice number along the plane's axis, in voxels of the shards.
    pub index: usize,
    /// Half-open box in voxels of the shards: z0, y0, x0, z1, y1, x1.
    pub box_zyx: [usize; 6],
    /// The caption.
    pub caption: String,
    /// Name and version of the captioner.
    pub captioner: String,
    /// Measured facts, each a number or a word with its name.
    pub facts: BTreeMap<String, Value>,
}

/// A report: the text that is embedded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Id of the caption.
    pub id: String,
    /// Case in the shards.
    pub case: String,
    /// Data set.
    pub dataset: String,
    /// Plane.
    pub plane: Plane,
    /// Slice number.
    pub index: usize,
    /// As in [`Caption`].
    pub box_zyx: [usize; 6],
    /// The report.
    pub text: String,
    /// Name and version of the writer.
    pub writer: String,
    /// Language model, for the `api` writer.
    pub model: Option<String>,
    /// SHA-256 of everything that decided the text: caption, prompt, model, parameters.
    pub request: String,
    /// The sentences of `text`, each with what was found when it was checked.
    pub sentences: Vec<Sentence>,
}

/// What the reports of one case say together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeReport {
    /// Case in the shards.
    pub case: String,
    /// Data set.
    pub dataset: String,
    /// The report.
    pub text: String,
    /// As in [`Report`].
    pub writer: String,
    /// As in [`Report`].
    pub model: Option<String>,
    /// As in [`Report`].
    pub request: String,
    /// As in [`Report`].
    pub sentences: Vec<Sentence>,
    /// Ids of the slice reports that it sums up.
    pub slices: Vec<String>,
    /// Facts of the slices, summed up.
    pub facts: BTreeMap<String, Value>,
}

/// A sentence of a report and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sentence {
    /// The sentence.
    pub text: String,
    /// How it compares with the measured facts, the descriptor and the vocabulary.
    pub verdict: Verdict,
    /// Names of the facts and terms that bear it: `fact:level_mm`, `descriptor:anatomy`, `term:liver`.
    pub sources: Vec<String>,
    /// Why it is not supported; empty when it is.
    pub reasons: Vec<String>,
    /// Who wrote it.
    pub origin: Origin,
    /// The sentence in whose place it stands, with the reasons against that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaced>,
}

/// A sentence that was taken out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replaced {
    /// The sentence.
    pub text: String,
    /// What contradicts it.
    pub reasons: Vec<String>,
}

/// How a sentence compares with what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that it states was measured or is declared.
    Supported,
    /// It states something that nothing bears and nothing contradicts.
    Unsupported,
    /// It states something that the facts, the descriptor or the vocabulary exclude.
    Contradicted,
}

/// Who wrote a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The writer, at first.
    Writer,
    /// The writer, asked again with the reasons against its first text.
    Rewrite,
    /// The template, in place of a sentence that was contradicted twice.
    Template,
}

/// Opposite directions, by the name under which the manifest of embeddings counts the reports that name one of them more often than the other: a
/// mirror image turns them around.
pub const OPPOSITES: [(&str, [&str; 2]); 4] = [
    ("left_or_right", ["left", "right"]),
    ("anterior_or_posterior", ["anterior", "posterior"]),
    ("superior_or_inferior", ["superior", "inferior"]),
    ("upper_or_lower", ["upper", "lower"]),
];

/// One row of the embedding table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingRow {
    /// Row of the tensor.
    pub row: usize,
    /// Id of the report.
    pub id: String,
    /// Data set.
    pub dataset: String,
    /// Case.
    pub case: String,
    /// First voxel along z.
    pub z0: usize,
    /// First voxel along y.
    pub y0: usize,
    /// First voxel along x.
    pub x0: usize,
    /// One past the last voxel along z.
    pub z1: usize,
    /// One past the last voxel along y.
    pub y1: usize,
    /// One past the last voxel along x.
    pub x1: usize,
    /// Rows with equal or nearly identical texts share a group: they are no negatives of each other.
    pub group: usize,
    /// SHA-256 of the text.
    pub sha256: String,
}

/// Reads a file of JSON lines; blank lines are skipped.
///
/// # Errors
/// Names the file and the line that cannot be read.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let reader = std::io::BufReader::new(fs_err::File::open(path)?);
    let mut records = Vec::new();
    for (number, line) in reader.lines().enumerate() {
        let line = line?;
        if !line.trim().is_empty() {
            let record = serde_json::from_str(&line)
                .with_context(|| format!("cannot read {} line {}", path.display(), number + 1))?;
            records.push(record);
        }
    }
    Ok(records)
}

/// The bytes of a file of JSON lines.
///
/// # Errors
/// Fails when a record cannot be JSON.
pub fn to_lines<T: Serialize>(records: &[T]) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for record in records {
        serde_json::to_writer(&mut bytes, record)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
