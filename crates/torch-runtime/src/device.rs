//! From the text of `--device` to a device that exists.

use crate::error::Error;
use crate::ffi;
use std::env;
use std::path::{Path, PathBuf};
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
    /// Whether LibTorch's CUDA part is loaded; true on machines without a GPU too.
    pub cuda_library: bool,
    /// How many GPUs can be used.
    pub gpus: usize,
}

/// What is linked and loaded, for `--version`, manifests and error messages.
pub fn linked() -> Linked {
    let cuda_library = tch::utils::has_cudart();
    Linked {
        built_for: version_text(ffi::header_version()),
        loaded: version_text(ffi::loaded_version()),
        library_folder: PathBuf::from(env!("TORCH_LIBRARY_FOLDER")),
        cuda_library,
        gpus: if cuda_library && tch::Cuda::is_available() {
            usize::try_from(tch::Cuda::device_count()).unwrap_or(0)
        } else {
            0
        },
    }
}

/// The device that `text` names: `cpu`, `cuda` (the first GPU) or `cuda:N`.
///
/// A GPU that cannot be had is an error that says what is missing, never a silent change to the CPU.
///
/// # Errors
/// For other texts, for GPUs that do not exist or cannot be used, and for a LibTorch of another version.
pub fn parse_device(text: &str) -> Result<Device, Error> {
    resolve(text, &linked(), &env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "unset".to_owned()))
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

fn resolve(text: &str, linked: &Linked, visible: &str) -> Result<Device, Error> {
    if linked.loaded != linked.built_for {
        return Err(Error::OtherVersion { loaded: linked.loaded.clone(), built: linked.built_for.clone() });
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
    if !linked.cuda_library {
        return Err(Error::NoCudaLibrary {
            asked: text.to_owned(),
            version: linked.loaded.clone(),
            reason: missing_cuda(&linked.library_folder),
        });
    }
    match linked.gpus {
        0 => Err(Error::NoGpu {
            asked: text.to_owned(),
            version: linked.loaded.clone(),
            visible: visible.to_owned(),
        }),
        count if index >= count => Err(Error::NoSuchGpu { index, count, visible: visible.to_owned() }),
        _ => Ok(Device::Cuda(index)),
    }
}

fn missing_cuda(folder: &Path) -> String {
    if folder.join("libtorch_cuda.so").exists() {
        format!(
            "libtorch_cuda.so is in {} but this program does not load it (its package's build script must call \
             torch_link::link)",
            folder.display()
        )
    } else {
        format!("there is no libtorch_cuda.so in {}", folder.display())
    }
}

fn version_text(version: i32) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(cuda_library: bool, gpus: usize) -> Linked {
        Linked {
            built_for: "2.11.0".to_owned(),
            loaded: "2.11.0".to_owned(),
            library_folder: PathBuf::from("/nowhere"),
            cuda_library,
            gpus,
        }
    }

    #[test]
    fn memory_is_told_of_gpus_alone() {
        assert_eq!(gpu_memory(Device::Cpu).unwrap(), None);
        match super::linked().gpus {
            0 => assert!(gpu_memory(Device::Cuda(0)).is_err()),
            _ => {
                let held = tch::Tensor::zeros([1 << 20], (tch::Kind::Float, Device::Cuda(0)));
                let [now, peak] = gpu_memory(Device::Cuda(0)).unwrap().unwrap();
                assert!(now >= 4 << 20 && peak >= now, "{now} {peak} {held:?}");
            }
        }
    }

    #[test]
    fn names_become_devices() {
        let two = library(true, 2);
        assert_eq!(resolve("cpu", &two, "unset").unwrap(), Device::Cpu);
        assert_eq!(resolve("cuda", &two, "unset").unwrap(), Device::Cuda(0));
        assert_eq!(resolve("cuda:1", &two, "unset").unwrap(), Device::Cuda(1));
        assert_eq!(describe_device(Device::Cuda(1)), "cuda:1");
    }

    #[test]
    fn other_names_are_refused() {
        for text in ["", "gpu", "cuda:", "cuda:+1", "cuda:-1", "cuda:x", "CPU"] {
            let error = resolve(text, &library(true, 2), "unset").unwrap_err();
            assert!(matches!(error, Error::UnknownDevice { .. }), "{text}: {error}");
        }
    }

    #[test]
    fn each_way_to_lack_a_gpu_says_what_is_missing() {
        let text = resolve("cuda", &library(false, 0), "unset").unwrap_err().to_string();
        assert!(text.contains("no libtorch_cuda.so in /nowhere") && text.contains("--device cpu"), "{text}");
        let text = resolve("cuda", &library(true, 0), "3").unwrap_err().to_string();
        assert!(text.contains("CUDA_VISIBLE_DEVICES=3") && text.contains("nvidia-smi"), "{text}");
        let text = resolve("cuda:2", &library(true, 2), "unset").unwrap_err().to_string();
        assert!(text.contains("cuda:2 does not exist: 2 GPU(s) visible, cuda:0 to cuda:1"), "{text}");
    }

    #[test]
    fn another_library_version_is_refused_on_every_device() {
        let mut other = library(true, 1);
        other.loaded = "2.12.1".to_owned();
        let text = resolve("cpu", &other, "unset").unwrap_err().to_string();
        assert!(text.contains("2.12.1") && text.contains("2.11.0"), "{text}");
    }

    #[test]
    fn versions_read_as_usual() {
        assert_eq!(version_text(21_100), "2.11.0");
        assert_eq!(version_text(21_203), "2.12.3");
    }
}
