//! The Python of the test environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The exit code of a script that lacks a package; it says which.
const ABSENT: i32 = 77;

/// A program of `.venv`, where `make setup` made one.
#[must_use]
pub fn venv(program: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin").join(program);
    if !path.exists() {
        println!("skipped: no .venv/bin/{program} (make setup makes it)");
        return None;
    }
    Some(path)
}

/// Python, where it has `modules` (as after `import`).
#[must_use]
pub fn python(modules: &str) -> Option<PathBuf> {
    let python = venv("python")?;
    let there = Command::new(&python)
        .args(["-W", "ignore", "-c", &format!("import {modules}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !there {
        println!("skipped: no {modules} in .venv (make test installs them)");
    }
    there.then_some(python)
}

/// What a script said, whose command begins with [`venv`]'s Python; none where it lacks a package.
///
/// # Panics
/// With the script's words where it fails.
#[must_use]
pub fn run_script(command: &mut Command) -> Option<Output> {
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(ABSENT) {
        println!("skipped: {said}");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(output)
}
