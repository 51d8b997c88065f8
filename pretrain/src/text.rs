//! The embedded reports of a data set, and which of them a patch is shown with.

use anyhow::Context as _;
use data_manifests::records::{self, EmbeddingRow};
use data_manifests::{Manifest, cases, digest, manifest};
use networks::weights;
use patches::{CaseRecord, Region, ShardStore};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use stage::Message;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Which report a patch is shown with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReportMatch {
    /// One of those that overlap it, with probability in proportion to the overlap
    Overlap,
    /// The one whose centre is nearest to the patch's
    Nearest,
}

/// The embedded reports of one data set.
#[derive(Debug)]
pub(crate) struct Text {
    directory: PathBuf,
    dataset: String,
    /// `[rows, features]`.
    embeddings: Vec<f32>,
    features: usize,
    rows: Vec<EmbeddingRow>,
    /// Rows of each case.
    by_case: HashMap<String, Vec<usize>>,
    /// Manifest of the shards that the reports describe, and its digest then; `None` where the stages between are gone.
    shards: Option<(PathBuf, String)>,
    /// What decides in which space the embeddings lie: the text encoder's files and how it pools.
    space: Value,
}

impl Text {
    /// Opens what 'text-synth embed' wrote; refuses text whose shards were made again since.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let manifest = Manifest::load(directory, "embed")?;
        manifest.check_fresh(directory)?;
        let dataset = manifest
            .datasets
            .first()
            .with_context(|| format!("{}: the manifest names no data set", directory.display()))?
            .clone();
        let rows: Vec<EmbeddingRow> = cases::from_csv(&manifest.intact(directory, records::ROWS)?)?;
        let path = manifest.intact(directory, records::EMBEDDINGS)?;
        let tensors = weights::read_tensors(&path)?;
        let tensor = tensors
            .get("embeddings")
            .with_context(|| format!("{}: no tensor 'embeddings'", path.display()))?
            .to_kind(tch::Kind::Float);
        let size = tensor.size();
        if size.len() != 2 || size[0] != rows.len() as i64 || size[1] < 1 || rows.is_empty() {
            let detail = format!("{}: tensor {size:?}, table of {} rows", directory.display(), rows.len());
            return Err(Message::error("E323", "embeddings and table disagree")
                .detail(detail)
                .fix("Run 'text-synth embed' again")
                .into());
        }
        let features = size[1] as usize;
        let embeddings = Vec::<f32>::try_from(&tensor.contiguous().view(-1))?;
        if let Some(at) = embeddings.iter().position(|value| !value.is_finite()) {
            return Err(Message::error("E323", "an embedding is not finite")
                .detail(format!("{}: row {}", path.display(), at / features))
                .fix("Run 'text-synth embed' again")
                .into());
        }
        let mut by_case: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, row) in rows.iter().enumerate() {
            by_case.entry(row.case.clone()).or_default().push(i);
        }
        let shards = manifest.origin(directory, "shards")?.map(|(path, artefact)| (path, artefact.sha256));
        let encoder = manifest.inputs.iter().filter(|input| input.role == "text-encoder");
        let files: BTreeSet<&str> = encoder.map(|input| input.sha256.as_str()).collect();
        let space = json!([files, manifest.parameters.get("pooling")]);
        Ok(Self {
            directory: directory.to_owned(),
            dataset,
            embeddings,
            features,
            rows,
            by_case,
            shards,
            space,
        })
    }

    /// Where it lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data set that it was made from.
    pub(crate) fn dataset(&self) -> &str {
        &self.dataset
    }

    /// What decides in which space the embeddings lie.
    pub(crate) fn space(&self) -> &Value {
        &self.space
    }

    /// Refuses text of shards whose cases have another grid: its boxes, counted in voxels, would lie elsewhere in these. Says where that cannot
    /// be known.
    pub(crate) fn check_origin(
        &self,
        store: &ShardStore,
        skipped: &[String],
    ) -> anyhow::Result<Option<Message>> {
        let unknown = || {
            let what = "whether the text was made from these shards cannot be told: those that it was made from are gone";
            Some(Message::info("I311", what).detail(self.directory.display().to_string()))
        };
        let Some((path, sha256)) = &self.shards else { return Ok(unknown()) };
        let (_, found) = digest::file(&store.directory().join(manifest::FILE_NAME))?;
        if found == *sha256 {
            return Ok(None);
        }
        let Some(folder) = path.parent().filter(|_| path.is_file()) else { return Ok(unknown()) };
        let others = ShardStore::open(folder)?;
        let theirs: BTreeSet<&str> = others.rows().iter().map(|row| row.id.as_str()).collect();
        let ids = store.rows().iter().map(|row| &row.id).filter(|id| theirs.contains(id.as_str()));
        for id in ids.filter(|id| self.describes(id) && !skipped.contains(id)) {
            let [own, other] = [store, &others].map(|store| store.case(id).map_err(|e| e.message(id)));
            let (own, other) = (own?, other?);
            let [own, other] = [own.record(), other.record()];
            if own.shape_zyx != other.shape_zyx || own.affine != other.affine {
                let grid = |record: &CaseRecord| {
                    format!("{:?} voxels of {:?} mm", record.shape_zyx, record.spacing_zyx_mm)
                };
                return Err(Message::error("E323", "the text was made from other shards")
                    .case(id)
                    .detail(format!(
                        "{} has {}, {} has {}",
                        folder.display(),
                        grid(other),
                        store.directory().display(),
                        grid(own)
                    ))
                    .fix("Make captions, reports and embeddings again from these shards")
                    .into());
            }
        }
        Ok(None)
    }

    /// Features of an embedding.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// How many groups of equal texts there can be: one more than the largest number of a group.
    pub(crate) fn groups(&self) -> usize {
        self.rows.iter().map(|row| row.group + 1).max().unwrap_or(0)
    }

    /// Group of a row.
    pub(crate) fn group(&self, row: usize) -> usize {
        self.rows[row].group
    }

    /// Digest of a row's words, where its table has one.
    pub(crate) fn words(&self, row: usize) -> Option<&str> {
        row_words(&self.rows[row])
    }

    /// Embedding of a row.
    pub(crate) fn embedding(&self, row: usize) -> &[f32] {
        &self.embeddings[row * self.features..(row + 1) * self.features]
    }

    /// Whether there is a report of the case.
    pub(crate) fn describes(&self, case: &str) -> bool {
        self.by_case.contains_key(case)
    }

    /// Refuses boxes that do not lie in their cases: the text of other shards. Gives the cases that the shards do not hold; `skipped` ones cannot
    /// be opened.
    pub(crate) fn check(&self, store: &ShardStore, skipped: &[String]) -> anyhow::Result<Vec<&str>> {
        let known: BTreeSet<&str> = store.rows().iter().map(|row| row.id.as_str()).collect();
        let mut unknown = Vec::new();
        let ordered: BTreeMap<&String, &Vec<usize>> = self.by_case.iter().collect();
        for (case, rows) in ordered.into_iter().filter(|(case, _)| !skipped.contains(case)) {
            if !known.contains(case.as_str()) {
                unknown.push(case.as_str());
                continue;
            }
            let shape = store.case(case).map_err(|e| e.message(case))?.record().shape_zyx;
            let whole = Region::whole(shape);
            for row in rows.iter().map(|row| &self.rows[*row]) {
                let found = region(row);
                if found.voxels() == 0 || found.overlap(&whole) != found.voxels() {
                    let detail = format!(
                        "{}: report {} lies at {:?} to {:?}, its case has {shape:?} voxels (z, y, x)",
                        self.directory.display(),
                        row.id,
                        found.lo,
                        found.hi
                    );
                    return Err(Message::error("E323", "the text was made from other shards")
                        .case(case)
                        .detail(detail)
                        .fix("Make captions, reports and embeddings again from these shards")
                        .into());
                }
            }
        }
        Ok(unknown)
    }

    /// Rows of a case's reports.
    pub(crate) fn rows_of(&self, case: &str) -> &[usize] {
        self.by_case.get(case).map_or(&[], Vec::as_slice)
    }

    /// The report that a patch is shown with; where none overlaps, the one whose centre is nearest. `None` for a case without
    /// reports. Takes one draw or none.
    pub(crate) fn choose(
        &self,
        generator: &mut impl Rng,
        case: &str,
        patch: &Region,
        rule: ReportMatch,
    ) -> Option<usize> {
        let rows = self.by_case.get(case)?;
        let boxes: Vec<Region> = rows.iter().map(|row| region(&self.rows[*row])).collect();
        let overlaps: Vec<usize> = boxes.iter().map(|b| b.overlap(patch)).collect();
        let total: usize = overlaps.iter().sum();
        if total == 0 || rule == ReportMatch::Nearest {
            return (0..rows.len()).min_by_key(|i| distance(&boxes[*i], patch)).map(|i| rows[i]);
        }
        let mut left = generator.random_range(0..total);
        for (row, overlap) in rows.iter().zip(overlaps) {
            if left < overlap {
                return Some(*row);
            }
            left -= overlap;
        }
        None
    }

    /// Of the reports that overlap a part of a patch, the one whose centre is nearest to the part's.
    pub(crate) fn within(&self, case: &str, part: &Region) -> Option<usize> {
        let rows = self.by_case.get(case)?.iter().copied();
        let overlapping = rows.filter(|row| region(&self.rows[*row]).overlap(part) > 0);
        overlapping.min_by_key(|row| distance(&region(&self.rows[*row]), part))
    }
}

/// Squared distance of two centres, in half voxels.
fn distance(a: &Region, b: &Region) -> i64 {
    (0..3).map(|axis| ((a.lo[axis] + a.hi[axis]) - (b.lo[axis] + b.hi[axis])).pow(2)).sum()
}

/// Numbers for the groups of all reports, of every data set and its wordings: groups become one that hold reports of one caption, or,
/// of whatever data set, reports of the same words. None of them is a negative of another.
pub(crate) fn joined_groups(sources: &[&[Text]]) -> Vec<Vec<Vec<i64>>> {
    let texts =
        || sources.iter().enumerate().flat_map(|(of, texts)| texts.iter().map(move |text| (of, text)));
    let mut parents: Vec<usize> = (0..texts().map(|(_, text)| text.groups()).sum()).collect();
    let root = |parents: &mut Vec<usize>, mut at: usize| {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    };
    let mut captions: HashMap<(usize, &str), usize> = HashMap::new();
    let mut words: HashMap<&str, usize> = HashMap::new();
    let mut start = 0;
    for (of, text) in texts() {
        for row in &text.rows {
            let group = start + row.group;
            let of_caption = *captions.entry((of, &row.id)).or_insert(group);
            let of_words = row_words(row).map(|digest| *words.entry(digest).or_insert(group));
            for earlier in std::iter::once(of_caption).chain(of_words) {
                let (a, b) = (root(&mut parents, earlier), root(&mut parents, group));
                // the lower one stays, so that numbers do not depend on the order of rows
                let (low, high) = (a.min(b), a.max(b));
                parents[high] = low;
            }
        }
        start += text.groups();
    }
    let mut next = 0;
    let mut numbers = |text: &Text| -> Vec<i64> {
        let own = next..next + text.groups();
        next = own.end;
        own.map(|at| root(&mut parents, at) as i64).collect()
    };
    sources.iter().map(|texts| texts.iter().map(&mut numbers).collect()).collect()
}

/// Digest of a row's words; a table of before has none.
fn row_words(row: &EmbeddingRow) -> Option<&str> {
    Some(row.sha256.as_str()).filter(|digest| !digest.is_empty())
}

fn region(row: &EmbeddingRow) -> Region {
    Region { lo: [row.z0, row.y0, row.x0].map(|v| v as i64), hi: [row.z1, row.y1, row.x1].map(|v| v as i64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patches::sampler;

    fn row(row: usize, z: [usize; 2], group: usize) -> EmbeddingRow {
        EmbeddingRow {
            row,
            id: format!("r{row}"),
            dataset: "d".into(),
            case: "c".into(),
            z0: z[0],
            y0: 0,
            x0: 0,
            z1: z[1],
            y1: 10,
            x1: 10,
            group,
            sha256: format!("{row} of {group}"),
        }
    }

    fn text(rows: Vec<EmbeddingRow>) -> Text {
        let by_case = HashMap::from([("c".to_owned(), (0..rows.len()).collect())]);
        let embeddings = vec![0.0; rows.len()];
        Text {
            directory: "t".into(),
            dataset: "d".into(),
            embeddings,
            features: 1,
            rows,
            by_case,
            shards: None,
            space: Value::Null,
        }
    }

    #[test]
    fn reports_are_chosen_by_overlap() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [4, 7], 1), row(2, [30, 31], 2)]);
        let mut counts = [0; 3];
        for step in 0..400 {
            let mut generator = sampler::generator(1, step, 0);
            let patch = Region::at([0, 0, 0], [8, 8, 8]);
            counts[text.choose(&mut generator, "c", &patch, ReportMatch::Overlap).unwrap()] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!((60..140).contains(&counts[0]), "one section against three: {counts:?}");
    }

    #[test]
    fn wordings_of_one_caption_share_a_group() {
        // r0 and r1 are worded alike in the second text, so that they and r2's other wording do not part
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1), row(2, [2, 3], 2)]);
        let second = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 0), row(2, [2, 3], 1)]);
        assert_eq!(joined_groups(&[std::slice::from_ref(&first)]), [[[0, 1, 2]]]);
        let both = [first, second];
        assert_eq!(joined_groups(&[&both]), [[vec![0, 0, 2], vec![0, 2]]]);
        // a caption of another data set is another one, whatever its name; the same words are the same words
        let mut alike = text(vec![row(0, [0, 1], 0), row(7, [1, 2], 1)]);
        alike.rows[1].sha256.clone_from(&both[0].rows[2].sha256);
        alike.rows[0].sha256 = "its own".to_owned();
        assert_eq!(joined_groups(&[&both, &[alike]]), [vec![vec![0, 0, 2], vec![0, 2]], vec![vec![5, 2]]]);
        assert!(joined_groups(&[]).is_empty());
    }

    #[test]
    fn the_nearest_report_is_that_of_the_middle() {
        let text = text((0..9).map(|z| row(z, [z, z + 1], z)).collect());
        let mut generator = sampler::generator(1, 0, 0);
        for z in 0..4 {
            let patch = Region::at([z, 0, 0], [5, 8, 8]);
            let found = text.choose(&mut generator, "c", &patch, ReportMatch::Nearest);
            assert_eq!(found, Some(z as usize + 2));
        }
        assert_eq!(text.rows_of("c").len() + text.rows_of("other").len(), 9);
    }

    #[test]
    fn a_part_has_the_report_that_lies_in_it() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [5, 6], 1), row(2, [6, 7], 2)]);
        let of = |z: i64| text.within("c", &Region::at([z, 0, 0], [2, 8, 8]));
        assert_eq!([0, 2, 4, 6].map(of), [Some(0), None, Some(1), Some(2)]);
    }

    #[test]
    fn without_overlap_the_nearest_is_taken() {
        let text = text(vec![row(0, [0, 1], 0), row(1, [20, 21], 1)]);
        let mut generator = sampler::generator(1, 0, 0);
        let patch = Region::at([14, 0, 0], [4, 8, 8]);
        assert_eq!(text.choose(&mut generator, "c", &patch, ReportMatch::Overlap), Some(1));
        assert_eq!(text.choose(&mut generator, "other", &patch, ReportMatch::Overlap), None);
    }
}
