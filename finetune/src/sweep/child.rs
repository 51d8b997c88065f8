//! A command as a process of its own, which gets the signals that this one gets, and ends when this one dies.

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal as on_death_of_parent,
};
use stage::{ExitStatus, Message, interrupt};
use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How often a process is looked at.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// How a command ended.
pub(super) enum Ended {
    Done,
    /// It saved its state and can be repeated.
    Interrupted,
    /// The command, in words.
    Failed(String),
}

/// Where the commands are.
pub(super) struct Programs {
    pub(super) finetune: PathBuf,
    pub(super) evaluate: PathBuf,
    quiet: bool,
}

impl Programs {
    /// This program, and `evaluate` where it was named, else beside this one.
    pub(super) fn find(evaluate: Option<&Path>, quiet: bool) -> anyhow::Result<Self> {
        let finetune = std::env::current_exe()?;
        let beside = || finetune.with_file_name(format!("evaluate{}", std::env::consts::EXE_SUFFIX));
        let evaluate = evaluate.map_or_else(beside, Path::to_owned);
        if !evaluate.is_file() {
            return Err(Message::error("E421", "the program that scores is not there")
                .detail(evaluate.display().to_string())
                .fix("Build it ('make build'), or name it with --evaluate")
                .into());
        }
        Ok(Self { finetune, evaluate, quiet })
    }

    /// Runs a command to its end; what it prints as its result is dropped, its messages are shown.
    pub(super) fn run(&self, program: &Path, words: &[OsString]) -> anyhow::Result<Ended> {
        if interrupt::requested() {
            return Ok(Ended::Interrupted);
        }
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::null());
        if self.quiet {
            command.arg("--quiet");
        }
        end_with_this_process(&mut command);
        let code = wait(&mut command.spawn()?)?;
        Ok(match code {
            Some(code) if code == i32::from(ExitStatus::Done.code()) => Ended::Done,
            Some(code) if code == i32::from(ExitStatus::Interrupted.code()) => Ended::Interrupted,
            _ if interrupt::requested() => Ended::Interrupted,
            _ => Ended::Failed(format!(
                "{} {}",
                program.file_stem().unwrap_or_default().to_string_lossy(),
                words.first().map(|word| word.to_string_lossy()).unwrap_or_default()
            )),
        })
    }
}

/// Has the command save and end, as on SIGTERM, when this process is killed: it would go on alone, and the repeated sweep would find its
/// directory taken and train beside it.
fn end_with_this_process(command: &mut Command) {
    let parent = getpid();
    let tie = move || {
        on_death_of_parent(Some(Signal::TERM))?;
        // it may have died before that was asked for
        if getppid() == Some(parent) { Ok(()) } else { Err(ErrorKind::Interrupted.into()) }
    };
    // SAFETY: between fork and exec it makes two system calls, and neither allocates nor takes a lock
    #[expect(unsafe_code, reason = "what runs between fork and exec may do little")]
    unsafe {
        command.pre_exec(tie);
    }
}

/// The exit code; a request to stop is handed on once.
fn wait(child: &mut Child) -> std::io::Result<Option<i32>> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if interrupt::requested() && !told {
            // it may have ended in between, and then there is nobody to tell
            let _gone = kill_process(Pid::from_child(child), Signal::TERM);
            told = true;
        }
        std::thread::sleep(LOOK);
    }
}
