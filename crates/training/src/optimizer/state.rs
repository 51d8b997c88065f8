//! An optimiser's state as tensors with names, for checkpoints.

use super::{Optimizer, Rule};
use crate::{Result, TrainingError};
use std::collections::BTreeMap;
use tch::Tensor;

impl Optimizer {
    /// State to save: `NAME/average` (of the weights), `NAME/m` (first moment or momentum), `NAME/updates` (int64), `NAME/v` (second
    /// moment), sorted.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::with_capacity(self.parameters.len() * 3);
        for parameter in &self.parameters {
            if let Some(average) = &parameter.average {
                state.push((format!("{}/average", parameter.name), average.shallow_clone()));
            }
            if let Some(first) = &parameter.first {
                state.push((format!("{}/m", parameter.name), first.shallow_clone()));
            }
            if parameter.updates > 0 {
                state.push((format!("{}/updates", parameter.name), Tensor::from(parameter.updates)));
            }
            if let Some(second) = &parameter.second {
                state.push((format!("{}/v", parameter.name), second.shallow_clone()));
            }
        }
        state
    }

    /// Replaces the state by one from [`Optimizer::state`]. Nothing is changed on error.
    ///
    /// # Errors
    /// When tensors are missing, left over or of another shape; the message lists them.
    pub fn load_state(&mut self, mut state: BTreeMap<String, Tensor>) -> Result<()> {
        let second_used = matches!(self.options.rule, Rule::AdamW { .. });
        let mut wrong = Vec::new();
        let mut loaded = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let updates =
                state.remove(&format!("{}/updates", parameter.name)).map_or(0, |t| t.int64_value(&[]));
            let mut moment = |suffix: &str, used: bool| {
                if updates == 0 || !used {
                    return None;
                }
                let name = format!("{}/{suffix}", parameter.name);
                match state.remove(&name) {
                    Some(tensor) if tensor.size() == parameter.tensor.size() => {
                        // a copy, because updates happen in place
                        let mut own = parameter.tensor.zeros_like();
                        own.copy_(&tensor);
                        Some(own)
                    }
                    Some(tensor) => {
                        wrong.push(format!(
                            "  {name}: shape {:?}, expected {:?}",
                            tensor.size(),
                            parameter.tensor.size()
                        ));
                        None
                    }
                    None => {
                        wrong.push(format!("  {name}: missing"));
                        None
                    }
                }
            };
            let first = moment("m", true);
            let second = moment("v", second_used);
            let average = moment("average", self.options.averaging.is_some());
            loaded.push((updates, first, second, average));
        }
        wrong.extend(state.keys().map(|name| format!("  {name}: unknown")));
        if !wrong.is_empty() {
            return Err(TrainingError::OtherTensors { what: "optimiser state", table: wrong.join("\n") });
        }
        for (parameter, (updates, first, second, average)) in self.parameters.iter_mut().zip(loaded) {
            (parameter.updates, parameter.first, parameter.second) = (updates, first, second);
            parameter.average = average;
        }
        Ok(())
    }
}
