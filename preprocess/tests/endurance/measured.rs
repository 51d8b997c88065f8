//! A run as a process, with the time and the memory that it took.

use crate::support::Task;
use std::process::Output;
use std::time::{Duration, Instant};

/// The kernel's unit for programs (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a run took.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) wall: Duration,
    /// User and system time of the process.
    pub(crate) cpu: Duration,
    /// Time in which cores of the machine had nothing to do, summed over them.
    pub(crate) idle: Duration,
    /// Largest resident memory, in bytes (`VmHWM`).
    pub(crate) peak: u64,
    pub(crate) stderr: String,
}

/// Runs to the end and expects exit code 0.
pub(crate) fn run(task: &Task, more: &[&str]) -> Measured {
    let (started, before, idle_before) = (Instant::now(), children_cpu(), idle());
    let Output { status, stderr, .. } = task.command(more).output().unwrap();
    let (wall, cpu, idle) = (started.elapsed(), children_cpu() - before, idle() - idle_before);
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{stderr}");
    let peak = task.report()["peak_resident_bytes"].as_u64().unwrap();
    Measured { wall, cpu, idle, peak, stderr }
}

/// User and system time of all children that have ended; tests that subtract two of them run alone.
fn children_cpu() -> Duration {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    // the second field is the program's name in brackets, which may hold blanks; cutime and cstime are fields 16 and 17
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

/// Idle and waiting time of all cores since the machine was started.
fn idle() -> Duration {
    let stat = fs_err::read_to_string("/proc/stat").unwrap();
    // cpu, user, nice, system, idle, iowait
    let all = stat.lines().next().unwrap().split_whitespace();
    let ticks: u64 = all.skip(4).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}
