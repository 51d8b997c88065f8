//! One run per output directory.
//!
//! The kernel's lock on the file [`FILE_NAME`] is what counts: it goes when its process dies, however it dies. Beside it
//! the file says who holds it, and a thread touches the file every few seconds, because some network file systems keep
//! the lock of a machine that is gone. Such a lock can be taken over on request ([`OutputLock::acquire_or_steal`]), a
//! living one never. Others keep locks to the machine that takes them, or have none: there the name and the heartbeat of a run elsewhere count, and who
//! finds another name in place of its own stops.

mod heartbeat;
mod holder;
mod steal;

pub use holder::{Holder, clock};

use crate::{Message, context};
use heartbeat::Heartbeat;
use holder::Seen;
use rustix::io::Errno;
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

/// So many beats without a touch, and nobody is there.
const SILENT_BEATS: u32 = 3;

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
            let locked = match file.try_lock() {
                Ok(()) => true,
                Err(TryLockError::WouldBlock) => {
                    let seen = Seen::of(&mut file, directory)?;
                    if !(steal && seen.is_gone()) {
                        return Err(seen.refusal(directory).into());
                    }
                    return steal::replace(directory, &path, program, beat);
                }
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    let place = directory.display();
                    context::line(&format!(
                        "W165 the file system of {place} has no locks ({error}): two runs know of each other by their heartbeats alone. Start one at a time."
                    ));
                    false
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Message::error("E162", "cannot lock the output directory")
                        .detail(format!("{}: {error}", path.display()))
                        .fix("Use an --out on another file system")
                        .into());
                }
            };
            if let Some(other) = living(&mut file, directory, locked, beat)? {
                return Err(other.refusal(directory).into());
            }
            let holder = write_holder(&mut file, program)?;
            // somebody may have replaced the file between its opening and its locking: then it is not the lock any more
            if is_at(&file, &path) {
                return Ok(Self::holding(file, path, holder, beat));
            }
        }
        Err(Message::error("E162", "the lock of the output directory changes all the time")
            .detail(path.display().to_string())
            .fix("Start one run at a time")
            .into())
    }

    fn holding(file: File, path: PathBuf, holder: Holder, beat: Duration) -> Self {
        let file = Arc::new(file);
        let heartbeat = Heartbeat::start(Arc::clone(&file), path.clone(), holder, beat);
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
        let is_lost = self.is_lost();
        drop(self.heartbeat.take());
        // an empty file says "nobody"; should it fail, the kernel's lock, which is what counts, is released all the same
        let _still_released = if is_lost { Ok(()) } else { self.file.set_len(0) };
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

fn write_holder(file: &mut File, program: &str) -> anyhow::Result<Holder> {
    let holder = Holder::this(program);
    let text = serde_json::to_string(&holder)?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    Ok(holder)
}

/// As Lustre answers that was mounted without `flock`, and others.
fn has_no_locks(error: &std::io::Error) -> bool {
    let errors = [Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOLCK];
    errors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Who else has the directory, as far as name and heartbeat tell. `locked`: the kernel's lock was had, which another process of this machine cannot
/// hold then. A name that was left behind is looked at until it was silent for long enough.
fn living(file: &mut File, directory: &Path, locked: bool, beat: Duration) -> std::io::Result<Option<Seen>> {
    let mut seen = Seen::of(file, directory)?;
    let silence = beat * SILENT_BEATS;
    while seen.may_live(locked) && seen.age() < silence {
        std::thread::sleep((silence - seen.age()).min(beat / 4));
        // opened anew: network file systems ask their server then
        let again = Seen::of(&mut open(&directory.join(FILE_NAME))?, directory)?;
        if again.is_touched_since(&seen) && again.may_live(locked) {
            return Ok(Some(again));
        }
        seen = again;
    }
    Ok(None)
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
    fn a_run_elsewhere_that_the_kernel_does_not_know_of_is_seen_by_its_heartbeat() {
        let directory = tempfile::tempdir().unwrap();
        let beat = Duration::from_millis(400);
        let take = || OutputLock::take(directory.path(), "preprocess", false, beat);
        let other = held(directory.path(), Duration::ZERO, elsewhere);
        other.unlock().unwrap();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let touched = other.try_clone().unwrap();
        let touching = std::thread::spawn(move || {
            while stopped.recv_timeout(beat / 2).is_err() {
                touched.set_modified(SystemTime::now()).unwrap();
            }
        });
        let text = refused(take(), directory.path());
        assert!(text.starts_with("E162 output is being written by job 41822 on node gpu07"), "{text}");
        stop.send(()).unwrap();
        touching.join().unwrap();
        // silent, it is gone, and so is a run of this machine at once
        let lock = take().unwrap();
        assert!(!lock.is_lost());
        // who comes over its name stops it
        let own = fs_err::read(directory.path().join(FILE_NAME)).unwrap();
        let mut holder = Holder::this("preprocess");
        elsewhere(&mut holder);
        fs_err::write(directory.path().join(FILE_NAME), serde_json::to_string(&holder).unwrap()).unwrap();
        let start = Instant::now();
        while !lock.is_lost() {
            assert!(start.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(5));
        }
        // and is left its name
        drop(lock);
        let left = fs_err::read(directory.path().join(FILE_NAME)).unwrap();
        assert!(!left.is_empty() && left != own);
    }

    #[test]
    fn file_systems_without_locks_are_told_from_other_errors() {
        let is = |errno: Errno| has_no_locks(&errno.into());
        assert!(is(Errno::NOSYS) && is(Errno::OPNOTSUPP) && is(Errno::NOLCK));
        assert!(!is(Errno::IO) && !is(Errno::STALE));
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
