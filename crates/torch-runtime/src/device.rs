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
}

/// What is linked and loaded.
pub fn linked() -> Linked {
    Linked {
        built_for: version_text(ffi::header_version()),
        loaded: version_text(ffi::loaded_version()),
        library_folder: PathBuf::from(env!("TORCH_LIBRARY_FOLDER")),
    }
}

/// How many GPUs can be used. LibTorch's CUDA part is loaded for it, see [`parse_device`].
///
/// # Errors
/// When there is no CUDA part, or it was loaded too late.
pub fn gpus() -> Result<usize, Error> {
    static PART: OnceLock<CudaPart> = OnceLock::new();
    match PART.get_or_init(CudaPart::load) {
        CudaPart::Absent(reason) => {
            Err(Error::NoCudaLibrary { version: version_text(ffi::loaded_version()), reason: reason.clone() })
        }
        CudaPart::Late => Err(Error::LateCudaLibrary),
        CudaPart::Loaded if tch::Cuda::is_available() => {
            Ok(usize::try_from(tch::Cuda::device_count()).unwrap_or(0))
        }
        CudaPart::Loaded => Ok(0),
    }
}

/// LibTorch's CUDA part in this process.
enum CudaPart {
    Loaded,
    /// Why it cannot be loaded.
    Absent(String),
    /// LibTorch looks for it once, and had.
    Late,
}

impl CudaPart {
    fn load() -> Self {
        match ffi::load_cuda() {
            Some(reason) => Self::Absent(reason),
            None if tch::utils::has_cudart() => Self::Loaded,
            None => Self::Late,
        }
    }
}

/// The device that `text` names: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// A GPU that cannot be had is an error that says what is missing, never a silent change to the CPU.
///
/// LibTorch's CUDA part is loaded where a GPU is asked for, and only there (a program built for NCCL has it linked): with NVIDIA's libraries it
/// takes 350 MB and a third of the time in which a program starts. LibTorch looks for it once, so a program names its device before it
/// computes, and before it has threads that do.
///
/// # Errors
/// For other texts, for GPUs that do not exist or cannot be used, and for a LibTorch of another version.
pub fn parse_device(text: &str) -> Result<Device, Error> {
    let visible = env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "unset".to_owned());
    let Linked { built_for, loaded, .. } = linked();
    resolve(text, &built_for, &loaded, gpus, &visible)
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
    gpus: impl FnOnce() -> Result<usize, Error>,
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
    match gpus()? {
        0 => Err(Error::NoGpu {
            asked: text.to_owned(),
            version: loaded.to_owned(),
            visible: visible.to_owned(),
        }),
        count if index >= count => Err(Error::NoSuchGpu { index, count, visible: visible.to_owned() }),
        _ => Ok(Device::Cuda(index)),
    }
}

fn version_text(version: i32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a text where there are so many GPUs.
    fn with(text: &str, gpus: Result<usize, Error>, visible: &str) -> Result<Device, Error> {
        resolve(text, "2.11.0", "2.11.0", || gpus, visible)
    }

    #[test]
    fn memory_is_told_of_gpus_alone() {
        assert_eq!(gpu_memory(Device::Cpu).unwrap(), None);
        // no test of these loads LibTorch's CUDA part
        assert!(cfg!(feature = "nccl") || gpu_memory(Device::Cuda(0)).is_err());
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
        let absent = Error::NoCudaLibrary { version: "2.11.0".to_owned(), reason: gone.to_owned() };
        let text = with("cuda", Err(absent), "unset").unwrap_err().to_string();
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
