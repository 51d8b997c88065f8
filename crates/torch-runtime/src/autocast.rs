//! bfloat16 autocast as a guard.

use crate::error::Error;
use crate::ffi::{self, AutocastState};
use std::marker::PhantomData;
use tch::Device;

/// While it lives, matrix products and convolutions of this thread on the guard's device run in bfloat16, and
/// numerically delicate operators (losses, softmax, norms) in float32.
///
/// tch's own autocast knows CUDA and float16 only. Autocast is a setting of the thread, so the guard stays on the one
/// that made it. Guards nest: each restores what it found, and the cache of casted weights is dropped with the
/// outermost. Drop the guard before `backward`, as PyTorch advises, and before an optimiser step, after which cached
/// casts would be stale.
#[derive(Debug)]
pub struct Autocast {
    cuda: bool,
    previous: AutocastState,
    /// Not `Send`: dropping on another thread would change that thread's setting.
    thread: PhantomData<*const ()>,
}

impl Autocast {
    /// Turns bfloat16 autocast on for `device`'s kind (CPU or CUDA) in this thread.
    ///
    /// # Errors
    /// For other kinds of devices, and when LibTorch refuses.
    pub fn bf16(device: Device) -> Result<Self, Error> {
        let cuda = match device {
            Device::Cpu => false,
            Device::Cuda(_) => true,
            other => return Err(Error::NoAutocast { found: format!("{other:?}") }),
        };
        Ok(Self { cuda, previous: ffi::autocast_enter_bf16(cuda)?, thread: PhantomData })
    }

    /// Whether autocast is on for `device`'s kind in this thread.
    ///
    /// # Errors
    /// When LibTorch refuses.
    pub fn is_on(device: Device) -> Result<bool, Error> {
        ffi::autocast_enabled(device.is_cuda())
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        // Setting thread-local flags to values that were accepted before does not fail, and drop has no one to tell.
        drop(ffi::autocast_leave(self.cuda, self.previous));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Kind, Tensor};

    #[test]
    fn convolutions_run_in_bf16_inside_and_in_fp32_outside() {
        let input = Tensor::ones([1, 1, 4, 4, 4], (Kind::Float, Device::Cpu));
        let weight = Tensor::ones([2, 1, 3, 3, 3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let run = || input.conv3d(&weight, None::<Tensor>, 1, 1, 1, 1);
        assert_eq!(run().kind(), Kind::Float);
        {
            let _outer = Autocast::bf16(Device::Cpu).unwrap();
            {
                let _inner = Autocast::bf16(Device::Cpu).unwrap();
                assert_eq!(run().kind(), Kind::BFloat16);
            }
            assert!(Autocast::is_on(Device::Cpu).unwrap());
            let output = run();
            assert_eq!(output.kind(), Kind::BFloat16);
            output.to_kind(Kind::Float).sum(Kind::Float).backward();
        }
        assert!(!Autocast::is_on(Device::Cpu).unwrap());
        assert_eq!(run().kind(), Kind::Float);
        assert_eq!(weight.grad().kind(), Kind::Float);
    }

    #[test]
    fn a_panic_under_the_guard_leaves_nothing_behind() {
        let caught = std::panic::catch_unwind(|| {
            let _guard = Autocast::bf16(Device::Cpu).unwrap();
            panic!("inside");
        });
        assert!(caught.is_err());
        assert!(!Autocast::is_on(Device::Cpu).unwrap());
    }

    #[test]
    fn other_threads_are_untouched() {
        let _guard = Autocast::bf16(Device::Cpu).unwrap();
        let there = std::thread::spawn(|| Autocast::is_on(Device::Cpu).unwrap()).join().unwrap();
        assert!(!there);
    }

    #[test]
    fn devices_without_autocast_are_refused() {
        let text = Autocast::bf16(Device::Mps).unwrap_err().to_string();
        assert!(text.contains("Mps") && text.contains("fp32"), "{text}");
    }
}
