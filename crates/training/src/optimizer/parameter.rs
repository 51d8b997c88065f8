//! One parameter, its moments and its updates.

use tch::Tensor;

#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) tensor: Tensor,
    pub(super) lr_factor: f64,
    /// See [`super::OptimizerOptions::rises`].
    pub(super) rise: u64,
    pub(super) weight_decay: f64,
    /// Updates so far; 0 where no gradient ever arrived, and then there are no moments.
    pub(super) updates: i64,
    /// First moment or momentum.
    pub(super) first: Option<Tensor>,
    /// Second moment (AdamW).
    pub(super) second: Option<Tensor>,
    /// Moving average of the weights.
    pub(super) average: Option<Tensor>,
}

impl Parameter {
    /// The factor on the learning rate of the update that was counted last.
    pub(super) fn factor(&self) -> f64 {
        let share = self.updates.unsigned_abs() as f64 / (self.rise + 1) as f64;
        self.lr_factor * share.min(1.0)
    }

    /// How far the average goes towards the weights after the update that was counted last.
    pub(super) fn share(&self, decay: f64) -> f64 {
        share(decay, self.updates)
    }
}

/// How far an average goes towards what it averages after update t: 1 − d with d = min(`decay`, (1 + t)/(10 + t)), so that the first steps, far
/// from where training goes, are soon forgotten.
pub(super) fn share(decay: f64, updates: i64) -> f64 {
    let t = updates as f64;
    1.0 - decay.min((1.0 + t) / (10.0 + t))
}
