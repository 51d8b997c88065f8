//! Randomness as a function of place: nothing is drawn in order, so cases and voxels can be made in any order.

use crate::shapes::Point;

/// A well-mixed 64-bit hash (the finaliser of SplitMix64, Steele et al. 2014).
#[must_use]
pub fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hash of a lattice point.
#[must_use]
pub fn mix_point(seed: u64, i: [i64; 3]) -> u64 {
    i.iter().fold(seed, |hash, &n| mix(hash ^ n as u64))
}

/// A number in [0, 1) from the upper bits of a hash.
#[must_use]
pub fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Nearly normal noise of unit variance: the sum of four 16-bit uniforms of one hash. It needs no transcendental
/// functions, whose last bit differs between C libraries.
#[must_use]
pub fn gaussian(seed: u64, index: u64) -> f64 {
    let hash = mix(seed ^ mix(index));
    let sum: u64 = (0..4).map(|i| (hash >> (16 * i)) & 0xffff).sum();
    (sum as f64 / 65535.0 - 2.0) * 3.0_f64.sqrt()
}

/// Smooth noise in [-1, 1] that varies over about one unit: random values on a lattice, smoothly interpolated.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    seed: u64,
    wavelength: Point,
}

impl Noise {
    /// Varies over about `wavelength`.
    #[must_use]
    pub fn new(seed: u64, wavelength: f64) -> Self {
        Self { seed: mix(seed), wavelength: [wavelength; 3] }
    }

    /// Its value at a place.
    #[must_use]
    pub fn at(&self, p: Point) -> f64 {
        let q: Point = std::array::from_fn(|axis| p[axis] / self.wavelength[axis]);
        let base = q.map(f64::floor);
        let t: Point = std::array::from_fn(|axis| {
            let t = q[axis] - base[axis];
            t * t * (3.0 - 2.0 * t)
        });
        let mut sum = 0.0;
        for corner in 0..8_usize {
            let mut weight = 1.0;
            let mut i = [0; 3];
            for axis in 0..3 {
                let upper = corner >> axis & 1 == 1;
                weight *= if upper { t[axis] } else { 1.0 - t[axis] };
                i[axis] = base[axis] as i64 + i64::from(upper);
            }
            sum += weight * (2.0 * unit(mix_point(self.seed, i)) - 1.0);
        }
        sum
    }
}

/// A smooth displacement of space: organs get irregular outlines that still fit each other.
#[derive(Debug, Clone, Copy)]
pub struct Warp {
    fields: [Noise; 3],
    amplitude: f64,
}

impl Warp {
    /// Displaces by at most `amplitude` along each axis, over `wavelength`.
    #[must_use]
    pub fn new(seed: u64, amplitude: f64, wavelength: f64) -> Self {
        Self { fields: [1, 2, 3].map(|i: u64| Noise::new(seed.wrapping_add(mix(i)), wavelength)), amplitude }
    }

    /// Where a place is displaced to.
    #[must_use]
    pub fn at(&self, p: Point) -> Point {
        std::array::from_fn(|axis| p[axis] + self.amplitude * self.fields[axis].at(p))
    }
}

/// White noise of unit variance after a 1-2-1 filter along every axis: the grain of a reconstructed image.
#[must_use]
pub fn grain(seed: u64, shape_zyx: [usize; 3]) -> Vec<f64> {
    let n: usize = shape_zyx.iter().product();
    let mut noise: Vec<f64> = (0..n as u64).map(|i| gaussian(seed, i)).collect();
    for axis in 1..3 {
        smooth(&mut noise, shape_zyx, axis);
    }
    // each pass keeps (1 + 4 + 1) / 16 of the variance
    noise.iter_mut().for_each(|v| *v /= 6.0 / 16.0);
    noise
}

/// A 1-2-1 filter along one axis (0 z, 1 y, 2 x) of an array in C order; the edge voxel counts twice.
pub fn smooth(data: &mut [f64], shape_zyx: [usize; 3], axis: usize) {
    let stride: usize = shape_zyx[axis + 1..].iter().product();
    let length = shape_zyx[axis];
    let mut line = vec![0.0; length];
    for block in data.chunks_mut(stride * length) {
        for start in 0..stride {
            for (i, v) in line.iter_mut().enumerate() {
                *v = block[start + i * stride];
            }
            for i in 0..length {
                let (before, after) = (line[i.saturating_sub(1)], line[(i + 1).min(length - 1)]);
                block[start + i * stride] = 0.25 * before + 0.5 * line[i] + 0.25 * after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_stated_moments() {
        let shape = [8, 64, 64];
        for values in [grain(3, shape), (0..32768).map(|i| gaussian(9, i)).collect()] {
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
        }
    }

    #[test]
    fn smooth_noise_is_bounded_and_continuous() {
        let noise = Noise::new(5, 10.0);
        for i in 0..2000 {
            let x = f64::from(i) * 0.05 - 50.0;
            let (a, b) = (noise.at([x, 3.0, -7.0]), noise.at([x + 0.01, 3.0, -7.0]));
            assert!(a.abs() <= 1.0 && (a - b).abs() < 0.01, "{x}: {a} {b}");
        }
    }
}
