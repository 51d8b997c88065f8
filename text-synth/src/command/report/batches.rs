//! Flags for batches of requests: files in place of a server, or a server's own batch API.

use crate::writer::api::batch::{Batching, Files, MOST_REQUESTS};
use stage::Message;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const HEADING: &str = "Batches of the writer api";
/// Longest request that is read to tell whether it is one.
const MOST_OF_A_LINE: u64 = 8 << 20;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Batches {
    /// Write the requests without an answer to an OpenAI batch file, and send nothing
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run", help_heading = HEADING)]
    batch_out: Option<PathBuf>,
    /// Read answers from the output file of an OpenAI batch, and send nothing
    #[arg(long, value_name = "FILE", conflicts_with = "dry_run", help_heading = HEADING)]
    batch_in: Option<PathBuf>,
    /// Use the server's batch API where it has one: cheaper where batches are, answers within a day
    #[arg(long, conflicts_with_all = ["batch_in", "batch_out"], help_heading = HEADING)]
    batch: bool,
    /// Most requests of one batch
    #[arg(long, value_name = "N", default_value_t = MOST_REQUESTS as u64, value_parser = clap::value_parser!(u64).range(1..=MOST_REQUESTS as u64), requires = "batch", help_heading = HEADING)]
    batch_requests: u64,
}

/// Whether a file that may not exist yet is to be below a directory.
fn is_inside(file: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return file.starts_with(directory) };
    // by its folder: the file need not be there; a link counts where it leads, too
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let places = [folder.canonicalize().ok(), file.canonicalize().ok()];
    places.into_iter().flatten().any(|place| place.starts_with(&directory))
}

/// Whether a file is empty, or begins with a request as this writes them.
fn holds_requests(file: &Path) -> io::Result<bool> {
    if !file.is_file() {
        return Ok(false);
    }
    let mut line = String::new();
    let read = BufReader::new(fs_err::File::open(file)?).take(MOST_OF_A_LINE).read_line(&mut line);
    match read {
        Ok(0) => Ok(true),
        Ok(_) => {
            let request: Option<serde_json::Value> = serde_json::from_str(&line).ok();
            let has = |name: &str| request.as_ref().is_some_and(|request| request.get(name).is_some());
            Ok(has("custom_id") && has("method") && has("body"))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
}

impl Batches {
    pub(super) fn contacts_a_server(&self) -> bool {
        !self.files().is_used()
    }

    pub(super) fn files(&self) -> Files {
        Files { input: self.batch_in.clone(), out: self.batch_out.clone() }
    }

    pub(super) fn batching(&self) -> Option<Batching> {
        // the range of the flag fits every platform's usize
        self.batch.then_some(Batching { most_requests: self.batch_requests as usize })
    }

    /// Refuses to write requests over what must not be lost.
    ///
    /// # Errors
    /// `E229` for a place inside of `out` or of the `captions`, and for a file that holds no requests.
    pub(super) fn check_files(&self, out: &Path, captions: &Path) -> anyhow::Result<()> {
        let Some(file) = &self.batch_out else { return Ok(()) };
        let refused = |what: &str| {
            Message::error("E229", "the requests cannot be written there")
                .detail(format!("--batch-out {}: {what}", file.display()))
                .fix("Name a new file outside of --out and --captions")
        };
        if [out, captions].iter().any(|directory| is_inside(file, directory)) {
            return Err(refused("it is inside of a stage's directory, whose files would be lost").into());
        }
        if file.exists() && !holds_requests(file)? {
            return Err(refused("the file that is there holds no requests, and would be lost").into());
        }
        Ok(())
    }

    /// The flag that is about batches, where there is one.
    pub(super) fn batch_flag(&self) -> Option<&'static str> {
        let flags = [
            ("--batch-in", self.batch_in.is_some()),
            ("--batch-out", self.batch_out.is_some()),
            ("--batch", self.batch),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }
}
