//! Where variables are made: names checked for uniqueness, values drawn from a seed.
//!
//! A value depends on the seed, the variable's full name and its position alone, so that the order of construction, the
//! device and other networks in the process change nothing. tch's own initialisers draw from the process-wide generator
//! and differ from PyTorch's defaults.

use crate::error::Error;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use std::f32::consts::TAU;
use tch::{Tensor, nn};

/// Values drawn from one random stream; a multiple of two.
const CHUNK: usize = 1 << 16;

/// How a variable starts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fill {
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform in ±this bound.
    Uniform(f64),
}

/// The initialisation of convolutions, by the code the network follows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConvInit {
    /// Kaiming normal over the fan-out with ReLU's gain; no effect on a bias.
    KaimingFanOut,
    /// PyTorch's default: uniform in ±1/√fan-in, the bias likewise.
    Torch,
    /// He for LeakyReLU(0.01) as in nnU-Net: normal over the fan-in, bias 0.
    LeakyHe,
}

impl ConvInit {
    /// Weight and bias for a weight of `shape` (PyTorch's fan-in takes axis 1, in transposed convolutions too).
    pub(crate) fn fills(self, shape: &[i64]) -> (Fill, Fill) {
        let receptive: i64 = shape.iter().skip(2).product();
        let fan = |axis: usize| (shape.get(axis).copied().unwrap_or(1) * receptive) as f64;
        match self {
            Self::KaimingFanOut => (Fill::Normal((2.0 / fan(0)).sqrt()), Fill::Constant(0.0)),
            Self::Torch => (Fill::Uniform(1.0 / fan(1).sqrt()), Fill::Uniform(1.0 / fan(1).sqrt())),
            Self::LeakyHe => {
                let slope = 0.01_f64;
                (Fill::Normal((2.0 / ((1.0 + slope * slope) * fan(1))).sqrt()), Fill::Constant(0.0))
            }
        }
    }
}

/// A place in a `VarStore` with the seed for what is made there.
#[derive(Debug, Clone)]
pub(crate) struct Scope<'a> {
    path: nn::Path<'a>,
    seed: u64,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(path: &nn::Path<'a>, seed: u64) -> Self {
        Self { path: path.clone(), seed }
    }

    pub(crate) fn sub(&self, name: impl ToString) -> Self {
        Self { path: self.path.sub(name), seed: self.seed }
    }

    /// A trainable variable.
    pub(crate) fn parameter(&self, name: &str, shape: &[i64], fill: Fill) -> Result<Tensor, Error> {
        let tensor = self.tensor(name, shape, fill)?;
        self.add(name, tensor, true)
    }

    /// A variable that the optimiser leaves alone.
    pub(crate) fn buffer(&self, name: &str, shape: &[i64], value: f64) -> Result<Tensor, Error> {
        let tensor = self.tensor(name, shape, Fill::Constant(value))?;
        self.add(name, tensor, false)
    }

    /// A tensor that never changes, kept because files carry it.
    pub(crate) fn constant(&self, name: &str, value: &Tensor) -> Result<(), Error> {
        let tensor = value.f_to_device_(self.path.device(), value.kind(), false, true)?;
        self.add(name, tensor, false).map(drop)
    }

    /// A counter, as PyTorch keeps in batch normalisation.
    pub(crate) fn counter(&self, name: &str) -> Result<Tensor, Error> {
        let tensor = Tensor::f_zeros([0_i64; 0], (tch::Kind::Int64, self.path.device()))?;
        self.add(name, tensor, false)
    }

    fn add(&self, name: &str, tensor: Tensor, trainable: bool) -> Result<Tensor, Error> {
        if self.path.get(name).is_some() {
            return Err(Error::DuplicateName { name: self.path.path(name) });
        }
        Ok(self.path.add(name, tensor, trainable))
    }

    fn tensor(&self, name: &str, shape: &[i64], fill: Fill) -> Result<Tensor, Error> {
        let options = (self.path.kind(), self.path.device());
        if let Fill::Constant(value) = fill {
            return Ok(Tensor::f_full(shape, value, options)?);
        }
        let count = shape.iter().product::<i64>().unsigned_abs() as usize;
        let values = draw(self.seed, &self.path.path(name), count, fill);
        Ok(Tensor::f_from_slice(&values)?.f_reshape(shape)?.f_to_device(options.1)?.f_to_kind(options.0)?)
    }
}

/// `count` values of `fill` for the variable `name`.
fn draw(seed: u64, name: &str, count: usize, fill: Fill) -> Vec<f32> {
    let mut values = vec![0.0_f32; count];
    values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream(name, chunk as u64));
        // 24 bits, as a float32 holds: uniform in [0, 1).
        let mut unit = || (random.next_u32() >> 8) as f32 / (1_u32 << 24) as f32;
        match fill {
            Fill::Constant(value) => values.fill(value as f32),
            Fill::Uniform(bound) => {
                values.iter_mut().for_each(|value| *value = (2.0 * unit() - 1.0) * bound as f32);
            }
            Fill::Normal(deviation) => {
                // Box and Muller: two normal values from two uniform ones, the first in (0, 1].
                for pair in values.chunks_mut(2) {
                    let radius = (-2.0 * (1.0 - unit()).ln()).sqrt() * deviation as f32;
                    let (sine, cosine) = (TAU * unit()).sin_cos();
                    for (value, part) in pair.iter_mut().zip([cosine, sine]) {
                        *value = radius * part;
                    }
                }
            }
        }
    });
    values
}

/// FNV-1a over the name and the chunk: the number of the random stream.
fn stream(name: &str, chunk: u64) -> u64 {
    name.bytes().chain(chunk.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }

    #[test]
    fn draws_have_the_moments_asked_for() {
        let (mean, deviation) = moments(&draw(1, "a", 300_001, Fill::Normal(0.5)));
        assert!(mean.abs() < 5e-3 && (deviation - 0.5).abs() < 5e-3, "{mean} {deviation}");
        let values = draw(1, "a", 300_001, Fill::Uniform(0.3));
        let (mean, deviation) = moments(&values);
        assert!(mean.abs() < 5e-3 && (deviation - 0.3 / 3_f64.sqrt()).abs() < 5e-3, "{mean} {deviation}");
        assert!(values.iter().all(|value| value.abs() <= 0.3));
    }

    #[test]
    fn draws_depend_on_seed_and_name_alone() {
        let fill = Fill::Normal(1.0);
        assert_eq!(draw(1, "a", 100, fill), draw(1, "a", 100, fill));
        assert_ne!(draw(1, "a", 100, fill), draw(2, "a", 100, fill));
        assert_ne!(draw(1, "a", 100, fill), draw(1, "b", 100, fill));
        let long = draw(1, "a", CHUNK + 10, fill);
        assert_ne!(long[..10], long[CHUNK..]);
    }

    #[test]
    fn a_second_variable_of_one_name_is_refused() {
        let store = nn::VarStore::new(Device::Cpu);
        let scope = Scope::new(&store.root(), 0).sub("part");
        let _ = scope.buffer("w", &[1], 0.0).unwrap();
        let text = scope.parameter("w", &[1], Fill::Constant(0.0)).unwrap_err().to_string();
        assert!(text.contains("part.w"), "{text}");
    }
}
