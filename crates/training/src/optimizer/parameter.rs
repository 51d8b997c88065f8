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

    /// a ← a + (1 − d)(θ − a) with d = min(`decay`, (1 + t)/(10 + t)), so that the first steps, far from where training goes, are
    /// soon forgotten; a = θ at first.
    pub(super) fn average(&mut self, decay: f64) {
        let t = self.updates as f64;
        let theta = &self.tensor;
        match &mut self.average {
            Some(average) => {
                let _moved = average.lerp_(theta, 1.0 - decay.min((1.0 + t) / (10.0 + t)));
            }
            none => *none = Some(theta.detach().copy()),
        }
    }

    /// g ← g + λθ; b ← μb + g (b = g at first); θ ← θ − η(g + μb).
    pub(super) fn sgd(&mut self, gradient: &Tensor, lr: f64, momentum: f64) {
        let theta = &mut self.tensor;
        let gradient = if self.weight_decay > 0.0 {
            gradient + &*theta * self.weight_decay
        } else {
            gradient.shallow_clone()
        };
        let buffer = match &mut self.first {
            Some(buffer) => {
                let _moved = buffer.g_mul_scalar_(momentum).g_add_(&gradient);
                buffer
            }
            none => none.insert(gradient.copy()),
        };
        let update = (&gradient + &*buffer * momentum) * -lr;
        let _moved = theta.g_add_(&update);
    }
}
