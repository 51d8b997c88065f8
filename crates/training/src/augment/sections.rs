//! What happens to single sections when a block is cut and imaged: they slip, are lost, are out of focus.

use super::filter::section_blur;
use super::on_samples;
use crate::Result;
use tch::Tensor;
use torch_runtime::transfer::uploaded;

/// Part of a volume: first and last (exclusive) section, row and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuboid {
    /// Along z, y, x.
    pub ranges: [(i64, i64); 3],
}

impl Cuboid {
    fn of(self, x: &Tensor) -> Tensor {
        (2..)
            .zip(self.ranges)
            .fold(x.shallow_clone(), |part, (axis, (low, high))| part.narrow(axis, low, high - low))
    }
}

/// What takes the place of a hole's voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filling {
    /// The sample's lowest value: a section that is missing is black.
    Darkest,
    /// The sample's mean.
    Mean,
}

/// A part of one section that is out of focus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unfocused {
    /// One section, all of it or a part.
    pub place: Cuboid,
    /// Standard deviation of the blur, voxels.
    pub sigma: f64,
}

/// Moves each section of the chosen samples by its own whole number of voxels (y, x); what comes in repeats the edge.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`; z offsets per sample.
///
/// # Source
/// gtgm.md, section 2.5, "misalign".
pub fn shift(x: &Tensor, chosen: &[(i64, Vec<[i64; 2]>)]) -> Tensor {
    chosen.iter().fold(x.shallow_clone(), |x, (sample, offsets)| {
        on_samples(&x, &[*sample], |one| {
            let shape = one.size();
            let reach = offsets.iter().flatten().map(|offset| offset.abs()).max().unwrap_or(0);
            let padded = one.replication_pad3d([reach, reach, reach, reach, 0, 0]);
            let sections: Vec<Tensor> = (0..)
                .zip(offsets)
                .map(|(z, [dy, dx])| {
                    padded.narrow(2, z, 1).narrow(3, reach + dy, shape[3]).narrow(4, reach + dx, shape[4])
                })
                .collect();
            Tensor::cat(&sections, 2)
        })
    })
}

/// Replaces cuboids of the chosen samples by what their own samples in `of` are filled with: their values before noise, which has no part in
/// what the microscope calls black.
///
/// # Shapes
/// `x`, `of`: float `[batch, channel, z, y, x]`.
///
/// # Errors
/// When there is no memory for a mask.
///
/// # Source
/// gtgm.md, section 2.5, "missing" and "cutout".
pub fn holes(x: &Tensor, chosen: &[(i64, Vec<Cuboid>)], filling: Filling, of: &Tensor) -> Result<Tensor> {
    let Some((_, _, depth, height, width)) = x.size5().ok().filter(|_| !chosen.is_empty()) else {
        return Ok(x.shallow_clone());
    };
    // one mask for all of them: a kernel for each of dozens of cuboids would keep a GPU waiting
    let mut mask = vec![false; chosen.len() * (depth * height * width) as usize];
    for ((_, cuboids), own) in chosen.iter().zip(mask.chunks_exact_mut((depth * height * width) as usize)) {
        for [z, y, x] in cuboids.iter().map(|cuboid| cuboid.ranges) {
            for row in (z.0..z.1).flat_map(|z| (y.0..y.1).map(move |y| (z * height + y) * width)) {
                own[(row + x.0) as usize..(row + x.1) as usize].fill(true);
            }
        }
    }
    let mask = uploaded(&mask, &[-1, 1, depth, height, width], x.device())?;
    let indices: Vec<i64> = chosen.iter().map(|(sample, _)| *sample).collect();
    let values: Vec<Tensor> = indices
        .iter()
        .map(|sample| of.narrow(0, *sample, 1))
        .map(|own| match filling {
            Filling::Darkest => own.min(),
            Filling::Mean => own.mean(own.kind()),
        })
        .collect();
    let values = Tensor::stack(&values, 0).view([-1, 1, 1, 1, 1]);
    Ok(on_samples(x, &indices, |some| values.where_self(&mask, some)))
}

/// Blurs parts of single sections of the chosen samples.
///
/// # Shapes
/// `x`: float `[batch, channel, z, y, x]`.
///
/// # Source
/// gtgm.md, section 2.5, "blur-enhanced".
pub fn unfocused(x: &Tensor, chosen: &[(i64, Vec<Unfocused>)]) -> Tensor {
    chosen.iter().fold(x.shallow_clone(), |x, (sample, parts)| {
        on_samples(&x, &[*sample], |one| {
            let changed = one.copy();
            for Unfocused { place, sigma } in parts {
                let (first, last) = place.ranges[0];
                let section = one.narrow(2, first, last - first);
                let blurred = section_blur(&section, &[(0, (*sigma, (3.0 * sigma).ceil() as usize))]);
                let within = Cuboid { ranges: [(0, last - first), place.ranges[1], place.ranges[2]] };
                place.of(&changed).copy_(&within.of(&blurred));
            }
            changed
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn volume() -> Tensor {
        Tensor::arange(2 * 3 * 4 * 5, (Kind::Float, Device::Cpu)).view([2, 1, 3, 4, 5])
    }

    #[test]
    fn sections_move_by_their_own_offsets_and_repeat_the_edge() {
        let x = volume();
        let y = shift(&x, &[(1, vec![[0, 0], [1, 0], [0, -2]])]);
        assert!(y.get(0).equal(&x.get(0)));
        assert!(y.get(1).narrow(1, 0, 1).equal(&x.get(1).narrow(1, 0, 1)));
        let at = |t: &Tensor, place: [i64; 3]| t.double_value(&[1, 0, place[0], place[1], place[2]]);
        assert_eq!((at(&y, [1, 0, 3]), at(&y, [1, 3, 3])), (at(&x, [1, 1, 3]), at(&x, [1, 3, 3])));
        assert_eq!((at(&y, [2, 1, 4]), at(&y, [2, 1, 1])), (at(&x, [2, 1, 2]), at(&x, [2, 1, 0])));
    }

    #[test]
    fn holes_have_the_filling_and_nothing_else_changes() {
        let x = volume();
        let hole = Cuboid { ranges: [(1, 2), (0, 4), (2, 4)] };
        for (filling, value) in [(Filling::Darkest, 60.0), (Filling::Mean, 89.5)] {
            let y = holes(&(&x * 1.0), &[(1, vec![hole])], filling, &x).unwrap();
            let changed = y.ne_tensor(&x).sum(Kind::Int64).int64_value(&[]);
            assert!(y.get(0).equal(&x.get(0)) && changed == 8, "{changed}");
            assert!((y.double_value(&[1, 0, 1, 3, 3]) - value).abs() < 1e-4);
            let other = Cuboid { ranges: [(0, 1), (1, 3), (0, 1)] };
            let y = holes(&x, &[(0, vec![other]), (1, vec![hole, other])], filling, &(&x + 5.5)).unwrap();
            let changed =
                y.ne_tensor(&x).flatten(1, -1).sum_dim_intlist([1_i64].as_slice(), false, Kind::Int64);
            assert_eq!(Vec::<i64>::try_from(changed).unwrap(), [2, 10]);
            assert!((y.double_value(&[1, 0, 1, 3, 3]) - value - 5.5).abs() < 1e-4);
        }
        assert!(x.equal(&volume()), "the input is left alone");
    }

    #[test]
    fn only_the_part_out_of_focus_is_blurred() {
        let x = volume();
        let place = Cuboid { ranges: [(2, 3), (1, 3), (0, 5)] };
        let y = unfocused(&x, &[(0, vec![Unfocused { place, sigma: 1.0 }])]);
        let difference = (&y - &x).abs();
        assert!(difference.get(1).max().double_value(&[]) < 1e-9);
        assert!(place.of(&difference).max().double_value(&[]) > 0.1);
        let all = difference.sum(Kind::Double).double_value(&[]);
        assert!((all - place.of(&difference).sum(Kind::Double).double_value(&[])).abs() < 1e-6);
    }
}
