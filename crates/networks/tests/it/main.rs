//! Networks against the numbers of PyTorch, MONAI, nnU-Net and Transformers, and weights in and out.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "test code")]

mod captioner;
mod device;
mod goldens;
mod guides;
mod precision;
mod pytorch;
mod resunet;
mod round_trip;
mod rule;
mod text;
mod views;
