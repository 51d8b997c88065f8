//! Process-wide settings of LibTorch.

use crate::error::Error;
use crate::ffi;
use std::io::Write;

/// Sets how many threads one operator may use. Loader threads count too: keep both together within the cores granted.
///
/// # Errors
/// For zero and for counts beyond 2³¹ − 1.
pub fn set_num_threads(count: usize) -> Result<(), Error> {
    match i32::try_from(count) {
        Ok(threads) if threads > 0 => {
            tch::set_num_threads(threads);
            Ok(())
        }
        _ => Err(Error::Threads { found: count }),
    }
}

/// How many threads one operator may use.
pub fn num_threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Ends the process with an exit code, as the last thing that `main` does. The destructors of LibTorch's statics take a tenth of a second, and more
/// with a GPU, to give back what the system takes anyway.
pub fn leave(status: u8) -> ! {
    // who closed the other end of standard output does not wait for what is left
    let _closed = std::io::stdout().flush();
    ffi::leave(status)
}

/// Has the allocator keep freed memory for what is allocated next instead of handing it back to the system, as it otherwise does with
/// every large tensor: each step of training would have all its pages made and cleared anew. The process stays as large as it once was.
///
/// Of any size for the first thread, which trains and predicts; others keep what fits into a heap of theirs, 64 MiB.
///
/// Does nothing where the environment has settings for glibc's allocator, and with other C libraries.
pub fn keep_freed_memory() {
    let chosen = std::env::vars_os().any(|(name, value)| {
        let name = name.to_string_lossy();
        name.starts_with("MALLOC_")
            || name == "GLIBC_TUNABLES" && value.to_string_lossy().contains("glibc.malloc.")
    });
    if !chosen {
        ffi::keep_freed_memory();
    }
}

/// Makes LibTorch choose deterministic kernels (or not). With `warn_only`, an operator that has none warns where it
/// would fail otherwise.
///
/// # Errors
/// When LibTorch refuses.
pub fn set_deterministic(on: bool, warn_only: bool) -> Result<(), Error> {
    ffi::set_deterministic(on, warn_only)
}

/// Whether LibTorch chooses deterministic kernels.
///
/// # Errors
/// When LibTorch refuses.
pub fn is_deterministic() -> Result<bool, Error> {
    ffi::deterministic()
}

/// Lets cuDNN try its convolutions once per shape and keep the fastest. Worth it for the fixed patch size of training;
/// results may then differ in the last digits from run to run.
///
/// # Errors
/// When LibTorch refuses.
pub fn set_cudnn_benchmark(on: bool) -> Result<(), Error> {
    ffi::set_cudnn_benchmark(on)
}

/// Whether cuDNN searches for the fastest convolution.
///
/// # Errors
/// When LibTorch refuses.
pub fn cudnn_benchmark() -> Result<bool, Error> {
    ffi::cudnn_benchmark()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_back() {
        for on in [true, false] {
            set_deterministic(on, true).unwrap();
            assert_eq!(is_deterministic().unwrap(), on);
            set_cudnn_benchmark(on).unwrap();
            assert_eq!(cudnn_benchmark().unwrap(), on);
        }
        let before = num_threads();
        set_num_threads(1).unwrap();
        assert_eq!(num_threads(), 1);
        set_num_threads(before).unwrap();
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn freed_memory_stays_with_the_process() {
        let resident = || -> u64 {
            let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
            pages.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
        };
        keep_freed_memory();
        let before = resident();
        drop(tch::Tensor::ones([1 << 23], (tch::Kind::Float, tch::Device::Cpu)));
        let kept = resident().saturating_sub(before);
        assert!(kept > 24 << 20, "of 32 MiB {} stayed", kept >> 20);
    }

    #[test]
    fn zero_threads_are_refused() {
        assert!(set_num_threads(0).unwrap_err().to_string().contains("0 threads"));
    }
}
