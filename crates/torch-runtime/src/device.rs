//! From the text of `--device` to a device that exists.

use crate::error::Error;
use crate::ffi;
use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;
use tch::Device;

/// The LibTorch this program works with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Version of the headers at build time, e.g. `2.11.0`.
    pub built_for: String,
    /// Version of the library that is loaded.
    pub loaded: String,
    /// The folder with LibTorch's libraries at build time.
    pub library_folder: PathBuf,
    /// How many GPUs can be used, none on most machines; or why LibTorch's CUDA part is not there.
    pub gpus: Result<usize, String>,
}

/// What is linked and loaded, for error messages. LibTorch's CUDA part is loaded for it, see [`parse_device`].
pub fn linked() -> Linked {
    Linked {
        built_for: version_text(ffi::header_version()),
        loaded: version_text(ffi::loaded_version()),
        library_folder: PathBuf::from(env!("TORCH_LIBRARY_FOLDER")),
        gpus: gpus(),
    }
}

/// How many GPUs can be used.
fn gpus() -> Result<usize, String> {
    cuda_part().clone()?;
    Ok(if tch::Cuda::is_available() { usize::try_from(tch::Cuda::device_count()).unwrap_or(0) } else { 0 })
}

/// Loads LibTorch's CUDA part, once.
fn cuda_part() -> &'static Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED.get_or_init(|| match ffi::load_cuda() {
        Some(reason) => Err(reason),
        // LibTorch looks for it once
        None if !tch::utils::has_cudart() => {
            Err("libtorch_cuda.so was loaded after LibTorch had been asked for GPUs".to_owned())
        }
        None => Ok(()),
    })
}

/// The device that `text` names: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// A GPU that cannot be had is an error that says what is missing, never a silent change to the CPU.
///
/// LibTorch's CUDA part is loaded where a GPU is asked for, and only there: with NVIDIA's libraries it takes 350 MB and a third of the time in
/// which a program starts. LibTorch looks for it once, so a program names its device before it computes.
///
/// # Errors
/// For other texts, for GPUs that do not exist or cannot be used, and for a LibTorch of another version.
pub fn parse_device(text: &str) -> Result<Device, Error> {
    let visible = env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "unset".to_owned());
    let [built, loaded] = [ffi::header_version(), ffi::loaded_version()].map(version_text);
    resolve(text, &built, &loaded, gpus, &visible)
}

/// The text that [`parse_device`] understands as `device`.
pub fn describe_device(device: Device) -> String {
    match device {
        Device::Cpu => "cpu".to_owned(),
        Device::Cuda(index) => format!("cuda:{index}"),
        Device::Mps => "mps".to_owned(),
        Device::Vulkan => "vulkan".to_owned(),
    }
}

/// Bytes that LibTorch has given out on a GPU, now and most at a time since the start; none on other devices.
///
/// # Errors
/// When LibTorch does not tell.
pub fn gpu_memory(device: Device) -> Result<Option<[u64; 2]>, Error> {
    let Device::Cuda(index) = device else { return Ok(None) };
    let bytes = ffi::gpu_memory(i32::try_from(index).unwrap_or(i32::MAX))?;
    Ok(Some(bytes.map(i64::unsigned_abs)))
}

fn resolve(
    text: &str,
    built: &str,
    loaded: &str,
    gpus: impl FnOnce() -> Result<usize, String>,
    visible: &str,
) -> Result<Device, Error> {
    if loaded != built {
        return Err(Error::OtherVersion { loaded: loaded.to_owned(), built: built.to_owned() });
    }
    let index = match text {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => other
            .strip_prefix("cuda:")
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or_else(|| Error::UnknownDevice { found: other.to_owned() })?,
    };
    let (asked, version) = (text.to_owned(), loaded.to_owned());
    match gpus() {
        Err(reason) => Err(Error::NoCudaLibrary { asked, version, reason }),
        Ok(0) => Err(Error::NoGpu { asked, version, visible: visible.to_owned() }),
        Ok(count) if index >= count => Err(Error::NoSuchGpu { index, count, visible: visible.to_owned() }),
        Ok(_) => Ok(Device::Cuda(index)),
    }
}

fn version_text(version: i32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a text where there are so many GPUs.
    fn with(text: &str, gpus: Result<usize, String>, visible: &str) -> Result<Device, Error> {
        resolve(text, "2.11.0", "2.11.0", || gpus, visible)
    }

    #[test]
    fn memory_is_told_of_gpus_alone() {
        assert_eq!(gpu_memory(Device::Cpu).unwrap(), None);
        match super::linked().gpus {
            Err(_) | Ok(0) => assert!(gpu_memory(Device::Cuda(0)).is_err()),
            Ok(_) => {
                let held = tch::Tensor::zeros([1 << 20], (tch::Kind::Float, Device::Cuda(0)));
                let [now, peak] = gpu_memory(Device::Cuda(0)).unwrap().unwrap();
                assert!(now >= 4 << 20 && peak >= now, "{now} {peak} {held:?}");
            }
        }
    }

    #[test]
    fn names_become_devices() {
        assert_eq!(with("cuda", Ok(2), "unset").unwrap(), Device::Cuda(0));
        assert_eq!(with("cuda:1", Ok(2), "unset").unwrap(), Device::Cuda(1));
        // nobody looks for GPUs where none is asked for
        let none = || panic!("looked for GPUs");
        assert_eq!(resolve("cpu", "2.11.0", "2.11.0", none, "unset").unwrap(), Device::Cpu);
        assert_eq!(describe_device(Device::Cuda(1)), "cuda:1");
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "gpu", "cuda:", "cuda:+1", "cuda:-1", "cuda:x", "CPU"] {
            let error = with(text, Ok(2), "unset").unwrap_err();
            assert!(matches!(error, Error::UnknownDevice { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn each_way_to_lack_a_gpu_says_what_is_missing() {
        let gone = "libcudnn.so.9: cannot open shared object file";
        let text = with("cuda", Err(gone.to_owned()), "unset").unwrap_err().to_string();
        assert!(text.contains(gone) && text.contains("--device cpu"), "{text}");
        let text = with("cuda", Ok(0), "3").unwrap_err().to_string();
        assert!(text.contains("CUDA_VISIBLE_DEVICES=3") && text.contains("nvidia-smi"), "{text}");
        let text = with("cuda:2", Ok(2), "unset").unwrap_err().to_string();
        assert!(text.contains("cuda:2 does not exist: 2 GPU(s) visible, cuda:0 to cuda:1"), "{text}");
    }

    #[test]
    fn another_library_version_is_refused_on_every_device() {
        let text = resolve("cpu", "2.11.0", "2.12.1", || Ok(1), "unset").unwrap_err().to_string();
        assert!(text.contains("2.12.1") && text.contains("2.11.0"), "{text}");
    }

    #[test]
    fn versions_read_as_usual() {
        assert_eq!(version_text(21_100), "2.11.0");
        assert_eq!(version_text(21_203), "2.12.3");
    }
}
