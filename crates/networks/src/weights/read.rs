//! Reading safetensors files.

use crate::error::Error;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::BTreeMap;
use std::path::Path;
use tch::{Kind, Tensor};

/// How files of `torch.save` begin: a zip archive, or a pickle of protocol 2.
const PICKLES: [&[u8]; 2] = [b"PK\x03\x04", b"\x80\x02"];

/// A file in memory, mapped rather than read.
pub(crate) struct Mapped {
    path: std::path::PathBuf,
    bytes: Mmap,
}

impl Mapped {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = fs_err::File::open(path)?;
        // An empty file cannot be mapped, and says less about itself when it is tried.
        if file.metadata()?.len() == 0 {
            return Err(Error::Format { path: path.to_owned(), reason: "it is empty".to_owned() });
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe because others may change it")]
        // SAFETY: the map is read-only, and weights are replaced by renaming, never changed in place; tensors are
        // copied out before the map goes.
        let bytes = unsafe { Mmap::map(file.file()) }?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    pub(crate) fn tensors(&self) -> Result<SafeTensors<'_>, Error> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| self.unreadable(&error))
    }

    /// The texts beside the tensors.
    pub(crate) fn metadata(&self) -> Result<BTreeMap<String, String>, Error> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes).map_err(|error| self.unreadable(&error))?;
        Ok(header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn unreadable(&self, error: &SafeTensorError) -> Error {
        let path = self.path.clone();
        if PICKLES.iter().any(|start| self.bytes.starts_with(start)) {
            return Error::Pickle { path };
        }
        Error::Format { path, reason: error.to_string() }
    }
}

/// tch's name for the number format, of those that weights come in.
pub(crate) fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// A shape as tch has it.
pub(crate) fn shape(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect()
}

/// All tensors of a safetensors file, on the CPU, in the file's number formats.
///
/// # Errors
/// When the file cannot be read, is no safetensors file, or holds a number format that tch does not know.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, Error> {
    let file = Mapped::open(path)?;
    file.tensors()?
        .iter()
        .map(|(name, view)| {
            let kind = kind(view.dtype()).ok_or_else(|| Error::Format {
                path: path.to_owned(),
                reason: format!("tensor {name} has the number format {:?}", view.dtype()),
            })?;
            Ok((name.to_owned(), Tensor::f_from_data_size(view.data(), &shape(view.shape()), kind)?))
        })
        .collect()
}

/// The texts that a safetensors file carries beside its tensors.
///
/// # Errors
/// When the file cannot be read or is no safetensors file.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    Mapped::open(path)?.metadata()
}
