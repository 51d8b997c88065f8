//! What is said of the device and precision that a run was given.

use stage::Message;
use tch::Device;
use torch_runtime::Precision;

/// The warning for a precision that the device computes by emulation (W328).
#[must_use]
pub fn slow_precision(precision: Precision, device: Device) -> Option<Message> {
    precision.is_emulated(device).then(|| {
        Message::warning("W328", "this processor computes bf16 by emulation, several times slower than fp32")
            .cause("It has no AVX-512")
            .fix("Use --precision fp32, or another machine")
    })
}
