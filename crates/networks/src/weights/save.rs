//! Writing safetensors files: the same bytes for the same weights, whole or not at all.

use crate::error::Error;
use crate::weights::names;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use tch::{Device, Kind, Tensor, nn};

/// Writes every variable of `store` to `path`, under every name that PyTorch's state dict of the same network has.
///
/// `metadata` goes into the file's header (`format: pt` is added, which Hugging Face's loaders ask for); a stage stores
/// its plan there. The residual U-Net's file is up to four times its weights because one tensor has several names;
/// [`save_canonical`] writes each once.
///
/// # Errors
/// When the file cannot be written or LibTorch refuses; `path` then keeps its old content.
pub fn save(store: &nn::VarStore, path: &Path, metadata: &BTreeMap<String, String>) -> Result<(), Error> {
    save_where(store, path, metadata, |_| true)
}

/// As [`save`], the variables alone whose name `keep` accepts.
///
/// # Errors
/// As for [`save`].
pub fn save_where(
    store: &nn::VarStore,
    path: &Path,
    metadata: &BTreeMap<String, String>,
    keep: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let variables: BTreeMap<String, Tensor> =
        store.variables().into_iter().filter(|(name, _)| keep(name)).collect();
    let with_decoder = variables.keys().any(|name| name.starts_with("decoder."));
    let named = variables
        .iter()
        .flat_map(|(name, tensor)| {
            names::aliases(name, with_decoder).into_iter().map(move |name| (name, tensor))
        })
        .collect();
    write(named, path, metadata)
}

/// As [`save`], each tensor under one name: for checkpoints, which only we read.
///
/// # Errors
/// As for [`save`].
pub fn save_canonical(
    store: &nn::VarStore,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    save_tensors(&store.variables().into_iter().collect(), path, metadata)
}

/// Writes tensors of any kind, such as an optimiser's state or embeddings.
///
/// # Errors
/// As for [`save`].
pub fn save_tensors(
    tensors: &BTreeMap<String, Tensor>,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    write(tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect(), path, metadata)
}

/// The format's name of a number format.
fn dtype(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Float => "F32",
        Kind::Double => "F64",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Int16 => "I16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        _ => return None,
    })
}

/// Own writer of the header, because the safetensors crate writes metadata in the order of a hash map.
fn write(
    mut tensors: Vec<(String, &Tensor)>,
    path: &Path,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    // Wide numbers first, so that each tensor starts at a multiple of its number's size; then by name.
    tensors.sort_by(|(left_name, left), (right_name, right)| {
        let width = |tensor: &Tensor| tensor.kind().elt_size_in_bytes();
        width(right).cmp(&width(left)).then_with(|| left_name.cmp(right_name))
    });
    let mut metadata = metadata.clone();
    metadata.entry("format".to_owned()).or_insert_with(|| "pt".to_owned());
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
    let mut offset = 0;
    for (name, tensor) in &tensors {
        let dtype = dtype(tensor.kind()).ok_or_else(|| Error::Format {
            path: path.to_owned(),
            reason: format!("tensor {name} has the number format {:?}", tensor.kind()),
        })?;
        let end = offset + tensor.numel() * tensor.kind().elt_size_in_bytes();
        header.insert(
            name.clone(),
            serde_json::json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut header = serde_json::Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        let mut bytes = Vec::new();
        for (_, tensor) in &tensors {
            let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
            bytes.resize(tensor.numel() * tensor.kind().elt_size_in_bytes(), 0);
            tensor.f_copy_data_u8(&mut bytes, tensor.numel())?;
            file.write_all(&bytes)?;
        }
        Ok(())
    })
}

/// Temporary name in the same directory, fsync, rename, fsync of the directory.
fn atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<&mut std::fs::File>) -> Result<(), Error>,
) -> Result<(), Error> {
    let named = |error: std::io::Error| {
        std::io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display()))
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask still applies: the file gets the mode that any other program would give it.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut temporary = builder.tempfile_in(folder).map_err(named)?;
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file_mut());
    fill(&mut buffered)?;
    buffered.flush().map_err(named)?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(named)?;
    temporary.persist(path).map_err(|error| named(error.error))?;
    stage::atomic::sync_directory(folder)?;
    Ok(())
}
