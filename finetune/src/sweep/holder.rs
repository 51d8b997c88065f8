//! Commands that a killed sweep left behind.

use super::child::LOOK;
use stage::{Context, Message, interrupt, lock};
use std::fs::TryLockError;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

/// A lock that nobody touched for so long is nobody's: a file system kept it. The command itself says what to do.
const SILENCE: Duration = Duration::from_secs(60);

/// Waits until no process writes into these directories. A killed sweep's command saves its state and ends, which takes a moment.
pub(super) fn wait(directories: &[&Path], context: &Context) -> io::Result<()> {
    for directory in directories {
        let mut told = false;
        while !interrupt::requested() && is_held(&directory.join(lock::FILE_NAME))? {
            if !told {
                let text = "a command of an earlier sweep still writes: waiting for its end";
                context.tell(Message::info("I443", text).detail(directory.display().to_string()));
                told = true;
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}

/// Whether a living process has the lock.
fn is_held(path: &Path) -> io::Result<bool> {
    let file = match fs_err::File::open(path) {
        Ok(file) => file.into_parts().0,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            // a clock that runs ahead counts as just touched
            let touched = file.metadata()?.modified()?;
            let now = lock::clock(path.parent().unwrap_or(Path::new(".")));
            Ok(now.duration_since(touched).unwrap_or_default() < SILENCE)
        }
        // without locks there is nothing to wait for, and the command says so
        Ok(()) | Err(TryLockError::Error(_)) => Ok(false),
    }
}
