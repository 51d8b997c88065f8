//! Images that are given by themselves: files, and folders of them, as nnU-Net takes them, too.

use super::jobs::Job;
use data_manifests::raw::{self, RawCase, Source};
use data_manifests::{CaseSplit, Descriptor};
use stage::message::counted;
use stage::{Context, Message};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Names in a message that sums up many files.
const SHOWN: usize = 3;

/// The volumes of a folder that is not the raw folder of the model's data set, but holds scans; none where it is that, or holds none.
pub(super) fn scans(folder: &Path, descriptor: &Descriptor) -> anyhow::Result<Option<Vec<PathBuf>>> {
    if raw::list(descriptor, folder).is_ok_and(|listing| !listing.cases.is_empty()) {
        return Ok(None);
    }
    let volumes = raw::volumes_below(folder)?;
    Ok((!volumes.is_empty()).then_some(volumes))
}

/// A case for each file, or for all channels of an image where these are files of their own, numbered from `ID_0000` on as nnU-Net has it.
///
/// Numbers of four digits may be those of patients: they count as channels where they are exactly those of the model.
pub(super) fn jobs(files: &[PathBuf], channels: &[String]) -> anyhow::Result<Vec<Job>> {
    let mut groups: BTreeMap<(PathBuf, String), BTreeMap<usize, PathBuf>> = BTreeMap::new();
    for file in files {
        let name = raw::case_name(file);
        if let Some((id, channel)) = raw::numbered(&name) {
            let folder = file.parent().unwrap_or(Path::new("")).to_owned();
            groups.entry((folder, id.to_owned())).or_default().insert(channel, file.clone());
        }
    }
    let mut jobs = Vec::new();
    for file in files {
        let name = raw::case_name(file);
        let numbered = raw::numbered(&name);
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        let group = numbered.and_then(|(id, _)| groups.get(&(folder, id.to_owned())));
        match (numbered, group) {
            (Some((id, channel)), Some(group)) if group.keys().copied().eq(0..channels.len()) => {
                // once for all of its channels
                if channel == 0 {
                    let sources = group.values().map(|path| Source::image(path.clone())).collect();
                    jobs.extend(Source::channels(sources).map(|image| job(id, image, file)));
                }
            }
            (Some((id, _)), Some(group)) if is_incomplete(group, channels.len()) => {
                return Err(incomplete(id, group, channels).into());
            }
            _ => jobs.push(job(&name, Source::image(file.clone()), file)),
        }
    }
    Ok(jobs)
}

/// Whether some of several channels are there, and nothing else.
fn is_incomplete(group: &BTreeMap<usize, PathBuf>, channels: usize) -> bool {
    channels > 1 && group.len() < channels && group.keys().all(|channel| *channel < channels)
}

fn incomplete(id: &str, group: &BTreeMap<usize, PathBuf>, channels: &[String]) -> Message {
    let lacking: Vec<String> = channels
        .iter()
        .enumerate()
        .filter(|(channel, _)| !group.contains_key(channel))
        .map(|(channel, name)| format!("{id}_{channel:04} ({name})"))
        .collect();
    let there: Vec<String> = group.values().map(|path| path.display().to_string()).collect();
    let what = if lacking.len() == 1 { "a channel is missing" } else { "channels are missing" };
    Message::error("E194", what)
        .case(id)
        .detail(format!("{} not given; found {}", lacking.join(", "), there.join(", ")))
        .fix("Give all channels of the image, ID_0000, ID_0001 and so on, or one file that holds them")
}

/// The folder of the image is the root.
fn job(id: &str, image: Source, file: &Path) -> Job {
    let root = file.parent().unwrap_or(Path::new("")).to_owned();
    let (id, subject) = (id.to_owned(), id.to_owned());
    let case = RawCase { subject, id, image, label: None, split: CaseSplit::Test };
    Job { case, split: "given", root }
}

/// Says which files are named as channels, and which cases the model was trained on by their names.
pub(super) fn tell(jobs: &[Job], was_trained_on: impl Fn(&str) -> bool, context: &Context) {
    let numbered: Vec<&str> = jobs
        .iter()
        .filter(|job| raw::case_name(job.case.image.path()) != job.case.id)
        .map(|job| job.case.id.as_str())
        .collect();
    if let Some(first) = numbered.first() {
        let text = format!(
            "{} by nnU-Net's numbers of channels: {first}_0000 is case {first}",
            counted(numbered.len(), "image")
        );
        context.tell(Message::info("I446", text));
    }
    let known: Vec<&Job> = jobs.iter().filter(|job| was_trained_on(&job.case.id)).collect();
    let Some(first) = known.first() else { return };
    let names: Vec<&str> = known.iter().take(SHOWN).map(|job| job.case.id.as_str()).collect();
    let more = if known.len() > SHOWN { format!(" and {} more", known.len() - SHOWN) } else { String::new() };
    let text = match known.len() {
        1 => "a file has the name of a case that the model was trained on".to_owned(),
        n => format!("{n} files have the names of cases that the model was trained on"),
    };
    context.tell(
        Message::warning("W443", text)
            .detail(format!("{}{more}: {}", names.join(", "), first.case.image.path().display()))
            .cause("If they are these cases, a score on them says nothing of others")
            .fix("Give --input the raw folder to have parts told apart"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(files: &[&str], channels: &[&str]) -> Result<Vec<(String, usize)>, String> {
        let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
        let channels: Vec<String> = channels.iter().map(|name| (*name).to_owned()).collect();
        let jobs = jobs(&files, &channels).map_err(|e| e.to_string())?;
        let parts = |source: &Source| match source {
            Source::Channels(parts) => parts.len(),
            _ => 1,
        };
        Ok(jobs.iter().map(|job| (job.case.id.clone(), parts(&job.case.image))).collect())
    }

    #[test]
    fn channels_of_an_image_are_one_case() {
        let found =
            ids(&["a/p_0001.nii.gz", "a/p_0000.nii.gz", "b.nii", "c.zarr/1"], &["T1", "PET"]).unwrap();
        assert_eq!(found, [("p".into(), 2), ("b".into(), 1), ("c".into(), 1)]);
        assert_eq!(ids(&["l01_0000.nii.gz"], &["CT"]).unwrap(), [("l01".into(), 1)]);
        // of several folders each has its own
        let error = ids(&["a/p_0000.nii", "b/p_0001.nii"], &["T1", "PET"]).unwrap_err();
        assert!(error.starts_with("E194 case p: a channel is missing"), "{error}");
        assert!(error.contains("p_0001 (PET) not given; found a/p_0000.nii"), "{error}");
    }

    #[test]
    fn numbers_of_patients_are_none_of_channels() {
        assert_eq!(
            ids(&["p_0000.nii", "p_0001.nii"], &["CT"]).unwrap(),
            [("p_0000".into(), 1), ("p_0001".into(), 1)]
        );
        assert_eq!(ids(&["p_0412.nii"], &["T1", "PET"]).unwrap(), [("p_0412".into(), 1)]);
    }
}
