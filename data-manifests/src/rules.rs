//! What must hold in a stage directory beyond the types: rules that a schema cannot say.

use crate::cases::{self, CaseRow, CaseStatus};
use crate::manifest::{self, Artefact, Manifest, STAGES};
use crate::plan::Plan;
use crate::records::{self, Caption, EmbeddingRow, Report, VolumeReport};
use crate::splits::{self, Split};
use crate::{Descriptor, digest};
use anyhow::Context;
use std::collections::BTreeSet;
use std::path::Path;

/// Everything in `directory` that breaks a rule, in words; empty when there is nothing.
///
/// Sizes are compared, not bytes: [`crate::verify::verify`] does that.
///
/// # Errors
/// Fails when the directory holds no finished stage, or a file cannot be read.
pub fn check_directory(directory: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = Manifest::load_any(directory)?;
    let mut wrong = check_manifest(&manifest, directory)?;
    for output in manifest.outputs.iter().filter(|output| !output.is_tree()) {
        let name = output.path.rsplit('/').next().unwrap_or_default();
        // stages may store other TOML files, such as resolved configurations
        if name.ends_with(".toml") && !["dataset.toml", "descriptor.toml"].contains(&name) {
            continue;
        }
        if let Err(error) = check_file(&output.resolve(directory)) {
            wrong.push(format!("{error:#}"));
        }
    }
    Ok(wrong)
}

/// Everything in a manifest that breaks a rule, seen from its `directory`.
///
/// # Errors
/// Fails when an input that is there cannot be read.
pub fn check_manifest(manifest: &Manifest, directory: &Path) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    if !STAGES.contains(&manifest.stage.as_str()) {
        wrong.push(format!("stage: found '{}', expected one of {}", manifest.stage, STAGES.join(", ")));
    }
    let work = manifest::work_digest(&manifest.stage, &manifest.parameters, &manifest.inputs)?;
    if work != manifest.work {
        wrong.push(format!(
            "work: found {}, expected {work} from stage, parameters and inputs",
            manifest.work
        ));
    }
    for artefact in manifest.inputs.iter().chain(&manifest.outputs) {
        check_artefact(artefact, &mut wrong);
    }
    let mut seen = BTreeSet::new();
    for output in &manifest.outputs {
        if !seen.insert(&output.path) {
            wrong.push(format!("{}: listed twice", output.path));
        }
        if output.path.starts_with('$') || output.path.split('/').any(|part| part == "..") {
            wrong.push(format!("{}: an output must lie below the manifest's directory", output.path));
            continue;
        }
        match output.size(directory) {
            Some(found) if found == output.bytes => {}
            Some(found) => {
                wrong.push(format!("{}: found {found} bytes, expected {}", output.path, output.bytes))
            }
            None => wrong.push(format!("{}: missing", output.path)),
        }
    }
    for input in manifest.inputs.iter().filter(|i| !i.path.starts_with('$')) {
        let file = input.resolve(directory);
        // an input may have stayed behind on another machine; one that is here must be the one that was read
        if file.is_file() && digest::file(&file)?.1 != input.sha256 {
            wrong.push(format!(
                "{}: this input has changed since; run '{}' again",
                input.path, manifest.stage
            ));
        }
    }
    Ok(wrong)
}

fn check_artefact(artefact: &Artefact, wrong: &mut Vec<String>) {
    let is_digest = artefact.sha256.len() == 64
        && artefact.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_digest {
        wrong.push(format!("{}: '{}' is no SHA-256", artefact.path, artefact.sha256));
    }
    if artefact.role.is_empty() {
        wrong.push(format!("{}: has no role", artefact.path));
    }
    let path = &artefact.path;
    if path.is_empty()
        || path.starts_with('/')
        || path.contains('\\')
        || path.as_bytes().get(1) == Some(&b':')
    {
        wrong.push(format!("'{path}': a path must be relative, or begin with a named root such as $RAW"));
    }
}

/// Checks one file by its name: a descriptor, manifest, split, nnU-Net's folds, plan (nnU-Net's too), case table or text record; others pass.
///
/// Returns what it is, when its name tells.
///
/// # Errors
/// Says what is wrong with the file.
pub fn check_file(path: &Path) -> anyhow::Result<Option<&'static str>> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let place = || path.display().to_string();
    match name {
        "split.json" => Split::load(path).map(|_| Some("split")),
        cases::FILE_NAME => {
            let rows: Vec<CaseRow> = cases::from_csv(path)?;
            if rows.is_empty() {
                anyhow::bail!("{}: the table has no cases", place());
            }
            check_cases(&rows).with_context(place)?;
            Ok(Some("case table"))
        }
        records::CAPTIONS => {
            let captions: Vec<Caption> = records::read_lines(path)?;
            check_ids(captions.iter().map(|c| (c.id.as_str(), c.box_zyx))).with_context(place)?;
            Ok(Some("captions"))
        }
        records::REPORTS => {
            let reports: Vec<Report> = records::read_lines(path)?;
            check_ids(reports.iter().map(|r| (r.id.as_str(), r.box_zyx))).with_context(place)?;
            Ok(Some("reports"))
        }
        records::VOLUMES => {
            let volumes: Vec<VolumeReport> = records::read_lines(path)?;
            let mut seen = BTreeSet::new();
            match volumes.iter().find(|volume| !seen.insert(&volume.case)) {
                Some(volume) => anyhow::bail!("{}: case '{}' has two reports", place(), volume.case),
                None => Ok(Some("volume reports")),
            }
        }
        records::ROWS => {
            let rows: Vec<EmbeddingRow> = cases::from_csv(path)?;
            check_ids(rows.iter().map(|r| (r.id.as_str(), [r.z0, r.y0, r.x0, r.z1, r.y1, r.x1])))
                .with_context(place)?;
            match rows.iter().enumerate().find(|(i, row)| row.row != *i) {
                Some((i, row)) => {
                    anyhow::bail!("{}: line {}: found row {}, expected {i}", place(), i + 2, row.row)
                }
                None => Ok(Some("embedding rows")),
            }
        }
        splits::NNUNET_FILE => splits::check_nnunet(path).map(|()| Some("list of folds")),
        _ if name.ends_with("plan.json") || name.ends_with("Plans.json") => {
            Plan::load(path).map(|_| Some("plan"))
        }
        _ if name.ends_with(".toml") => {
            Descriptor::parse(&fs_err::read_to_string(path)?, &place()).map(|_| Some("descriptor"))
        }
        _ => Ok(None),
    }
}

fn check_cases(rows: &[CaseRow]) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for row in rows {
        if !seen.insert(row.id.to_lowercase()) {
            anyhow::bail!("case '{}' occurs twice (ids that differ in case only are the same)", row.id);
        }
        let filled = [("shape", &row.shape), ("spacing", &row.spacing), ("digest", &row.digest)];
        for (column, value) in filled {
            if (row.status == CaseStatus::Done) == value.is_empty() {
                anyhow::bail!(
                    "case '{}': {column} is '{value}' although the case is {:?}",
                    row.id,
                    row.status
                );
            }
        }
        if cases::parse_label_voxels(&row.label_voxels).is_none() {
            anyhow::bail!(
                "case '{}': label_voxels is '{}', expected 0:38112;1:1200",
                row.id,
                row.label_voxels
            );
        }
    }
    Ok(())
}

fn check_ids<'a>(records: impl Iterator<Item = (&'a str, [usize; 6])>) -> anyhow::Result<()> {
    let mut seen = BTreeSet::new();
    for (id, bounds) in records {
        if !seen.insert(id) {
            anyhow::bail!("id '{id}' occurs twice");
        }
        if (0..3).any(|axis| bounds[axis] >= bounds[axis + 3]) {
            anyhow::bail!("id '{id}': box {bounds:?} is empty, expected z0, y0, x0 below z1, y1, x1");
        }
    }
    Ok(())
}
