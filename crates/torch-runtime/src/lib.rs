//! The little of LibTorch that tch does not expose: device set-up with errors that say what is linked, bfloat16
//! autocast, deterministic kernels, operations on lists of tensors, a normalisation for CPUs, process groups for data-parallel training, and the version of the library that is really
//! loaded.
//!
//! This crate holds the workspace's only C++ (`shim/`) and its only `unsafe` calls into LibTorch, but for the device that tests use in a GPU's
//! place (`simulated-gpu`).

mod autocast;
mod context;
mod device;
mod error;
mod ffi;
pub mod group;
pub mod lists;
mod normalise;
mod precision;
pub mod transfer;

pub use autocast::Autocast;
pub use context::{
    cudnn_benchmark, is_deterministic, keep_freed_memory, leave, num_threads, set_cudnn_benchmark,
    set_deterministic, set_num_threads,
};
pub use device::{Linked, describe_device, gpu_memory, gpus, linked, parse_device};
pub use error::{Error, first_line};
pub use group::{Group, Launch, Reducer, gather_rows, sum_over_processes};
pub use normalise::{Normalisation, Normalised};
pub use precision::Precision;
