//! Normalisation with what follows it in one operation, for maps in channels-last order on CPUs.
//!
//! LibTorch has a kernel for each of the norm, the sum and the rectifier, in this order its batch norm adds up in float32 one value after the
//! other, and a batch of which parts are normalised by themselves has to be cut up and put together again.
#![expect(unsafe_code, reason = "calls the C++ shim")]

use crate::error::Error;
use crate::ffi::check;
use std::ffi::c_char;
use std::ptr::{null, null_mut};
use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

unsafe extern "C" {
    fn normalise(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        plus: *const C_tensor,
        groups: i64,
        epsilon: f64,
        slope: f64,
        output: *mut *mut C_tensor,
        mean: *mut *mut C_tensor,
        variance: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// What a normalisation does beside bringing values to mean 0 and variance 1.
#[derive(Debug, Clone, Copy)]
pub struct Normalisation<'a> {
    /// Into so many parts the batch is cut, each of which is normalised by itself: 1 for a batch norm, the batch's size for an instance norm.
    pub groups: i64,
    /// Added to the variance.
    pub epsilon: f64,
    /// Scale and shift of each feature.
    pub affine: Option<(&'a Tensor, &'a Tensor)>,
    /// Added after that; of the input's sizes and kind.
    pub plus: Option<&'a Tensor>,
    /// What is negative then is multiplied by this: 0 for a ReLU, 1 for nothing.
    pub slope: f64,
}

/// Maps that were normalised, and by what.
#[derive(Debug)]
pub struct Normalised {
    /// Like the input.
    pub output: Tensor,
    /// `[groups, features]`, float32, outside of autograd.
    pub mean: Tensor,
    /// Likewise; the mean of squares, not the unbiased estimate.
    pub variance: Tensor,
}

impl Normalisation<'_> {
    /// Whether [`Normalisation::apply`] takes such maps: `[batch, features, z, y, x]` in channels-last order, float32 or bfloat16, on a CPU.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn takes(input: &Tensor) -> Result<bool, Error> {
        let fits = input.device() == Device::Cpu
            && matches!(input.kind(), Kind::Float | Kind::BFloat16)
            && input.dim() == 5
            && input.numel() > 0;
        let order = |input: &Tensor| input.f_permute([0, 2, 3, 4, 1]).map(|rows| rows.is_contiguous());
        Ok(fits && order(input).map_err(|error| Error::Torch(error.to_string()))?)
    }

    /// Normalises, scales and shifts, adds, rectifies; with a gradient for all that takes part. Results do not depend on the number of threads.
    ///
    /// # Errors
    /// For maps that [`Normalisation::takes`] refuses, and for a batch that cannot be cut into the groups.
    pub fn apply(&self, input: &Tensor) -> Result<Normalised, Error> {
        let pointer = |tensor: Option<&Tensor>| tensor.map_or(null(), Tensor::as_ptr);
        let (weight, bias) = self.affine.unzip();
        let mut answers = [null_mut(); 3];
        let [output, mean, variance] = answers.each_mut();
        // SAFETY: tensors borrowed for the call or null, and places for the answers, which are written on success; exceptions are caught in the shim.
        check(unsafe {
            normalise(
                input.as_ptr(),
                pointer(weight),
                pointer(bias),
                pointer(self.plus),
                self.groups,
                self.epsilon,
                self.slope,
                output,
                mean,
                variance,
            )
        })?;
        // SAFETY: tensors made by `new`, owned by nobody else: what tch deletes.
        let [output, mean, variance] = answers.map(|answer| unsafe { Tensor::from_ptr(answer) });
        Ok(Normalised { output, mean, variance })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{num_threads, set_num_threads};

    /// `[batch, features, z, y, x]` in channels-last order; of features that differ.
    fn maps([n, c, z, y, x]: [i64; 5], phase: f64) -> Tensor {
        let values = (Tensor::arange(n * c * z * y * x, (Kind::Double, Device::Cpu)) * 1.37 + phase).sin();
        let far = (Tensor::arange(c, (Kind::Double, Device::Cpu)) * 0.9 + phase).cos() * 3.0;
        (values.view([n, z, y, x, c]) + far).permute([0, 4, 1, 2, 3])
    }

    /// Output, and gradients of input, scale, shift and what is added.
    type Answers = Vec<Tensor>;

    /// Of `norm`, called with values of a kind, all of which take part in a loss.
    fn answers(
        size: [i64; 5],
        kind: Kind,
        norm: &dyn Fn(&Tensor, &Tensor, &Tensor, &Tensor) -> Tensor,
    ) -> Answers {
        let leaf = |values: Tensor, kind: Kind| values.to_kind(kind).detach().set_requires_grad(true);
        // what bfloat16 can tell apart, in every kind
        let short = |phase: f64| maps(size, phase).to_kind(Kind::BFloat16);
        let scales = kind_of_scales(kind);
        let (input, plus) = (leaf(short(0.0), kind), leaf(short(2.0), kind));
        let features = Tensor::arange(size[1], (Kind::Double, Device::Cpu));
        let weight = leaf((&features * 0.7).cos() + 0.5, scales);
        let bias = leaf((&features * 0.3).sin(), scales);
        let output = norm(&input, &weight, &bias, &plus);
        (&output * short(4.0).to_kind(kind)).sum(scales).backward();
        [output, input.grad(), weight.grad(), bias.grad(), plus.grad()]
            .into_iter()
            .filter(Tensor::defined)
            .map(|tensor| tensor.detach().to_kind(Kind::Double))
            .collect()
    }

    fn kind_of_scales(kind: Kind) -> Kind {
        if kind == Kind::Double { Kind::Double } else { Kind::Float }
    }

    /// The same by LibTorch's operations, one after the other.
    fn composed(input: &Tensor, of: &Normalisation<'_>) -> Tensor {
        let (weight, bias) = of.affine.unzip();
        let parts: Vec<Tensor> = input
            .chunk(of.groups, 0)
            .iter()
            .map(|part| part.batch_norm(weight, bias, None, None, true, 0.1, of.epsilon, false))
            .collect();
        let sum = of.plus.map_or_else(|| Tensor::cat(&parts, 0), |plus| Tensor::cat(&parts, 0) + plus);
        let negative = sum.lt(0.0).to_kind(sum.kind());
        &sum * (1.0 - &negative) + &sum * negative * of.slope
    }

    fn apart(found: &Tensor, expected: &Tensor) -> f64 {
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        largest(&(found - expected)) / largest(expected).max(1e-12)
    }

    #[test]
    fn values_and_gradients_are_those_of_the_operations_one_by_one() {
        for (size, groups) in [
            ([4, 5, 3, 4, 6], 2),
            ([2, 64, 4, 17, 19], 1),
            ([3, 7, 2, 3, 2], 3),
            ([2, 2048, 1, 2, 2], 2),
            ([2, 1, 6, 5, 4], 1),
            // several pieces in a group, the last of which is smaller
            ([2, 33, 7, 24, 29], 2),
        ] {
            for (slope, affine, adds) in [
                (0.0, true, true),
                (0.01, true, false),
                (1.0, true, true),
                (1.0, false, false),
                (0.01, false, true),
            ] {
                let of = |kind: Kind| {
                    answers(size, kind, &|input, weight, bias, plus| {
                        let of = Normalisation {
                            groups,
                            epsilon: 1e-5,
                            affine: affine.then_some((weight, bias)),
                            plus: adds.then_some(plus),
                            slope,
                        };
                        if kind == Kind::Double {
                            return composed(input, &of);
                        }
                        assert!(Normalisation::takes(input).unwrap());
                        let normalised = of.apply(input).unwrap();
                        assert_eq!(normalised.output.kind(), kind);
                        assert!(!normalised.mean.requires_grad() && !normalised.variance.requires_grad());
                        assert_eq!(normalised.mean.size(), [groups, size[1]]);
                        normalised.output
                    })
                };
                let exact = of(Kind::Double);
                assert_eq!(exact.len(), 2 + 2 * usize::from(affine) + usize::from(adds));
                // what is near 0 may have the other sign in a short format, and then another gradient: of a sum less, of a value all
                for (kind, tolerance) in [(Kind::Float, 2e-5), (Kind::BFloat16, 0.02)] {
                    for (at, (found, expected)) in of(kind).iter().zip(&exact).enumerate() {
                        let difference = apart(found, expected);
                        assert!(
                            difference < tolerance,
                            "{size:?} in {groups}, slope {slope}, {affine}, {adds}, {kind:?}, {at}: {difference}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn sums_over_millions_of_values_are_exact_and_the_same_with_any_threads() {
        tch::manual_seed(3);
        let rows = Tensor::randn([1, 128, 128, 128, 2], (Kind::Float, Device::Cpu)) + 2.0;
        let input = rows.permute([0, 4, 1, 2, 3]);
        let of = Normalisation { groups: 1, epsilon: 1e-5, affine: None, plus: None, slope: 1.0 };
        let found = of.apply(&input).unwrap();
        let exact = composed(&input.to_kind(Kind::Double), &of);
        assert!(apart(&found.output.to_kind(Kind::Double), &exact) < 1e-6);
        let input = input.set_requires_grad(true);
        let of = Normalisation { slope: 0.01, ..of };
        let everything = || {
            let Normalised { output, variance, .. } = of.apply(&input).unwrap();
            let gradient = Tensor::run_backward(&[output.square().sum(Kind::Float)], &[&input], false, false);
            (output, variance, gradient)
        };
        let threads = num_threads();
        let expected = everything();
        for other in [1, 3] {
            set_num_threads(other).unwrap();
            assert_eq!(everything(), expected);
        }
        set_num_threads(threads).unwrap();
    }

    #[test]
    fn a_single_value_has_no_gradient() {
        for kind in [Kind::Float, Kind::BFloat16] {
            for slope in [0.0, 0.01, 1.0] {
                let input = maps([4, 64, 1, 1, 1], 0.0).to_kind(kind).set_requires_grad(true);
                let plus = maps([4, 64, 1, 1, 1], 1.0).to_kind(kind);
                let of = Normalisation { groups: 4, epsilon: 1e-5, affine: None, plus: Some(&plus), slope };
                let output = of.apply(&input).unwrap().output;
                (output * maps([4, 64, 1, 1, 1], 2.0).to_kind(kind)).sum(Kind::Float).backward();
                assert_eq!(input.grad().abs().max().double_value(&[]), 0.0, "{kind:?} {slope}");
            }
        }
    }

    #[test]
    fn gradients_and_addends_in_any_order_are_taken() {
        let size = [2, 3, 4, 5, 6];
        let input = maps(size, 0.0).to_kind(Kind::Float).set_requires_grad(true);
        let plus = maps(size, 1.0).to_kind(Kind::Float);
        let of = |plus: &Tensor, upstream: &Tensor| {
            let of = Normalisation { groups: 1, epsilon: 1e-5, affine: None, plus: Some(plus), slope: 0.0 };
            let output = of.apply(&input).unwrap().output;
            let upstream = upstream.to_kind(output.kind()).expand_as(&output);
            let gradient =
                Tensor::run_backward(&[(&output * upstream).sum(Kind::Float)], &[&input], false, false);
            (output, gradient)
        };
        let upstream = maps(size, 2.0).to_kind(Kind::Float);
        assert_eq!(of(&plus.contiguous(), &upstream.contiguous()), of(&plus, &upstream));
        let flat = Tensor::from(0.5_f32);
        assert_eq!(of(&plus, &flat), of(&plus, &(input.zeros_like() + 0.5)));
    }

    #[test]
    fn what_does_not_learn_needs_no_gradient() {
        let input = maps([2, 3, 2, 2, 2], 0.0).to_kind(Kind::Float);
        let ones = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let zeros = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        let of =
            Normalisation { groups: 1, epsilon: 1e-5, affine: Some((&ones, &zeros)), plus: None, slope: 1.0 };
        let output = of.apply(&input).unwrap().output;
        output.square().sum(Kind::Float).backward();
        // of normalised values the mean of squares is nearly 1: 16 of each feature
        assert!((ones.grad() - 32.0).abs().max().double_value(&[]) < 0.01 && !input.grad().defined());
        assert!(!tch::no_grad(|| of.apply(&input).unwrap().output).requires_grad());
        let twice = of.apply(&input).unwrap().output.square().sum(Kind::Float);
        assert!(
            Tensor::f_run_backward(&[twice], &[&ones], true, true)
                .unwrap_err()
                .to_string()
                .contains("gradient")
        );
    }

    #[test]
    fn what_is_not_finite_is_not_hidden() {
        let input = maps([2, 3, 2, 2, 2], 0.0).to_kind(Kind::Float);
        let rows = input.permute([0, 2, 3, 4, 1]);
        for value in [f64::NAN, f64::INFINITY] {
            let broken = rows.copy();
            let _ = broken
                .narrow(4, 1, 1)
                .narrow(0, 1, 1)
                .narrow(1, 0, 1)
                .narrow(2, 0, 1)
                .narrow(3, 0, 1)
                .fill_(value);
            let broken = broken.permute([0, 4, 1, 2, 3]);
            for kind in [Kind::Float, Kind::BFloat16] {
                let of = Normalisation { groups: 2, epsilon: 1e-5, affine: None, plus: None, slope: 0.0 };
                let output = of.apply(&broken.to_kind(kind)).unwrap().output;
                let bad = output.isnan().to_kind(Kind::Int64).sum_dim_intlist(
                    [2_i64, 3, 4].as_slice(),
                    false,
                    Kind::Int64,
                );
                assert_eq!(
                    Vec::<Vec<i64>>::try_from(bad).unwrap(),
                    [[0, 0, 0], [0, 8, 0]],
                    "{value} {kind:?}"
                );
            }
        }
    }

    #[test]
    fn a_rectifier_leaves_nothing_of_what_is_infinitely_small() {
        let input = maps([1, 1, 2, 2, 2], 0.0).to_kind(Kind::Float);
        let plus = input.zeros_like() + f64::NEG_INFINITY;
        let of = |slope| Normalisation { groups: 1, epsilon: 1e-5, affine: None, plus: Some(&plus), slope };
        assert!(of(0.0).apply(&input).unwrap().output.equal(&input.zeros_like()));
        assert!(of(0.01).apply(&input).unwrap().output.equal(&plus));
    }

    #[test]
    fn other_maps_are_refused() {
        let of = |groups: i64| Normalisation { groups, epsilon: 1e-5, affine: None, plus: None, slope: 1.0 };
        let maps = maps([4, 3, 2, 2, 2], 0.0);
        let float = maps.to_kind(Kind::Float);
        for other in [maps.shallow_clone(), float.contiguous(), float.narrow(0, 0, 0), float.select(4, 0)] {
            assert!(!Normalisation::takes(&other).unwrap());
            assert!(of(1).apply(&other).is_err());
        }
        assert!(of(3).apply(&float).unwrap_err().to_string().contains("groups"));
        let short = Normalisation { plus: Some(&maps), ..of(1) };
        assert!(short.apply(&float).is_err());
        assert!(
            Normalisation { slope: -1.0, ..of(1) }.apply(&float).unwrap_err().to_string().contains("slope")
        );
    }
}
