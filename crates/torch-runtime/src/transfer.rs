//! Numbers of the host on their way to a device that is not waited for.
//!
//! An ordinary copy to a GPU ends when all is done that the GPU had to do before it; until the host has given it new work, the GPU then
//! idles. In a training step, nothing but the losses is worth that.

use crate::{Error, lists::pinned};
use tch::{Device, Tensor, kind::Element};

/// Numbers as a tensor on `device`, from memory that a GPU reads itself, between what else it does. For any amount; threads that make
/// batches take the copy off the thread that trains in this way.
///
/// # Errors
/// When the shape does not fit or memory runs out.
pub fn uploaded<T: Element>(numbers: &[T], shape: &[i64], device: Device) -> Result<Tensor, Error> {
    let tensor = Tensor::f_from_slice(numbers)?.f_view(shape)?;
    if !device.is_cuda() {
        return Ok(tensor);
    }
    Ok(pinned(&tensor)?.f_to_device_(device, tensor.kind(), true, false)?)
}

/// A few numbers of the host on `device`: indices, factors, whatever is chosen for samples. Of at most 64 KiB a GPU has its own copy before
/// this returns (CUDA's programming guide, "asynchronous concurrent execution"); more is better [`uploaded`].
///
/// # Panics
/// As all of tch's short forms: when LibTorch refuses.
pub fn sent(few: &Tensor, device: Device) -> Tensor {
    few.to_device_(device, few.kind(), device.is_cuda(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_arrive_as_they_are() {
        let device = Device::Cpu;
        let there = uploaded(&[1_i64, 2, 3, 4], &[2, -1], device).unwrap();
        assert_eq!((there.size(), there.device()), (vec![2, 2], device));
        assert_eq!(Vec::<i64>::try_from(there.view(-1)).unwrap(), [1, 2, 3, 4]);
        let few = sent(&Tensor::from_slice(&[0.5_f64]), device);
        assert_eq!((few.device(), few.double_value(&[0])), (device, 0.5));
        assert!(uploaded(&[1_f32], &[2], device).is_err());
    }
}
