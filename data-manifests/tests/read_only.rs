//! Finished work on a file system, or in a folder, that cannot be written to.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user id without rights, which Linux calls nobody.
const NOBODY: u32 = 65534;

fn set_mode(path: &Path, mode: u32) {
    fs_err::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Takes from everybody, or gives to the owner, the right to write into a tree.
fn writable(root: &Path, may: bool) {
    let is_directory = root.is_dir();
    let mode = if is_directory { 0o555 } else { 0o444 };
    set_mode(root, if may { mode | 0o200 } else { mode });
    if is_directory {
        for entry in fs_err::read_dir(root).unwrap() {
            writable(&entry.unwrap().path(), may);
        }
    }
}

/// Gives a tree to nobody.
fn given(root: &Path) {
    std::os::unix::fs::chown(root, Some(NOBODY), Some(NOBODY)).unwrap();
    if root.is_dir() {
        for entry in fs_err::read_dir(root).unwrap() {
            given(&entry.unwrap().path());
        }
    }
}

#[test]
fn finished_work_that_cannot_be_written_to_is_found_and_other_work_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (at, out) = (directory.path(), directory.path().join("p"));
    // rights mean nothing to root: nobody runs a copy that nobody can reach
    let program: PathBuf = at.join("program");
    fs_err::copy(env!("CARGO_BIN_EXE_data-manifests"), &program).unwrap();
    set_mode(at, 0o755);
    let is_root = fs_err::metadata("/proc/self").unwrap().uid() == 0;
    let phantom = |seed: &str| {
        let mut command = Command::new(&program);
        command
            .current_dir(at)
            .args(["phantom", "--out", "p", "--size", "small", "--only", "em", "--seed", seed]);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    // made by the owner
    let mut owner = Command::new(&program);
    owner.current_dir(at).args(phantom("4").get_args());
    assert!(owner.output().unwrap().status.success());
    let report = fs_err::read(out.join("report.json")).unwrap();
    let said = |seed: &str| {
        let output = phantom(seed).output().unwrap();
        format!("exit {}\n{}", output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    // the directory alone: its owner may still write to the lock
    if is_root {
        given(&out);
    }
    set_mode(&out, 0o555);
    assert!(said("4").starts_with("exit 0"), "{}", said("4"));
    assert!(said("5").starts_with("exit 1\nE163"), "{}", said("5"));
    set_mode(&out, 0o755);
    for has_lock in [true, false] {
        writable(&out, false);
        insta::allow_duplicates! {
            insta::assert_snapshot!(said("4"), @r"
                exit 0
                I170 3 cases reused, nothing to do.
            ");
            insta::assert_snapshot!(said("5"), @r"
                exit 1
                E163 the output directory cannot be used. failed to open file `p/.lock`: Permission denied (os error 13). Give --out a directory that can be made and written to.
            ");
        }
        assert_eq!(fs_err::read(out.join("report.json")).unwrap(), report);
        writable(&out, true);
        if has_lock {
            fs_err::remove_file(out.join(".lock")).unwrap();
        }
    }
}
