//! What an error leaves on disk: the last step that was completed, where the error came neither from its update nor from the disk.

use super::options::Observer;
use super::{Session, device_of};
use crate::TrainingError;
use crate::checkpoint::Which;
use crate::optimizer::Optimizer;
use crate::step::Buffers;
use stage::Message;
use tch::Device;

/// How a run failed.
pub(super) enum Failure {
    /// Reading, computing, other processes: the weights are those of the last completed step, unless the optimiser says otherwise.
    Elsewhere(TrainingError),
    /// Writing: more of it would fail, too.
    Writing(TrainingError),
}

impl From<TrainingError> for Failure {
    fn from(error: TrainingError) -> Self {
        Self::Elsewhere(error)
    }
}

impl Session {
    /// Saves the last completed step, if it is not on disk yet and can be had. Gives the error that ended the run.
    pub(super) fn rescue(
        &mut self,
        failure: Failure,
        optimizer: &Optimizer,
        buffers: &Buffers,
        saved: Option<u64>,
        observer: &mut dyn Observer,
    ) -> TrainingError {
        let error = match failure {
            Failure::Writing(error) => return error,
            Failure::Elsewhere(error) => error,
        };
        let step = self.state.step;
        // where other processes are lost a GPU may wait for them for ever, and reading weights would, too
        let readable = self.peers.is_none() || device_of(&self.variables) == Device::Cpu;
        let whole = !optimizer.is_torn() && self.state.skipped_in_a_row == 0;
        if self.disk.is_none() || step == 0 || saved == Some(step) || !whole || !readable {
            return error;
        }
        // the forward pass of a step that was not completed has moved them
        let restored = buffers.restore();
        observer.message(match restored.and_then(|()| self.save(Which::Latest, optimizer)) {
            Ok(()) => Message::info("I321", format!("saved step {step}, after which an error ends the run"))
                .fix("Once the cause is mended, the same command goes on from there"),
            Err(second) => Message::warning(
                "W321",
                format!("step {step} could not be saved before an error ends the run"),
            )
            .detail(second.to_string()),
        });
        error
    }
}
