//! AdamW and SGD with Nesterov momentum over named parameters, with state that can be saved: LibTorch's own optimisers do
//! not give theirs out.

use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::Tensor;
use tch::nn::VarStore;
use torch_runtime::lists::{self, AdamW, Moments};

/// Update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Rule {
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019), as `torch.optim.AdamW`.
    AdamW {
        /// Decay of the first moment.
        beta1: f64,
        /// Decay of the second moment.
        beta2: f64,
        /// Added to the root of the second moment.
        epsilon: f64,
    },
    /// Stochastic gradient descent with Nesterov momentum, as `torch.optim.SGD(nesterov=True)`; weight decay is added to
    /// the gradient.
    SgdNesterov {
        /// Momentum.
        momentum: f64,
    },
}

impl Rule {
    /// AdamW with PyTorch's defaults.
    #[must_use]
    pub fn adamw() -> Self {
        Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }

    /// nnU-Net's SGD: momentum 0.99.
    #[must_use]
    pub fn sgd() -> Self {
        Self::SgdNesterov { momentum: 0.99 }
    }
}

/// Options of the optimiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerOptions {
    /// Update rule.
    pub rule: Rule,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether tensors of at most one dimension (biases, norms' weights) decay too, as in the published code.
    #[serde(default = "yes")]
    pub decay_vectors: bool,
    /// Learning-rate factors by name prefix; the longest matching prefix counts, and 1 where none matches.
    #[serde(default)]
    pub lr_factors: BTreeMap<String, f64>,
    /// By name prefix, as above: over how many of its own updates a parameter's rate rises linearly from nothing; at once elsewhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rises: BTreeMap<String, u64>,
    /// Decay per update of an exponential moving average of the weights, kept beside them; none without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub averaging: Option<f64>,
}

fn yes() -> bool {
    true
}

impl OptimizerOptions {
    /// One group for everything.
    #[must_use]
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self {
            rule,
            weight_decay,
            decay_vectors: true,
            lr_factors: BTreeMap::new(),
            rises: BTreeMap::new(),
            averaging: None,
        }
    }
}

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

#[derive(Debug)]
struct Parameter {
    name: String,
    tensor: Tensor,
    lr_factor: f64,
    /// See [`OptimizerOptions::rises`].
    rise: u64,
    weight_decay: f64,
    /// Updates so far; 0 where no gradient ever arrived, and then there are no moments.
    updates: i64,
    /// First moment or momentum.
    first: Option<Tensor>,
    /// Second moment (AdamW).
    second: Option<Tensor>,
    /// Moving average of the weights.
    average: Option<Tensor>,
}

impl Parameter {
    /// The factor on the learning rate of the update that was counted last.
    fn factor(&self) -> f64 {
        let share = self.updates.unsigned_abs() as f64 / (self.rise + 1) as f64;
        self.lr_factor * share.min(1.0)
    }

    /// a ← a + (1 − d)(θ − a) with d = min(`decay`, (1 + t)/(10 + t)), so that the first steps, far from where training goes, are
    /// soon forgotten; a = θ at first.
    fn average(&mut self, decay: f64) {
        let t = self.updates as f64;
        let theta = &self.tensor;
        match &mut self.average {
            Some(average) => {
                let _moved = average.lerp_(theta, 1.0 - decay.min((1.0 + t) / (10.0 + t)));
            }
            none => *none = Some(theta.detach().copy()),
        }
    }
}

/// An optimiser and its state. Parameters are kept in the order of their names, so that sums have one order.
///
/// A parameter without a gradient is left alone (no decay) until its first gradient arrives; from then on a missing
/// gradient is a zero gradient, so that a resumed run and an uninterrupted one agree.
#[derive(Debug)]
pub struct Optimizer {
    options: OptimizerOptions,
    parameters: Vec<Parameter>,
}

impl Optimizer {
    /// Takes those of `variables` that require gradients; see [`named_variables`].
    ///
    /// # Errors
    /// On a name that occurs twice, no trainable variable, or an option outside its range.
    pub fn new(options: OptimizerOptions, variables: &[(String, Tensor)]) -> Result<Self> {
        check(&options)?;
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
        Ok(Self { options, parameters })
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

    /// L2 norm of all gradients together; above `max_norm` they are scaled down to it. 0 without gradients; not finite
    /// where one of them is not. Synchronises with the device once.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn clip_grad_norm(&mut self, max_norm: Option<f64>) -> Result<f64> {
        let gradients: Vec<Tensor> =
            self.parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined).collect();
        let norm = lists::norm(&gradients)?;
        if let Some(max_norm) = max_norm
            && norm.is_finite()
            && norm > max_norm
        {
            lists::scale(&gradients, max_norm / (norm + 1e-6))?;
        }
        Ok(norm)
    }

    /// Updates every parameter in place with learning rate `lr` (times its factor).
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn step(&mut self, lr: f64) -> Result<()> {
        let _guard = tch::no_grad_guard();
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
            Rule::SgdNesterov { momentum } => {
                for (index, gradient) in &due {
                    let parameter = &mut self.parameters[*index];
                    let rate = lr * parameter.factor();
                    sgd(parameter, gradient, rate, momentum);
                }
            }
        }
        if let Some(decay) = self.options.averaging {
            for (index, _) in &due {
                self.parameters[*index].average(decay);
            }
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

    /// Exchanges the weights with their moving averages, where these are kept; a second call undoes it.
    pub fn swap_averages(&mut self) {
        let _guard = tch::no_grad_guard();
        for parameter in &mut self.parameters {
            if let Some(average) = &mut parameter.average {
                let weights = parameter.tensor.detach().copy();
                parameter.tensor.copy_(average);
                average.copy_(&weights);
            }
        }
    }

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

fn check(options: &OptimizerOptions) -> Result<()> {
    let refuse = |name, found: f64, expected: &str| {
        Err(TrainingError::Option { name, found: found.to_string(), expected: expected.to_owned() })
    };
    if !(options.weight_decay.is_finite() && options.weight_decay >= 0.0) {
        return refuse("weight_decay", options.weight_decay, "0 or more");
    }
    if let Some(factor) = options.lr_factors.values().find(|f| !(f.is_finite() && **f >= 0.0)) {
        return refuse("lr_factors", *factor, "0 or more");
    }
    if let Some(decay) = options.averaging
        && !(0.0..1.0).contains(&decay)
    {
        return refuse("averaging", decay, "0 to below 1");
    }
    match options.rule {
        Rule::AdamW { beta1, beta2, epsilon } => {
            for (name, beta) in [("beta1", beta1), ("beta2", beta2)] {
                if !(0.0..1.0).contains(&beta) {
                    return refuse(name, beta, "0 to below 1");
                }
            }
            if !(epsilon.is_finite() && epsilon > 0.0) {
                return refuse("epsilon", epsilon, "above 0");
            }
        }
        Rule::SgdNesterov { momentum } => {
            if !(momentum > 0.0 && momentum < 1.0) {
                return refuse("momentum", momentum, "above 0 and below 1");
            }
        }
    }
    Ok(())
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

/// g ← g + λθ; b ← μb + g (b = g at first); θ ← θ − η(g + μb).
fn sgd(parameter: &mut Parameter, gradient: &Tensor, lr: f64, momentum: f64) {
    let theta = &mut parameter.tensor;
    let gradient = if parameter.weight_decay > 0.0 {
        gradient + &*theta * parameter.weight_decay
    } else {
        gradient.shallow_clone()
    };
    let buffer = match &mut parameter.first {
        Some(buffer) => {
            let _moved = buffer.g_mul_scalar_(momentum).g_add_(&gradient);
            buffer
        }
        none => none.insert(gradient.copy()),
    };
    let update = (&gradient + &*buffer * momentum) * -lr;
    let _moved = theta.g_add_(&update);
}
