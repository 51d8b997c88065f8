//! Several processes of a program that train together.

use crate::Ended;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

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
#[must_use]
pub fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().unwrap();
    Ended {
        code: output.status.code().unwrap_or(-1),
        text: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// As many processes as `size`, each of the command made for it, to their ends, which all have exit code `code`.
#[track_caller]
pub fn run_ranks(size: usize, code: i32, command: impl Fn() -> Command) {
    let port = free_port();
    let children: Vec<Child> = (0..size)
        .map(|rank| {
            let mut command = command();
            as_rank(&mut command, rank, size, port);
            command.spawn().unwrap()
        })
        .collect();
    let all: Vec<Ended> = children.into_iter().map(ended).collect();
    assert!(all.iter().all(|one| one.code == code), "expected {code}: {all:#?}");
}
