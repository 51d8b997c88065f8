//! Who holds a lock, and whether they are still there.

use crate::Message;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A heartbeat older than this is none: twelve were missed.
const STALE: Duration = Duration::from_secs(60);

/// Who holds a lock, as written into the lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host name.
    pub host: String,
    /// Process id on that host.
    pub process: u32,
    /// Batch job id, when the scheduler gave one.
    pub job: Option<String>,
    /// Executable.
    pub program: String,
}

impl Holder {
    /// This process.
    pub(super) fn this(program: &str) -> Self {
        let job = ["SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID"].iter().find_map(|name| std::env::var(name).ok());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, process: std::process::id(), job, program: program.to_owned() }
    }

    /// Whether the process is known to be gone; on another host nobody can know.
    fn is_known_dead(&self) -> bool {
        let pid = i32::try_from(self.process).ok().and_then(Pid::from_raw);
        let alive = pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
        self.is_here() && !alive
    }

    fn is_here(&self) -> bool {
        rustix::system::uname().nodename().to_bytes() == self.host.as_bytes()
    }
}

/// What a lock file says while somebody else holds its lock.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` while the holder has not written its name yet.
    holder: Option<Holder>,
    /// When the file was touched, and the time since then, by the file system's own clock.
    touched: SystemTime,
    age: Duration,
}

impl Seen {
    pub(super) fn of(file: &mut File, directory: &Path) -> io::Result<Self> {
        let mut text = String::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_string(&mut text)?;
        let touched = file.metadata()?.modified()?;
        let age = clock(directory).duration_since(touched).unwrap_or_default();
        Ok(Self { holder: serde_json::from_str(&text).ok(), touched, age })
    }

    /// Whether its holder may still be there; `locked`: with a lock that no other process of this machine can have at once.
    pub(super) fn may_live(&self, locked: bool) -> bool {
        self.holder.as_ref().is_some_and(|holder| !(holder.is_known_dead() || holder.is_here() && locked))
    }

    pub(super) fn age(&self) -> Duration {
        self.age
    }

    pub(super) fn is_touched_since(&self, earlier: &Self) -> bool {
        self.touched > earlier.touched
    }

    /// Whether the lock may be taken over: silent for a minute, and not a process of this machine that lives.
    pub(super) fn is_gone(&self) -> bool {
        let alive_here = self.holder.as_ref().is_some_and(|h| h.is_here() && !h.is_known_dead());
        self.age > STALE && !alive_here
    }

    /// The message for who came second.
    pub(super) fn refusal(&self, directory: &Path) -> Message {
        let age = self.age.as_secs_f64().round();
        let place = directory.display().to_string();
        let (who, detail) = match &self.holder {
            // the holder locks first and writes its name next
            None => ("a run that has just started".to_owned(), place),
            Some(Holder { host, process, job: Some(job), program }) => (
                format!("job {job} on node {host} (heartbeat {age} s ago)"),
                format!("{place}: held by {program} process {process}"),
            ),
            Some(Holder { host, process, job: None, program }) => {
                (format!("{program} process {process} on {host} (heartbeat {age} s ago)"), place)
            }
        };
        let message = Message::error("E162", format!("output is being written by {who}")).detail(detail);
        if !self.is_gone() {
            return message.fix("Wait for it, or use another --out");
        }
        let noun = match &self.holder {
            Some(holder) if holder.job.is_some() => "job",
            _ => "run",
        };
        message
            .cause("The file system probably kept the lock of a run that is gone")
            .fix(format!("Add --steal-lock if that {noun} is gone, or use another --out"))
    }
}

/// The time by the clock that stamps files beside `directory`, which on a network file system is the server's; this
/// machine's where no file can be made. Not in it: the other run may be listing its files.
pub fn clock(directory: &Path) -> SystemTime {
    let beside = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let stamp = || tempfile::tempfile_in(beside.unwrap_or(Path::new(".")))?.metadata()?.modified();
    stamp().unwrap_or_else(|_: io::Error| SystemTime::now())
}
