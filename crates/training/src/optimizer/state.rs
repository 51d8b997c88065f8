//! An optimiser's state as tensors with names, for checkpoints.

use super::{Optimizer, Rule};
use crate::{Result, TrainingError};
use std::collections::BTreeMap;
use tch::Tensor;

impl Optimizer {
    /// State to save: `NAME/average` (of the weights, and of running moments), `NAME/m` (first moment or momentum), `NAME/updates` (int64),
    /// `NAME/v` (second moment).
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
        for statistic in &self.statistics {
            if let Some(average) = &statistic.average {
                state.push((format!("{}/average", statistic.name), average.shallow_clone()));
                state.push((format!("{}/updates", statistic.name), Tensor::from(statistic.updates)));
            }
        }
        state
    }

    /// Replaces the state by one from [`Optimizer::state`]. Nothing is changed on error.
    ///
    /// # Errors
    /// When tensors are missing, left over or of another shape; the message lists them.
    pub fn load_state(&mut self, state: BTreeMap<String, Tensor>) -> Result<()> {
        let second_used = matches!(self.options.rule, Rule::AdamW { .. });
        let averaged = self.options.averaging.is_some();
        let mut saved = Saved { state, wrong: Vec::new() };
        let mut loaded = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let mut of = saved.of(&parameter.name, &parameter.tensor);
            let (first, second, average) =
                (of.tensor("m", true), of.tensor("v", second_used), of.tensor("average", averaged));
            loaded.push((of.updates, first, second, average));
        }
        let mut averages = Vec::with_capacity(self.statistics.len());
        for statistic in &self.statistics {
            let mut of = saved.of(&statistic.name, &statistic.tensor);
            let average = of.tensor("average", true);
            averages.push((of.updates, average));
        }
        saved.wrong.extend(saved.state.keys().map(|name| format!("  {name}: unknown")));
        if !saved.wrong.is_empty() {
            let table = saved.wrong.join("\n");
            return Err(TrainingError::OtherTensors { what: "optimiser state", table });
        }
        for (parameter, (updates, first, second, average)) in self.parameters.iter_mut().zip(loaded) {
            (parameter.updates, parameter.first, parameter.second) = (updates, first, second);
            parameter.average = average;
        }
        for (statistic, loaded) in self.statistics.iter_mut().zip(averages) {
            (statistic.updates, statistic.average) = loaded;
        }
        Ok(())
    }
}

/// A state that is taken apart, and what is wrong with it.
struct Saved {
    state: BTreeMap<String, Tensor>,
    wrong: Vec<String>,
}

/// What of it belongs to one variable.
struct SavedOf<'a> {
    saved: &'a mut Saved,
    name: &'a str,
    variable: &'a Tensor,
    updates: i64,
}

impl Saved {
    fn of<'a>(&'a mut self, name: &'a str, variable: &'a Tensor) -> SavedOf<'a> {
        let updates = self.state.remove(&format!("{name}/updates")).map_or(0, |t| t.int64_value(&[]));
        SavedOf { saved: self, name, variable, updates }
    }
}

impl SavedOf<'_> {
    /// A tensor like the variable, as a copy, because updates happen in place; `None` before the first update, or where it is not used.
    fn tensor(&mut self, suffix: &str, used: bool) -> Option<Tensor> {
        if self.updates == 0 || !used {
            return None;
        }
        let name = format!("{}/{suffix}", self.name);
        match self.saved.state.remove(&name) {
            Some(tensor) if tensor.size() == self.variable.size() => {
                let mut own = self.variable.zeros_like();
                own.copy_(&tensor);
                Some(own)
            }
            Some(tensor) => {
                let (found, expected) = (tensor.size(), self.variable.size());
                self.saved.wrong.push(format!("  {name}: shape {found:?}, expected {expected:?}"));
                None
            }
            None => {
                self.saved.wrong.push(format!("  {name}: missing"));
                None
            }
        }
    }
}
