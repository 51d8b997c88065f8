//! What collectives compute.

use crate::processes::{rank_command, succeeds};
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[test]
fn collectives_between_one_two_and_three_processes() {
    for size in 1..=3 {
        succeeds("collectives", size);
    }
}

#[test]
fn averaged_gradients_are_those_of_the_whole_batch() {
    succeeds("gradients", 2);
    succeeds("gradients", 3);
}

#[test]
fn losses_over_gathered_rows_have_the_gradients_of_one_process() {
    for size in 1..=3 {
        succeeds("contrastive", size);
    }
}

#[test]
fn weights_of_rank_0_reach_all_and_are_agreed_on() {
    succeeds("weights", 2);
}

/// PyTorch's launcher: on PATH, or in the environment that LibTorch belongs to.
fn torchrun() -> Option<PathBuf> {
    let libraries = torch_runtime::linked().library_folder;
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join("torchrun"))
        .chain(libraries.ancestors().map(|folder| folder.join("bin/torchrun")))
        .find(|program| program.is_file())
}

#[test]
fn torchrun_starts_groups() {
    let Some(program) = torchrun() else {
        eprintln!("skipped: there is no torchrun on PATH or beside LibTorch");
        return;
    };
    let port = crate::processes::free_port().to_string();
    let ways: [(&[&str], &str, &str); 2] = [
        (&["--master-port", &port], "0", "the launcher's store"),
        // Rank 0's own store, at this machine's name.
        (&["--standalone"], "1", "an own store"),
    ];
    for (arguments, own_store, expected) in ways {
        let mut torchrun = Command::new(&program);
        let rank = rank_command("collectives", Duration::from_secs(60));
        for (name, value) in rank.get_envs() {
            match value {
                Some(value) => torchrun.env(name, value),
                None => torchrun.env_remove(name),
            };
        }
        let output = torchrun
            .args(["--no-python", "--nproc-per-node", "2"])
            .args(arguments)
            .env("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", own_store)
            .arg(env::current_exe().unwrap())
            .args(rank.get_args())
            .output()
            .unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?}: {said}");
        assert_eq!(said.matches(&format!("of 2 done with {expected}")).count(), 2, "{arguments:?}: {said}");
    }
}
