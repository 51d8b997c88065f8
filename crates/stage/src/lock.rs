//! One run per output directory.

use crate::Message;
use serde::{Deserialize, Serialize};
use std::fs::TryLockError;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Name of the lock file inside an output directory.
pub const FILE_NAME: &str = ".lock";

/// Who holds a lock, as written into the lock file.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
    fn this(program: &str) -> Self {
        let job = ["SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID"].iter().find_map(|name| std::env::var(name).ok());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, process: std::process::id(), job, program: program.to_owned() }
    }
}

/// Exclusive use of an output directory until dropped. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct OutputLock {
    file: std::fs::File,
    path: PathBuf,
}

impl OutputLock {
    /// Creates `directory` if needed and locks it.
    ///
    /// # Errors
    /// `E162` names the holder when another run has it; any I/O error otherwise.
    pub fn acquire(directory: &Path, program: &str) -> anyhow::Result<Self> {
        fs_err::create_dir_all(directory)?;
        let path = directory.join(FILE_NAME);
        let mut file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?
            .into_parts()
            .0;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                let holder = match serde_json::from_str::<Holder>(&text) {
                    Ok(h) => {
                        let job = h.job.map(|j| format!(" (job {j})")).unwrap_or_default();
                        format!("by {} process {} on {}{job}", h.program, h.process, h.host)
                    }
                    // the holder locks first and writes its name next
                    Err(_) => "by a run that has just started".to_owned(),
                };
                return Err(Message::error("E162", format!("output is being written {holder}"))
                    .detail(directory.display().to_string())
                    .fix("Wait for it, or use another --out")
                    .into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(Message::error("E162", "cannot lock the output directory")
                    .detail(format!("{}: {error}", path.display()))
                    .cause("Some network file systems have no locks")
                    .fix("Use an --out on another file system")
                    .into());
            }
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(serde_json::to_string(&Holder::this(program))?.as_bytes())?;
        Ok(Self { file, path })
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // an empty file says "nobody"; should it fail, the kernel's lock, which is what counts, is released all the same
        let _still_released = self.file.set_len(0);
        // unlocked by name: a child that is being started holds a copy of the descriptor until it runs its own program
        let _closing_releases_it_too = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(directory.path(), "preprocess").unwrap();
        let refused = OutputLock::acquire(directory.path(), "preprocess").unwrap_err().to_string();
        assert!(refused.starts_with("E162"), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(lock);
        OutputLock::acquire(directory.path(), "preprocess").unwrap();
    }
}
