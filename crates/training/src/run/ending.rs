//! Whether a run is at its end: patience, a stop that was asked for, weights that can be handed on.

use super::Session;
use super::options::{RunOptions, StopReason, exhausted, stop_reason};
use crate::checkpoint::RunState;
use crate::{Result, TrainingError};

impl Session {
    /// Whether patience is at an end for the first process, which has the score that counts.
    pub(super) fn is_exhausted(&self, options: &RunOptions) -> Result<bool> {
        let own = exhausted(options, &self.state);
        match &self.peers {
            Some(peers) if options.patience.is_some() => peers.told_by_leader(own),
            _ => Ok(own),
        }
    }

    /// Why to stop now; what one process has to do, all do.
    pub(super) fn stop_reason(
        &self,
        options: &RunOptions,
        stop_requested: &dyn Fn() -> bool,
    ) -> Result<Option<StopReason>> {
        let own = stop_reason(options, stop_requested);
        Ok(match &self.peers {
            Some(peers) if peers.any(own.is_some())? => Some(own.unwrap_or(StopReason::Peer)),
            Some(_) => None,
            None => own,
        })
    }

    /// Refuses to hand on weights of which the last that is known is that they give no finite numbers.
    pub(super) fn expect_finite_end(&self) -> Result<()> {
        let RunState { step, skipped_in_a_row, validated_not_finite, .. } = self.state;
        // one batch may be to blame for a step, which leaves the weights as they were
        let is_lapse = skipped_in_a_row == 0 || (skipped_in_a_row == 1 && step > 1);
        let why = if validated_not_finite {
            "at the last validation what the network gives was not finite".to_owned()
        } else if is_lapse {
            return Ok(());
        } else if step == u64::from(skipped_in_a_row) {
            "no step had a finite loss or gradient".to_owned()
        } else {
            format!("the last {skipped_in_a_row} steps had no finite loss or gradient")
        };
        Err(TrainingError::Diverged { step, why, best: self.state.best.map(|best| best.step) })
    }
}
