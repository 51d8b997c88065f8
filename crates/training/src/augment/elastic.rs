//! Smooth random deformation: of whole patches, image and label alike ([`Bend`]), and of views within sections ([`elastic`]).

use super::on_samples;
use crate::random::normals;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};
use torch_runtime::transfer::sent;

/// A smooth field of displacements in all three directions, or within sections only, which then move alike.
///
/// # Source
/// Rueckert et al. 1999 (doi 10.1109/42.796284), section II-A: displacements at control points, interpolated by cubic B-splines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bend {
    /// Voxels from one control point to the next.
    pub spacing: f64,
    /// Standard deviation of the displacements at the control points, voxels; between them it is about a third of that.
    pub deviation: f64,
    /// Whether sections stay sections.
    pub in_plane_only: bool,
    /// Seed of the displacements.
    pub seed: u64,
}

impl Bend {
    /// `[z, y, x, 3]`, float32, coordinates x, y, z of which 2 are the patch's edge. The grid of control points goes on beyond the
    /// patch, so that the field is as smooth in a patch of few voxels as in a large one.
    pub(crate) fn displacements(&self, out_zyx: [i64; 3], device: Device) -> Tensor {
        let spacing = self.spacing.max(1.0);
        let weights: [Tensor; 3] = std::array::from_fn(|axis| {
            let moves = axis > 0 || !self.in_plane_only;
            let places = (0..out_zyx[axis]).map(|i| if moves { i as f64 / spacing } else { 0.0 });
            sent(&spline_weights(&places.collect::<Vec<f64>>()), device)
        });
        let points = weights.each_ref().map(|weights| weights.size()[1]);
        let count = usize::try_from(points.iter().product::<i64>()).unwrap_or(0);
        let drawn = normals(&mut ChaCha8Rng::seed_from_u64(self.seed), 3 * count);
        let coarse = sent(&Tensor::from_slice(&drawn), device).view([3, points[0], points[1], points[2]]);
        // each turn takes the foremost axis away and puts it, at full size, behind the others
        let field = weights.iter().fold(coarse * self.deviation, |field, weights| {
            field.tensordot(weights, [1i64].as_slice(), [1i64].as_slice())
        });
        let along = |axis: usize| {
            let moved = field.get(axis as i64);
            if axis == 0 && self.in_plane_only {
                moved.zeros_like()
            } else {
                moved * (2.0 / out_zyx[axis] as f64)
            }
        };
        Tensor::stack(&[along(2), along(1), along(0)], -1)
    }
}

/// Weights of control points −1, 0, 1, … at ascending places that are not negative: `[place, control point]`, float32, cubic B-splines.
fn spline_weights(places: &[f64]) -> Tensor {
    let last = places.last().map_or(0, |place| place.floor() as i64);
    let spline = |distance: f64| match distance.abs() {
        near if near < 1.0 => (4.0 - 6.0 * near.powi(2) + 3.0 * near.powi(3)) / 6.0,
        far if far < 2.0 => (2.0 - far).powi(3) / 6.0,
        _ => 0.0,
    };
    let points = -1..=last + 2;
    let weights: Vec<f64> = places
        .iter()
        .flat_map(|place| points.clone().map(move |point| spline(place - point as f64)))
        .collect();
    Tensor::from_slice(&weights).to_kind(Kind::Float).view([places.len() as i64, -1])
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
    use crate::augment::{AugmentSet, is_flat};

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
            // the weights of control points leave about a third
            assert!((0.5..2.5).contains(&deviation), "{axis}: {deviation}");
            let step = far.diff(1, 0, None::<Tensor>, None::<Tensor>).abs().max().double_value(&[]);
            assert!(step < 1.5, "{axis}: a kink of {step}");
            let flat = inner(moved(axis, Some(Bend { in_plane_only: true, ..bend })) - moved(axis, None));
            assert_eq!(flat.abs().max().double_value(&[]) < 1e-3, axis == 0);
        }
    }

    /// Least determinant of the derivative of x + u(x), and the largest difference of u between sections, voxels.
    fn least_determinant(bend: Bend, size: [i64; 3]) -> (f64, f64) {
        let moved = bend.displacements(size, Device::Cpu).to_kind(Kind::Double);
        let u: Vec<Tensor> =
            (0..3).map(|axis| moved.select(3, 2 - axis) * (size[axis as usize] as f64 / 2.0)).collect();
        let derivative = |of: usize, axis: i64| {
            let along = u[of].diff(1, axis, None::<Tensor>, None::<Tensor>);
            // where there is a difference along each axis
            (0..3).fold(along, |along, a| along.narrow(a, 0, size[a as usize] - 1))
                + f64::from(of as i64 == axis)
        };
        let rows: Vec<Tensor> =
            (0..3).map(|of| Tensor::stack(&[0, 1, 2].map(|axis| derivative(of, axis)), -1)).collect();
        let least = Tensor::stack(&rows, -2).det().min().double_value(&[]);
        let sections =
            (0..3).map(|of| u[of].diff(1, 0, None::<Tensor>, None::<Tensor>).abs().max().double_value(&[]));
        (least, sections.fold(0.0, f64::max))
    }

    #[test]
    fn no_bend_of_the_strong_set_folds_a_patch_of_any_size() {
        for (size, seeds) in
            [([48, 48, 48], 20), ([40, 56, 40], 20), ([8, 24, 24], 60), ([4, 12, 12], 60), ([2, 64, 64], 60)]
        {
            let options = AugmentSet::Strong.options(is_flat(size), [false; 3]);
            for seed in 0..seeds {
                let bend = Bend {
                    spacing: options.bending_spacing,
                    deviation: options.bending.1,
                    in_plane_only: options.in_plane_only,
                    seed,
                };
                let (least, between_sections) = least_determinant(bend, size);
                assert!(least > 0.0, "{size:?}, seed {seed}: {least}");
                assert!(!options.in_plane_only || between_sections < 1e-6, "{size:?}: {between_sections}");
            }
        }
    }

    #[test]
    fn a_patch_is_bent_as_the_corner_of_a_larger_one() {
        let bend = Bend { spacing: 12.0, deviation: 4.0, in_plane_only: false, seed: 5 };
        for places in [[0.0, 0.5].as_slice(), &[0.0], &[0.0, 1.0, 2.25, 7.9]] {
            let sums = spline_weights(places).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            assert!((sums - 1.0).abs().max().double_value(&[]) < 1e-6);
        }
        // both have as many control points
        let [small, large] = [[3, 7, 12], [12, 12, 12]].map(|size| {
            let edges = Tensor::from_slice(&[size[2], size[1], size[0]]);
            bend.displacements(size, Device::Cpu) * edges / 2.0
        });
        let corner = large.narrow(0, 0, 3).narrow(1, 0, 7);
        assert!((small - corner).abs().max().double_value(&[]) < 1e-5);
        assert_eq!(bend.displacements([1, 13, 2], Device::Cpu).size(), [1, 13, 2, 3]);
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
