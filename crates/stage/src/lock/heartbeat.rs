//! A thread that touches a lock file while its lock is held.

use super::{Holder, is_replaced};
use crate::{context, interrupt};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Stops when dropped.
#[derive(Debug)]
pub(super) struct Heartbeat {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    lost: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Touches `file` at `path`, which says that `holder` has it.
    pub(super) fn start(file: Arc<File>, path: PathBuf, holder: Holder, every: Duration) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let lost = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&lost);
        let beat = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if is_replaced(&file, &path) == Some(true) || names_another(&path, &holder) {
                    flag.store(true, Ordering::Relaxed);
                    let place = path.display();
                    context::line(&format!(
                        "W163 another run has taken over {place}. Stopping, so that two do not write there."
                    ));
                    interrupt::raise();
                    return;
                }
                // UTIME_NOW is the file system's clock, which may be another machine's. A touch that fails makes the lock
                // look older, no more: the kernel's lock is what counts.
                let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
                let _looks_older = futimens(&*file, &Timestamps { last_access: now, last_modification: now });
            }
        };
        Self { stop: Some(stop), thread: Some(std::thread::spawn(beat)), lost }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // it cannot panic, and there would be nothing to do about it
            let _ended = thread.join();
        }
    }
}

/// Whether the lock file says that somebody else has it. It is being written while it says nothing, or cannot be read for a while.
fn names_another(path: &Path, holder: &Holder) -> bool {
    let text = fs_err::read(path).unwrap_or_default();
    serde_json::from_slice::<Holder>(&text).is_ok_and(|found| found != *holder)
}
