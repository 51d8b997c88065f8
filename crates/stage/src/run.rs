//! From `main` to exit code: arguments, signals, log, errors, report.

use crate::arguments::{self, Common, Parsed, Stop};
use crate::report::Report;
use crate::{Context, ExitStatus, Message, context, disk, interrupt, limits, sealed};
use clap::{CommandFactory, FromArgMatches};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

/// Access to the common arguments of a parsed command line.
pub trait HasCommon {
    /// The common arguments.
    fn common(&self) -> &Common;
}

/// Runs an executable: parses the command line, installs signal handlers and the log, calls `run`, prints its errors last,
/// writes `report.json` where [`Context::open_output`] says, and gives the exit code.
pub fn main<A: CommandFactory + FromArgMatches + HasCommon>(
    program: &str,
    version: &str,
    run: impl FnOnce(A, &Context) -> anyhow::Result<ExitStatus>,
) -> ExitCode {
    ExitCode::from(status_of(program, version, run))
}

/// As [`main`], for executables that end by other means than returning from their `main`.
pub fn status_of<A: CommandFactory + FromArgMatches + HasCommon>(
    program: &str,
    version: &str,
    run: impl FnOnce(A, &Context) -> anyhow::Result<ExitStatus>,
) -> u8 {
    let started = Instant::now();
    let Parsed { arguments, flags } = match arguments::parse::<A>(std::env::args_os().collect()) {
        Ok(parsed) => parsed,
        Err(Stop::Clap(error)) => {
            // help and version go to standard output with code 0, usage errors to standard error with code 2
            let _closed = error.print();
            return if error.use_stderr() { ExitStatus::Usage.code() } else { 0 };
        }
        Err(Stop::Config(message)) => {
            context::line(&message.to_string());
            return ExitStatus::Usage.code();
        }
        Err(Stop::Completions(shell)) => {
            clap_complete::generate(shell, &mut A::command(), program, &mut std::io::stdout());
            return 0;
        }
    };
    let common = arguments.common();
    let context = Context::new(program, common.quiet).stealing_locks(common.steal_lock).reporting();
    if let Err(error) = prepare(arguments.common()) {
        context::line(&format!("E001 {error:#}"));
        return ExitStatus::Usage.code();
    }
    let result = guarded(|| run(arguments, &context));
    let gave_up = result.is_err();
    let status = result.unwrap_or_else(|error| {
        context.tell(to_message(&error, context.report_directory().as_deref(), &flags));
        ExitStatus::Failed
    });
    let errors = context.messages().into_iter().filter(|m| m.severity == crate::Severity::Error);
    for message in errors {
        context::line(&message.to_string());
    }
    // Where a file is in the directory's place, the run has said so. A stage withdraws its manifest before it changes anything: where that is still
    // there, a command was refused, and what the directory holds was made by an earlier run, whose report stays.
    let is_refused = |directory: &Path| gave_up && directory.join(sealed::MANIFEST).is_file();
    if let Some(directory) = context.report_directory().filter(|d| !d.is_file() && !is_refused(d)) {
        let mut report = Report::new(program, version, status, started.elapsed().as_secs_f64());
        report.counts = context.counts();
        report.messages = context.messages();
        let written = sealed::write(&directory.join("report.json"), &report);
        if let Err(error) = written {
            context::line(&format!("E004 cannot write the run report. {error}."));
            return ExitStatus::Failed.code().max(status.code());
        }
    }
    status.code()
}

fn prepare(common: &Common) -> anyhow::Result<()> {
    interrupt::install()?;
    limits::allow_open_files();
    limits::start_pool()?;
    if let Some(path) = &common.log {
        let file = fs_err::OpenOptions::new().create(true).append(true).open(path)?.into_parts().0;
        let filter = std::env::var("GTGM_LOG").unwrap_or_else(|_| "info".to_owned());
        tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::try_new(filter)?)
            .with_writer(Mutex::new(file))
            .with_ansi(false)
            .try_init()
            .map_err(|e| anyhow::anyhow!("cannot start the log: {e}"))?;
    }
    Ok(())
}

/// The message inside an error, that of a full disk or of full memory, or an `E000` made of its chain; `out` is the run's directory, `flags` are
/// those of the command.
fn to_message(error: &anyhow::Error, out: Option<&Path>, flags: &[String]) -> Message {
    if let Some(message) = error.downcast_ref::<Message>() {
        return message.clone();
    }
    if let Some(message) = disk::full(error.as_ref(), out) {
        return message;
    }
    let text = format!("{error:#}");
    match line_of_memory(&text) {
        Some(line) => Message::error("E305", line).fix(less_memory(flags)),
        None => Message::error("E000", text),
    }
}

/// The line of a text that says that memory ran out; LibTorch's has a trace behind it, and in a panic its lines are one.
fn line_of_memory(text: &str) -> Option<&str> {
    let mut lines = text.lines().flat_map(|line| line.split("\\n"));
    let line = lines.find(|line| limits::is_out_of_memory(line))?;
    Some(line.split_once("Torch(\"").map_or(line, |(_, said)| said).trim())
}

/// Which of a command's flags make it take less memory.
fn less_memory(flags: &[String]) -> String {
    let choices = [
        ("patch-zyx", "a smaller --patch-zyx"),
        ("batch", "a smaller --batch"),
        ("micro-batch", "a smaller --micro-batch"),
        ("window-batch", "a smaller --window-batch"),
        ("workers", "fewer --workers"),
        ("precision", "--precision bf16"),
        ("device", "another --device"),
    ];
    let known = choices.iter().filter(|(flag, _)| flags.iter().any(|known| known == flag));
    let words: Vec<&str> = known.map(|(_, words)| *words).collect();
    match words.split_last() {
        None => "Free memory, or give the command more of it".to_owned(),
        Some((last, [])) => format!("Try {last}"),
        Some((last, others)) => format!("Try {} or {last}", others.join(", ")),
    }
}

/// Turns a panic, which is always a defect of ours, into an error with its place.
fn guarded(run: impl FnOnce() -> anyhow::Result<ExitStatus>) -> anyhow::Result<ExitStatus> {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    panic::set_hook(Box::new(|info| {
        tracing::error!("{info}\n{}", std::backtrace::Backtrace::force_capture());
        if let (Some(place), Ok(mut kept)) = (info.location(), PLACE.lock()) {
            *kept = format!("{}:{}", place.file(), place.line());
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(run));
    drop(panic::take_hook());
    result.unwrap_or_else(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        if let Some(line) = line_of_memory(text) {
            return Err(anyhow::Error::msg(line.to_owned()));
        }
        // LibTorch appends a C++ trace of some 26 lines
        let first = text.lines().next().unwrap_or(text).to_owned();
        let place = PLACE.lock().map(|p| p.clone()).unwrap_or_default();
        Err(Message::error("E999", "internal error")
            .detail(format!("{first} ({place})"))
            .fix("This is a defect of the program: please report it with the command and the --log file")
            .into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_runs_out_is_no_defect_and_says_what_to_change() {
        let error =
            anyhow::anyhow!("CUDA out of memory. Tried to allocate 2.00 GiB.\nframe #0").context("LibTorch");
        let in_panic =
            || panic!("an Err value: Torch(\"DefaultCPUAllocator: can't allocate memory\\nframe #0\")");
        let flags = ["steps", "batch", "device"].map(str::to_owned);
        for error in [error, guarded(in_panic).unwrap_err()] {
            let message = to_message(&error, None, &flags);
            assert_eq!(message.code, "E305");
            let text = message.to_string();
            assert!(
                text.ends_with("Try a smaller --batch or another --device.")
                    && !text.contains("frame")
                    && !text.contains("Err value"),
                "{text}"
            );
        }
        assert_eq!(to_message(&anyhow::anyhow!("no such file"), None, &flags).code, "E000");
        assert_eq!(to_message(&guarded(|| panic!("other")).unwrap_err(), None, &flags).code, "E999");
    }

    #[test]
    fn only_flags_that_the_command_has_are_advised() {
        let advice =
            |flags: &[&str]| less_memory(&flags.iter().map(|&flag| flag.to_owned()).collect::<Vec<_>>());
        assert_eq!(advice(&["out"]), "Free memory, or give the command more of it");
        assert_eq!(advice(&["workers"]), "Try fewer --workers");
        assert_eq!(
            advice(&["device", "precision", "window-batch"]),
            "Try a smaller --window-batch, --precision bf16 or another --device"
        );
    }
}
