//! The shim's functions, made safe.
#![expect(unsafe_code, reason = "the one place that calls the C++ shim")]

use crate::error::{Error, first_line_of};
use std::ffi::{CStr, c_char};

/// State of autocast on one kind of device before a guard changed it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AutocastState {
    enabled: i32,
    dtype: i32,
}

unsafe extern "C" {
    fn shim_free(message: *mut c_char);
    fn shim_leave(status: i32) -> !;
    fn shim_keep_freed_memory();
    fn shim_header_version() -> i32;
    fn shim_loaded_version() -> i32;
    fn shim_load_cuda() -> *mut c_char;
    fn shim_autocast_enter_bf16(cuda: i32, previous: *mut AutocastState) -> *mut c_char;
    fn shim_autocast_leave(cuda: i32, previous: *const AutocastState) -> *mut c_char;
    fn shim_autocast_enabled(cuda: i32, enabled: *mut i32) -> *mut c_char;
    fn shim_gpu_memory(index: i32, now: *mut i64, peak: *mut i64) -> *mut c_char;
    fn shim_set_deterministic(on: i32, warn_only: i32) -> *mut c_char;
    fn shim_deterministic(on: *mut i32) -> *mut c_char;
    fn shim_set_cudnn_benchmark(on: i32) -> *mut c_char;
    fn shim_cudnn_benchmark(on: *mut i32) -> *mut c_char;
}

/// The first line of the shim's answer, which is freed; none means success.
pub(crate) fn message(answer: *mut c_char) -> Option<String> {
    if answer.is_null() {
        return None;
    }
    // SAFETY: the shim returns null or a NUL-terminated string from malloc that is ours until shim_free, called once.
    let text = unsafe {
        let text = CStr::from_ptr(answer).to_string_lossy().into_owned();
        shim_free(answer);
        text
    };
    Some(first_line_of(&text))
}

/// Turns the shim's answer into a result.
pub(crate) fn check(answer: *mut c_char) -> Result<(), Error> {
    message(answer).map_or(Ok(()), |text| Err(Error::Torch(text)))
}

/// Reads a flag through a function that writes it.
fn flag(read: impl FnOnce(*mut i32) -> *mut c_char) -> Result<bool, Error> {
    let mut value = 0;
    check(read(&raw mut value))?;
    Ok(value != 0)
}

pub(crate) fn leave(status: u8) -> ! {
    // SAFETY: ends the process; nothing of Rust's runs afterwards.
    unsafe { shim_leave(i32::from(status)) }
}

pub(crate) fn keep_freed_memory() {
    // SAFETY: takes nothing; malloc takes settings at any time.
    unsafe { shim_keep_freed_memory() }
}

pub(crate) fn header_version() -> i32 {
    // SAFETY: takes nothing, returns a constant.
    unsafe { shim_header_version() }
}

pub(crate) fn loaded_version() -> i32 {
    // SAFETY: takes nothing, reads a constant of LibTorch.
    unsafe { shim_loaded_version() }
}

/// Why LibTorch's CUDA part cannot be loaded, if it cannot.
pub(crate) fn load_cuda() -> Option<String> {
    // SAFETY: takes nothing; exceptions are caught in the shim. What runs while a library is loaded is LibTorch's own.
    message(unsafe { shim_load_cuda() })
}

pub(crate) fn autocast_enter_bf16(cuda: bool) -> Result<AutocastState, Error> {
    let mut previous = AutocastState::default();
    // SAFETY: the pointer is valid for the call; exceptions are caught in the shim.
    check(unsafe { shim_autocast_enter_bf16(i32::from(cuda), &raw mut previous) })?;
    Ok(previous)
}

pub(crate) fn autocast_leave(cuda: bool, previous: AutocastState) -> Result<(), Error> {
    // SAFETY: the pointer is valid for the call; exceptions are caught in the shim.
    check(unsafe { shim_autocast_leave(i32::from(cuda), &raw const previous) })
}

pub(crate) fn autocast_enabled(cuda: bool) -> Result<bool, Error> {
    // SAFETY: `flag` passes a pointer that is valid for the call.
    flag(|value| unsafe { shim_autocast_enabled(i32::from(cuda), value) })
}

pub(crate) fn gpu_memory(index: i32) -> Result<[i64; 2], Error> {
    let (mut now, mut peak) = (0, 0);
    // SAFETY: the pointers are valid for the call; exceptions are caught in the shim.
    check(unsafe { shim_gpu_memory(index, &raw mut now, &raw mut peak) })?;
    Ok([now, peak])
}

pub(crate) fn set_deterministic(on: bool, warn_only: bool) -> Result<(), Error> {
    // SAFETY: plain values; exceptions are caught in the shim.
    check(unsafe { shim_set_deterministic(i32::from(on), i32::from(warn_only)) })
}

pub(crate) fn deterministic() -> Result<bool, Error> {
    // SAFETY: `flag` passes a pointer that is valid for the call.
    flag(|value| unsafe { shim_deterministic(value) })
}

pub(crate) fn set_cudnn_benchmark(on: bool) -> Result<(), Error> {
    // SAFETY: plain values; exceptions are caught in the shim.
    check(unsafe { shim_set_cudnn_benchmark(i32::from(on)) })
}

pub(crate) fn cudnn_benchmark() -> Result<bool, Error> {
    // SAFETY: `flag` passes a pointer that is valid for the call.
    flag(|value| unsafe { shim_cudnn_benchmark(value) })
}
