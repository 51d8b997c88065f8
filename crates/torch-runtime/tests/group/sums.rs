//! What collectives compute.

use crate::processes::{rank_command, succeeds};
use std::env;
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

#[test]
#[expect(clippy::print_stderr, reason = "says that the test was skipped")]
fn torchrun_starts_groups() {
    if Command::new("torchrun").arg("--help").output().is_err() {
        eprintln!("skipped: there is no torchrun on PATH");
        return;
    }
    // Once with the store of torchrun's agent, once with a store of rank 0's own.
    for agent in ["1", "0"] {
        let mut torchrun = Command::new("torchrun");
        let rank = rank_command("collectives", Duration::from_secs(60));
        torchrun.args(["--no-python", "--nproc-per-node", "2", "--master-port"]);
        torchrun.arg(crate::processes::free_port().to_string());
        for (name, value) in rank.get_envs() {
            match value {
                Some(value) => torchrun.env(name, value),
                None => torchrun.env_remove(name),
            };
        }
        let output = torchrun
            .env("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", if agent == "1" { "0" } else { "1" })
            .arg(env::current_exe().unwrap())
            .args(rank.get_args())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
        let joined = String::from_utf8_lossy(&output.stdout).matches("of 2 done").count();
        assert_eq!(joined, 2, "{said}");
    }
}
