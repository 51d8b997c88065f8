//! Predictions of mirror images, brought back to the voxels of the image.

use super::SlidingWindow;
use crate::error::BoxedError;
use crate::step::torch_call;
use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// The mean over all combinations of mirrored axes, float32 `[window, class, z, y, x]`.
pub(super) fn mirrored(
    input: &Tensor,
    options: &SlidingWindow,
    network: &dyn Fn(&Tensor) -> std::result::Result<Tensor, BoxedError>,
) -> Result<Tensor> {
    let axes: Vec<usize> = (0..3).filter(|axis| options.mirror_axes[*axis]).collect();
    let combinations = 1u32 << axes.len();
    let mut sum: Option<Mean> = None;
    for combination in 0..combinations {
        let chosen = axes.iter().enumerate().filter(|(bit, _)| combination >> bit & 1 == 1);
        let mut flips = [false; 3];
        chosen.for_each(|(_, axis)| flips[*axis] = true);
        let flipped: Vec<i64> = (0..3).filter(|axis| flips[*axis]).map(|axis| axis as i64 + 2).collect();
        let output = torch_call(0, || network(&input.flip(&flipped)))
            .map_err(of_network)?
            .map_err(|source| TrainingError::Network { source })?;
        let (found, expected) = (output.size(), input.size());
        let channels = options.pairs.len() as i64;
        if found.len() != 5
            || found[0] != expected[0]
            || found[2..] != expected[2..]
            || (channels > 0 && found[1] != channels)
        {
            return Err(TrainingError::shape(
                "prediction",
                &output,
                format!("[window, class, …] of {expected:?}"),
            ));
        }
        let output = output.to_kind(Kind::Float).flip(&flipped);
        match &mut sum {
            Some(sum) => sum.add(&output, flips, &options.pairs),
            // nothing is mirrored at first
            None => sum = Some(Mean::new(output, combinations, &options.pairs)),
        }
    }
    Ok(sum.map_or_else(|| input.shallow_clone(), Mean::finish))
}

/// A failure of LibTorch, without the step of a training.
fn of_network(error: TrainingError) -> TrainingError {
    match error {
        TrainingError::OutOfMemory { reason, .. } | TrainingError::Torch { reason, .. } => {
            TrainingError::Network { source: reason.into() }
        }
        other => other,
    }
}

/// A sum over mirror images.
struct Mean {
    sum: Tensor,
    /// How many values each voxel has, `[class, z, y, x]`; none where each has as many as there are images.
    counts: Option<Tensor>,
    images: u32,
}

impl Mean {
    fn new(first: Tensor, images: u32, pairs: &[[i64; 3]]) -> Self {
        // the network's own tensor is left alone
        let sum = if images == 1 { first } else { first.copy() };
        let counts = (images > 1 && !pairs.is_empty()).then(|| sum.get(0).ones_like());
        Self { sum, counts, images }
    }

    /// Adds what a mirror image gave, turned back. Of affinities a channel holds then those of other pairs: at p that of p and p + R o, where R
    /// turns the offset o around along mirrored axes. Where R o is the offset of a channel it is that channel's, and where it is the opposite
    /// of one it is that of the pair that begins at p + R o. What is of no channel's pairs, or of pairs beyond the window, is left out.
    fn add(&mut self, output: &Tensor, flips: [bool; 3], pairs: &[[i64; 3]]) {
        let Some(counts) = &self.counts else {
            let _sum = self.sum.g_add_(output);
            return;
        };
        for (from, offset) in pairs.iter().enumerate() {
            let turned: [i64; 3] =
                std::array::from_fn(|axis| if flips[axis] { -offset[axis] } else { offset[axis] });
            let opposite = turned.map(|n| -n);
            let (to, shift) = match pairs.iter().position(|pair| *pair == turned) {
                Some(to) => (to, [0; 3]),
                None => match pairs.iter().position(|pair| *pair == opposite) {
                    // the pair of p and p + R o is that of channel `to` at p + R o
                    Some(to) => (to, turned),
                    None => continue,
                },
            };
            let part = |of: &Tensor, axis: i64, shift: [i64; 3], takes: bool| {
                (0..3).fold(of.shallow_clone(), |t, a| {
                    let n = t.size()[(axis + a as i64) as usize];
                    let kept = (n - shift[a].abs()).max(0);
                    // read at p, written at p + shift
                    let first = if takes { (-shift[a]).max(0) } else { shift[a].max(0) };
                    t.narrow(axis + a as i64, first.min(n - kept), kept)
                })
            };
            let taken = part(&output.select(1, from as i64), 1, shift, true);
            let _sum = part(&self.sum.select(1, to as i64), 1, shift, false).g_add_(&taken);
            let _count = part(&counts.get(to as i64), 0, shift, false).g_add_scalar_(1.0);
        }
    }

    fn finish(self) -> Tensor {
        match self.counts {
            Some(counts) => self.sum / counts.unsqueeze(0),
            None if self.images == 1 => self.sum,
            None => self.sum / f64::from(self.images),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const PAIRS: [[i64; 3]; 6] = [[-1, 0, 0], [0, -3, 0], [0, 0, -2], [0, -2, -1], [0, -2, 1], [0, 0, 0]];

    /// Whether voxels a pair's offset apart have one number; 0.25 where the other one lies beyond.
    fn affinities(ids: &Tensor) -> Tensor {
        let [z, y, x] = [2, 3, 4].map(|axis| ids.size()[axis]);
        let channel = |[a, b, c]: [i64; 3]| {
            let padded = ids.constant_pad_nd([4, 4, 4, 4, 4, 4]) + 1.0;
            let [own, other] = [[0, 0, 0], [a, b, c]]
                .map(|[a, b, c]| padded.narrow(2, 4 + a, z).narrow(3, 4 + b, y).narrow(4, 4 + c, x));
            let known = other.ne(1.0);
            own.eq_tensor(&other).to_kind(Kind::Float).where_scalarother(&known, 0.25)
        };
        Tensor::cat(&PAIRS.map(channel), 1)
    }

    #[test]
    fn affinities_of_mirror_images_are_of_the_same_pairs() {
        tch::manual_seed(1);
        // numbers above 0, of few objects
        let ids = Tensor::randint_low(1, 4, [2, 1, 6, 7, 8], (Kind::Float, Device::Cpu));
        let plain = affinities(&ids);
        for axes in [[false, false, true], [false, true, false], [true, true, true]] {
            let mut options = SlidingWindow::new([6, 7, 8]);
            options.mirror_axes = axes;
            options.pairs = PAIRS.to_vec();
            let mean = mirrored(&ids, &options, &|input| Ok(affinities(input))).unwrap();
            // exact for every pair within the window, and nothing but the plain value beyond
            assert!((&mean - &plain).abs().max().double_value(&[]) < 1e-6, "{axes:?}");
            // without the offsets the means are of other pairs
            options.pairs.clear();
            let wrong = mirrored(&ids, &options, &|input| Ok(affinities(input))).unwrap();
            assert!((&wrong - &plain).abs().max().double_value(&[]) > 0.2, "{axes:?}");
        }
    }

    #[test]
    fn another_number_of_channels_than_pairs_is_refused() {
        let mut options = SlidingWindow::new([2, 2, 2]);
        options.pairs = vec![[0, 0, -1]];
        let input = Tensor::zeros([1, 1, 2, 2, 2], (Kind::Float, Device::Cpu));
        let two = |input: &Tensor| Ok(Tensor::cat(&[input, input], 1));
        assert!(mirrored(&input, &options, &two).is_err());
    }
}
