//! Two processes of which one fails in its backward pass: each says what it knows.

use crate::options;
use crate::tiny::{Batch, SEED, Tiny, source};
use serde_json::json;
use std::process::Command;
use std::time::Duration;
use tch::Device;
use test_peers::run_ranks;
use torch_runtime::{Group, Launch, sum_over_processes};
use training::error::BoxedError;
use training::parallel::Peers;
use training::run::Session;
use training::step::{StepLoss, Task, Validation};

/// Fails in its first backward pass for a reason, or ends there without a word.
struct Failing {
    task: Tiny,
    reason: Option<String>,
    /// Over whose processes the loss is summed, as statistics are.
    summed: Option<Group>,
}

impl Task for Failing {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        let mut loss = self.task.loss(step, batch)?;
        if let Some(group) = &self.summed {
            loss.total = sum_over_processes(group, &loss.total.view(1))?;
        }
        Ok(loss)
    }

    fn backward(
        &mut self,
        batch: &Batch,
        loss: &StepLoss,
        last: &dyn Fn() -> Result<(), BoxedError>,
    ) -> Result<(), BoxedError> {
        match self.reason.as_deref() {
            Some(DIES) => std::process::exit(0),
            Some(reason) => Err(reason.into()),
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
const DIES: &str = "dies";

#[test]
#[ignore = "a process of the tests below"]
fn one_of_two() {
    let launch = Launch::from_environment().unwrap().unwrap();
    let first = launch.rank == 0;
    let group = Group::join(&launch, Device::Cpu, Duration::from_secs(30)).unwrap();
    let reason = std::env::var(REASON).unwrap();
    let summed = (reason == DIES).then(|| group.clone());
    let mut task = Failing { task: Tiny::new(), reason: (!first).then_some(reason), summed };
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

#[test]
fn one_that_dies_within_a_sum_is_named_by_the_other() {
    let said = both_say(DIES);
    assert!(said[0].contains("E332") && said[0].contains("rank 1"), "{said:?}");
}
