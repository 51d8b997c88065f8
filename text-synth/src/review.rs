//! What people look at to judge captions and reports: a seeded sample of slices, with all that was recorded of them.

pub mod page;

use crate::slices::{self, Slice};
use crate::writer::REJECTED;
use anyhow::Context;
use data_manifests::Manifest;
use data_manifests::digest::sha256_hex;
use data_manifests::records::{self, Caption, Report, Sentence, Verdict, VolumeReport};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// A text that was not used, as far as it matters here; other members are left to those who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refused {
    /// Why.
    pub reasons: Vec<String>,
    /// Whether another text took its place.
    #[serde(default)]
    pub replaced: bool,
}

/// One slice of the sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Place in the case.
    pub slice: Slice,
    /// Its caption.
    pub caption: Caption,
    /// Its report, where one was written.
    pub report: Option<Report>,
}

/// How often each verdict was given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// Sentences that the facts bear.
    pub supported: usize,
    /// Sentences that nothing bears or excludes.
    pub unsupported: usize,
    /// Sentences that something excludes.
    pub contradicted: usize,
    /// Sentences in whose place another stands now.
    pub replaced: usize,
}

impl Verdicts {
    fn add(&mut self, sentences: &[Sentence]) {
        for sentence in sentences {
            match sentence.verdict {
                Verdict::Supported => self.supported += 1,
                Verdict::Unsupported => self.unsupported += 1,
                Verdict::Contradicted => self.contradicted += 1,
            }
            self.replaced += usize::from(sentence.replaces.is_some());
        }
    }

    /// Sentences that were checked.
    #[must_use]
    pub fn all(&self) -> usize {
        self.supported + self.unsupported + self.contradicted
    }
}

/// Everything recorded, and the sample of it.
#[derive(Debug, Clone, Default)]
pub struct Material {
    /// The sample, in the order of the captions.
    pub shown: Vec<Shown>,
    /// Reports of the volumes in the sample.
    pub volumes: Vec<VolumeReport>,
    /// Number of captions.
    pub captions: usize,
    /// Number of reports of slices.
    pub reports: usize,
    /// Number of reports of slices whose sentences were not checked.
    pub unchecked: usize,
    /// Verdicts over all reports of slices.
    pub verdicts: Verdicts,
    /// Rejected texts by reason, the most frequent first, with how many of them were replaced by a later one: of captions, then of reports.
    pub rejected: [Vec<(String, usize, usize)>; 2],
}

impl Material {
    /// Reads finished directories of captions and of reports, each with its manifest, and draws `sample` slices.
    ///
    /// # Errors
    /// Names the file that cannot be read or is not as it was written.
    pub fn read(
        [captions, reports]: [(&Path, &Manifest); 2],
        sample: usize,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let all: Vec<Caption> = read(captions, records::CAPTIONS)?;
        let written: Vec<Report> = read(reports, records::REPORTS)?;
        let mut material = Self {
            captions: all.len(),
            reports: written.len(),
            unchecked: written.iter().filter(|r| r.sentences.is_empty()).count(),
            rejected: [reasons(&listed(captions, REJECTED)?), reasons(&listed(reports, REJECTED)?)],
            ..Self::default()
        };
        for report in &written {
            material.verdicts.add(&report.sentences);
        }
        let drawn = draw(all.iter().map(|c| c.id.as_str()), sample, seed);
        let mut written: HashMap<String, Report> =
            written.into_iter().filter(|r| drawn.contains(&r.id)).map(|r| (r.id.clone(), r)).collect();
        let plan: Vec<Slice> = read(captions, slices::FILE_NAME)?;
        let mut planned: HashMap<String, Slice> =
            plan.into_iter().map(|s| (s.id(), s)).filter(|(id, _)| drawn.contains(id)).collect();
        for caption in all.into_iter().filter(|c| drawn.contains(&c.id)) {
            let slice = planned.remove(&caption.id).with_context(|| {
                format!("{} has no slice '{}'", captions.0.join(slices::FILE_NAME).display(), caption.id)
            })?;
            let report = written.remove(&caption.id);
            material.shown.push(Shown { slice, caption, report });
        }
        let cases: BTreeSet<&str> = material.shown.iter().map(|s| s.slice.case.as_str()).collect();
        let mut volumes: Vec<VolumeReport> = listed(reports, records::VOLUMES)?;
        volumes.retain(|v| cases.contains(v.case.as_str()));
        material.volumes = volumes;
        Ok(material)
    }
}

/// The ids with the smallest hashes under a seed: another sample size keeps those of a smaller one.
fn draw<'a>(ids: impl Iterator<Item = &'a str>, sample: usize, seed: u64) -> BTreeSet<String> {
    let mut hashed: Vec<(String, &str)> =
        ids.map(|id| (sha256_hex(format!("{seed}\n{id}").as_bytes()), id)).collect();
    hashed.sort();
    hashed.truncate(sample);
    hashed.into_iter().map(|(_, id)| id.to_owned()).collect()
}

/// Records of a file of a finished directory.
fn read<T: DeserializeOwned>(
    (directory, manifest): (&Path, &Manifest),
    name: &str,
) -> anyhow::Result<Vec<T>> {
    records::read_lines(&manifest.intact(directory, name)?)
}

/// As [`read`]; none where the stage wrote no such file.
fn listed<T: DeserializeOwned>(finished: (&Path, &Manifest), name: &str) -> anyhow::Result<Vec<T>> {
    let is_there = finished.1.outputs.iter().any(|output| output.path == name);
    if is_there { read(finished, name) } else { Ok(Vec::new()) }
}

/// Reasons in a list of rejected texts; numbers in them do not tell reasons apart.
fn reasons(all: &[Refused]) -> Vec<(String, usize, usize)> {
    let mut reasons: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for refused in all {
        for reason in &refused.reasons {
            let kind = reason.split([':', '=', '(']).next().unwrap_or(reason).trim().to_owned();
            let counts = reasons.entry(kind).or_default();
            counts.0 += 1;
            counts.1 += usize::from(refused.replaced);
        }
    }
    let mut reasons: Vec<_> =
        reasons.into_iter().map(|(reason, (n, replaced))| (reason, n, replaced)).collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_seeded_and_nested() {
        let ids: Vec<String> = (0..50).map(|i| format!("c:axial:{i}:0")).collect();
        let of = |n, seed| draw(ids.iter().map(String::as_str), n, seed);
        assert_eq!(of(5, 0), of(5, 0));
        assert_ne!(of(5, 0), of(5, 1));
        assert!(of(5, 0).is_subset(&of(9, 0)));
        assert_eq!(of(99, 0).len(), 50);
    }

    #[test]
    fn reasons_are_counted_by_kind() {
        assert_eq!(reasons(&[]), []);
        let one = |reason: &str, replaced| Refused { reasons: vec![reason.to_owned()], replaced };
        let found =
            reasons(&[one("too short: 3 words", false), one("empty", true), one("too short: 5 words", true)]);
        assert_eq!(found, [("too short".to_owned(), 2, 1), ("empty".to_owned(), 1, 1)]);
    }
}
