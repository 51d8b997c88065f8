//! Operations on many tensors in one call: few passes over memory on a CPU, few kernels on a GPU. tch has none of them.
#![expect(unsafe_code, reason = "calls the C++ shim")]

mod updates;

pub use updates::{AdamW, Moments, Momentum, Sgd};

use crate::error::Error;
use crate::ffi::check;
use std::ffi::c_char;
use tch::{Kind, Tensor};
use torch_sys::C_tensor;

type Pointers = *const *const C_tensor;

unsafe extern "C" {
    fn lists_lerp(count: i64, tensors: Pointers, ends: Pointers, shares: *const f64) -> *mut c_char;
    fn lists_norm(count: i64, tensors: Pointers, norm: *mut *mut C_tensor) -> *mut c_char;
    fn lists_copy(count: i64, targets: Pointers, sources: Pointers) -> *mut c_char;
    fn lists_scale(count: i64, tensors: Pointers, factor: f64) -> *mut c_char;
    fn lists_pinned(tensor: *const C_tensor, pinned: *mut *mut C_tensor) -> *mut c_char;
    fn lists_forget_gradients(count: i64, tensors: Pointers) -> *mut c_char;
}

/// Pointers to tensors that live as long as `'a`.
fn pointers<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Vec<*const C_tensor> {
    tensors.into_iter().map(|tensor| tensor.as_ptr()).collect()
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

/// The L2 norm of all tensors together, a float32 scalar where they are; none without any. Waits for no device.
///
/// # Errors
/// When LibTorch refuses.
pub fn norm(tensors: &[Tensor]) -> Result<Option<Tensor>, Error> {
    if tensors.is_empty() {
        return Ok(None);
    }
    let list = pointers(tensors);
    let mut norm = std::ptr::null_mut();
    // SAFETY: a list of the length given, of tensors borrowed for the call, and a place for the answer, which is written on success.
    check(unsafe { lists_norm(tensors.len() as i64, list.as_ptr(), &raw mut norm) })?;
    // SAFETY: a tensor made by `new`, owned by nobody else: what tch deletes.
    Ok(Some(unsafe { Tensor::from_ptr(norm) }))
}

/// Copies tensors in place: (target, source). Those of one kind go in few kernels.
///
/// # Errors
/// When LibTorch refuses, such as for tensors of different shapes.
pub fn copy(all: &[(&Tensor, &Tensor)]) -> Result<(), Error> {
    let mut kinds: Vec<Kind> = Vec::new();
    for (target, _) in all {
        if !kinds.contains(&target.kind()) {
            kinds.push(target.kind());
        }
    }
    for kind in kinds {
        let some = || all.iter().filter(|(target, _)| target.kind() == kind);
        let targets = pointers(some().map(|(target, _)| *target));
        let sources = pointers(some().map(|(_, source)| *source));
        // SAFETY: two lists of one length, of tensors borrowed for the call.
        check(unsafe { lists_copy(targets.len() as i64, targets.as_ptr(), sources.as_ptr()) })?;
    }
    Ok(())
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
    use tch::Device;

    pub(super) fn some() -> Vec<Tensor> {
        tch::manual_seed(4);
        [&[3i64, 4][..], &[7], &[2, 3, 5]]
            .map(|shape| Tensor::randn(shape, (Kind::Float, Device::Cpu)))
            .into()
    }

    #[test]
    fn norms_are_those_of_one_long_vector() {
        let tensors = some();
        let whole = Tensor::cat(&tensors.iter().map(|t| t.view(-1)).collect::<Vec<_>>(), 0);
        let found = |tensors: &[Tensor]| norm(tensors).unwrap().unwrap().double_value(&[]);
        assert!((found(&tensors) - whole.norm().double_value(&[])).abs() < 1e-5);
        let before = found(&tensors);
        scale(&tensors, 0.25).unwrap();
        assert!((found(&tensors) - before / 4.0).abs() < 1e-6);
        assert!(norm(&[]).unwrap().is_none() && scale(&[], 2.0).is_ok());
        let endless = Tensor::from_slice(&[1f32, f32::INFINITY]);
        assert!(!found(&[endless]).is_finite());
    }

    #[test]
    fn tensors_of_several_kinds_are_copied() {
        let mut sources = some();
        sources.extend([3_i64, -7].map(|n| Tensor::from_slice(&[n])));
        let targets: Vec<Tensor> = sources.iter().map(Tensor::zeros_like).collect();
        copy(&targets.iter().zip(&sources).collect::<Vec<_>>()).unwrap();
        assert!(targets.iter().zip(&sources).all(|(target, source)| target.equal(source)));
        assert!(copy(&[]).is_ok() && copy(&[(&targets[0], &sources[1])]).is_err());
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
    fn without_a_gpu_no_memory_is_pinned() {
        // no test of these loads LibTorch's CUDA part
        assert!(cfg!(feature = "nccl") || pinned(&Tensor::from_slice(&[1f32, 2.0])).is_err());
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
}
