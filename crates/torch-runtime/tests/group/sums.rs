//! What collectives compute.

use crate::processes::{rank_command, succeeds};
use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tch::{Device, Tensor};
use test_peers::free_port;
use torch_runtime::group::{DEFAULT_TIMEOUT, Network};
use torch_runtime::{Group, Launch};

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
    succeeds("overlapped", 2);
    succeeds("overlapped", 3);
}

#[test]
fn losses_over_gathered_rows_have_the_gradients_of_one_process() {
    for size in 1..=3 {
        succeeds("contrastive", size);
        succeeds("statistics", size);
    }
}

/// What one GPU can tell: that NCCL is there, takes every kind of tensor and gives the numbers that one process has.
#[cfg(feature = "nccl")]
#[test]
#[expect(clippy::print_stderr, reason = "says that it was skipped")]
fn collectives_of_one_process_on_a_gpu() {
    if torch_runtime::gpus().unwrap_or(0) == 0 {
        eprintln!("skipped: no GPU");
        return;
    }
    for role in ["collectives", "gradients", "overlapped", "contrastive", "statistics"] {
        crate::processes::succeeds_on_gpu(role);
    }
}

#[test]
fn weights_of_rank_0_reach_all_and_are_agreed_on() {
    succeeds("weights", 2);
}

#[test]
fn srun_starts_groups_on_an_interface() {
    let port = free_port().to_string();
    let ranks: Vec<_> = ["0", "1"]
        .map(|rank| {
            let mut command = rank_command("collectives", Duration::from_secs(60));
            command.env("SLURM_PROCID", rank).env("SLURM_STEP_NUM_TASKS", "2").env("SLURM_LOCALID", rank);
            command.env("MASTER_ADDR", "127.0.0.1").env("MASTER_PORT", &port);
            if cfg!(target_os = "linux") {
                command.env("GLOO_SOCKET_IFNAME", "lo");
            }
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .into_iter()
        .collect();
    for rank in ranks {
        let output = rank.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("of 2 done"), "{said}");
    }
}

#[test]
fn threads_can_be_ranks_and_hosts_be_chosen() {
    let port = free_port();
    let ranks = [0, 1].map(|rank| {
        thread::spawn(move || {
            let launch = Launch {
                rank,
                size: 2,
                local_rank: rank,
                master: "127.0.0.1".to_owned(),
                port,
                network: Network::Auto,
                launcher_store: None,
            };
            let launch = launch.on(Network::Host("127.0.0.1".to_owned()));
            let group = Group::join(&launch, Device::Cpu, DEFAULT_TIMEOUT).unwrap();
            let sum = Tensor::from_slice(&[group.rank() as i64 + 1]);
            group.all_reduce_sum(std::slice::from_ref(&sum)).unwrap();
            sum.int64_value(&[0])
        })
    });
    assert_eq!(ranks.map(|rank| rank.join().unwrap()), [3, 3]);
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
    let port = free_port().to_string();
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
