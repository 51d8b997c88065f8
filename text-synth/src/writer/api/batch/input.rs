//! The file of requests of one batch: as many of a queue as a batch, and what may be spent, have room for.

use super::Request;
use crate::client::batches::URL;
use crate::writer::Task;
use crate::writer::api::budget::Budget;
use crate::writer::api::{Api, Work};
use data_manifests::digest;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};
use tempfile::NamedTempFile;

/// Requests that a batch may have, by OpenAI's rules.
pub const MOST_REQUESTS: usize = 50_000;
/// Bytes that its file may have: 200 MB.
const MOST_BYTES: usize = 200_000_000;

/// A file of requests; it goes away with this value.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) file: NamedTempFile,
    pub(super) sha256: String,
    /// The requests in it, each with the number of answers that it has had.
    pub(super) requests: BTreeMap<String, usize>,
}

/// A request as its line, without the end.
pub(super) fn line(api: &Api, work: &Work, tasks: &[Task]) -> io::Result<(Vec<u8>, [u64; 2])> {
    let (_, body, need) = api.chat(work, &tasks[work.task]);
    let request = Request { custom_id: &work.request, method: "POST", url: URL, body };
    Ok((serde_json::to_vec(&request)?, need))
}

/// Takes requests from the front of `queue` while there is room for them; none where there is no room for the first.
pub(super) fn cut(
    api: &Api,
    tasks: &[Task],
    queue: &mut VecDeque<Work>,
    budget: &mut Budget<'_>,
    most: usize,
    answers: impl Fn(&str) -> usize,
) -> io::Result<Option<Input>> {
    // the name is one that a later run sweeps away
    let mut file = tempfile::Builder::new().prefix(".batch.").suffix(".tmp").tempfile_in(&api.directory)?;
    let mut requests = BTreeMap::new();
    let mut writer = BufWriter::new(file.as_file_mut());
    let mut bytes = 0;
    while requests.len() < most
        && let Some(work) = queue.front()
    {
        let (line, need) = line(api, work, tasks)?;
        if (bytes + line.len() + 1 > MOST_BYTES && bytes > 0) || !budget.reserve(need) {
            break;
        }
        bytes += line.len() + 1;
        writer.write_all(&line)?;
        writer.write_all(b"\n")?;
        requests.insert(work.request.clone(), answers(&work.request));
        queue.pop_front();
    }
    writer.flush()?;
    drop(writer);
    if requests.is_empty() {
        return Ok(None);
    }
    let (_, sha256) = digest::file(file.path())?;
    Ok(Some(Input { file, sha256, requests }))
}
