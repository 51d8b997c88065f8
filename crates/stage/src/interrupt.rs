//! Signals that ask a run to stop: SIGTERM, SIGINT and SIGUSR1, SIGUSR2 as LSF sends it before a job's time is over, and SIGXCPU before that of the
//! processor is. They raise a flag that long loops look at, which then save and return [`crate::ExitStatus::Interrupted`]. A second SIGINT ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

fn flag() -> &'static Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    FLAG.get_or_init(|| Arc::new(AtomicBool::new(false)))
}

/// Installs the handlers; [`crate::main`] does it.
///
/// # Errors
/// Fails when the system refuses a handler.
pub fn install() -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
    signal_hook::flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(flag()))?;
    for signal in [SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU] {
        signal_hook::flag::register(signal, Arc::clone(flag()))?;
    }
    // with a handler of whatever kind, a file beyond the limit of `ulimit -f` is an error of its write, which is told, and not the end of
    // the process
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    Ok(())
}

/// Asks the run to stop, as a signal does.
pub(crate) fn raise() {
    flag().store(true, Ordering::Relaxed);
}

/// Whether the run was asked to stop.
#[must_use]
pub fn requested() -> bool {
    flag().load(Ordering::Relaxed)
}
