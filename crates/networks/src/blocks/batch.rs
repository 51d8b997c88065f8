//! Batch normalisation, over one process or several, and what it normalises by.

use super::EPSILON;
use super::norm::{By, batch_norm};
use super::then::Then;
use crate::error::Error;
use crate::init::{Fill, Scope};
use tch::{Kind, Tensor};
use torch_runtime::{Group, sum_over_processes};

/// How far the running statistics move towards those of a batch.
const MOMENTUM: f64 = 0.1;

/// What a batch normalisation normalises by.
#[derive(Debug, Clone, Copy)]
pub enum Statistics<'a> {
    /// The running statistics: prediction.
    Running,
    /// Those of the batch, towards which the running ones move: training. Of a group the batch is that of all its processes.
    Batch(Option<&'a Group>),
    /// Likewise, while the running ones move by this share of the way instead of by the momentum; by none of it they stay, and the batch is not counted.
    Moving(Option<&'a Group>, f64),
    /// Those of each half of the batch by itself, as if the halves came one after the other: two views of the same patches.
    Halves(Option<&'a Group>),
}

impl Statistics<'_> {
    /// Those of training by one process, or of prediction.
    #[must_use]
    pub fn of(train: bool) -> Self {
        if train { Self::Batch(None) } else { Self::Running }
    }
}

impl<'a> Statistics<'a> {
    /// Those of one of so many pieces of a batch, which together move the running ones as far as one batch does; none: of a piece that will come
    /// again, which moves nothing.
    pub(crate) fn of_piece(group: Option<&'a Group>, pieces: Option<usize>) -> Self {
        let share = pieces.map_or(0.0, |pieces| 1.0 - (1.0 - MOMENTUM).powf(1.0 / pieces.max(1) as f64));
        Self::Moving(group, share)
    }
}

/// Batch normalisation with running statistics, as in PyTorch: ε 1e-5, momentum 0.1. For any `[batch, features, …]`.
#[derive(Debug)]
pub struct BatchNorm {
    affine: Option<(Tensor, Tensor)>,
    running_mean: Tensor,
    running_var: Tensor,
    batches: Tensor,
}

impl BatchNorm {
    pub(crate) fn new(scope: &Scope<'_>, features: i64, affine: bool) -> Result<Self, Error> {
        let affine = if affine {
            Some((
                scope.parameter("weight", &[features], Fill::Constant(1.0))?,
                scope.parameter("bias", &[features], Fill::Constant(0.0))?,
            ))
        } else {
            None
        };
        Ok(Self {
            affine,
            running_mean: scope.buffer("running_mean", &[features], 0.0)?,
            running_var: scope.buffer("running_var", &[features], 1.0)?,
            batches: scope.counter("num_batches_tracked")?,
        })
    }

    /// Normalises; `[batch, features, …]` in and out.
    ///
    /// # Errors
    /// In training with a single value per feature, which has no variance, for halves of an odd batch, and when LibTorch refuses.
    pub fn forward(&self, input: &Tensor, statistics: Statistics<'_>) -> Result<Tensor, Error> {
        self.in_parts(input, statistics, Then::NOTHING)
    }

    /// By LibTorch's operations, one after the other.
    fn in_parts(&self, input: &Tensor, statistics: Statistics<'_>, then: Then<'_>) -> Result<Tensor, Error> {
        match statistics {
            Statistics::Running => self.normalised(input, None, then),
            Statistics::Batch(group) => self.in_parts(input, Statistics::Moving(group, MOMENTUM), then),
            Statistics::Moving(None, share) => self.normalised(input, Some(share), then),
            Statistics::Moving(Some(group), share) => then.follow(self.normalised_over(input, group, share)?),
            Statistics::Halves(group) => {
                let half = input.size()[0] / 2;
                let halves = input.f_split_with_sizes([half, half].as_slice(), 0)?;
                let normalised: Vec<Tensor> = halves
                    .iter()
                    .map(|half| self.forward(half, Statistics::Batch(group)))
                    .collect::<Result<_, _>>()?;
                then.follow(Tensor::f_cat(&normalised, 0)?)
            }
        }
    }

    /// As [`BatchNorm::forward`], and what follows.
    ///
    /// # Errors
    /// As for [`BatchNorm::forward`].
    pub(crate) fn forward_then(
        &self,
        input: &Tensor,
        statistics: Statistics<'_>,
        then: Then<'_>,
    ) -> Result<Tensor, Error> {
        let (groups, share) = match statistics {
            Statistics::Batch(None) => (1, MOMENTUM),
            Statistics::Moving(None, share) => (1, share),
            Statistics::Halves(None) => (2, MOMENTUM),
            _ => return self.in_parts(input, statistics, then),
        };
        let affine = self.affine.as_ref().map(|(weight, bias)| (weight, bias));
        let Some(normalised) = then.fused(input, groups, affine)? else {
            return self.in_parts(input, statistics, then);
        };
        let values = values_of_a_feature(&input.size()) / groups;
        for group in 0..groups {
            self.count(values, share)?;
            let [mean, variance] =
                [normalised.mean.f_select(0, group)?, normalised.variance.f_select(0, group)?];
            self.move_towards(&mean, &variance, values, share)?;
        }
        Ok(normalised.output)
    }

    /// The running statistics by a share of the way towards those of so many values of each feature; the variance is the mean of squares.
    fn move_towards(&self, mean: &Tensor, variance: &Tensor, values: i64, share: f64) -> Result<(), Error> {
        // without any, so that values that are not finite leave these alone, too
        if share == 0.0 {
            return Ok(());
        }
        let _guard = tch::no_grad_guard();
        let unbiased = variance.f_mul_scalar(values as f64 / (values - 1) as f64)?;
        for (running, batch) in [(&self.running_mean, mean), (&self.running_var, &unbiased)] {
            let _moved = running.shallow_clone().f_lerp_(&batch.f_to_kind(running.kind())?, share)?;
        }
        Ok(())
    }

    /// Counts a batch that has so many values of each feature, if it moves the running statistics.
    fn count(&self, values: i64, share: f64) -> Result<(), Error> {
        if values < 2 {
            return Err(Error::SmallBatch { found: values, minimum: 2 });
        }
        if share == 0.0 {
            return Ok(());
        }
        let _ = self.batches.shallow_clone().f_add_scalar_(1)?;
        Ok(())
    }

    /// By the statistics of the batches of all processes, each of which has as many samples.
    fn normalised_over(&self, input: &Tensor, group: &Group, share: f64) -> Result<Tensor, Error> {
        let size = input.size();
        let axes: Vec<i64> = (0..size.len() as i64).filter(|axis| *axis != 1).collect();
        let shape: Vec<i64> =
            size.iter().enumerate().map(|(axis, n)| if axis == 1 { *n } else { 1 }).collect();
        let values = values_of_a_feature(&size) * group.size() as i64;
        self.count(values, share)?;
        // sums of halves would lose what makes a variance
        let kind = if input.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        let over = |x: &Tensor| -> Result<Tensor, Error> {
            let sum = x.f_sum_dim_intlist(axes.as_slice(), false, kind)?;
            Ok(sum_over_processes(group, &sum).map_err(Error::Group)?.f_div_scalar(values)?)
        };
        let x = input.f_to_kind(kind)?;
        let mean = over(&x)?;
        let centred = x.f_sub(&mean.f_view(shape.as_slice())?)?;
        let variance = over(&centred.f_square()?)?;
        self.move_towards(&mean, &variance, values, share)?;
        let scale = variance.f_add_scalar(EPSILON)?.f_rsqrt()?;
        let (scale, shift) = match &self.affine {
            Some((weight, bias)) => (scale.f_mul(weight)?, Some(bias)),
            None => (scale, None),
        };
        let mut output = centred.f_mul(&scale.f_view(shape.as_slice())?)?;
        if let Some(bias) = shift {
            output = output.f_add(&bias.f_view(shape.as_slice())?)?;
        }
        Ok(output.f_to_kind(input.kind())?)
    }

    /// In training by the batch, towards which the running statistics move by a share; then what follows.
    fn normalised(&self, input: &Tensor, share: Option<f64>, then: Then<'_>) -> Result<Tensor, Error> {
        let affine = self.affine.as_ref().map(|(weight, bias)| (weight, bias));
        let running = (&self.running_mean, &self.running_var);
        let Some(share) = share else {
            return batch_norm(input, affine, Some(running), By::Running, then);
        };
        self.count(values_of_a_feature(&input.size()), share)?;
        // without any, so that values that are not finite leave these alone, too
        let running = (share > 0.0).then_some(running);
        batch_norm(input, affine, running, By::Batch(share), then)
    }
}

/// How many values of each feature `[batch, features, …]` has.
fn values_of_a_feature(size: &[i64]) -> i64 {
    size.iter().enumerate().filter(|(axis, _)| *axis != 1).map(|(_, n)| n).product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, nn};

    #[test]
    fn pieces_of_a_batch_move_running_statistics_as_far_as_the_batch() {
        let values = (Tensor::arange(8 * 3 * 4, (Kind::Double, Device::Cpu)) * 0.7).sin() * 2.0 + 1.0;
        let input = values.view([8, 3, 4, 1, 1]);
        let moved = |pieces: i64, again: bool| {
            let store = nn::VarStore::new(Device::Cpu);
            let norm = BatchNorm::new(&Scope::new(&store.root(), 1), 3, true).unwrap();
            for piece in input.to_kind(Kind::Float).chunk(pieces, 0) {
                let first = norm.forward(&piece, Statistics::of_piece(None, None)).unwrap();
                if again {
                    let second = norm.forward(&piece, Statistics::of_piece(None, Some(pieces as usize)));
                    assert_eq!(first, second.unwrap());
                }
            }
            (norm.running_mean.copy(), norm.batches.int64_value(&[]))
        };
        let (start, whole) = (moved(2, false), moved(1, true));
        assert_eq!((start.0.abs().max().double_value(&[]), start.1), (0.0, 0));
        assert_eq!(whole.1, 1);
        // of the whole way a tenth, whatever the number of pieces
        let expected = input.mean_dim([0_i64, 2, 3, 4].as_slice(), false, Kind::Float) * MOMENTUM;
        assert!((&whole.0 - &expected).abs().max().double_value(&[]) < 1e-6);
        let pieces = moved(4, true);
        assert!((&pieces.0 - &expected).abs().max().double_value(&[]) < 0.02, "{pieces:?} {expected:?}");
    }
}
