//! One run per output directory.
//!
//! The kernel's lock on the file [`FILE_NAME`] is what counts: it goes when its process dies, however it dies. Beside it
//! the file says who holds it, and a thread touches the file every few seconds, because some network file systems keep
//! the lock of a machine that is gone. Such a lock can be taken over on request ([`OutputLock::acquire_or_steal`]), a
//! living one never.

mod heartbeat;
mod holder;
mod steal;

pub use holder::{Holder, clock};

use crate::Message;
use heartbeat::Heartbeat;
use holder::Seen;
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Name of the lock file inside an output directory.
pub const FILE_NAME: &str = ".lock";

/// Code of the refusal of a directory that cannot be made or written to.
pub(crate) const UNUSABLE: &str = "E163";

/// Time between two touches of the lock file.
const BEAT: Duration = Duration::from_secs(5);

/// How often a lock file that is replaced while it is being locked is tried again.
const ATTEMPTS: usize = 100;

/// Exclusive use of an output directory until dropped. The kernel releases it when the process dies, however it dies.
#[derive(Debug)]
pub struct OutputLock {
    file: Arc<File>,
    path: PathBuf,
    heartbeat: Option<Heartbeat>,
}

impl OutputLock {
    /// Creates `directory` if needed and locks it; executables call [`crate::Context::lock`] or [`crate::Context::open_output`].
    ///
    /// # Errors
    /// `E162` names the holder when another run has it; `E163` where the directory cannot be made or written to; any I/O error otherwise.
    pub fn acquire(directory: &Path, program: &str) -> anyhow::Result<Self> {
        Self::take(directory, program, false, BEAT)
    }

    /// As [`Self::acquire`], and takes over the lock of a run that is gone: no heartbeat for a minute, and no such
    /// process where that can be asked.
    ///
    /// # Errors
    /// As [`Self::acquire`], for a holder that lives.
    pub fn acquire_or_steal(directory: &Path, program: &str) -> anyhow::Result<Self> {
        Self::take(directory, program, true, BEAT)
    }

    fn take(directory: &Path, program: &str, steal: bool, beat: Duration) -> anyhow::Result<Self> {
        fs_err::create_dir_all(directory).map_err(|error| unusable(&error))?;
        let path = directory.join(FILE_NAME);
        for _ in 0..ATTEMPTS {
            let mut file = open(&path).map_err(|error| unusable(&error))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let seen = Seen::of(&mut file, directory)?;
                    if !(steal && seen.is_gone()) {
                        return Err(seen.refusal(directory).into());
                    }
                    return steal::replace(directory, &path, program, beat);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Message::error("E162", "cannot lock the output directory")
                        .detail(format!("{}: {error}", path.display()))
                        .cause("Some network file systems have no locks")
                        .fix("Use an --out on another file system")
                        .into());
                }
            }
            write_holder(&mut file, program)?;
            // somebody may have replaced the file between its opening and its locking: then it is not the lock any more
            if is_at(&file, &path) {
                return Ok(Self::holding(file, path, beat));
            }
        }
        Err(Message::error("E162", "the lock of the output directory changes all the time")
            .detail(path.display().to_string())
            .fix("Start one run at a time")
            .into())
    }

    fn holding(file: File, path: PathBuf, beat: Duration) -> Self {
        let file = Arc::new(file);
        let heartbeat = Heartbeat::start(Arc::clone(&file), path.clone(), beat);
        Self { file, path, heartbeat: Some(heartbeat) }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether another run took the directory over; the run is then asked to stop as by a signal.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.heartbeat.as_ref().is_some_and(Heartbeat::is_lost)
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        drop(self.heartbeat.take());
        // an empty file says "nobody"; should it fail, the kernel's lock, which is what counts, is released all the same
        let _still_released = self.file.set_len(0);
        // unlocked by name: a child that is being started holds a copy of the descriptor until it runs its own program
        let _closing_releases_it_too = self.file.unlock();
    }
}

/// Refuses a directory that cannot be made or written to.
pub(crate) fn unusable(error: &std::io::Error) -> Message {
    Message::error(UNUSABLE, "the output directory cannot be used")
        .detail(error.to_string())
        .fix("Give --out a directory that can be made and written to")
}

fn open(path: &Path) -> std::io::Result<File> {
    let mut options = fs_err::OpenOptions::new();
    Ok(options.read(true).write(true).create(true).truncate(false).open(path)?.into_parts().0)
}

fn write_holder(file: &mut File, program: &str) -> anyhow::Result<()> {
    let text = serde_json::to_string(&Holder::this(program))?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

/// Whether `path` still names this open file.
fn is_at(file: &File, path: &Path) -> bool {
    is_replaced(file, path) == Some(false)
}

/// Whether another file, or none, is where this open file was; none where a file system does not say, as one on the network may for a while.
fn is_replaced(file: &File, path: &Path) -> Option<bool> {
    let identity = |m: std::fs::Metadata| (m.dev(), m.ino());
    let own = identity(file.metadata().ok()?);
    match path.metadata() {
        Ok(there) => Some(own != identity(there)),
        Err(error) => (error.kind() == std::io::ErrorKind::NotFound).then_some(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::time::{Instant, SystemTime};

    /// Longer than any heartbeat may be late.
    const LONG_AGO: Duration = Duration::from_secs(600);

    /// A held lock that says `edit` of its holder, its last heartbeat `age` ago.
    fn held(directory: &Path, age: Duration, edit: impl FnOnce(&mut Holder)) -> File {
        let path = directory.join(FILE_NAME);
        let mut file = open(&path).unwrap();
        file.try_lock().unwrap();
        let mut holder = Holder::this("preprocess");
        edit(&mut holder);
        file.write_all(serde_json::to_string(&holder).unwrap().as_bytes()).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
        file
    }

    fn elsewhere(holder: &mut Holder) {
        holder.host = "gpu07".to_owned();
        holder.job = Some("41822".to_owned());
    }

    /// No process has this id: it is beyond the largest that Linux gives.
    fn nobody(holder: &mut Holder) {
        holder.process = 1 << 23;
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("taken");
        fs_err::write(&place, "").unwrap();
        let said = refused(OutputLock::acquire(&place, "pretrain"), directory.path());
        assert!(said.starts_with("E163") && said.contains("taken") && said.contains("--out"), "{said}");
    }

    fn refused(result: anyhow::Result<OutputLock>, directory: &Path) -> String {
        result.unwrap_err().to_string().replace(directory.to_str().unwrap(), "[OUT]")
    }

    #[test]
    fn a_second_run_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let lock = OutputLock::acquire(directory.path(), "preprocess").unwrap();
        let text = refused(OutputLock::acquire(directory.path(), "preprocess"), directory.path());
        let (host, process) = (Holder::this("").host, std::process::id());
        let start =
            format!("E162 output is being written by preprocess process {process} on {host} (heartbeat ");
        assert!(text.starts_with(&start), "{text}");
        assert!(text.ends_with(" s ago). [OUT]. Wait for it, or use another --out."), "{text}");
        // asking for it by force changes nothing while the other lives
        assert_eq!(
            refused(OutputLock::acquire_or_steal(directory.path(), "x"), directory.path())[..30],
            text[..30]
        );
        drop(lock);
        assert_eq!(fs_err::read(directory.path().join(FILE_NAME)).unwrap(), b"");
        OutputLock::acquire(directory.path(), "preprocess").unwrap();
    }

    #[test]
    fn the_lock_of_a_lost_machine_is_taken_over_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let stale = held(directory.path(), LONG_AGO, elsewhere);
        let text = refused(OutputLock::acquire(directory.path(), "preprocess"), directory.path());
        assert_eq!(
            text,
            "E162 output is being written by job 41822 on node gpu07 (heartbeat 600 s ago). [OUT]: held by \
             preprocess process "
                .to_owned()
                + &std::process::id().to_string()
                + ". The file system probably kept the lock of a run that is gone. Add --steal-lock if that job is gone, or \
                   use another --out."
        );
        let lock = OutputLock::acquire_or_steal(directory.path(), "preprocess").unwrap();
        // it is a lock like any other, whatever becomes of the first
        let text = refused(OutputLock::acquire_or_steal(directory.path(), "preprocess"), directory.path());
        assert!(text.contains("Wait for it"), "{text}");
        drop(stale);
        assert!(OutputLock::acquire(directory.path(), "preprocess").is_err());
        drop(lock);
        let names: Vec<_> =
            fs_err::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, [FILE_NAME]);
        OutputLock::acquire(directory.path(), "preprocess").unwrap();
    }

    #[test]
    fn a_lock_that_may_be_alive_is_not_taken() {
        type Edit = fn(&mut Holder);
        let seconds = Duration::from_secs;
        let cases: [(Duration, Edit, bool); 5] = [
            (seconds(12), elsewhere, false),
            (seconds(59), elsewhere, false),
            (LONG_AGO, |_| {}, false),
            (seconds(12), nobody, false),
            (LONG_AGO, nobody, true),
        ];
        for (i, (age, edit, taken)) in cases.into_iter().enumerate() {
            let directory = tempfile::tempdir().unwrap();
            let _held = held(directory.path(), age, edit);
            let result = OutputLock::acquire_or_steal(directory.path(), "preprocess");
            assert_eq!(result.is_ok(), taken, "{i}: {result:?}");
        }
    }

    #[test]
    fn of_many_at_once_one_wins() {
        for steal in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let _stale = steal.then(|| held(directory.path(), LONG_AGO, elsewhere));
            for _ in 0..20 {
                let start = Barrier::new(8);
                let locks: Vec<_> = std::thread::scope(|scope| {
                    let run = || {
                        start.wait();
                        OutputLock::take(directory.path(), "test", steal, BEAT)
                    };
                    let handles: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
                    handles.into_iter().map(|handle| handle.join().unwrap()).collect()
                });
                assert_eq!(locks.iter().filter(|lock| lock.is_ok()).count(), 1, "{locks:?}");
            }
        }
    }

    #[test]
    fn the_file_is_touched_and_a_lost_lock_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE_NAME);
        let lock = OutputLock::take(directory.path(), "test", false, Duration::from_millis(10)).unwrap();
        let long_ago = SystemTime::now() - LONG_AGO;
        lock.file.set_modified(long_ago).unwrap();
        let wait = |done: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !done() {
                assert!(start.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        wait(&|| path.metadata().unwrap().modified().unwrap() > long_ago + LONG_AGO / 2);
        assert!(!lock.is_lost());
        fs_err::rename(&path, directory.path().join("old")).unwrap();
        crate::atomic::write(&path, b"").unwrap();
        wait(&|| lock.is_lost());
        assert!(crate::interrupt::requested());
        // the next one's file is left alone
        crate::atomic::write(&path, b"other").unwrap();
        drop(lock);
        assert_eq!(fs_err::read(&path).unwrap(), b"other");
    }
}
