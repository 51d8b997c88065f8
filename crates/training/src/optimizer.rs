//! AdamW and SGD with Nesterov momentum over named parameters, with state that can be saved: LibTorch's own optimisers do
//! not give theirs out.

use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tch::nn::VarStore;
use tch::{Kind, Tensor};

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
}

fn yes() -> bool {
    true
}

impl OptimizerOptions {
    /// One group for everything.
    #[must_use]
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self { rule, weight_decay, decay_vectors: true, lr_factors: BTreeMap::new() }
    }

    fn lr_factor(&self, name: &str) -> f64 {
        self.lr_factors
            .iter()
            .filter(|(prefix, _)| name.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(1.0, |(_, factor)| *factor)
    }
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
    weight_decay: f64,
    /// Updates so far; 0 where no gradient ever arrived, and then there are no moments.
    updates: i64,
    /// First moment or momentum.
    first: Option<Tensor>,
    /// Second moment (AdamW).
    second: Option<Tensor>,
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
                lr_factor: options.lr_factor(name),
                weight_decay: if options.decay_vectors || tensor.dim() > 1 {
                    options.weight_decay
                } else {
                    0.0
                },
                tensor: tensor.shallow_clone(),
                updates: 0,
                first: None,
                second: None,
            })
            .collect();
        Ok(Self { options, parameters })
    }

    /// The options it was made with.
    #[must_use]
    pub fn options(&self) -> &OptimizerOptions {
        &self.options
    }

    /// Sets every gradient to zero.
    pub fn zero_grad(&mut self) {
        for parameter in &mut self.parameters {
            parameter.tensor.zero_grad();
        }
    }

    /// L2 norm of all gradients together; above `max_norm` they are scaled down to it. 0 without gradients; not finite
    /// where one of them is not. Synchronises with the device once.
    #[must_use]
    pub fn clip_grad_norm(&mut self, max_norm: Option<f64>) -> f64 {
        let _guard = tch::no_grad_guard();
        let mut gradients: Vec<Tensor> =
            self.parameters.iter().map(|p| p.tensor.grad()).filter(Tensor::defined).collect();
        if gradients.is_empty() {
            return 0.0;
        }
        let norms: Vec<Tensor> = gradients.iter().map(|g| g.to_kind(Kind::Float).norm()).collect();
        let norm = Tensor::stack(&norms, 0).norm().double_value(&[]);
        if let Some(max_norm) = max_norm
            && norm.is_finite()
            && norm > max_norm
        {
            for gradient in &mut gradients {
                let _scaled = gradient.g_mul_scalar_(max_norm / (norm + 1e-6));
            }
        }
        norm
    }

    /// Updates every parameter in place with learning rate `lr` (times its factor).
    pub fn step(&mut self, lr: f64) {
        let _guard = tch::no_grad_guard();
        for parameter in &mut self.parameters {
            let gradient = parameter.tensor.grad();
            let gradient = match (gradient.defined(), parameter.updates) {
                (true, _) => gradient,
                (false, 0) => continue,
                (false, _) => parameter.tensor.zeros_like(),
            };
            parameter.updates += 1;
            let rate = lr * parameter.lr_factor;
            match self.options.rule {
                Rule::AdamW { beta1, beta2, epsilon } => {
                    adamw(parameter, &gradient, rate, beta1, beta2, epsilon);
                }
                Rule::SgdNesterov { momentum } => sgd(parameter, &gradient, rate, momentum),
            }
        }
    }

    /// State to save: `NAME/m` (first moment or momentum), `NAME/v` (second moment), `NAME/updates` (int64), sorted.
    #[must_use]
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = Vec::with_capacity(self.parameters.len() * 3);
        for parameter in &self.parameters {
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
                        Some(
                            tensor
                                .to_device(parameter.tensor.device())
                                .to_kind(parameter.tensor.kind())
                                .copy(),
                        )
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
            loaded.push((updates, first, second));
        }
        wrong.extend(state.keys().map(|name| format!("  {name}: unknown")));
        if !wrong.is_empty() {
            return Err(TrainingError::OtherTensors { what: "optimiser state", table: wrong.join("\n") });
        }
        for (parameter, (updates, first, second)) in self.parameters.iter_mut().zip(loaded) {
            (parameter.updates, parameter.first, parameter.second) = (updates, first, second);
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

/// θ ← θ(1 − ηλ); m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; θ ← θ − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
fn adamw(parameter: &mut Parameter, gradient: &Tensor, lr: f64, beta1: f64, beta2: f64, epsilon: f64) {
    let updates = parameter.updates as f64;
    let theta = &mut parameter.tensor;
    if parameter.weight_decay > 0.0 {
        let _decayed = theta.g_mul_scalar_(1.0 - lr * parameter.weight_decay);
    }
    let m = parameter.first.get_or_insert_with(|| theta.zeros_like());
    let v = parameter.second.get_or_insert_with(|| theta.zeros_like());
    let _moved = m.lerp_(gradient, 1.0 - beta1);
    let _moved = v.g_mul_scalar_(beta2).addcmul_(&(gradient * (1.0 - beta2)), gradient);
    let mut denominator = v.sqrt();
    let _shifted = denominator.g_div_scalar_((1.0 - beta2.powf(updates)).sqrt()).g_add_scalar_(epsilon);
    let scaled = m.g_mul_scalar(-lr / (1.0 - beta1.powf(updates)));
    let _moved = theta.addcdiv_(&scaled, &denominator);
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
