//! Projection heads: from an encoder's vector to the space where image and text meet.

use crate::blocks::{BatchNorm, LayerNorm, Linear, Statistics};
use crate::config::at_least_one;
use crate::error::Error;
use crate::init::Scope;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

/// The normalisation inside a projection head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadNorm {
    /// Batch statistics, as published. Needs a real batch: over two samples every feature becomes ±1, whatever the
    /// input, and nothing is learnt. Training with fewer than [`HeadNorm::MINIMUM_BATCH`] samples is refused.
    Batch,
    /// Each sample by itself: for batches of any size.
    Layer,
}

impl HeadNorm {
    /// The fewest samples over which [`HeadNorm::Batch`] takes statistics.
    pub const MINIMUM_BATCH: i64 = 4;
}

#[derive(Debug)]
enum Norm {
    Batch(BatchNorm),
    Layer(LayerNorm),
}

impl Norm {
    fn new(scope: &Scope<'_>, features: i64, affine: bool, kind: HeadNorm) -> Result<Self, Error> {
        match kind {
            HeadNorm::Batch => BatchNorm::new(scope, features, affine).map(Self::Batch),
            HeadNorm::Layer => LayerNorm::new(scope, features, affine).map(Self::Layer),
        }
    }

    fn forward(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        match self {
            Self::Batch(norm) => norm.forward(input, Statistics::of(train)),
            Self::Layer(norm) => norm.forward(input),
        }
    }
}

/// Linear, norm, ReLU, linear, norm without scale and shift (GTGM's `proj_v` and `proj_t`: hidden 2048, output 512);
/// state-dict names `0.*`, `1.*`, `3.*`, `4.*` below its path.
#[derive(Debug)]
pub struct ProjectionHead {
    features: i64,
    kind: HeadNorm,
    first: Linear,
    first_norm: Norm,
    second: Linear,
    second_norm: Norm,
}

impl ProjectionHead {
    /// Builds it at `path`, values drawn from `seed`.
    ///
    /// # Errors
    /// For sizes below 1, and when a name is taken.
    pub fn new(
        path: &nn::Path<'_>,
        features: i64,
        hidden: i64,
        output: i64,
        kind: HeadNorm,
        seed: u64,
    ) -> Result<Self, Error> {
        for (field, found) in [("head features", features), ("head hidden", hidden), ("head output", output)]
        {
            at_least_one(field, found)?;
        }
        let scope = Scope::new(path, seed);
        Ok(Self {
            features,
            kind,
            first: Linear::new(&scope.sub(0), features, hidden)?,
            first_norm: Norm::new(&scope.sub(1), hidden, true, kind)?,
            second: Linear::new(&scope.sub(3), hidden, output)?,
            second_norm: Norm::new(&scope.sub(4), output, false, kind)?,
        })
    }

    /// Projects vectors; who calls scales them to unit length.
    ///
    /// # Shapes
    /// input: `[batch, features]`, output: `[batch, output]`.
    ///
    /// # Errors
    /// For inputs of another shape, for training with batch norm on fewer than [`HeadNorm::MINIMUM_BATCH`] samples, and
    /// when LibTorch refuses.
    pub fn forward_t(&self, input: &Tensor, train: bool) -> Result<Tensor, Error> {
        let found = input.size();
        if found.len() != 2 || found[0] < 1 || found[1] != self.features {
            let expected = format!("[batch, {}]", self.features);
            return Err(Error::Input { network: "a projection head", found, expected });
        }
        if train && self.kind == HeadNorm::Batch && found[0] < HeadNorm::MINIMUM_BATCH {
            return Err(Error::SmallBatch { found: found[0], minimum: HeadNorm::MINIMUM_BATCH });
        }
        let hidden = self.first_norm.forward(&self.first.forward(input)?, train)?.f_relu_()?;
        self.second_norm.forward(&self.second.forward(&hidden)?, train)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn head(kind: HeadNorm) -> (nn::VarStore, ProjectionHead) {
        let store = nn::VarStore::new(Device::Cpu);
        let head = ProjectionHead::new(&(store.root() / "proj_v"), 6, 8, 5, kind, 3).unwrap();
        (store, head)
    }

    #[test]
    fn names_and_sizes_are_the_published_ones() {
        let store = nn::VarStore::new(Device::Cpu);
        ProjectionHead::new(&(store.root() / "proj_v"), 2048, 2048, 512, HeadNorm::Batch, 0).unwrap();
        let trainable: usize = store.trainable_variables().iter().map(Tensor::numel).sum();
        assert_eq!(trainable, 5_249_536);
        let variables = store.variables();
        for name in ["0.weight", "0.bias", "1.weight", "1.running_var", "3.bias", "4.running_mean"] {
            assert!(variables.contains_key(&format!("proj_v.{name}")), "{name}");
        }
        assert!(!variables.contains_key("proj_v.4.weight"));
    }

    #[test]
    fn batch_statistics_need_a_batch() {
        let (_store, head) = head(HeadNorm::Batch);
        let two = Tensor::randn([2, 6], (Kind::Float, Device::Cpu));
        let text = head.forward_t(&two, true).unwrap_err().to_string();
        assert!(text.contains('2') && text.contains("layer normalisation"), "{text}");
        assert_eq!(head.forward_t(&two, false).unwrap().size(), [2, 5]);
        let eight = Tensor::randn([8, 6], (Kind::Float, Device::Cpu));
        let output = head.forward_t(&eight, true).unwrap();
        assert!(output.mean_dim(0, false, Kind::Float).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn layer_norm_takes_a_single_sample_and_each_by_itself() {
        let (_store, head) = head(HeadNorm::Layer);
        let many = Tensor::randn([3, 6], (Kind::Float, Device::Cpu));
        let all = head.forward_t(&many, true).unwrap();
        let one = head.forward_t(&many.narrow(0, 1, 1), true).unwrap();
        assert!(all.narrow(0, 1, 1).allclose(&one, 1e-5, 1e-6, false));
        assert!(head.forward_t(&many.narrow(1, 0, 5), true).is_err());
    }
}
