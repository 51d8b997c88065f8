//! Smooth random deformation: of whole patches, image and label alike ([`Bend`]), and of views within sections ([`elastic`]).

use super::on_samples;
use crate::random::normals;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};
use torch_runtime::transfer::sent;

/// A smooth field of displacements in all three directions, or within sections only.
///
/// # Source
/// Ronneberger et al. 2015 (arXiv 1505.04597), section 3.1: random displacements on a coarse grid, interpolated; ours are smoothed
/// by a mean over one step of that grid, so that they have no kinks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bend {
    /// Voxels from one control point to the next.
    pub spacing: f64,
    /// Standard deviation of the displacements at the control points before smoothing, voxels.
    pub deviation: f64,
    /// Whether sections stay sections.
    pub in_plane_only: bool,
    /// Seed of the displacements.
    pub seed: u64,
}

impl Bend {
    /// What is added to a sampling grid: `[z, y, x, 3]`, float32, coordinates x, y, z from −1 to 1 between the outer faces of
    /// the input.
    pub(crate) fn displacements(&self, input_zyx: [i64; 3], out_zyx: [i64; 3], device: Device) -> Tensor {
        // a control point at each end
        let points = out_zyx.map(|n| ((n - 1) as f64 / self.spacing.max(1.0)).ceil().max(1.0) as i64 + 1);
        let count = usize::try_from(points.iter().product::<i64>()).unwrap_or(0);
        let drawn = normals(&mut ChaCha8Rng::seed_from_u64(self.seed), 3 * count);
        let coarse = sent(&Tensor::from_slice(&drawn), device).view([1, 3, points[0], points[1], points[2]]);
        let voxels = coarse.upsample_trilinear3d(out_zyx, true, None, None, None) * self.deviation;
        // odd, so that the mean is about the voxel itself, and no larger than the patch
        let window = out_zyx.map(|n| ((self.spacing as i64).clamp(1, n) - 1) / 2 * 2 + 1);
        // the mean over a box, of what lies inside of the patch, is that along each axis in turn
        let smooth = (0..3).fold(voxels, |voxels, axis| {
            let mut along = [1; 3];
            along[axis] = window[axis];
            voxels.avg_pool3d(along, [1; 3], along.map(|n| n / 2), false, false, None)
        });
        let along = |axis: usize| {
            let moved = smooth.get(0).get(axis as i64);
            if axis == 0 && self.in_plane_only {
                moved.zeros_like()
            } else {
                moved * (2.0 / input_zyx[axis] as f64)
            }
        };
        Tensor::stack(&[along(2), along(1), along(0)], -1)
    }
}

/// A field of displacements within sections.
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
        sent(&Tensor::from_slice(&drawn), one.device()).view([1, 2, points[0], points[1], points[2]]);
    let voxels = coarse.upsample_trilinear3d(size, true, None, None, None) * field.deviation;
    let identity = Tensor::eye_m(3, 4, (Kind::Float, one.device())).unsqueeze(0);
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
    use crate::augment::affine::{Sampling, Warp, resample, rotation_scaling};

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

    /// On ramps along each axis the sampled values are the displaced coordinates.
    #[test]
    fn bends_are_smooth_and_of_their_size() {
        let (size, out) = (48, 40);
        let ramp = |axis: usize| {
            let mut shape = [1i64; 5];
            shape[axis + 2] = size;
            Tensor::arange(size, (Kind::Float, Device::Cpu))
                .view(shape)
                .expand([1, 1, size, size, size], false)
        };
        let bend = Bend { spacing: 10.0, deviation: 4.0, in_plane_only: false, seed: 7 };
        let straight = rotation_scaling([0.0; 3], [1.0; 3]);
        let moved = |axis: usize, bend: Option<Bend>| {
            let warp = Warp { matrix: straight, bend };
            // away from the rim, beyond which there is nothing
            resample(&ramp(axis), &[(0, warp)], [out; 3], Sampling::Linear, 0.0)
        };
        let inner = |far: Tensor| (0..3).fold(far.get(0).get(0), |far, a| far.narrow(a, 8, out - 16));
        for axis in 0..3 {
            let far = inner(moved(axis, Some(bend)) - moved(axis, None));
            let deviation = far.std(true).double_value(&[]);
            // the mean over a window of ten and interpolation leave about a third
            assert!((0.5..2.5).contains(&deviation), "{axis}: {deviation}");
            let step = far.diff(1, 0, None::<Tensor>, None::<Tensor>).abs().max().double_value(&[]);
            assert!(step < 1.5, "{axis}: a kink of {step}");
            let flat = inner(moved(axis, Some(Bend { in_plane_only: true, ..bend })) - moved(axis, None));
            assert_eq!(flat.abs().max().double_value(&[]) < 1e-3, axis == 0);
        }
        // patches flatter than a step of the grid
        for size in [[8, 20, 20], [1, 13, 2]] {
            let moved = bend.displacements(size, size, Device::Cpu);
            assert_eq!(moved.size(), [&size[..], &[3]].concat());
            assert!(moved.isfinite().all().int64_value(&[]) == 1);
        }
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
