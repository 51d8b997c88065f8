//! Smooth random deformation within sections.

use super::on_samples;
use crate::random::normals;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

/// A field of displacements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elastic {
    /// Voxels (z, y, x) from one control point to the next; displacements between them are interpolated.
    pub spacing_zyx: [i64; 3],
    /// Standard deviation of the displacements along y and x at the control points, voxels.
    pub deviation: f64,
    /// Seed of the displacements.
    pub seed: u64,
}

/// Deforms the chosen samples, sampling trilinearly; what comes in from outside repeats the edge. Sections stay sections.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`.
///
/// # Source
/// gtgm.md, section 2.5, "elastic".
pub fn elastic(x: &Tensor, chosen: &[(i64, Elastic)]) -> Tensor {
    chosen
        .iter()
        .fold(x.shallow_clone(), |x, (sample, field)| on_samples(&x, &[*sample], |one| deformed(one, *field)))
}

fn deformed(one: &Tensor, field: Elastic) -> Tensor {
    let shape = one.size();
    let size = [shape[2], shape[3], shape[4]];
    // a control point at each end
    let points: [i64; 3] =
        std::array::from_fn(|axis| (size[axis] - 1).div_euclid(field.spacing_zyx[axis].max(1)).max(1) + 1);
    let count = usize::try_from(points.iter().product::<i64>()).unwrap_or(0);
    let drawn = normals(&mut ChaCha8Rng::seed_from_u64(field.seed), 2 * count);
    let coarse =
        Tensor::from_slice(&drawn).to_device(one.device()).view([1, 2, points[0], points[1], points[2]]);
    let voxels = coarse.upsample_trilinear3d(size, true, None, None, None) * field.deviation;
    let identity = Tensor::from_slice(&[1f32, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0])
        .to_device(one.device())
        .view([1, 3, 4]);
    let grid = Tensor::affine_grid_generator(&identity, [1, 1, size[0], size[1], size[2]], false);
    // coordinates x, y, z from −1 to 1 between the outer faces
    let along = |number: i64, edge: i64| voxels.select(1, number) * (2.0 / edge as f64);
    let moved = Tensor::stack(&[along(1, size[2]), along(0, size[1]), voxels.select(1, 0).zeros_like()], -1);
    let (linear, repeat_the_edge) = (0, 1);
    one.to_kind(Kind::Float).grid_sampler(&(grid + moved), linear, repeat_the_edge, false).to_kind(one.kind())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const FIELD: Elastic = Elastic { spacing_zyx: [4, 8, 8], deviation: 2.0, seed: 3 };

    #[test]
    fn without_displacements_nothing_moves() {
        tch::manual_seed(1);
        let x = Tensor::randn([2, 1, 5, 20, 24], (Kind::Float, Device::Cpu));
        let still = elastic(&x, &[(0, Elastic { deviation: 0.0, ..FIELD })]);
        assert!((still - &x).abs().max().double_value(&[]) < 1e-4);
        let moved = elastic(&x, &[(1, FIELD)]);
        assert!(moved.get(0).equal(&x.get(0)) && !moved.get(1).equal(&x.get(1)));
        assert!(moved.equal(&elastic(&x, &[(1, FIELD)])), "a function of the seed");
    }

    /// On a ramp along x the sampled values are the displaced coordinates.
    #[test]
    fn displacements_have_their_deviation_and_stay_in_their_section() {
        let (y, x) = (200, 200);
        let ramp = Tensor::arange(x, (Kind::Float, Device::Cpu))
            .view([1, 1, 1, 1, x])
            .expand([1, 1, 2, y, x], false);
        let sections = ramp + Tensor::from_slice(&[0f32, 1000.0]).view([1, 1, 2, 1, 1]);
        let field = Elastic { spacing_zyx: [1, 4, 4], ..FIELD };
        let moved = (elastic(&sections, &[(0, field)]) - &sections).narrow(4, 20, x - 40);
        assert!(moved.abs().max().double_value(&[]) < 20.0, "no value comes from another section");
        // at every fourth voxel there is a control point or a place near one
        let deviation = moved.std(true).double_value(&[]);
        assert!((0.8..2.2).contains(&deviation), "{deviation}");
    }
}
