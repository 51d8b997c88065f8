//! Several processes that train one model: what they exchange around and within a step.
//!
//! Rank 0 owns the run's directory. At the start it hands its state to the others; in every step losses and gradients are
//! averaged, so that all make the same update and take the same decisions; a wish to stop on any of them stops all.

use crate::checkpoint::RunState;
use crate::optimizer::Optimizer;
use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};
use torch_runtime::group::{BUCKET_BYTES, Group, Reducer};

/// This process's part in a run of several.
#[derive(Debug)]
pub struct Peers {
    group: Group,
    reducer: Reducer,
}

/// Gradients that are being summed.
#[must_use = "sums under way are to be waited for"]
pub(crate) struct Gradients<'a> {
    reducer: &'a Reducer,
    again: bool,
}

impl Gradients<'_> {
    /// Averages them.
    pub(crate) fn take(self) -> Result<()> {
        Ok(self.reducer.finish(self.again)?)
    }

    /// Leaves each process its own: no step is made with them.
    pub(crate) fn leave(self) -> Result<()> {
        Ok(self.reducer.discard()?)
    }
}

/// What rank 0 says before the tensors follow.
#[derive(Serialize, Deserialize)]
struct Start {
    state: RunState,
    /// Name, shape and kind of each tensor of the optimiser's state.
    optimizer: Vec<(String, Vec<i64>, i32)>,
}

impl Peers {
    /// For the trainable ones of `variables`, which must be the same on all processes.
    ///
    /// # Errors
    /// When the processes' variables differ or one of them does not come.
    pub fn new(group: Group, variables: &[(String, Tensor)]) -> Result<Self> {
        let parameters: Vec<Tensor> = variables
            .iter()
            .map(|(_, v)| v)
            .filter(|v| v.requires_grad())
            .map(Tensor::shallow_clone)
            .collect();
        let reducer = Reducer::new(&group, &parameters, BUCKET_BYTES)?;
        Ok(Self { group, reducer })
    }

    /// Waits until every process has come here.
    ///
    /// # Errors
    /// E332 when one is lost.
    pub(crate) fn meet(&self) -> Result<()> {
        Ok(self.group.barrier()?)
    }

    /// Whether this process owns the run's directory.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.group.rank() == 0
    }

    /// How many processes there are.
    pub(crate) fn size(&self) -> usize {
        self.group.size()
    }

    /// Brings all processes to rank 0's state: weights, optimiser and counters.
    ///
    /// # Errors
    /// When a process is lost, or holds another model.
    pub(crate) fn share(
        &self,
        variables: &[(String, Tensor)],
        optimizer: &mut Optimizer,
        state: RunState,
    ) -> Result<RunState> {
        let own: BTreeMap<String, Tensor> = optimizer.state().into_iter().collect();
        let listed = own.iter().map(|(name, t)| (name.clone(), t.size(), t.kind() as i32)).collect();
        let start: Start = self.say(&Start { state, optimizer: listed })?;
        let _guard = tch::no_grad_guard();
        for (_, variable) in variables {
            self.send(variable)?;
        }
        let mut shared = BTreeMap::new();
        for (name, shape, kind) in &start.optimizer {
            let tensor = match own.get(name).filter(|_| self.is_leader()) {
                Some(tensor) => tensor.shallow_clone(),
                None => Tensor::zeros(shape.as_slice(), (kind_of(*kind)?, Device::Cpu)),
            };
            self.send(&tensor)?;
            shared.insert(name.clone(), tensor);
        }
        if !self.is_leader() {
            optimizer.load_state(shared)?;
        }
        Ok(start.state)
    }

    /// Rank 0's tensor becomes that of all, whatever device it lies on.
    fn send(&self, tensor: &Tensor) -> Result<()> {
        let flat = tensor.detach().to_device(Device::Cpu).contiguous();
        self.group.broadcast(&flat, 0)?;
        if !self.is_leader() {
            tensor.shallow_clone().copy_(&flat);
        }
        Ok(())
    }

    /// Rank 0's value becomes that of all.
    fn say<T: Serialize + for<'a> Deserialize<'a>>(&self, value: &T) -> Result<T> {
        let text = serde_json::to_vec(value).map_err(std::io::Error::from)?;
        let length = Tensor::from_slice(&[text.len() as i64]);
        self.group.broadcast(&length, 0)?;
        let bytes = if self.is_leader() {
            Tensor::from_slice(&text).to_kind(Kind::Int64)
        } else {
            Tensor::zeros([length.int64_value(&[0])], (Kind::Int64, Device::Cpu))
        };
        self.group.broadcast(&bytes, 0)?;
        let text = Vec::<u8>::try_from(bytes.to_kind(Kind::Uint8)).map_err(TrainingError::tensor)?;
        Ok(serde_json::from_slice(&text).map_err(std::io::Error::from)?)
    }

    /// Means over the processes; a number that is not finite on one of them is not finite on all.
    pub(crate) fn means(&self, numbers: &[f64]) -> Result<Vec<f64>> {
        let sums = Tensor::from_slice(numbers);
        self.group.all_reduce_sum(&[sums.shallow_clone()])?;
        let means = sums / self.group.size() as f64;
        Vec::<f64>::try_from(means).map_err(TrainingError::tensor)
    }

    /// Whether it holds on any process.
    pub(crate) fn any(&self, holds: bool) -> Result<bool> {
        Ok(self.means(&[f64::from(u8::from(holds))])?.iter().any(|mean| *mean > 0.0))
    }

    /// What the first process says of itself.
    pub(crate) fn told_by_leader(&self, holds: bool) -> Result<bool> {
        Ok(self.group.told_by_leader(holds)?)
    }

    /// What the next backward pass completes is sent while it goes on: it is the last of the step.
    pub(crate) fn send_gradients(&self) -> Result<()> {
        Ok(self.reducer.arm()?)
    }

    /// Sends the gradients that the backward pass left, and gives means of numbers over the processes; a number that is not finite on one of
    /// them is not finite on all. [`Gradients`] under way are to be taken or left.
    pub(crate) fn gradients_and_means(&self, numbers: &[f64]) -> Result<(Gradients<'_>, Vec<f64>)> {
        let late = self.reducer.start_rest()?;
        let mut means = self.means(&[numbers, &[f64::from(u8::from(late))]].concat())?;
        let again = means.pop().is_some_and(|late| late > 0.0);
        Ok((Gradients { reducer: &self.reducer, again }, means))
    }
}

/// The kinds that an optimiser's state has.
fn kind_of(number: i32) -> Result<Kind> {
    let known = [Kind::Float, Kind::Double, Kind::Int64, Kind::BFloat16];
    known.into_iter().find(|kind| *kind as i32 == number).ok_or_else(|| TrainingError::Shape {
        what: "optimiser state".to_owned(),
        found: format!("kind {number}"),
        expected: "a float or integer kind".to_owned(),
    })
}
