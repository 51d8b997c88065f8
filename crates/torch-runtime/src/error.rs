//! What can go wrong between us and LibTorch.

use crate::group::GroupError;
use tch::TchError;
use thiserror::Error as ThisError;

/// An error of the LibTorch set-up.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The text names no device.
    #[error("device {found:?} is not known: use cpu, cuda or cuda:N (N = 0, 1, …)")]
    UnknownDevice {
        /// The text that was given.
        found: String,
    },
    /// LibTorch's CUDA part, or what it needs of NVIDIA's, is not there.
    #[error(
        "--device cuda needs the CUDA part of LibTorch {version}, which cannot be loaded: {reason}. Install the CUDA build of \
         torch=={version} (`make setup` does) with NVIDIA's libraries, or use --device cpu"
    )]
    NoCudaLibrary {
        /// The version of the loaded LibTorch.
        version: String,
        /// What the loader says.
        reason: String,
    },
    /// LibTorch had been asked for GPUs before its CUDA part was there.
    #[error(
        "LibTorch had looked for GPUs before its CUDA part was loaded, which is a defect of this program: a device is to be named \
         before anything is computed. Please report it; --device cpu works"
    )]
    LateCudaLibrary,
    /// LibTorch has CUDA but no GPU can be used.
    #[error(
        "device {asked}: LibTorch {version} has its CUDA part, but no GPU can be used (CUDA_VISIBLE_DEVICES={visible}). \
         Check the driver with `nvidia-smi`, or use --device cpu"
    )]
    NoGpu {
        /// The device that was asked for.
        asked: String,
        /// The version of the loaded LibTorch.
        version: String,
        /// The value of CUDA_VISIBLE_DEVICES.
        visible: String,
    },
    /// The index is beyond the visible GPUs.
    #[error(
        "device cuda:{index} does not exist: {count} GPU(s) visible, cuda:0 to cuda:{} \
         (CUDA_VISIBLE_DEVICES={visible})", .count - 1
    )]
    NoSuchGpu {
        /// The index that was asked for.
        index: usize,
        /// How many GPUs are visible; at least one.
        count: usize,
        /// The value of CUDA_VISIBLE_DEVICES.
        visible: String,
    },
    /// Another LibTorch than the one compiled against was loaded.
    #[error(
        "LibTorch {loaded} is loaded, but this program was built for {built}: unset LD_LIBRARY_PATH or let it name \
         the lib folder of torch=={built}"
    )]
    OtherVersion {
        /// The version that is loaded.
        loaded: String,
        /// The version of the headers.
        built: String,
    },
    /// The text names no precision.
    #[error("precision {found:?} is not known: use fp32 or bf16")]
    UnknownPrecision {
        /// The text that was given.
        found: String,
    },
    /// A thread count that LibTorch does not take.
    #[error("{found} threads were asked for: between 1 and {} are possible", i32::MAX)]
    Threads {
        /// The count that was given.
        found: usize,
    },
    /// Autocast was asked for on a device for which it is not set up.
    #[error("bf16 autocast is set up for cpu and cuda, not for {found}: use --precision fp32")]
    NoAutocast {
        /// The device that was asked for.
        found: String,
    },
    /// Processes of a data-parallel run do not work together.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// LibTorch refused.
    #[error("LibTorch: {0}")]
    Torch(String),
}

impl Error {
    /// The stable code of messages that have one.
    #[must_use]
    pub fn code(&self) -> Option<&'static str> {
        match self {
            Self::Group(error) => Some(error.code()),
            _ => None,
        }
    }
}

/// The line of a LibTorch error that says what is wrong; the rest is a C++ stack trace.
pub fn first_line(error: &TchError) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(&text);
    first_line_of(text)
}

/// The first line of `text` that is not empty.
pub(crate) fn first_line_of(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message").to_owned()
}

impl From<TchError> for Error {
    fn from(error: TchError) -> Self {
        Self::Torch(first_line(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    #[test]
    fn people_see_one_line_without_the_trace() {
        let error =
            Tensor::from_slice(&[1f32, 2.0]).f_matmul(&Tensor::from_slice(&[1f32, 2.0, 3.0])).unwrap_err();
        assert!(error.to_string().lines().count() > 1);
        let line = first_line(&error);
        assert!(!line.contains('\n') && !line.contains("Internal torch error"), "{line}");
        assert!(line.contains("size"), "{line}");
    }

    #[test]
    fn an_empty_text_still_gives_a_line() {
        assert_eq!(first_line_of("\n\n"), "no message");
    }
}
