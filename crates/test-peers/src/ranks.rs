//! Several processes of a program that train together.

use crate::{Ended, venv};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A port below those that the system gives to connections, so that none of these takes it; a test process has a hundred of
/// its own, and each is given out once.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 18_000 + (std::process::id() % 130) as u16 * 100;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 100;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Makes `command` one rank of `size` on this machine.
pub fn as_rank(command: &mut Command, rank: usize, size: usize, port: u16) {
    let (rank, size) = (rank.to_string(), size.to_string());
    command.envs([("RANK", rank.as_str()), ("LOCAL_RANK", &rank), ("WORLD_SIZE", &size)]);
    command.envs([("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", &port.to_string())]);
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
}

/// Waits for a process.
fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        text: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn spawn(size: usize, command: impl Fn() -> Command) -> Vec<Child> {
    let port = free_port();
    let start = |rank| {
        let mut command = command();
        as_rank(&mut command, rank, size, port);
        command.spawn().unwrap()
    };
    (0..size).map(start).collect()
}

/// As many processes as `size`, each of the command made for it, to their ends, which all have exit code `code`.
#[track_caller]
pub fn run_ranks(size: usize, code: i32, command: impl Fn() -> Command) -> Vec<String> {
    let children = spawn(size, command);
    let all: Vec<Ended> = children.into_iter().map(ended).collect();
    assert!(all.iter().all(|one| one.code == code), "expected {code}: {all:#?}");
    all.into_iter().map(|one| one.text).collect()
}

/// Two processes, of which rank `victim` is killed once `record` shows that they train; what the other says, which fails within a
/// minute.
#[track_caller]
#[must_use]
pub fn kill_one_of_two(victim: usize, record: &Path, command: impl Fn() -> Command) -> String {
    let minute = Duration::from_secs(60);
    let mut children = spawn(2, command);
    let started = Instant::now();
    while std::fs::read(record).map_or(0, |text| text.len()) < 200 {
        assert!(started.elapsed() < minute, "no step within a minute");
        thread::sleep(Duration::from_millis(20));
    }
    let mut killed = children.remove(victim);
    killed.kill().unwrap();
    let since = Instant::now();
    let said = children.into_iter().map(|other| ended(other).expect(1)).collect();
    assert!(since.elapsed() < minute);
    assert_eq!(ended(killed).code, -1);
    said
}

/// Has torchrun start two processes of a command, to their good end; false without torchrun.
#[track_caller]
#[must_use]
pub fn torchrun_two(command: &Command) -> bool {
    let Some(torchrun) = venv("torchrun") else { return false };
    let output = Command::new(torchrun)
        .args(["--no-python", "--nproc-per-node", "2", "--standalone"])
        .arg(command.get_program())
        .args(command.get_args())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}
