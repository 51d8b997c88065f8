//! The end of a run: case table, descriptor, manifest.

use crate::convert::{Finished, Outcome};
use crate::messages::{self, some_names};
use anyhow::Context as _;
use data_manifests::cases::{self, CaseRow, CaseStatus};
use data_manifests::raw::RawCase;
use data_manifests::{Artefact, Descriptor, Manifest, digest};
use patches::{Case, ShardStore};
use rayon::prelude::*;
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic};
use std::path::Path;

/// Name of the descriptor in a shard directory.
pub(crate) const DESCRIPTOR: &str = "dataset.toml";

/// Numbers of cases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) converted: usize,
    pub(crate) kept: usize,
    pub(crate) failed: usize,
}

impl Counts {
    /// Counts outcomes, and the cases that failed before they could be begun.
    pub(crate) fn of(outcomes: &[Outcome], failed_before: usize) -> Self {
        let count = |f: fn(&Outcome) -> bool| outcomes.iter().filter(|o| f(o)).count();
        Self {
            converted: count(|o| matches!(o, Outcome::Converted(_))),
            kept: count(|o| matches!(o, Outcome::Kept(_))),
            failed: count(|o| matches!(o, Outcome::Failed(_))) + failed_before,
        }
    }

    /// Cases that are there.
    pub(crate) fn done(self) -> usize {
        self.converted + self.kept
    }

    /// Puts them into the run's report.
    pub(crate) fn report(self, context: &Context) {
        for (name, value) in [("converted", self.converted), ("kept", self.kept), ("failed", self.failed)] {
            context.count(name, value as u64);
        }
    }
}

/// Writes what makes the directory a finished one.
pub(crate) fn finish(
    mut manifest: Manifest,
    (cases, outcomes, unusable): (&[RawCase], &[Outcome], &[RawCase]),
    counts: Counts,
    descriptor: &Descriptor,
    (raw, out): (&Path, &Path),
    context: &Context,
) -> anyhow::Result<ExitStatus> {
    let (mut rows, trees): (Vec<CaseRow>, Vec<Option<Artefact>>) = cases
        .par_iter()
        .zip(outcomes)
        .map(|(case, outcome)| row(case, outcome, raw, out))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    add_unusable(&mut rows, unusable, raw, out)?;
    absent_classes(outcomes, descriptor, context);
    smaller_than_patch(outcomes, descriptor, context);
    atomic::write(&out.join(cases::FILE_NAME), &cases::to_csv(&rows)?)?;
    atomic::write(&out.join(DESCRIPTOR), &descriptor_bytes(descriptor)?)?;
    manifest.datasets = vec![descriptor.name.clone()];
    manifest.licence = descriptor.licence.clone();
    for (name, value) in [("cases", counts.done()), ("failed", counts.failed)] {
        manifest.counts.insert(name.to_owned(), value as u64);
    }
    manifest.finish_with(out, trees.into_iter().flatten().collect(), |path| match path {
        cases::FILE_NAME => "cases",
        DESCRIPTOR => "descriptor",
        _ => "shards",
    })?;
    let Counts { converted, kept, failed } = counts;
    context.say(&format!("{converted} cases converted, {kept} kept, {failed} failed: {}", out.display()));
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// The descriptor's file.
pub(crate) fn descriptor_bytes(descriptor: &Descriptor) -> anyhow::Result<Vec<u8>> {
    Ok(toml::to_string_pretty(descriptor).context("cannot write the descriptor")?.into_bytes())
}

/// A case's row of the table, and its line of the manifest when it is there.
pub(crate) fn row(
    case: &RawCase,
    outcome: &Outcome,
    raw: &Path,
    out: &Path,
) -> anyhow::Result<(CaseRow, Option<Artefact>)> {
    let record = match outcome {
        Outcome::Converted(record) | Outcome::Kept(record) => Some(record),
        Outcome::Failed(_) | Outcome::NotStarted => None,
    };
    let tree = record.map(|finished| tree_of(finished, out)).transpose()?;
    let row = CaseRow {
        id: case.id.clone(),
        subject: case.subject.clone(),
        image: case.image.portable(raw),
        label: case.label.as_ref().map(|l| l.portable(raw)).unwrap_or_default(),
        split: case.split,
        shape: record.map(|r| cases::triple(&r.shape_zyx)).unwrap_or_default(),
        spacing: record.map(|r| cases::triple(&r.spacing_zyx_mm.map(readable))).unwrap_or_default(),
        status: if record.is_some() { CaseStatus::Done } else { CaseStatus::Failed },
        digest: tree.as_ref().map(|tree| tree.sha256.clone()).unwrap_or_default(),
        label_voxels: cases::label_voxels(
            record
                .and_then(|r| r.label.as_ref())
                .into_iter()
                .flat_map(|l| l.voxels.iter().map(|count| (u64::from(count.value), count.voxels))),
        ),
    };
    Ok((row, tree))
}

/// Adds the rows of cases that lack a file, in the order of their ids.
pub(crate) fn add_unusable(
    rows: &mut Vec<CaseRow>,
    unusable: &[RawCase],
    raw: &Path,
    out: &Path,
) -> anyhow::Result<()> {
    for case in unusable {
        rows.push(row(case, &Outcome::NotStarted, raw, out)?.0);
    }
    rows.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(())
}

/// All files of a case as one output.
fn tree_of(finished: &Finished, out: &Path) -> anyhow::Result<Artefact> {
    let id = &finished.id;
    let (bytes, sha256) = match &finished.tree {
        Some(tree) => tree.clone(),
        None => digest::tree(&ShardStore::case_directory(out, id))?,
    };
    Ok(Artefact { role: "shards".to_owned(), path: format!("cases/{id}/"), bytes, sha256 })
}

/// Nine significant digits: nm become mm by multiplication, and nobody wants to read 0.000049999999999999996.
fn readable(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

/// A declared class that no case has is worth a warning: its scores will be n/a.
fn absent_classes(outcomes: &[Outcome], descriptor: &Descriptor, context: &Context) {
    let labelled: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Converted(record) | Outcome::Kept(record) => record.label.as_ref(),
            _ => None,
        })
        .collect();
    if labelled.is_empty() {
        return;
    }
    let is_absent =
        |value: u32| !labelled.iter().any(|l| l.voxels.iter().any(|c| c.value == value && c.voxels > 0));
    let absent: Vec<String> = (1..)
        .zip(descriptor.foreground_classes())
        .filter(|(value, _)| is_absent(*value))
        .map(|(value, name)| format!("{value} '{name}'"))
        .collect();
    let cases = labelled.len();
    let (text, whose) = match absent.as_slice() {
        [] => return,
        [one] => (format!("class {one} occurs in 0 of {cases} cases"), "Its"),
        more => {
            let names = more.join(", ");
            (format!("{} classes occur in 0 of {cases} cases: {names}", more.len()), "Their")
        }
    };
    let fix = format!("{whose} scores will be reported as n/a, not as 0");
    context.tell(Message::warning("W111", text).fix(fix));
}

/// Cases that do not fill a training patch are worth knowing of: what they lack is padding.
fn smaller_than_patch(outcomes: &[Outcome], descriptor: &Descriptor, context: &Context) {
    let patch = descriptor.grid.patch_zyx;
    let small: Vec<String> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Outcome::Converted(record) | Outcome::Kept(record) => Some(record),
            _ => None,
        })
        .filter(|record| record.shape_zyx.iter().zip(&patch).any(|(n, wanted)| n < wanted))
        .map(|record| format!("{} ({})", record.id, cases::triple(&record.shape_zyx)))
        .collect();
    let verb = match small.len() {
        0 => return,
        1 => "is",
        _ => "are",
    };
    let few = counted(small.len(), "case");
    let text = format!("{few} {verb} smaller than the patch of {}", cases::triple(&patch));
    context.tell(
        Message::info("I191", text)
            .detail(some_names(&small))
            .fix("Training pads each channel with its smallest value, half on either side"),
    );
}

/// Says again what was said of the cases of a finished directory.
pub(crate) fn repeat_warnings(out: &Path, cases: &[RawCase], context: &Context) -> anyhow::Result<()> {
    let kept: Vec<Finished> = cases
        .par_iter()
        .map(|case| Ok(Case::open(&ShardStore::case_directory(out, &case.id))?.record().into()))
        .collect::<patches::Result<_>>()?;
    messages::of_kept(kept.iter()).into_iter().for_each(|message| context.tell(message));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacings_read_as_they_were_meant() {
        let [z, y, x] = [50.0, 4.6, 0.1 + 0.2].map(|nm: f64| nm * 1e-6);
        assert_eq!(cases::triple(&[z, y, x].map(readable)), "0.00005x0.0000046x0.0000003");
        assert_eq!(readable(1.5), 1.5);
        assert_eq!(readable(0.123456789123), 0.123456789);
    }
}
