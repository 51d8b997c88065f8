//! What an optimiser is told: its rule, decay, and rates by name.

use crate::{Result, TrainingError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Refuses what no update could be made with.
pub(super) fn check(options: &OptimizerOptions) -> Result<()> {
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
