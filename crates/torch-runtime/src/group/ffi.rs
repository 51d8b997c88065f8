//! The shim's functions for groups, made safe: handles that free themselves.
#![expect(unsafe_code, reason = "the one place that calls the C++ shim for groups")]

use crate::ffi::message;
use std::ffi::{CString, c_char, c_void};
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::time::Duration;
use tch::Tensor;
use torch_sys::C_tensor;

/// What a shim function did not like, in LibTorch's words.
pub(super) type Outcome<T> = Result<T, String>;

/// An object of the shim that Rust only points to.
#[repr(C)]
struct Opaque {
    private: [u8; 0],
}

type Out = *mut *mut Opaque;

unsafe extern "C" {
    fn group_store_open(
        host: *const c_char,
        port: u16,
        listen_fd: i32,
        timeout: i64,
        prefix: *const c_char,
        out: Out,
    ) -> *mut c_char;
    fn group_store_set(store: *mut Opaque, key: *const c_char, data: *const u8, size: usize) -> *mut c_char;
    fn group_store_has(store: *mut Opaque, key: *const c_char, found: *mut i32) -> *mut c_char;
    fn group_store_get(store: *mut Opaque, key: *const c_char, data: *mut u8, size: usize) -> *mut c_char;
    fn group_store_free(store: *mut Opaque);
    fn group_gloo(
        store: *mut Opaque,
        rank: i32,
        size: i32,
        host: *const c_char,
        interface: *const c_char,
        timeout: i64,
        out: Out,
    ) -> *mut c_char;
    fn group_nccl(store: *mut Opaque, rank: i32, size: i32, timeout: i64, out: Out) -> *mut c_char;
    fn group_backend_free(backend: *mut Opaque);
    fn group_all_reduce_sum(backend: *mut Opaque, tensor: *const C_tensor, out: Out) -> *mut c_char;
    fn group_all_gather(
        backend: *mut Opaque,
        output: *const C_tensor,
        input: *const C_tensor,
        out: Out,
    ) -> *mut c_char;
    fn group_broadcast(backend: *mut Opaque, tensor: *const C_tensor, from: i32, out: Out) -> *mut c_char;
    fn group_work_wait(work: *mut Opaque, slice: i64, done: *mut i32) -> *mut c_char;
    fn group_work_free(work: *mut Opaque);
    fn group_sum_with_gradient(
        backend: *mut Opaque,
        local: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn group_on_gradient(
        leaf: *const C_tensor,
        call: extern "C" fn(*const c_void, usize),
        data: *const c_void,
        index: usize,
        out: Out,
    ) -> *mut c_char;
    fn group_hook_free(hook: *mut Opaque);
    fn group_set_gradient(tensor: *const C_tensor, gradient: *const C_tensor) -> *mut c_char;
}

fn check(answer: *mut c_char) -> Outcome<()> {
    message(answer).map_or(Ok(()), |text| Err(without_source(&text).trim_end_matches('.').to_owned()))
}

/// Gloo's messages begin with a place in its sources, which tells people nothing.
fn without_source(text: &str) -> &str {
    let place = text.strip_prefix('[').and_then(|rest| rest.split_once("] "));
    place
        .filter(|(place, _)| place.contains(".cc:") || place.contains(".cpp:"))
        .map_or(text, |(_, rest)| rest)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

fn text(text: &str) -> Outcome<CString> {
    CString::new(text).map_err(|_| format!("{text:?} holds a zero byte"))
}

fn integer(value: usize) -> Outcome<i32> {
    i32::try_from(value).map_err(|_| format!("{value} is too many processes"))
}

/// Calls `make` with a place for a handle and takes the handle.
fn made(make: impl FnOnce(Out) -> *mut c_char) -> Outcome<NonNull<Opaque>> {
    let mut handle = null_mut();
    check(make(&raw mut handle))?;
    NonNull::new(handle).ok_or_else(|| "the shim gave no handle".to_owned())
}

/// A connection to the key-value store that all ranks reach; rank 0 may serve it.
pub(super) struct Store(NonNull<Opaque>);

// SAFETY: c10d::TCPStore locks each of its operations, and the handle is freed once, by its only owner.
unsafe impl Send for Store {}
// SAFETY: as above.
unsafe impl Sync for Store {}

impl Store {
    /// Connects to host:port, and serves there with `listener`, for as long as the value lives.
    pub(super) fn open(
        host: &str,
        port: u16,
        listener: Option<TcpListener>,
        timeout: Duration,
        prefix: &str,
    ) -> Outcome<Self> {
        let (host, prefix) = (text(host)?, text(prefix)?);
        let socket = listener.map_or(-1, IntoRawFd::into_raw_fd);
        // SAFETY: the strings live through the call; the socket is given away; exceptions are caught in the shim.
        let open = |out| unsafe {
            group_store_open(host.as_ptr(), port, socket, milliseconds(timeout), prefix.as_ptr(), out)
        };
        made(open).map(Self)
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Outcome<()> {
        let key = text(key)?;
        // SAFETY: the handle is live, key and value live through the call.
        check(unsafe { group_store_set(self.0.as_ptr(), key.as_ptr(), value.as_ptr(), value.len()) })
    }

    pub(super) fn has(&self, key: &str) -> Outcome<bool> {
        let key = text(key)?;
        let mut found = 0;
        // SAFETY: the handle is live, key and flag live through the call.
        check(unsafe { group_store_has(self.0.as_ptr(), key.as_ptr(), &raw mut found) })?;
        Ok(found != 0)
    }

    /// The `N` bytes under `key`, which is there.
    pub(super) fn get<const N: usize>(&self, key: &str) -> Outcome<[u8; N]> {
        let key = text(key)?;
        let mut value = [0; N];
        // SAFETY: the handle is live, key and buffer live through the call, and the shim writes N bytes or none.
        check(unsafe { group_store_get(self.0.as_ptr(), key.as_ptr(), value.as_mut_ptr(), N) })?;
        Ok(value)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the handle is live and freed here only.
        unsafe { group_store_free(self.0.as_ptr()) }
    }
}

/// The address to which Gloo binds.
pub(super) enum Bind<'a> {
    Name,
    Host(&'a str),
    Interface(&'a str),
}

/// Gloo or NCCL, connected.
pub(super) struct Backend(NonNull<Opaque>);

// SAFETY: c10d's backends may be used from any thread, by one at a time; not being Sync, this one is behind a lock.
unsafe impl Send for Backend {}

impl Backend {
    pub(super) fn gloo(
        store: &Store,
        rank: usize,
        size: usize,
        bind: &Bind,
        timeout: Duration,
    ) -> Outcome<Self> {
        let (rank, size) = (integer(rank)?, integer(size)?);
        let (host, interface) = match bind {
            Bind::Name => (None, None),
            Bind::Host(host) => (Some(text(host)?), None),
            Bind::Interface(interface) => (None, Some(text(interface)?)),
        };
        let pointer = |text: &Option<CString>| text.as_ref().map_or(null(), |text| text.as_ptr());
        // SAFETY: the store is live, the strings live through the call.
        let make = |out| unsafe {
            group_gloo(
                store.0.as_ptr(),
                rank,
                size,
                pointer(&host),
                pointer(&interface),
                milliseconds(timeout),
                out,
            )
        };
        made(make).map(Self)
    }

    pub(super) fn nccl(store: &Store, rank: usize, size: usize, timeout: Duration) -> Outcome<Self> {
        let (rank, size) = (integer(rank)?, integer(size)?);
        // SAFETY: the store is live.
        made(|out| unsafe { group_nccl(store.0.as_ptr(), rank, size, milliseconds(timeout), out) }).map(Self)
    }

    /// Starts summing a contiguous tensor in place.
    pub(super) fn all_reduce_sum(&self, tensor: &Tensor) -> Outcome<Work> {
        // SAFETY: backend and tensor are live; the work keeps the tensor's memory.
        made(|out| unsafe { group_all_reduce_sum(self.0.as_ptr(), tensor.as_ptr(), out) }).map(Work)
    }

    /// The sum of a tensor over all ranks, with a gradient.
    pub(super) fn sum_with_gradient(&self, local: &Tensor) -> Outcome<Tensor> {
        let mut sum = null_mut();
        // SAFETY: backend and tensor are live; the shim keeps what the graph needs.
        check(unsafe { group_sum_with_gradient(self.0.as_ptr(), local.as_ptr(), &raw mut sum) })?;
        // SAFETY: after success this is a tensor that was made for us alone.
        Ok(unsafe { Tensor::from_ptr(sum) })
    }

    /// Starts filling `output` with the `input` of every rank; both are contiguous.
    pub(super) fn all_gather(&self, output: &Tensor, input: &Tensor) -> Outcome<Work> {
        // SAFETY: backend and tensors are live; the work keeps the tensors' memory.
        made(|out| unsafe { group_all_gather(self.0.as_ptr(), output.as_ptr(), input.as_ptr(), out) })
            .map(Work)
    }

    /// Starts overwriting a contiguous tensor by that of rank `from`.
    pub(super) fn broadcast(&self, tensor: &Tensor, from: usize) -> Outcome<Work> {
        let from = integer(from)?;
        // SAFETY: backend and tensor are live; the work keeps the tensor's memory.
        made(|out| unsafe { group_broadcast(self.0.as_ptr(), tensor.as_ptr(), from, out) }).map(Work)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: the handle is live and freed here only.
        unsafe { group_backend_free(self.0.as_ptr()) }
    }
}

/// A collective under way.
pub(super) struct Work(NonNull<Opaque>);

// SAFETY: c10d::Work locks its state, and the handle is freed once, by its only owner.
unsafe impl Send for Work {}

impl Work {
    /// Waits until the collective is done, by Gloo no longer than `slice`; whether it is.
    pub(super) fn wait(&self, slice: Duration) -> Outcome<bool> {
        let mut done = 0;
        // SAFETY: the handle is live, the flag lives through the call.
        check(unsafe { group_work_wait(self.0.as_ptr(), milliseconds(slice), &raw mut done) })?;
        Ok(done != 0)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // SAFETY: the handle is live and freed here only; c10d holds its own reference while the collective runs.
        unsafe { group_work_free(self.0.as_ptr()) }
    }
}

/// What is called with a tensor's number.
pub(super) type Called = Box<dyn Fn(usize) + Send + Sync>;

/// Has something called after each gradient of a tensor, for as long as the value lives.
pub(super) struct Hook {
    handle: NonNull<Opaque>,
    /// What the hook points to.
    _called: Arc<Called>,
}

// SAFETY: hooks are added and taken away between backward passes, by their only owner.
unsafe impl Send for Hook {}

extern "C" fn call(called: *const c_void, index: usize) {
    // SAFETY: the hook, which made this pointer of one to that type, holds what it points to; LibTorch calls it no more when it is gone.
    let called = unsafe { &*called.cast::<Called>() };
    // C++ cannot go on with a panic: whoever waits for what was to be done learns of it by a poisoned lock
    let _panicked = catch_unwind(AssertUnwindSafe(|| called(index)));
}

impl Hook {
    /// Calls `called` with `index` in every backward pass as soon as the gradient of `leaf` is complete.
    pub(super) fn after_gradient(leaf: &Tensor, index: usize, called: Arc<Called>) -> Outcome<Self> {
        let data = Arc::as_ptr(&called).cast();
        // SAFETY: the tensor is live; what `data` points to lives as long as the hook.
        let handle = made(|out| unsafe { group_on_gradient(leaf.as_ptr(), call, data, index, out) })?;
        Ok(Self { handle, _called: called })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        // SAFETY: the handle is live and freed here only.
        unsafe { group_hook_free(self.handle.as_ptr()) }
    }
}

/// Gives `tensor` the gradient `gradient` where it has none; tch has no such setter.
pub(super) fn set_gradient(tensor: &Tensor, gradient: &Tensor) -> Outcome<()> {
    // SAFETY: both tensors are live; exceptions are caught in the shim.
    check(unsafe { group_set_gradient(tensor.as_ptr(), gradient.as_ptr()) })
}

#[cfg(test)]
mod tests {
    use super::without_source;

    #[test]
    fn places_in_sources_are_left_out() {
        let text = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:4: Connection reset";
        assert_eq!(without_source(text), "Read error [127.0.0.1]:4: Connection reset");
        assert_eq!(without_source("[127.0.0.1]: refused"), "[127.0.0.1]: refused");
    }
}
