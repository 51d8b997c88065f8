//! Operations on many tensors in one call: few passes over memory on a CPU, few kernels on a GPU. tch has none of them.
#![expect(unsafe_code, reason = "calls the C++ shim")]

use crate::error::Error;
use crate::ffi::check;
use std::ffi::c_char;
use tch::Tensor;
use torch_sys::C_tensor;

type Pointers = *const *const C_tensor;

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
    fn lists_lerp(count: i64, tensors: Pointers, ends: Pointers, shares: *const f64) -> *mut c_char;
    fn lists_norm(count: i64, tensors: Pointers, norm: *mut f64) -> *mut c_char;
    fn lists_scale(count: i64, tensors: Pointers, factor: f64) -> *mut c_char;
    fn lists_pinned(tensor: *const C_tensor, pinned: *mut *mut C_tensor) -> *mut c_char;
    fn lists_forget_gradients(count: i64, tensors: Pointers) -> *mut c_char;
}

/// Pointers to tensors that live as long as `'a`.
fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr()).collect()
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

/// Moves each tensor in place by its share of the way to its end: (tensor, end, share).
///
/// # Errors
/// When LibTorch refuses, such as for tensors of different shapes.
pub fn lerp(all: &[(&Tensor, &Tensor, f64)]) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let tensors = pointers(all.iter().map(|(tensor, _, _)| *tensor));
    let ends = pointers(all.iter().map(|(_, end, _)| *end));
    let shares: Vec<f64> = all.iter().map(|(_, _, share)| *share).collect();
    // SAFETY: three lists of one length, of tensors borrowed for the call.
    check(unsafe { lists_lerp(all.len() as i64, tensors.as_ptr(), ends.as_ptr(), shares.as_ptr()) })
}

/// The L2 norm of all tensors together; 0 without any. Waits for the device once.
///
/// # Errors
/// When LibTorch refuses.
pub fn norm(tensors: &[Tensor]) -> Result<f64, Error> {
    let mut norm = 0.0;
    if !tensors.is_empty() {
        let list = pointers(tensors);
        // SAFETY: a list of the length given, of tensors borrowed for the call, and a place for the answer.
        check(unsafe { lists_norm(tensors.len() as i64, list.as_ptr(), &raw mut norm) })?;
    }
    Ok(norm)
}

/// Multiplies all tensors in place.
///
/// # Errors
/// When LibTorch refuses.
pub fn scale(tensors: &[Tensor], factor: f64) -> Result<(), Error> {
    if tensors.is_empty() {
        return Ok(());
    }
    let list = pointers(tensors);
    // SAFETY: a list of the length given, of tensors borrowed for the call.
    check(unsafe { lists_scale(tensors.len() as i64, list.as_ptr(), factor) })
}

/// A copy of a tensor of the CPU in memory that a GPU reads by itself, so that its way there is fast and holds nobody up.
///
/// # Errors
/// When LibTorch refuses, such as without a GPU.
pub fn pinned(tensor: &Tensor) -> Result<Tensor, Error> {
    let mut copy = std::ptr::null_mut();
    // SAFETY: a tensor borrowed for the call, and a place for the answer, which is written on success.
    check(unsafe { lists_pinned(tensor.as_ptr(), &raw mut copy) })?;
    // SAFETY: a tensor made by `new`, owned by nobody else: what tch deletes.
    Ok(unsafe { Tensor::from_ptr(copy) })
}

/// Takes the gradients of all tensors away: the next backward pass sets them instead of adding to zeros.
///
/// # Errors
/// When LibTorch refuses.
pub fn forget_gradients<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<(), Error> {
    let list = pointers(tensors);
    // SAFETY: a list of the length given, of tensors borrowed for the call.
    check(unsafe { lists_forget_gradients(list.len() as i64, list.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn some() -> Vec<Tensor> {
        tch::manual_seed(4);
        [&[3i64, 4][..], &[7], &[2, 3, 5]]
            .map(|shape| Tensor::randn(shape, (Kind::Float, Device::Cpu)))
            .into()
    }

    #[test]
    fn norms_are_those_of_one_long_vector() {
        let tensors = some();
        let whole = Tensor::cat(&tensors.iter().map(|t| t.view(-1)).collect::<Vec<_>>(), 0);
        assert!((norm(&tensors).unwrap() - whole.norm().double_value(&[])).abs() < 1e-5);
        let before = norm(&tensors).unwrap();
        scale(&tensors, 0.25).unwrap();
        assert!((norm(&tensors).unwrap() - before / 4.0).abs() < 1e-6);
        assert!(norm(&[]).unwrap() == 0.0 && scale(&[], 2.0).is_ok());
        let endless = Tensor::from_slice(&[1f32, f32::INFINITY]);
        assert!(!norm(&[endless]).unwrap().is_finite());
    }

    #[test]
    fn gradients_are_gone_and_come_back() {
        let leaf = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        for _ in 0..2 {
            leaf.square().sum(Kind::Float).backward();
            assert_eq!(Vec::<f32>::try_from(leaf.grad()).unwrap(), [2.0, 4.0]);
            forget_gradients([&leaf]).unwrap();
            assert!(!leaf.grad().defined());
        }
    }

    #[test]
    fn memory_is_pinned_where_there_is_a_gpu() {
        let tensor = Tensor::from_slice(&[1f32, 2.0]);
        match crate::linked().gpus {
            0 => assert!(pinned(&tensor).is_err()),
            _ => assert!(pinned(&tensor).unwrap().equal(&tensor)),
        }
    }

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

    #[test]
    fn each_goes_its_own_share_of_the_way() {
        let (from, to) = (some(), [1.0, 2.0, 3.0]);
        let ends: Vec<Tensor> = from.iter().zip(to).map(|(t, end)| t.zeros_like() + end).collect();
        let before: Vec<Tensor> = from.iter().map(Tensor::copy).collect();
        let shares = [0.0, 0.25, 1.0];
        let all: Vec<_> = (0..3).map(|i| (&from[i], &ends[i], shares[i])).collect();
        lerp(&all).unwrap();
        for i in 0..3 {
            let expected = &before[i] + (&ends[i] - &before[i]) * shares[i];
            assert!((&from[i] - expected).abs().max().double_value(&[]) < 1e-6);
        }
        assert!(lerp(&[]).is_ok() && lerp(&[(&from[0], &from[1], 0.5)]).is_err());
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
