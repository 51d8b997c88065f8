//! Makes cases anew, with the bytes that the manifest lists.
//!
//! A case is made beside the damaged one, compared with the manifest byte by byte, and only then put in its place, so
//! that a repair that fails or is killed leaves the directory as it was.

use super::damage::{self, Damage};
use crate::admission::Admission;
use crate::case::{self, Digests, Rules};
use crate::convert::Outcome;
use crate::finish::{self, DESCRIPTOR};
use crate::inputs;
use crate::messages;
use crate::treatment::Treatment;
use crate::{data_set, estimate, resources};
use anyhow::Context as _;
use data_manifests::cases::{self, CaseRow};
use data_manifests::raw::{self, Listing, RawCase, Source};
use data_manifests::{Descriptor, Manifest, digest};
use patches::{Case, ShardStore};
use serde::Deserialize;
use stage::message::counted;
use stage::{Context, Message, atomic, interrupt};
use std::collections::BTreeSet;
use std::path::Path;

/// The parameters of a run that decide its cases, as its manifest has them.
#[derive(Deserialize)]
struct Recorded {
    descriptor: Descriptor,
    only: BTreeSet<String>,
    #[serde(flatten)]
    treatment: Treatment,
}

/// What repairs need to know.
struct Repair<'a> {
    directory: &'a Path,
    raw: &'a Path,
    manifest: &'a Manifest,
    rules: Rules<'a>,
}

/// Makes the wanted cases anew; returns what is damaged still.
///
/// # Errors
/// A directory without a manifest that can be trusted, shards of another version of the program, unknown cases.
pub(super) fn repair(
    directory: &Path,
    wanted: &[String],
    raw: Option<&Path>,
    context: &Context,
) -> anyhow::Result<Damage> {
    let manifest = Manifest::load(directory, "preprocess").map_err(|error| {
        let message = Message::error("E174", "only finished shards can be repaired");
        message
            .detail(format!("{error:#}"))
            .fix("Rerun the preprocess command: it keeps what is whole and makes the rest anew")
    })?;
    if manifest.tool.version != env!("CARGO_PKG_VERSION") {
        let text = format!("the shards were made by version {}", manifest.tool.version);
        return Err(Message::error("E174", text)
            .detail(format!("{}: this is {}", directory.display(), env!("CARGO_PKG_VERSION")))
            .cause("Another version need not give the same bytes")
            .fix("Repair with that version, or rerun the preprocess command to make all cases anew")
            .into());
    }
    let recorded: Recorded = serde_json::from_value(manifest.parameters.clone())
        .context("the manifest's parameters cannot be read")?;
    let descriptor = recorded.descriptor;
    let mut damage = damage::of_finished(directory, &manifest)?;
    // this run holds the lock and writes the report
    damage.other.retain(|flaw| {
        !flaw.starts_with(stage::lock::FILE_NAME)
            && !flaw.starts_with(&directory.join("report.json").display().to_string())
    });
    let all = wanted.iter().any(|id| id == "all");
    let ids: BTreeSet<String> =
        if all { damage.cases.keys().cloned().collect() } else { wanted.iter().cloned().collect() };
    let listed = damage::listed(&manifest);
    let unknown: Vec<_> = ids.iter().filter(|id| !listed.contains(id.as_str())).cloned().collect();
    if !unknown.is_empty() {
        return Err(Message::error("E196", format!("no such case: {}", unknown.join(", ")))
            .detail(format!("{} holds {} cases", directory.display(), listed.len()))
            .fix("Name cases as in cases.csv, or 'all'")
            .into());
    }
    let raw = data_set::raw_folder(&descriptor, raw, context)?;
    let listing = raw::list(&descriptor, &raw)?;
    atomic::sweep(&ShardStore::cases_directory(directory))?;
    let rules = Rules { descriptor: &descriptor, treatment: recorded.treatment, raw_root: &raw };
    let repair = Repair { directory, raw: &raw, manifest: &manifest, rules };
    let progress = context.progress("repairs", ids.len() as u64);
    let mut made = 0_usize;
    for id in &ids {
        if interrupt::requested() {
            break;
        }
        match repair.case(id, &listing) {
            Ok(()) => {
                made += 1;
                damage.cases.remove(id);
            }
            Err(error) => context.tell(messages::of_error(id, &error, &raw)),
        }
        progress.step(id);
    }
    progress.finish();
    context.count("repaired", made as u64);
    context.say(&format!("{} made anew, with the bytes that the manifest lists", counted(made, "case")));
    if all && damage.cases.is_empty() && !damage.other.is_empty() {
        damage.other = repair.tables(damage.other, &listing, &recorded.only)?;
    }
    Ok(damage)
}

impl Repair<'_> {
    /// Makes one case anew.
    fn case(&self, id: &str, listing: &Listing) -> anyhow::Result<()> {
        let Some(case) = listing.cases.iter().find(|case| case.id == id) else {
            let problem = listing.problems.iter().find(|problem| problem.case.as_deref() == Some(id));
            return Err(problem.cloned().map_or_else(
                || {
                    Message::error("E194", "its raw files are not listed any more")
                        .detail(self.raw.display().to_string())
                        .fix("Give --raw the folder that the shards were made from")
                        .into()
                },
                anyhow::Error::from,
            ));
        };
        let image = self.digest(&case.image)?;
        let label = case.label.as_ref().map(|label| self.digest(label)).transpose()?;
        let folder = ShardStore::cases_directory(self.directory);
        fs_err::create_dir_all(&folder)?;
        let scratch = tempfile::Builder::new().prefix(".repair.").suffix(".tmp").tempdir_in(&folder)?;
        let fresh = scratch.path().join(id);
        let estimate = estimate::of_case(case, self.rules.descriptor, self.rules.treatment.align_labels)?;
        let room = Admission::new(resources::budget(None).0).room(&estimate, scratch.path());
        case::make(&self.rules, case, &Digests { image, label }, &fresh, &room)?.pending.publish()?;
        self.expect_recorded(id, &fresh)?;
        let place = ShardStore::case_directory(self.directory, id);
        if place.symlink_metadata().is_ok() {
            fs_err::rename(&place, scratch.path().join("damaged"))?;
        }
        fs_err::rename(&fresh, &place)?;
        atomic::sync_directory(&folder)?;
        Ok(scratch.close()?)
    }

    /// Digest of a case's raw files, each of which must be the recorded one.
    fn digest(&self, source: &Source) -> anyhow::Result<String> {
        let found = source.artefacts("raw", self.raw)?;
        for file in &found {
            let recorded = self.manifest.inputs.iter().find(|input| input.path == file.path);
            if recorded.is_some_and(|input| input.sha256 == file.sha256) {
                continue;
            }
            let recorded = recorded.map_or("no such file", |input| &input.sha256);
            let text = "the raw file is not the one that the case was made from";
            return Err(Message::error("E175", text)
                .detail(format!(
                    "{}: found SHA-256 {}, recorded {recorded}",
                    file.path.trim_start_matches("$RAW/"),
                    file.sha256
                ))
                .fix("Fetch the original again; to take the new file, rerun the preprocess command")
                .into());
        }
        inputs::digest_of(&found)
    }

    /// Compares a case made anew with what the manifest lists.
    fn expect_recorded(&self, id: &str, fresh: &Path) -> anyhow::Result<()> {
        let path = format!("cases/{id}/");
        let recorded = self.manifest.outputs.iter().find(|output| output.path == path);
        let (bytes, sha256) = digest::tree(fresh)?;
        if recorded.is_some_and(|output| (output.bytes, output.sha256.as_str()) == (bytes, &sha256)) {
            return Ok(());
        }
        let recorded = recorded.map_or("no such case", |output| &output.sha256);
        Err(Message::error("E176", "the case made anew has other bytes than the manifest lists")
            .detail(format!("{path}: found SHA-256 {sha256}, recorded {recorded}"))
            .cause("The shards were made by another build of the program")
            .fix("Rerun the preprocess command to make all cases by this one")
            .into())
    }

    /// Writes case table and descriptor again where they are damaged; returns what is left.
    fn tables(
        &self,
        flaws: Vec<String>,
        listing: &Listing,
        only: &BTreeSet<String>,
    ) -> anyhow::Result<Vec<String>> {
        let mut left = Vec::new();
        for flaw in flaws {
            let name =
                [cases::FILE_NAME, DESCRIPTOR].into_iter().find(|n| flaw.starts_with(&format!("{n}:")));
            let Some(name) = name else {
                left.push(flaw);
                continue;
            };
            let bytes = if name == DESCRIPTOR {
                finish::descriptor_bytes(self.rules.descriptor)?
            } else {
                self.case_table(listing, only)?
            };
            let recorded = self.manifest.outputs.iter().find(|output| output.path == name);
            if recorded.is_some_and(|output| output.sha256 == digest::sha256_hex(&bytes)) {
                atomic::write(&self.directory.join(name), &bytes)?;
            } else {
                left.push(format!("{flaw}; it cannot be made anew from {}", self.raw.display()));
            }
        }
        Ok(left)
    }

    fn case_table(&self, listing: &Listing, only: &BTreeSet<String>) -> anyhow::Result<Vec<u8>> {
        let listed = damage::listed(self.manifest);
        let row = |case: &RawCase| -> anyhow::Result<CaseRow> {
            let outcome = if listed.contains(case.id.as_str()) {
                let case = Case::open(&ShardStore::case_directory(self.directory, &case.id))?;
                Outcome::Kept(case.record().into())
            } else {
                Outcome::NotStarted
            };
            Ok(finish::row(case, &outcome, self.raw, self.directory)?.0)
        };
        let wanted = |id: &String| only.is_empty() || only.contains(id);
        let cases = listing.cases.iter().filter(|case| wanted(&case.id));
        let mut rows: Vec<_> = cases.map(row).collect::<anyhow::Result<_>>()?;
        finish::add_unusable(&mut rows, &inputs::unusable(listing, wanted), self.raw, self.directory)?;
        cases::to_csv(&rows)
    }
}
