//! Updates of an optimiser, for all parameters at once.
#![expect(unsafe_code, reason = "calls the C++ shim")]

use super::{Pointers, pointers};
use crate::error::Error;
use crate::ffi::check;
use std::ffi::c_char;
use tch::Tensor;

unsafe extern "C" {
    fn lists_adamw(
        count: i64,
        parameters: Pointers,
        gradients: Pointers,
        first: Pointers,
        second: Pointers,
        updates: i64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> *mut c_char;
    fn lists_sgd(
        count: i64,
        parameters: Pointers,
        gradients: Pointers,
        buffers: Pointers,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
    ) -> *mut c_char;
}

/// Numbers of an AdamW update (Loshchilov and Hutter 2019), as `torch.optim.AdamW` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// A parameter and what an update of it needs.
#[derive(Debug)]
pub struct Moments<'a> {
    /// The parameter.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its first moment.
    pub first: &'a Tensor,
    /// Its second moment.
    pub second: &'a Tensor,
}

impl AdamW {
    /// Updates parameters and moments in place, in one pass. All are of one kind and on one device, and have had the same number
    /// of updates, this one included.
    ///
    /// # Errors
    /// When LibTorch refuses, such as for tensors of different kinds.
    pub fn update(&self, all: &[Moments<'_>], updates: i64) -> Result<(), Error> {
        if all.is_empty() {
            return Ok(());
        }
        let parameters = pointers(all.iter().map(|one| one.parameter));
        let gradients = pointers(all.iter().map(|one| one.gradient));
        let first = pointers(all.iter().map(|one| one.first));
        let second = pointers(all.iter().map(|one| one.second));
        let Self { lr, beta1, beta2, weight_decay, epsilon } = *self;
        // SAFETY: four lists of the length given, of tensors borrowed for the call; exceptions are caught in the shim.
        check(unsafe {
            lists_adamw(
                all.len() as i64,
                parameters.as_ptr(),
                gradients.as_ptr(),
                first.as_ptr(),
                second.as_ptr(),
                updates,
                lr,
                beta1,
                beta2,
                weight_decay,
                epsilon,
            )
        })
    }
}

/// Numbers of an update of SGD with Nesterov momentum, as `torch.optim.SGD` names them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the momentum buffer.
    pub momentum: f64,
    /// Weight decay, added to the gradient.
    pub weight_decay: f64,
}

/// A parameter and what an update of it needs.
#[derive(Debug)]
pub struct Momentum<'a> {
    /// The parameter.
    pub parameter: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
    /// Its momentum buffer; zeros before the first update.
    pub buffer: &'a Tensor,
}

impl Sgd {
    /// Updates parameters and buffers in place, in one pass. All are of one kind and on one device.
    ///
    /// # Errors
    /// When LibTorch refuses, such as for tensors of different kinds.
    pub fn update(&self, all: &[Momentum<'_>]) -> Result<(), Error> {
        if all.is_empty() {
            return Ok(());
        }
        let parameters = pointers(all.iter().map(|one| one.parameter));
        let gradients = pointers(all.iter().map(|one| one.gradient));
        let buffers = pointers(all.iter().map(|one| one.buffer));
        let Self { lr, momentum, weight_decay } = *self;
        // SAFETY: three lists of the length given, of tensors borrowed for the call; exceptions are caught in the shim.
        check(unsafe {
            lists_sgd(
                all.len() as i64,
                parameters.as_ptr(),
                gradients.as_ptr(),
                buffers.as_ptr(),
                lr,
                momentum,
                weight_decay,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::some;
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn one_update_of_adamw_is_its_formula() {
        let tensors = some();
        let gradients: Vec<Tensor> = tensors.iter().map(|t| t.sin()).collect();
        let (first, second): (Vec<_>, Vec<_>) =
            tensors.iter().map(|t| (t.zeros_like(), t.zeros_like())).unzip();
        let before: Vec<Tensor> = tensors.iter().map(Tensor::copy).collect();
        let all: Vec<Moments<'_>> = (0..tensors.len())
            .map(|i| Moments {
                parameter: &tensors[i],
                gradient: &gradients[i],
                first: &first[i],
                second: &second[i],
            })
            .collect();
        let rule = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.01, epsilon: 1e-8 };
        rule.update(&all, 1).unwrap();
        for ((now, before), gradient) in tensors.iter().zip(&before).zip(&gradients) {
            let expected = before * (1.0 - 0.1 * 0.01) - gradient / (gradient.abs() + 1e-8) * 0.1;
            assert!((now - expected).abs().max().double_value(&[]) < 1e-5);
        }
        let other = Tensor::zeros([2], (Kind::Double, Device::Cpu));
        let wrong =
            Moments { parameter: &tensors[1], gradient: &other, first: &first[1], second: &second[1] };
        assert!(rule.update(&[wrong], 1).is_err());
    }

    #[test]
    fn updates_of_sgd_are_its_formula() {
        let tensors = some();
        let buffers: Vec<Tensor> = tensors.iter().map(Tensor::zeros_like).collect();
        let gradients: Vec<Tensor> = tensors.iter().map(|t| t.sin()).collect();
        let mut expected: Vec<(Tensor, Tensor)> =
            tensors.iter().map(|t| (t.to_kind(Kind::Double), t.zeros_like().to_kind(Kind::Double))).collect();
        let rule = Sgd { lr: 0.1, momentum: 0.9, weight_decay: 0.01 };
        for _ in 0..3 {
            let all: Vec<Momentum<'_>> = (0..tensors.len())
                .map(|i| Momentum { parameter: &tensors[i], gradient: &gradients[i], buffer: &buffers[i] })
                .collect();
            rule.update(&all).unwrap();
            for ((theta, buffer), gradient) in expected.iter_mut().zip(&gradients) {
                let gradient = gradient.to_kind(Kind::Double) + &*theta * 0.01;
                *buffer = &*buffer * 0.9 + &gradient;
                *theta = &*theta - (gradient + &*buffer * 0.9) * 0.1;
            }
        }
        for ((now, buffer), (theta, moment)) in tensors.iter().zip(&buffers).zip(&expected) {
            assert!((now - theta).abs().max().double_value(&[]) < 1e-5);
            assert!((buffer - moment).abs().max().double_value(&[]) < 1e-5);
        }
        let other = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let wrong = Momentum { parameter: &tensors[0], gradient: &gradients[0], buffer: &other };
        assert!(rule.update(&[wrong]).is_err() && rule.update(&[]).is_ok());
    }

    /// Kernels give gradients with any stride where there is one value only.
    #[test]
    fn gradients_lie_in_the_order_of_their_parameter() {
        let rule = AdamW { lr: 0.1, beta1: 0.9, beta2: 0.999, weight_decay: 0.0, epsilon: 1e-8 };
        let ones = |strides: [i64; 5]| {
            Tensor::ones([6], (Kind::Float, Device::Cpu)).as_strided([2, 3, 1, 1, 1], strides, 0)
        };
        let [parameter, first, second] = [(); 3].map(|()| ones([3, 1, 3, 3, 3]));
        let update = |gradient: &Tensor| {
            rule.update(&[Moments { parameter: &parameter, gradient, first: &first, second: &second }], 1)
        };
        update(&ones([3, 1, 1, 1, 1])).unwrap();
        let text = update(&ones([1, 2, 1, 1, 1])).unwrap_err().to_string();
        assert!(text.contains("lies in memory in another way") && text.contains("[1, 2, 1, 1, 1]"), "{text}");
    }
}
