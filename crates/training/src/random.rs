//! Random draws as pure functions of (run seed, step, index): a run that was stopped and resumed draws what the
//! uninterrupted run would have drawn, whatever the number of threads.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What the numbers are for; each purpose has its own stream, whose number never changes, so that a run can be repeated. Patches are
/// drawn by `patches::sampler::generator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// What LibTorch draws in a training step (dropout and the like).
    Step = 1,
    /// Pretraining views: what both views share.
    SharedView = 3,
    /// Pretraining views: the first.
    FirstView = 4,
    /// Pretraining views: the second.
    SecondView = 5,
    /// Fine-tuning augmentation.
    Augmentation = 6,
    /// What LibTorch draws in a validation.
    Validation = 8,
}

/// The ChaCha8 stream of (seed, step, index, purpose): the four numbers are the key, little-endian.
#[must_use]
pub fn stream(seed: u64, step: u64, index: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (place, value) in key.chunks_exact_mut(8).zip([seed, step, index, purpose as u64]) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Seeds LibTorch's generators on every device, so that what they give next is a function of (seed, step, purpose).
///
/// LibTorch has one generator per device and process: threads that make batches must not draw from it. CPU and CUDA
/// generators differ, so equal bytes are promised on one kind of device only.
pub fn seed_torch(seed: u64, step: u64, purpose: Purpose) {
    let value: u64 = stream(seed, step, u64::MAX, purpose).random();
    tch::manual_seed(i64::from_le_bytes(value.to_le_bytes()));
}

/// A number from `[low, high)`; `low` where both are equal.
pub fn uniform(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    low + (high - low) * rng.random::<f64>()
}

/// `count` draws of the standard normal distribution (Box and Muller), on any device's behalf: 2 million take some 50 ms.
#[must_use]
pub fn normals(rng: &mut ChaCha8Rng, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 − u lies in (0, 1], where the logarithm is finite
        let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt();
        let (sin, cos) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
        values.extend([radius * cos, radius * sin]);
    }
    values.truncate(count);
    values
}

/// True with probability `p`; always takes one draw.
pub fn coin(rng: &mut ChaCha8Rng, p: f64) -> bool {
    rng.random::<f64>() < p
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_coordinate_changes_the_stream() {
        let first = |s, t, i, p| stream(s, t, i, p).random::<u64>();
        let base = first(1, 2, 3, Purpose::Step);
        assert_eq!(base, first(1, 2, 3, Purpose::Step));
        for other in [
            first(2, 2, 3, Purpose::Step),
            first(1, 3, 3, Purpose::Step),
            first(1, 2, 4, Purpose::Step),
            first(1, 2, 3, Purpose::Validation),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn normals_have_mean_0_and_variance_1() {
        let values = normals(&mut stream(3, 0, 0, Purpose::Step), 100_001);
        assert_eq!(values.len(), 100_001);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 100_001.0;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / 100_001.0;
        let beyond = values.iter().filter(|v| v.abs() > 1.96).count();
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!((4_500..5_500).contains(&beyond), "{beyond}");
    }

    #[test]
    fn uniform_keeps_its_range() {
        let mut rng = stream(0, 0, 0, Purpose::Step);
        assert!((0..1000).all(|_| (0.5..1.5).contains(&uniform(&mut rng, (0.5, 1.5)))));
        assert!((uniform(&mut rng, (2.0, 2.0)) - 2.0).abs() < f64::EPSILON);
        assert!(coin(&mut rng, 1.0) && !coin(&mut rng, 0.0));
    }
}
