//! This process among those that train together, and what follows from it for device and threads.

use stage::{Message, limits};
use std::env;
use tch::{Device, Tensor};
use torch_runtime::group::DEFAULT_TIMEOUT;
use torch_runtime::{Group, Launch, parse_device};
use training::TrainingError;

/// Where this process stands.
#[derive(Debug)]
pub(crate) struct Process {
    /// None where it is alone.
    pub(crate) group: Option<Group>,
    pub(crate) device: Device,
}

impl Process {
    /// Joins the others that the launcher (torchrun, srun, mpirun) started, if it did. Of several processes on a machine
    /// each takes its own GPU, and its share of the cores where the launcher gave none.
    ///
    /// # Errors
    /// E330 to E335 when they do not come together; a device that is not there.
    pub(crate) fn join(device: &str) -> anyhow::Result<Self> {
        let launch = Launch::from_environment().map_err(|e| message(e.into()))?;
        let local = launch.as_ref().map(|launch| launch.local_rank);
        let device = match (device, local) {
            ("cuda", Some(local)) => parse_device(&format!("cuda:{local}"))?,
            _ => parse_device(device)?,
        };
        torch_runtime::keep_freed_memory();
        torch_runtime::set_num_threads(threads(limits::cores(), &|name| env::var(name).ok()))?;
        let group = launch
            .filter(|launch| launch.size > 1)
            .map(|launch| Group::join(&launch, device, DEFAULT_TIMEOUT))
            .transpose()
            .map_err(message)?;
        Ok(Self { group, device })
    }

    /// Whether it owns the output directory.
    pub(crate) fn is_leader(&self) -> bool {
        self.rank() == 0
    }

    /// What the first process says of itself, on all of them.
    pub(crate) fn told_by_leader(&self, holds: bool) -> anyhow::Result<bool> {
        let Some(group) = &self.group else { return Ok(holds) };
        let said = Tensor::from_slice(&[i64::from(holds)]);
        group.broadcast(&said, 0).map_err(message)?;
        Ok(said.int64_value(&[0]) != 0)
    }

    pub(crate) fn rank(&self) -> usize {
        self.group.as_ref().map_or(0, Group::rank)
    }

    /// How many there are.
    pub(crate) fn size(&self) -> usize {
        self.group.as_ref().map_or(1, Group::size)
    }
}

/// The message of an error of the group.
pub(crate) fn message(error: torch_runtime::Error) -> Message {
    TrainingError::from(error).message()
}

/// Threads for LibTorch: the cores granted, shared with the other processes on the machine unless the grant is each one's
/// own, as SLURM's is.
fn threads(cores: usize, variable: &dyn Fn(&str) -> Option<String>) -> usize {
    let own_grant = variable("SLURM_CPUS_PER_TASK").is_some();
    let local = variable("LOCAL_WORLD_SIZE").and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    if own_grant { cores } else { (cores / local.max(1)).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_a_machine_share_its_cores() {
        let set = |wanted: &'static [(&'static str, &'static str)]| {
            move |name: &str| wanted.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        };
        assert_eq!(threads(8, &set(&[])), 8);
        assert_eq!(threads(8, &set(&[("LOCAL_WORLD_SIZE", "3")])), 2);
        assert_eq!(threads(2, &set(&[("LOCAL_WORLD_SIZE", "4")])), 1);
        assert_eq!(threads(4, &set(&[("LOCAL_WORLD_SIZE", "2"), ("SLURM_CPUS_PER_TASK", "4")])), 4);
    }
}
