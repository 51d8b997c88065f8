//! Simple bodies with soft edges, in the units of the scene (mm, or nm for electron microscopy).

use crate::noise::unit;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A place, x, y, z.
pub type Point = [f64; 3];

/// Random numbers of one case, drawn in order; a pure function of its seed.
#[derive(Debug, Clone)]
pub struct Draws {
    generator: ChaCha8Rng,
}

impl Draws {
    /// Of a case's seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { generator: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// A seed for something else.
    pub fn seed(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Uniform in [low, high).
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * unit(self.seed())
    }

    /// `value` give or take `spread`.
    pub fn around(&mut self, value: f64, spread: f64) -> f64 {
        self.between(value - spread, value + spread)
    }

    /// A place around another.
    pub fn near(&mut self, p: Point, spread: Point) -> Point {
        std::array::from_fn(|axis| self.around(p[axis], spread[axis]))
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        unit(self.seed()) < probability
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (unit(self.seed()) * n as f64) as usize
    }
}

/// The vector from `b` to `a`.
#[must_use]
pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// Scalar product.
#[must_use]
pub fn dot(a: Point, b: Point) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Length.
#[must_use]
pub fn norm(a: Point) -> f64 {
    dot(a, a).sqrt()
}

/// Rotation matrix of a random unit quaternion with real part at least `real` before scaling: a larger one turns less.
#[must_use]
pub fn rotation(draws: &mut Draws, real: f64) -> [Point; 3] {
    let q = [real.max(0.05), draws.around(0.0, 1.0), draws.around(0.0, 1.0), draws.around(0.0, 1.0)];
    let n = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [w, x, y, z] = q.map(|v| v / n);
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w)],
        [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w)],
        [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// An ellipsoid.
#[derive(Debug, Clone, Copy)]
pub struct Ellipsoid {
    /// Its middle.
    pub centre: Point,
    /// Half its lengths along its own axes.
    pub radii: Point,
    /// Directions of its own axes, of unit length and at right angles.
    pub axes: [Point; 3],
}

impl Ellipsoid {
    /// With its axes along x, y and z.
    #[must_use]
    pub fn upright(centre: Point, radii: Point) -> Self {
        Self { centre, radii, axes: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]] }
    }

    /// Slightly turned.
    #[must_use]
    pub fn tilted(draws: &mut Draws, centre: Point, radii: Point) -> Self {
        Self { centre, radii, axes: rotation(draws, 4.0) }
    }

    /// Distance to the surface, negative inside; first order, exact for spheres.
    #[must_use]
    pub fn distance(&self, p: Point) -> f64 {
        let v = sub(p, self.centre);
        let local = self.axes.map(|axis| dot(axis, v));
        let scaled: Point = std::array::from_fn(|i| local[i] / self.radii[i]);
        let twice: Point = std::array::from_fn(|i| scaled[i] / self.radii[i]);
        let (k, gradient) = (norm(scaled), norm(twice));
        if gradient == 0.0 {
            return -self.radii.iter().fold(f64::INFINITY, |a, b| a.min(*b));
        }
        k * (k - 1.0) / gradient
    }

    /// A place inside, at most `share` of the way to the surface along each axis.
    #[must_use]
    pub fn inside(&self, draws: &mut Draws, share: f64) -> Point {
        let local = self.radii.map(|r| r * draws.around(0.0, share));
        std::array::from_fn(|i| self.centre[i] + (0..3).map(|a| self.axes[a][i] * local[a]).sum::<f64>())
    }
}

/// A rod with round ends.
#[derive(Debug, Clone, Copy)]
pub struct Rod {
    /// Where its axis begins.
    pub from: Point,
    /// Where its axis ends, elsewhere.
    pub to: Point,
    /// Of the rod and its ends.
    pub radius: f64,
}

impl Rod {
    /// Distance to the surface, negative inside.
    #[must_use]
    pub fn distance(&self, p: Point) -> f64 {
        let (along, v) = (sub(self.to, self.from), sub(p, self.from));
        let t = (dot(v, along) / dot(along, along)).clamp(0.0, 1.0);
        norm(std::array::from_fn(|i| v[i] - t * along[i])) - self.radius
    }
}

/// Share of a voxel of size `width` that lies inside, from the distance of its centre: edges get partial volume.
#[must_use]
pub fn cover(distance: f64, width: f64) -> f64 {
    (0.5 - distance / width).clamp(0.0, 1.0)
}

/// Paints a value over another.
pub fn paint(value: &mut f64, new: f64, cover: f64) {
    *value += (new - *value) * cover;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_have_the_right_sign_and_scale() {
        let mut draws = Draws::new(1);
        let sphere =
            Ellipsoid { axes: rotation(&mut draws, 0.1), ..Ellipsoid::upright([1.0, 2.0, 3.0], [5.0; 3]) };
        assert!((sphere.distance([1.0, 2.0, 11.0]) - 3.0).abs() < 1e-9);
        assert!((sphere.distance([1.0, 2.0, 4.0]) + 4.0).abs() < 1e-9);
        assert_eq!(sphere.distance([1.0, 2.0, 3.0]), -5.0);
        let rod = Rod { from: [0.0; 3], to: [10.0, 0.0, 0.0], radius: 1.0 };
        assert!((rod.distance([5.0, 3.0, 0.0]) - 2.0).abs() < 1e-9);
        assert!((rod.distance([13.0, 0.0, 4.0]) - 4.0).abs() < 1e-9);
        for _ in 0..100 {
            let shape = Ellipsoid::tilted(&mut draws, [0.0; 3], [10.0, 20.0, 30.0]);
            let inside = shape.inside(&mut draws, 0.5);
            assert!(shape.distance(inside) < 0.0);
        }
    }
}
