//! What processes say when another is missing, dies, hangs or differs.

use crate::processes::{Ended, run, start};
use std::net::TcpListener;
use std::time::Duration;
use tch::Device;
use test_peers::free_port;
use torch_runtime::group::Network;
use torch_runtime::{Group, Launch};

const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);

fn says(rank: &Ended, parts: &[&str]) {
    for part in parts {
        assert!(rank.said.contains(part), "rank {} does not say {part:?}: {}", rank.rank, rank.said);
    }
}

#[test]
fn processes_that_differ_are_named_on_every_rank() {
    for rank in run("differ", 3, LONG) {
        says(
            &rank,
            &["E333", "parameters differ between processes: rank 1 has 1 tensor(s) of 6 elements (float32)"],
        );
        assert!(rank.after < LONG / 2, "{rank:?}");
    }
    for rank in run("differ-in-content", 2, LONG) {
        says(&rank, &["E333", "plans differ between processes: rank 1 has digest "]);
    }
}

#[test]
fn different_shapes_and_different_collectives_are_errors_not_crashes() {
    for rank in run("shapes", 2, LONG) {
        says(
            &rank,
            &["E333", "arguments of all_gather differ", "rank 1 has 1 tensor(s) of 8 elements (float32)"],
        );
    }
    for rank in run("orders", 2, LONG) {
        says(
            &rank,
            &["E333", "differ between processes: rank 1 has", "call the same collectives in the same order"],
        );
    }
}

#[test]
fn a_peer_that_dies_is_named_within_seconds() {
    for size in [2, 3] {
        for rank in run("die", size, LONG) {
            if rank.rank == 1 {
                assert!(!rank.success, "{rank:?}");
                continue;
            }
            says(
                &rank,
                &["E332", "all_reduce_sum failed after", "No sign of rank 1: another process ended or hangs"],
            );
            assert!(rank.after < Duration::from_secs(20), "{rank:?}");
        }
    }
}

#[test]
fn rank_0_that_dies_is_named_too() {
    for rank in run("die-0", 3, LONG).iter().skip(1) {
        says(rank, &["E332", "No sign of rank 0"]);
        assert!(!rank.said.contains("frame #"), "a stack trace is for no one: {}", rank.said);
        assert!(rank.after < Duration::from_secs(20), "{rank:?}");
    }
}

#[test]
fn a_peer_that_hangs_is_named_after_the_time_out() {
    let ranks = run("hang", 2, SHORT);
    says(&ranks[0], &["E332", "imed out", "No sign of rank 1"]);
    assert!(ranks[0].after < Duration::from_secs(15), "{ranks:?}");
}

#[test]
fn missing_peers_are_named_by_all_that_wait() {
    let port = free_port();
    let waiting: Vec<_> = [0, 2].map(|rank| start("collectives", rank, 4, port, SHORT)).into_iter().collect();
    for rank in waiting.into_iter().map(|rank| rank.join().unwrap()) {
        says(&rank, &["E331", "waited ", " s for ranks 1, 3 at 127.0.0.1:"]);
        assert!(rank.after < Duration::from_secs(15), "{rank:?}");
    }
}

#[test]
fn a_missing_rank_0_is_said() {
    let rank = start("collectives", 1, 2, free_port(), SHORT).join().unwrap();
    says(&rank, &["E331", "rank 1 of 2 found no rank 0 at 127.0.0.1:", "within 2.00 s", "MASTER_PORT"]);
    assert!(rank.after < Duration::from_secs(15), "{rank:?}");
    assert!(!rank.said.contains("frame #"), "a stack trace is for no one: {}", rank.said);
}

#[test]
fn a_port_in_use_is_said_at_once() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let rank = start("collectives", 0, 2, taken.local_addr().unwrap().port(), LONG).join().unwrap();
    says(&rank, &["E331", "rank 0 cannot listen on 127.0.0.1:", "choose another MASTER_PORT"]);
    assert!(rank.after < Duration::from_secs(15), "{rank:?}");
}

#[test]
fn contradictory_numbers_are_said() {
    let port = free_port();
    let ranks = [(0, 2), (1, 3)].map(|(rank, size)| start("collectives", rank, size, port, SHORT));
    let said: Vec<_> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
    says(&said[0], &["E330", "WORLD_SIZE is 2 in rank 0, 3 in rank 1"]);
    let launch = start("collectives", 2, 2, port, SHORT).join().unwrap();
    says(&launch, &["E330", "RANK is 2, expected below WORLD_SIZE=2"]);
}

#[test]
fn a_gpu_without_nccl_or_without_the_gpu_is_refused_at_once() {
    let launch = Launch {
        rank: 0,
        size: 2,
        local_rank: 0,
        master: "127.0.0.1".to_owned(),
        port: free_port(),
        network: Network::Auto,
        launcher_store: None,
    };
    let error = Group::join(&launch, Device::Cuda(99), LONG).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cuda:99") && text.contains("--device cpu") || text.contains("cuda:99 does not exist"),
        "{text}"
    );
    assert_eq!(error.code(), if cfg!(feature = "nccl") { None } else { Some("E335") }, "{text}");
}

#[test]
fn groups_go_where_threads_need_them() {
    fn shared<T: Send + Sync>() {}
    shared::<Group>();
}
