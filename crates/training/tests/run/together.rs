//! Two processes of which one fails in its backward pass: each says what it knows.

use crate::options;
use crate::tiny::{Batch, SEED, Tiny, source};
use serde_json::json;
use std::process::Command;
use std::time::Duration;
use tch::Device;
use test_peers::run_ranks;
use torch_runtime::{Group, Launch};
use training::error::BoxedError;
use training::parallel::Peers;
use training::run::Session;
use training::step::{StepLoss, Task, Validation};

/// Fails in its first backward pass for a reason.
struct Failing {
    task: Tiny,
    reason: Option<String>,
}

impl Task for Failing {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        self.task.loss(step, batch)
    }

    fn backward(
        &mut self,
        batch: &Batch,
        loss: &StepLoss,
        last: &dyn Fn() -> Result<(), BoxedError>,
    ) -> Result<(), BoxedError> {
        match &self.reason {
            Some(reason) => Err(reason.as_str().into()),
            None => self.task.backward(batch, loss, last),
        }
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        self.task.members(batch)
    }

    fn validate(&mut self, step: u64) -> Result<Validation, BoxedError> {
        self.task.validate(step)
    }
}

const REASON: &str = "GTGM_TEST_REASON";

#[test]
#[ignore = "a process of the tests below"]
fn one_of_two() {
    let launch = Launch::from_environment().unwrap().unwrap();
    let first = launch.rank == 0;
    let group = Group::join(&launch, Device::Cpu, Duration::from_secs(30)).unwrap();
    let reason = std::env::var(REASON).ok().filter(|_| !first);
    let mut task = Failing { task: Tiny::new(), reason };
    let mut optimizer = task.task.optimizer();
    let variables = task.task.variables();
    let folder = tempfile::tempdir().unwrap();
    let session = if first {
        Session::start(folder.path(), json!({}), SEED, task.task.variables()).unwrap()
    } else {
        Session::follow(json!({}), SEED, task.task.variables())
    };
    let peers = Peers::new(group, &variables).unwrap();
    let session = session.with_peers(peers, &mut optimizer).unwrap();
    let mut batches = source(0, 3);
    let outcome = session.run_until(&mut task, &mut optimizer, &mut batches, &options(3), &mut (), &|| false);
    // the harness keeps what passes on standard output
    let said = outcome.err().map_or_else(|| "no error".to_owned(), |error| error.message().to_string());
    std::io::Write::write_all(&mut std::io::stderr(), said.as_bytes()).unwrap();
}

/// What both say, in the order of their ranks.
fn both_say(reason: &str) -> Vec<String> {
    run_ranks(2, 0, || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["together::one_of_two", "--exact", "--ignored", "--nocapture"]).env(REASON, reason);
        command
    })
}

#[test]
fn one_that_has_no_memory_left_says_so_and_the_other_that_it_is_lost() {
    let said = both_say("CUDA out of memory. Tried to allocate 2.00 GiB");
    assert!(said[1].contains("E305") && said[1].contains("--micro-batch"), "{said:?}");
    assert!(said[0].contains("E332") && said[0].contains("rank 1"), "{said:?}");
}

#[test]
fn another_failure_is_told_as_what_it_is() {
    let said = both_say("sizes do not match");
    assert!(said[1].contains("E316") && said[1].contains("sizes do not match"), "{said:?}");
    assert!(said[0].contains("E332") && said[0].contains("rank 1"), "{said:?}");
}
