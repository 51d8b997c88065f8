//! The pooling behind a stem.

use super::order::{is_channels_last, plane_of_sections, sections, volume};
use crate::error::Error;
use tch::{Device, Tensor};

/// The largest of 3×3×3 voxels, at every z and at every other y and x; what lies beyond the border does not count.
///
/// # Shapes
/// `[batch, channels, z, y, x]` → `[batch, channels, z, ⌈y / 2⌉, ⌈x / 2⌉]`.
pub(crate) fn max_pool(input: &Tensor) -> Result<Tensor, Error> {
    // A GPU reads each value up to 27 times in LibTorch's pooling of volumes, those of neighbouring places from places far apart, and adds
    // up gradients atomically in the maps' format; its pooling of planes has kernels for this order, which count in 32 bits. On a CPU the
    // volume is faster.
    let countable = i32::try_from(input.numel()).is_ok();
    if input.device() != Device::Cpu && countable && is_channels_last(input)? {
        return in_two_steps(input);
    }
    Ok(input.f_max_pool3d(3, [1, 2, 2], 1, 1, false)?)
}

/// Within sections, then over z. Of equal values both ways take the first, so that the same one gets the gradient.
fn in_two_steps(input: &Tensor) -> Result<Tensor, Error> {
    let (batch, channels, z, _, _) = input.size5()?;
    let within = sections(input)?.f_max_pool2d(3, 2, 1, 1, false)?;
    let (_, _, y, x) = within.size4()?;
    let over = plane_of_sections(&within, batch)?.f_max_pool2d([3, 1], 1, [1, 0], 1, false)?;
    volume(&over, (batch, channels, z, y, x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn two_steps_are_one() {
        for size in [[2, 3, 4, 6, 5], [1, 4, 1, 3, 2], [3, 2, 2, 1, 1], [1, 2, 5, 2, 7]] {
            let [n, c, z, y, x] = size;
            let map = |[n, c, z, y, x]: [i64; 5]| {
                let values = Tensor::arange(n * c * z * y * x, (Kind::Double, Device::Cpu));
                // few values, so that many are equal
                let values = values.remainder(7.0) * values.remainder(3.0);
                values.view([n, z, y, x, c]).permute([0, 4, 1, 2, 3])
            };
            let answers = |pool: fn(&Tensor) -> Result<Tensor, Error>| {
                let input = map(size).set_requires_grad(true);
                let output = pool(&input).unwrap();
                (&output * map([n, c, z, (y + 1) / 2, (x + 1) / 2])).sum(Kind::Double).backward();
                (output, input.grad())
            };
            let (one, two) = (answers(max_pool), answers(in_two_steps));
            assert!(is_channels_last(&map(size)).unwrap(), "{size:?}");
            assert_eq!(one.0.size(), [n, c, z, (y + 1) / 2, (x + 1) / 2]);
            assert_eq!((&one.0, &one.1), (&two.0, &two.1), "{size:?}");
            assert!(two.0.permute([0, 2, 3, 4, 1]).is_contiguous(), "{size:?}");
        }
    }
}
