//! A tiny task: a convolution, batch norm, dropout and a linear layer that learn to tell bright cubes from dark ones.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::nn::{self, Module, ModuleT};
use tch::{Device, Kind, Tensor};
use training::error::BoxedError;
use training::optimizer::{Optimizer, OptimizerOptions, Rule, named_variables};
use training::random::{Purpose, stream};
use training::record::Values;
use training::step::{InOrder, StepLoss, Task, Validation};

pub(crate) const SEED: u64 = 42;

/// LibTorch has one generator per process: two runs at a time would draw from each other's.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct Tiny {
    store: nn::VarStore,
    conv: nn::Conv3D,
    norm: nn::BatchNorm,
    head: nn::Linear,
    /// Completed steps at which the loss is made NaN.
    pub(crate) spoil: Vec<u64>,
}

pub(crate) struct Batch {
    image: Tensor,
    target: Tensor,
    name: String,
}

impl Tiny {
    pub(crate) fn new() -> Self {
        tch::set_num_threads(1);
        tch::manual_seed(7);
        let store = nn::VarStore::new(Device::Cpu);
        let root = store.root();
        let conv = nn::conv3d(&root / "conv", 1, 4, 3, nn::ConvConfig { padding: 1, ..Default::default() });
        let norm = nn::batch_norm3d(&root / "norm", 4, Default::default());
        let head = nn::linear(&root / "head", 4, 1, Default::default());
        Self { store, conv, norm, head, spoil: Vec::new() }
    }

    pub(crate) fn variables(&self) -> Vec<(String, Tensor)> {
        named_variables(&[("", &self.store)]).unwrap()
    }

    pub(crate) fn optimizer(&self) -> Optimizer {
        Optimizer::new(OptimizerOptions::new(Rule::adamw(), 0.01), &self.variables()).unwrap()
    }

    fn forward(&self, image: &Tensor, train: bool) -> Tensor {
        let x = self.norm.forward_t(&self.conv.forward(image), train).relu().dropout(0.2, train);
        self.head.forward(&x.mean_dim([2i64, 3, 4].as_slice(), false, Kind::Float))
    }
}

pub(crate) fn batch(step: u64) -> Batch {
    use rand::RngExt;
    let mut rng = stream(SEED, step, 0, Purpose::Augmentation);
    let target: Vec<f32> = (0..4).map(|_| if rng.random::<bool>() { 1.0 } else { 0.0 }).collect();
    let image: Vec<f32> =
        target.iter().flat_map(|t| (0..64).map(|_| t + rng.random::<f32>()).collect::<Vec<_>>()).collect();
    Batch {
        image: Tensor::from_slice(&image).view([4, 1, 4, 4, 4]),
        target: Tensor::from_slice(&target).view([4, 1]),
        name: format!("batch{step}"),
    }
}

/// Batches of the steps `first..end`.
pub(crate) fn source(first: u64, end: u64) -> InOrder<impl FnMut(u64) -> Result<Batch, BoxedError>> {
    InOrder::new(first, end, |step| Ok(batch(step)))
}

impl Task for Tiny {
    type Batch = Batch;

    fn loss(&mut self, step: u64, batch: &Batch) -> Result<StepLoss, BoxedError> {
        let image =
            if self.spoil.contains(&step) { &batch.image * f64::NAN } else { batch.image.shallow_clone() };
        let output = self.forward(&image, true);
        let total = output.binary_cross_entropy_with_logits::<Tensor>(
            &batch.target,
            None,
            None,
            tch::Reduction::Mean,
        );
        let parts = vec![("spread".to_owned(), output.detach().std(false))];
        Ok(StepLoss { total, parts })
    }

    fn members(&self, batch: &Batch) -> Vec<String> {
        vec![batch.name.clone()]
    }

    fn validate(&mut self, _step: u64) -> Result<Validation, BoxedError> {
        // drawing numbers here must not change the training that follows
        let _noise = Tensor::randn([3], (Kind::Float, Device::Cpu));
        let _guard = tch::no_grad_guard();
        let batch = batch(1_000_000);
        let right = self.forward(&batch.image, false).gt(0.0).to_kind(Kind::Float).eq_tensor(&batch.target);
        let score = right.to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        let values = Values::from([("accuracy".to_owned(), score)]);
        Ok(Validation { score: Some(score), values, ..Validation::default() })
    }
}
