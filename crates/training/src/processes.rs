//! This process among those that train together, and what follows from it for device, threads, batch and run.

use crate::optimizer::Optimizer;
use crate::parallel::Peers;
use crate::run::Session;
use crate::{Result, TrainingError};
use serde_json::Value;
use stage::{Message, interrupt, limits};
use std::env;
use std::ops::Range;
use std::time::Duration;
use tch::{Device, Tensor};
use torch_runtime::group::{self, DEFAULT_TIMEOUT};
use torch_runtime::{Group, Launch, parse_device};

/// Seconds that processes wait for each other in joining and in every exchange; 60 where nothing is said.
const PATIENCE: &str = "GTGM_PEER_TIMEOUT";

/// Where this process stands.
#[derive(Debug)]
pub struct Process {
    /// The processes that train together; none where it is alone.
    pub group: Option<Group>,
    /// What this process computes on.
    pub device: Device,
}

impl Process {
    /// Joins the others that the launcher (torchrun, srun, mpirun) started, if it did. Of several processes on a machine
    /// each takes its own GPU, and its share of the cores where the launcher gave none.
    ///
    /// # Errors
    /// E330 to E335 when they do not come together; for a device that is not there.
    pub fn join(device: &str) -> Result<Self> {
        group::stop_waiting_when(interrupt::requested);
        let launch = Launch::from_environment().map_err(torch_runtime::Error::from)?;
        let local = launch.as_ref().map(|launch| launch.local_rank);
        let device = match (device, local) {
            ("cuda", Some(local)) => parse_device(&own_gpu(local, torch_runtime::gpus()?))?,
            _ => parse_device(device)?,
        };
        torch_runtime::keep_freed_memory();
        torch_runtime::set_num_threads(limits::own_cores())?;
        let group = launch
            .filter(|launch| launch.size > 1)
            .map(|launch| {
                Ok::<_, TrainingError>(Group::join(&launch, device, patience(&|name| env::var(name).ok())?)?)
            })
            .transpose()?;
        Ok(Self { group, device })
    }

    /// Whether it owns the output directory.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.group.as_ref().is_none_or(|group| group.rank() == 0)
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.group.as_ref().map_or(1, Group::size)
    }

    /// What the first process says of itself, on all of them.
    ///
    /// # Errors
    /// When a process is lost.
    pub fn told_by_leader(&self, holds: bool) -> Result<bool> {
        match &self.group {
            Some(group) => Ok(group.told_by_leader(holds)?),
            None => Ok(holds),
        }
    }

    /// What the first process does alone, and the others wait for; none on these.
    ///
    /// # Errors
    /// What `work` says on the first process, and E336 on the others then; when a process is lost.
    pub fn by_leader<T, E: From<Message>>(
        &self,
        work: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<Option<T>, E> {
        let done = self.is_leader().then(work).transpose();
        let is_well = self.told_by_leader(done.is_ok());
        // the first one's own error comes first
        let done = done?;
        if is_well.map_err(|e| e.message())? {
            return Ok(done);
        }
        Err(Message::error("E336", "the first process of this run cannot begin")
            .cause("Its own message says why")
            .into())
    }

    /// The samples of a batch of all processes that are this one's.
    #[must_use]
    pub fn samples(&self, batch: usize) -> Range<usize> {
        samples(batch, self.group.as_ref())
    }

    /// The run, of which the first process alone has the directory: it opens its own, the others follow, and all begin from its state.
    ///
    /// # Errors
    /// What `open` says on the first process; elsewhere when processes have another plan or model, or one is lost.
    pub fn session<E: From<Message>>(
        &self,
        (plan, seed): (&Value, u64),
        variables: &[(String, Tensor)],
        optimizer: &mut Optimizer,
        open: impl FnOnce(Vec<(String, Tensor)>, &mut Optimizer) -> std::result::Result<Session, E>,
    ) -> std::result::Result<Session, E> {
        if let Some(group) = &self.group {
            // before the first one discards an earlier run
            let members: Vec<(String, String)> = match plan {
                Value::Object(members) => {
                    members.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
                }
                other => vec![("plan".to_owned(), other.to_string())],
            };
            group.agree_by_name("plans", &members).map_err(|e| TrainingError::from(e).message())?;
        }
        let own = || variables.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        let session = match self.by_leader(|| open(own(), optimizer))? {
            Some(session) => session,
            None => Session::follow(plan.clone(), seed, own()),
        };
        let Some(group) = &self.group else { return Ok(session) };
        let together = || -> Result<Session> {
            let peers = Peers::new(group.clone(), variables)?;
            session.with_peers(peers, optimizer)
        };
        together().map_err(|e| e.message().into())
    }
}

/// The samples of a batch of all processes of a group that are this one's; without a group all.
#[must_use]
pub fn samples(batch: usize, group: Option<&Group>) -> Range<usize> {
    let (rank, size) = group.map_or((0, 1), |group| (group.rank(), group.size()));
    let each = batch / size;
    rank * each..(rank + 1) * each
}

/// The GPU of a process by its number on the machine; a launcher may show each process its own one only (SLURM's `--gpus-per-task`).
fn own_gpu(local: usize, visible: usize) -> String {
    if visible == 1 { "cuda:0".to_owned() } else { format!("cuda:{local}") }
}

/// How long processes wait for each other, where the user says nothing else: a first process that writes checkpoints to a slow disk is
/// waited for, too.
fn patience(variable: &dyn Fn(&str) -> Option<String>) -> Result<Duration> {
    let Some(text) = variable(PATIENCE) else { return Ok(DEFAULT_TIMEOUT) };
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| TrainingError::Option {
        name: PATIENCE,
        found: text,
        expected: "a number of seconds, 1 or more".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_its_own_gpu_or_the_only_one_that_it_is_shown() {
        assert_eq!([own_gpu(0, 4), own_gpu(3, 4)], ["cuda:0", "cuda:3"]);
        assert_eq!([own_gpu(0, 1), own_gpu(3, 1)], ["cuda:0", "cuda:0"]);
    }

    #[test]
    fn processes_wait_for_each_other_as_long_as_they_are_told() {
        let told =
            |text: Option<&str>| patience(&|name| (name == PATIENCE).then(|| text.map(str::to_owned))?);
        assert_eq!(told(None).unwrap(), DEFAULT_TIMEOUT);
        assert_eq!(told(Some("600")).unwrap(), Duration::from_secs(600));
        for wrong in ["0", "soon", "-1", ""] {
            let said = told(Some(wrong)).unwrap_err().to_string();
            assert!(said.contains("GTGM_PEER_TIMEOUT") && said.contains("a number of seconds"), "{said}");
        }
    }
}
