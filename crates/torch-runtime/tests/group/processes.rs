//! Starting the ranks of a group on this machine.

use std::env;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use test_peers::{as_rank, free_port};

/// The variable that tells a rank what to do.
pub(crate) const ROLE: &str = "GROUP_ROLE";
/// The variable with the group's time-out in milliseconds.
pub(crate) const TIMEOUT: &str = "GROUP_TIMEOUT";
/// The variable with the device of a rank's tensors, by default the CPU.
pub(crate) const DEVICE: &str = "GROUP_DEVICE";

/// What one rank left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) rank: usize,
    pub(crate) success: bool,
    /// Standard output and standard error.
    pub(crate) said: String,
    pub(crate) after: Duration,
}

/// This binary as a rank, with none of the variables of launchers.
pub(crate) fn rank_command(role: &str, timeout: Duration) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    for (name, _) in env::vars() {
        let launchers =
            ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "SLURM_", "OMPI_", "TORCHELASTIC", "GLOO_"];
        if launchers.iter().any(|known| name.starts_with(known)) {
            command.env_remove(name);
        }
    }
    command.args(["worker", "--exact", "--nocapture"]).env(ROLE, role);
    command.env(TIMEOUT, timeout.as_millis().to_string()).env("OMP_NUM_THREADS", "1");
    command
}

/// One rank started by variables as torchrun sets them.
pub(crate) fn start(
    role: &str,
    rank: usize,
    size: usize,
    port: u16,
    timeout: Duration,
) -> thread::JoinHandle<Ended> {
    let mut command = rank_command(role, timeout);
    as_rank(&mut command, rank, size, port);
    thread::spawn(move || {
        let begin = Instant::now();
        let output = command.output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ended { rank, success: output.status.success(), said, after: begin.elapsed() }
    })
}

/// All ranks of a group, to their end.
pub(crate) fn run(role: &str, size: usize, timeout: Duration) -> Vec<Ended> {
    let port = free_port();
    let ranks: Vec<_> = (0..size).map(|rank| start(role, rank, size, port, timeout)).collect();
    ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
}

/// Fails with what was said unless all ranks succeeded.
pub(crate) fn succeeds(role: &str, size: usize) {
    ended_well(role, size, run(role, size, Duration::from_secs(60)));
}

/// The same of one rank on the first GPU.
#[cfg(feature = "nccl")]
pub(crate) fn succeeds_on_gpu(role: &str) {
    let mut command = rank_command(role, Duration::from_secs(60));
    command.env(DEVICE, "cuda").env("RANK", "0").env("WORLD_SIZE", "1").env("LOCAL_RANK", "0");
    command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", free_port().to_string());
    let begin = Instant::now();
    let output = command.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let ended = Ended { rank: 0, success: output.status.success(), said, after: begin.elapsed() };
    ended_well(role, 1, vec![ended]);
}

fn ended_well(role: &str, size: usize, ranks: Vec<Ended>) {
    for rank in ranks {
        let done = format!("rank {} of {size} done", rank.rank);
        assert!(
            rank.success && rank.said.contains(&done),
            "{role}, rank {} of {size}: {}",
            rank.rank,
            rank.said
        );
    }
}
