//! What a run talks through: messages, results, progress and the place of its report.

use crate::lock::OutputLock;
use crate::{Message, Output, Progress, Severity};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Writes one line to standard error, where messages and progress go; a closed pipe is no error.
pub(crate) fn line(text: &str) {
    let mut stream = std::io::stderr().lock();
    // nobody is left to be told when standard error itself is closed
    let _closed = writeln!(stream, "{text}");
}

#[derive(Debug, Default)]
struct State {
    messages: Vec<Message>,
    counts: BTreeMap<String, u64>,
    /// Where the run's report goes, and what keeps others out of there until it is written.
    report: Option<(PathBuf, Arc<OutputLock>)>,
}

/// Shared by all parts of a run; may be used from several threads.
#[derive(Debug)]
pub struct Context {
    program: String,
    quiet: bool,
    steal_lock: bool,
    reports: bool,
    began: Instant,
    state: Mutex<State>,
}

impl Context {
    /// A context; executables get theirs from [`crate::main`], tests make their own.
    #[must_use]
    pub fn new(program: &str, quiet: bool) -> Self {
        Self {
            program: program.to_owned(),
            quiet,
            steal_lock: false,
            reports: false,
            began: Instant::now(),
            state: Mutex::new(State::default()),
        }
    }

    /// Another of the same run that says nothing: of several processes the first speaks.
    #[must_use]
    pub fn silenced(&self) -> Self {
        Self { began: self.began, ..Self::new(&self.program, true) }
    }

    /// As `--steal-lock` says: [`Self::lock`] takes over locks of runs that are gone.
    #[must_use]
    pub fn stealing_locks(mut self, steal_lock: bool) -> Self {
        self.steal_lock = steal_lock;
        self
    }

    /// A report is written where [`Self::open_output`] says, until when the directory stays locked.
    #[must_use]
    pub(crate) fn reporting(mut self) -> Self {
        self.reports = true;
        self
    }

    /// Creates an output directory if needed and locks it for this run.
    ///
    /// # Errors
    /// As [`OutputLock::acquire`].
    pub fn lock(&self, directory: &Path) -> anyhow::Result<OutputLock> {
        if self.steal_lock {
            OutputLock::acquire_or_steal(directory, &self.program)
        } else {
            OutputLock::acquire(directory, &self.program)
        }
    }

    /// Creates a stage's output directory if needed, locks it for this run, and has the run's report written there before others may have it. A directory that cannot be
    /// written to is given all the same, without lock and report: it may hold the finished work ([`Output::to_write`]).
    ///
    /// # Errors
    /// As [`OutputLock::acquire`], but for an existing directory that cannot be written to.
    pub fn open_output(&self, directory: &Path) -> anyhow::Result<Output> {
        let output = Output::open(directory, &self.program, self.steal_lock)?;
        // not earlier: a run that is refused must not write its report over the other's
        if let Some(lock) = output.lock().filter(|_| self.reports) {
            self.state().report = Some((directory.to_owned(), lock));
        }
        Ok(output)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // the state is only pushed to: a panic elsewhere cannot leave it half changed
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the run began.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Name of the executable.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Reports a message. Information and warnings are printed at once, errors at the end of the run, so that they are
    /// the last thing that is read.
    pub fn tell(&self, message: Message) {
        match message.severity {
            Severity::Info => {
                tracing::info!(code = message.code, "{message}");
                if !self.quiet {
                    line(&message.to_string());
                }
            }
            Severity::Warning => {
                tracing::warn!(code = message.code, "{message}");
                if !self.quiet {
                    line(&message.to_string());
                }
            }
            Severity::Error => tracing::error!(code = message.code, "{message}"),
        }
        self.state().messages.push(message);
    }

    /// A plain line of progress for people (standard error), hidden when quiet.
    pub fn say(&self, text: &str) {
        tracing::info!("{text}");
        if !self.quiet {
            line(text);
        }
    }

    /// Prints a result to standard output, also when quiet.
    ///
    /// # Errors
    /// Fails when standard output is closed for another reason than a broken pipe.
    pub fn print(&self, text: &str) -> std::io::Result<()> {
        let mut stream = std::io::stdout().lock();
        match stream
            .write_all(text.as_bytes())
            .and_then(|()| stream.write_all(b"\n"))
            .and_then(|()| stream.flush())
        {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// A progress display over `total` items.
    #[must_use]
    pub fn progress(&self, label: &str, total: u64) -> Progress {
        Progress::new(label, total, self.quiet)
    }

    /// Adds a count to the report.
    pub fn count(&self, name: &str, value: u64) {
        self.state().counts.insert(name.to_owned(), value);
    }

    /// How many messages of a severity were told so far.
    #[must_use]
    pub fn told(&self, severity: Severity) -> usize {
        self.state().messages.iter().filter(|m| m.severity == severity).count()
    }

    /// The messages so far, errors last, otherwise in the order in which they came.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = self.state().messages.clone();
        messages.sort_by_key(|m| m.severity == Severity::Error);
        messages
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.state().counts.clone()
    }

    pub(crate) fn report_directory(&self) -> Option<PathBuf> {
        self.state().report.as_ref().map(|(directory, _)| directory.clone())
    }
}
