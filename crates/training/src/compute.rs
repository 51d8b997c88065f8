//! How LibTorch is set up for the device and precision that a run was given.

use crate::Result;
use stage::Message;
use tch::Device;
use torch_runtime::Precision;

/// The warning for a precision that the device computes by emulation (W328).
#[must_use]
pub fn slow_precision(precision: Precision, device: Device) -> Option<Message> {
    precision.is_emulated(device).then(|| {
        Message::warning("W328", "this processor computes bf16 by emulation, slower than fp32")
            .cause("It lacks AVX-512's instructions for bfloat16: 1.7 times slower with the rest of AVX-512, several times without")
            .fix("Use --precision fp32, or another machine")
    })
}

/// What decides in which order numbers are added up, as far as this process can tell: the device, and on a CPU the number of threads.
#[must_use]
pub fn computed_on(device: Device) -> String {
    match device {
        Device::Cpu => match torch_runtime::num_threads() {
            1 => "a CPU with 1 thread".to_owned(),
            more => format!("a CPU with {more} threads"),
        },
        _ => "a GPU".to_owned(),
    }
}

/// The warning that a run goes on elsewhere than it began (W339).
#[must_use]
pub fn other_place(before: &str, now: &str) -> Option<Message> {
    (!before.is_empty() && before != now).then(|| {
        Message::warning("W339", format!("the run continues on {now}; its steps so far were computed on {before}"))
            .cause("Numbers are added up in another order there: the last digits are not those of a run that was not interrupted")
            .fix("Nothing, unless the same bits are asked for: then give it the same cores")
    })
}

/// Chooses between kernels that give the same bits from run to run and the fastest ones. On a CPU the former cost nothing and
/// are always chosen. On a GPU they are where `deterministic`; else cuDNN tries its convolutions for each shape and keeps the fastest.
///
/// # Errors
/// When LibTorch refuses.
pub fn choose_kernels(device: Device, deterministic: bool) -> Result<()> {
    let same_bits = deterministic || !device.is_cuda();
    torch_runtime::set_deterministic(same_bits, true)?;
    torch_runtime::set_cudnn_benchmark(!same_bits)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_place_is_told_where_one_is_known() {
        let here = computed_on(Device::Cpu);
        assert!(here.starts_with("a CPU with") && computed_on(Device::Cuda(1)) == "a GPU");
        assert!(other_place("", &here).is_none() && other_place(&here, &here).is_none());
        let told = other_place("a GPU", &here).unwrap();
        assert!(told.code == "W339" && told.to_string().contains("computed on a GPU"), "{told}");
    }

    #[test]
    fn only_gpus_give_bits_up_for_speed() {
        for (device, deterministic, same_bits) in [
            (Device::Cuda(0), false, false),
            (Device::Cuda(0), true, true),
            (Device::Cpu, true, true),
            (Device::Cpu, false, true),
        ] {
            choose_kernels(device, deterministic).unwrap();
            assert_eq!(torch_runtime::is_deterministic().unwrap(), same_bits);
            assert_eq!(torch_runtime::cudnn_benchmark().unwrap(), !same_bits);
        }
    }
}
