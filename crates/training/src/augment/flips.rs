//! Mirroring and transposing: exact, without interpolation.

use super::on_samples;
use tch::Tensor;

/// Mirrors each chosen sample along its marked axes (z, y, x).
///
/// # Shapes
/// `x`: `[batch, channel, z, y, x]`, any kind.
pub fn mirror(x: &Tensor, chosen: &[(i64, [bool; 3])]) -> Tensor {
    let mut x = x.shallow_clone();
    for axis in 0..3usize {
        let samples: Vec<i64> =
            chosen.iter().filter(|(_, axes)| axes[axis]).map(|(index, _)| *index).collect();
        x = on_samples(&x, &samples, |some| some.flip([2 + axis as i64]));
    }
    x
}

/// Swaps two spatial axes (0 = z, 1 = y, 2 = x) of the chosen samples; the axes have equal size.
///
/// # Shapes
/// `x`: `[batch, channel, z, y, x]`, any kind.
pub fn transpose(x: &Tensor, samples: &[i64], [a, b]: [usize; 2]) -> Tensor {
    on_samples(x, samples, |some| some.transpose(2 + a as i64, 2 + b as i64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn mirroring_twice_is_nothing_and_touches_the_chosen_only() {
        let x = Tensor::arange(2 * 27, (Kind::Int64, Device::Cpu)).view([2, 1, 3, 3, 3]);
        let chosen = [(1, [true, false, true])];
        let once = mirror(&x, &chosen);
        assert!(once.get(0).equal(&x.get(0)) && !once.get(1).equal(&x.get(1)));
        assert_eq!(once.int64_value(&[1, 0, 0, 1, 0]), x.int64_value(&[1, 0, 2, 1, 2]));
        assert!(mirror(&once, &chosen).equal(&x));
        let turned = transpose(&x, &[0], [1, 2]);
        assert_eq!(turned.int64_value(&[0, 0, 0, 1, 2]), x.int64_value(&[0, 0, 0, 2, 1]));
        assert!(turned.get(1).equal(&x.get(1)));
    }
}
