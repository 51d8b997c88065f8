//! Rotation, scaling, deformation and centre crop by one resampling.

use super::Chosen;
use super::elastic::Bend;
use tch::{Kind, Tensor};
use torch_runtime::transfer::sent;

/// Maps a position in the result, in voxels from its centre (z, y, x), to the position in the input, in voxels from the
/// input's centre.
pub type Matrix = [[f64; 3]; 3];

/// Where a sample's voxels come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Warp {
    /// The straight part.
    pub matrix: Matrix,
    /// Moves positions in the result before that, so that what does not fold the result folds nothing.
    pub bend: Option<Bend>,
}

impl From<Matrix> for Warp {
    fn from(matrix: Matrix) -> Self {
        Self { matrix, bend: None }
    }
}

/// How values between voxels are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Trilinear, for images.
    Linear,
    /// Nearest voxel, for labels.
    Nearest,
}

/// Rotation by `angles` (radians, about z, then y, then x) after stretching the sampled region by `factors` (z, y, x).
/// With angles about z alone, sections stay sections.
#[must_use]
pub fn rotation_scaling(angles: [f64; 3], factors: [f64; 3]) -> Matrix {
    let turn = |angle: f64, a: usize, b: usize| {
        let mut matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        (matrix[a][a], matrix[a][b]) = (angle.cos(), -angle.sin());
        (matrix[b][a], matrix[b][b]) = (angle.sin(), angle.cos());
        matrix
    };
    let rotation = product(&product(&turn(angles[2], 0, 1), &turn(angles[1], 0, 2)), &turn(angles[0], 1, 2));
    std::array::from_fn(|row| std::array::from_fn(|column| rotation[row][column] * factors[column]))
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|row| std::array::from_fn(|column| (0..3).map(|k| a[row][k] * b[k][column]).sum()))
}

/// Crops every sample at the centre to `out_zyx` and replaces the chosen ones by a resampled view of the whole input.
/// Positions outside the input have the value `outside`.
///
/// # Shapes
/// `x`: `[batch, channel, z, y, x]` of any kind; the result has the same kind and `out_zyx` voxels. Labels are carried
/// through float64 where they are int64, else float32, and stay exact up to 2^53 and 2^24.
pub fn resample(
    x: &Tensor,
    chosen: &[(i64, Warp)],
    out_zyx: [i64; 3],
    sampling: Sampling,
    outside: f64,
) -> Tensor {
    let cropped = centre_crop(x, out_zyx);
    if chosen.is_empty() {
        return cropped;
    }
    let indices: Vec<i64> = chosen.iter().map(|(index, _)| *index).collect();
    let index = sent(&Tensor::from_slice(&indices), x.device());
    let working = if x.kind() == Kind::Int64 { Kind::Double } else { Kind::Float };
    let some = x.index_select(0, &index).to_kind(working) - outside;
    let shape = some.size();
    let theta: Vec<f64> =
        chosen.iter().flat_map(|(_, warp)| normalised(&warp.matrix, &shape[2..], out_zyx)).collect();
    let theta = sent(&Tensor::from_slice(&theta).to_kind(working), x.device()).view([-1, 3, 4]);
    let size = [shape[0], shape[1], out_zyx[0], out_zyx[1], out_zyx[2]];
    let grid = Tensor::affine_grid_generator(&theta, size, false);
    for (row, (_, warp)) in (0..).zip(chosen) {
        if let Some(bend) = &warp.bend {
            let moved = bend.displacements(out_zyx, x.device()).to_kind(working);
            let straight = theta.get(row).narrow(1, 0, 3);
            let _moved = grid.get(row).g_add_(&moved.matmul(&straight.tr()));
        }
    }
    let (mode, zeros_outside) = (i64::from(sampling == Sampling::Nearest), 0);
    let sampled = some.grid_sampler(&grid, mode, zeros_outside, false) + outside;
    cropped.index_copy(0, &index, &sampled.to_kind(x.kind()))
}

/// `affine_grid_generator`'s matrix: axes in the order x, y, z, coordinates from −1 to 1 between the outer faces.
fn normalised(matrix: &Matrix, input: &[i64], out_zyx: [i64; 3]) -> [f64; 12] {
    let mut theta = [0.0; 12];
    for row in 0..3 {
        for column in 0..3 {
            let (r, c) = (2 - row, 2 - column);
            theta[row * 4 + column] = matrix[r][c] * out_zyx[c] as f64 / input[r] as f64;
        }
    }
    theta
}

/// The middle `out_zyx` voxels; where the margin is odd, the smaller half comes first.
///
/// # Shapes
/// `x`: `[batch, channel, z, y, x]` with at least `out_zyx` voxels.
pub fn centre_crop(x: &Tensor, out_zyx: [i64; 3]) -> Tensor {
    let shape = x.size();
    (0..3).fold(x.shallow_clone(), |cropped, axis| {
        let margin = shape[axis + 2] - out_zyx[axis];
        cropped.narrow(axis as i64 + 2, margin / 2, out_zyx[axis])
    })
}

/// (sample, warp) for an in-plane change of scale by `factors` per sample.
pub(crate) fn in_plane(factors: &Chosen<f64>) -> Chosen<Warp> {
    factors.iter().map(|(index, f)| (*index, rotation_scaling([0.0; 3], [1.0, *f, *f]).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{FRAC_PI_2, PI};
    use tch::Device;

    fn volume() -> Tensor {
        Tensor::arange(2 * 4 * 6 * 6, (Kind::Float, Device::Cpu)).view([2, 1, 4, 6, 6])
    }

    #[test]
    fn the_identity_is_a_crop() {
        let x = volume();
        let identity = rotation_scaling([0.0; 3], [1.0; 3]);
        for sampling in [Sampling::Linear, Sampling::Nearest] {
            let y = resample(&x, &[(1, identity.into())], [2, 4, 6], sampling, 0.0);
            assert!((y - centre_crop(&x, [2, 4, 6])).abs().max().double_value(&[]) < 1e-4);
        }
    }

    #[test]
    fn quarter_and_half_turns_about_z_are_flips_and_transposes() {
        let x = volume();
        let half = resample(
            &x,
            &[(0, rotation_scaling([PI, 0.0, 0.0], [1.0; 3]).into())],
            [4, 6, 6],
            Sampling::Linear,
            0.0,
        );
        assert!((half.get(0) - x.get(0).flip([2, 3])).abs().max().double_value(&[]) < 1e-3);
        assert!(half.get(1).equal(&x.get(1)));
        let quarter = resample(
            &x,
            &[(0, rotation_scaling([FRAC_PI_2, 0.0, 0.0], [1.0; 3]).into())],
            [4, 6, 6],
            Sampling::Linear,
            0.0,
        );
        let a = (quarter.get(0) - x.get(0).rot90(1, [2, 3])).abs().max().double_value(&[]);
        let b = (quarter.get(0) - x.get(0).rot90(-1, [2, 3])).abs().max().double_value(&[]);
        assert!(a.min(b) < 1e-3);
    }

    #[test]
    fn outside_has_its_value_and_large_labels_stay_exact() {
        let big = (1i64 << 40) + 1;
        let x = Tensor::full([1, 1, 4, 4, 4], big, (Kind::Int64, Device::Cpu));
        let double = rotation_scaling([0.0; 3], [2.0; 3]).into();
        let y = resample(&x, &[(0, double)], [4; 3], Sampling::Nearest, 7.0);
        assert_eq!(y.int64_value(&[0, 0, 0, 0, 0]), 7);
        assert_eq!(y.int64_value(&[0, 0, 2, 2, 2]), big);
    }

    #[test]
    fn a_factor_above_one_shows_more() {
        let x = Tensor::arange(8, (Kind::Float, Device::Cpu))
            .view([1, 1, 1, 1, 8])
            .expand([1, 1, 1, 8, 8], false);
        let wide = resample(&x, &in_plane(&vec![(0, 2.0)]), [1, 4, 4], Sampling::Linear, 0.0);
        assert!(
            (wide.double_value(&[0, 0, 0, 2, 3]) - wide.double_value(&[0, 0, 0, 2, 2]) - 2.0).abs() < 1e-4
        );
    }
}
