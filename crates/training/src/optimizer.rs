//! AdamW and SGD with Nesterov momentum over named parameters, with state that can be saved: LibTorch's own optimisers do
//! not give theirs out.

mod options;
mod parameter;
mod state;
mod statistic;

pub use options::{OptimizerOptions, Rule};

use crate::{Result, TrainingError};
use parameter::Parameter;
use statistic::Statistic;
use std::collections::BTreeMap;
use tch::nn::VarStore;
use tch::{Kind, Tensor};
use torch_runtime::lists::{self, AdamW, Moments, Momentum, Sgd};

/// What the longest prefix of `name` stands for.
fn of_prefix<T: Copy>(all: &BTreeMap<String, T>, name: &str) -> Option<T> {
    let known = all.iter().filter(|(prefix, _)| name.starts_with(prefix.as_str()));
    known.max_by_key(|(prefix, _)| prefix.len()).map(|(_, value)| *value)
}

/// All variables of several stores (trainable or not), sorted by name; each store's names get its prefix.
///
/// # Errors
/// When two variables end up with one name.
pub fn named_variables(stores: &[(&str, &VarStore)]) -> Result<Vec<(String, Tensor)>> {
    let mut all = BTreeMap::new();
    for (prefix, store) in stores {
        for (name, tensor) in store.variables() {
            let name = format!("{prefix}{name}");
            if all.insert(name.clone(), tensor).is_some() {
                return Err(TrainingError::DuplicateName { name });
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// An optimiser and its state. Parameters are kept in the order of their names, so that sums have one order.
///
/// A parameter without a gradient is left alone (no decay) until its first gradient arrives; from then on a missing
/// gradient is a zero gradient, so that a resumed run and an uninterrupted one agree.
#[derive(Debug)]
pub struct Optimizer {
    options: OptimizerOptions,
    parameters: Vec<Parameter>,
    /// Averaged beside the weights, where these are.
    statistics: Vec<Statistic>,
    /// Whether an update began and did not end.
    torn: bool,
}

impl Optimizer {
    /// Takes those of `variables` that require gradients, and where weights are averaged the other ones of floating point too, which are
    /// averaged as they are (running moments of batch norms); see [`named_variables`].
    ///
    /// # Errors
    /// On a name that occurs twice, no trainable variable, or an option outside its range.
    pub fn new(options: OptimizerOptions, variables: &[(String, Tensor)]) -> Result<Self> {
        options::check(&options)?;
        let mut named = BTreeMap::new();
        for (name, tensor) in variables {
            if tensor.requires_grad() && named.insert(name, tensor).is_some() {
                return Err(TrainingError::DuplicateName { name: name.clone() });
            }
        }
        if named.is_empty() {
            return Err(TrainingError::Shape {
                what: "parameters".to_owned(),
                found: "none that requires a gradient".to_owned(),
                expected: "at least one".to_owned(),
            });
        }
        let parameters = named
            .into_iter()
            .map(|(name, tensor)| Parameter {
                name: name.clone(),
                lr_factor: of_prefix(&options.lr_factors, name).unwrap_or(1.0),
                rise: of_prefix(&options.rises, name).unwrap_or(0),
                weight_decay: if options.decay_vectors || tensor.dim() > 1 {
                    options.weight_decay
                } else {
                    0.0
                },
                tensor: tensor.shallow_clone(),
                updates: 0,
                first: None,
                second: None,
                average: None,
            })
            .collect();
        let averaged = |tensor: &Tensor| {
            let is_float = matches!(tensor.kind(), Kind::Float | Kind::Double);
            options.averaging.is_some() && !tensor.requires_grad() && is_float
        };
        let mut statistics: Vec<Statistic> = variables
            .iter()
            .filter(|(_, tensor)| averaged(tensor))
            .map(|(name, tensor)| Statistic {
                name: name.clone(),
                tensor: tensor.shallow_clone(),
                updates: 0,
                average: None,
            })
            .collect();
        statistics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { options, parameters, statistics, torn: false })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &OptimizerOptions {
        &self.options
    }

    /// Takes every gradient away.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn forget_gradients(&mut self) -> Result<()> {
        Ok(lists::forget_gradients(self.parameters.iter().map(|p| &p.tensor))?)
    }

    fn gradients(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined).collect()
    }

    /// L2 norm of all gradients together, a scalar where they are: 0 without gradients, not finite where one of them is not. Waits for no device.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn grad_norm(&self) -> Result<Tensor> {
        Ok(lists::norm(&self.gradients())?.unwrap_or_else(|| Tensor::from(0.0_f32)))
    }

    /// Scales all gradients, whose norm is `norm`, down to `max_norm` where that is less.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn clip(&mut self, norm: f64, max_norm: f64) -> Result<()> {
        if norm.is_finite() && norm > max_norm {
            lists::scale(&self.gradients(), max_norm / (norm + 1e-6))?;
        }
        Ok(())
    }

    /// Updates every parameter in place with learning rate `lr` (times its factor).
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn step(&mut self, lr: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
        self.torn = true;
        let due: Vec<(usize, Tensor)> = self
            .parameters
            .iter()
            .map(|parameter| (parameter.tensor.grad(), parameter))
            .enumerate()
            .filter_map(|(index, (gradient, parameter))| match (gradient.defined(), parameter.updates) {
                (true, _) => Some((index, laid_out_as(&parameter.tensor, gradient))),
                (false, 0) => None,
                (false, _) => Some((index, parameter.tensor.zeros_like())),
            })
            .collect();
        for (index, _) in &due {
            self.parameters[*index].updates += 1;
        }
        match self.options.rule {
            Rule::AdamW { beta1, beta2, epsilon } => self.adamw(&due, lr, (beta1, beta2, epsilon))?,
            Rule::SgdNesterov { momentum } => self.sgd(&due, lr, momentum)?,
        }
        if let Some(decay) = self.options.averaging {
            self.average(&due, decay)?;
            statistic::average(&mut self.statistics, decay)?;
        }
        self.torn = false;
        Ok(())
    }

    /// Whether an update failed half-way, so that weights and state are of no step.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// a ← a + (1 − d)(θ − a), see [`Parameter::share`]; a = θ at first.
    fn average(&mut self, due: &[(usize, Tensor)], decay: f64) -> Result<()> {
        let mut older = Vec::with_capacity(due.len());
        for (index, _) in due {
            let parameter = &mut self.parameters[*index];
            match parameter.average {
                Some(_) => older.push(*index),
                None => parameter.average = Some(parameter.tensor.detach().copy()),
            }
        }
        let parameters = older.into_iter().map(|index| &self.parameters[index]);
        let moves: Vec<_> = parameters
            .filter_map(|p| p.average.as_ref().map(|average| (average, &p.tensor, p.share(decay))))
            .collect();
        Ok(lists::lerp(&moves)?)
    }

    /// g ← g + λθ; b ← μb + g (b = g at first); θ ← θ − η(g + μb), for all parameters with the same η and λ at once.
    fn sgd(&mut self, due: &[(usize, Tensor)], lr: f64, momentum: f64) -> Result<()> {
        for (index, _) in due {
            let Parameter { tensor, first, .. } = &mut self.parameters[*index];
            first.get_or_insert_with(|| tensor.zeros_like());
        }
        let mut groups: BTreeMap<[u64; 2], Vec<Momentum<'_>>> = BTreeMap::new();
        for (index, gradient) in due {
            let parameter = &self.parameters[*index];
            if let Some(buffer) = &parameter.first {
                let rates = [parameter.factor(), parameter.weight_decay].map(f64::to_bits);
                groups.entry(rates).or_default().push(Momentum {
                    parameter: &parameter.tensor,
                    gradient,
                    buffer,
                });
            }
        }
        for ([factor, weight_decay], all) in groups {
            let (lr, weight_decay) = (lr * f64::from_bits(factor), f64::from_bits(weight_decay));
            Sgd { lr, momentum, weight_decay }.update(&all)?;
        }
        Ok(())
    }

    /// θ ← θ(1 − ηλ); m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; θ ← θ − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε), for all parameters with the
    /// same η, λ and t at once.
    fn adamw(
        &mut self,
        due: &[(usize, Tensor)],
        lr: f64,
        (beta1, beta2, epsilon): (f64, f64, f64),
    ) -> Result<()> {
        for (index, _) in due {
            let Parameter { tensor, first, second, .. } = &mut self.parameters[*index];
            first.get_or_insert_with(|| tensor.zeros_like());
            second.get_or_insert_with(|| tensor.zeros_like());
        }
        let mut groups: BTreeMap<(u64, u64, i64), Vec<Moments<'_>>> = BTreeMap::new();
        for (index, gradient) in due {
            let parameter = &self.parameters[*index];
            if let (Some(first), Some(second)) = (&parameter.first, &parameter.second) {
                let rates = [parameter.factor(), parameter.weight_decay].map(f64::to_bits);
                groups.entry((rates[0], rates[1], parameter.updates)).or_default().push(Moments {
                    parameter: &parameter.tensor,
                    gradient,
                    first,
                    second,
                });
            }
        }
        for ((factor, weight_decay, updates), all) in groups {
            let (lr, weight_decay) = (lr * f64::from_bits(factor), f64::from_bits(weight_decay));
            AdamW { lr, beta1, beta2, weight_decay, epsilon }.update(&all, updates)?;
        }
        Ok(())
    }

    /// Exchanges weights and running moments with their moving averages, where these are kept; a second call undoes it.
    pub fn swap_averages(&mut self) {
        let _guard = tch::no_grad_guard();
        let weights = self.parameters.iter_mut().map(|p| (&mut p.tensor, &mut p.average));
        let statistics = self.statistics.iter_mut().map(|s| (&mut s.tensor, &mut s.average));
        for (tensor, average) in weights.chain(statistics) {
            if let Some(average) = average {
                let current = tensor.detach().copy();
                tensor.copy_(average);
                average.copy_(&current);
            }
        }
    }
}

/// `tensor` in memory as `parameter` is: backward passes give it so, sums over processes need not.
fn laid_out_as(parameter: &Tensor, tensor: Tensor) -> Tensor {
    if tensor.stride() == parameter.stride() {
        return tensor;
    }
    let mut same = parameter.zeros_like();
    same.copy_(&tensor);
    same
}
