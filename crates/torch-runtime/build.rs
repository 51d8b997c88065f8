//! Compiles the C++ shim against LibTorch's headers and lets this package's tests find LibTorch.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};

/// Why the shim cannot be compiled.
enum BuildError {
    Link(torch_link::LinkError),
    Io(std::io::Error),
    NoHeader { header: &'static str, folders: Vec<PathBuf> },
    NoCuda(PathBuf),
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => fmt::Display::fmt(error, f),
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::NoHeader { header, folders } => {
                write!(f, "feature nccl: no {header} in")?;
                for folder in folders {
                    write!(f, " {}", folder.display())?;
                }
                write!(
                    f,
                    ". For the wheel of torch==2.11.0: pip install nvidia-nccl-cu13 nvidia-cuda-crt==13.0.88 \
                     nvidia-cuda-cccl==13.0.85; otherwise set NCCL_INCLUDE_DIR and CUDA_HOME. Without the feature \
                     groups work on CPUs"
                )
            }
            Self::NoCuda(folder) => write!(
                f,
                "feature nccl: no libtorch_cuda.so in {}: install the CUDA build of torch==2.11.0, or build without \
                 the feature",
                folder.display()
            ),
        }
    }
}

fn main() -> Result<(), BuildError> {
    torch_link::link().map_err(BuildError::Link)?;
    let libraries = torch_link::library_folder().map_err(BuildError::Link)?;
    println!("cargo:rerun-if-changed=shim");
    println!("cargo:rustc-env=TORCH_LIBRARY_FOLDER={}", libraries.display());
    let mut build = torch_link::compiler().map_err(BuildError::Link)?;
    build.define("USE_C10D_GLOO", None).flag("-isystem").flag("shim/gloo-stubs");
    // Some of it is loops over maps, which tests wait for, too. Choices between two numbers make no vectors where they may raise flags, which
    // nobody reads.
    build.opt_level(3).flag("-fno-trapping-math");
    // LibTorch's small vectors, once inlined, look to GCC as if they could be read before they are filled.
    build.flag_if_supported("-Wno-maybe-uninitialized");
    let mut sources =
        vec!["shim/shim.cpp", "shim/lists.cpp", "shim/group.cpp", "shim/rows.cpp", "shim/normalise.cpp"];
    let nccl = env::var_os("CARGO_FEATURE_NCCL").is_some();
    if nccl {
        for folder in nvidia_headers(&libraries)? {
            build.flag("-isystem").flag(folder);
        }
        build.define("USE_C10D_NCCL", None);
        sources.push("shim/group_nccl.cpp");
    }
    build.file(torch_link::one_unit(&sources).map_err(BuildError::Io)?);
    build.compile("torch_runtime_shim");
    // After the shim, whose symbols they resolve.
    println!("cargo:rustc-link-search=native={}", libraries.display());
    for library in
        if nccl { &["torch_cuda", "c10_cuda", "torch_cpu", "c10"][..] } else { &["torch_cpu", "c10"] }
    {
        println!("cargo:rustc-link-lib=dylib={library}");
    }
    Ok(())
}

/// The folders with NVIDIA's headers that `ProcessGroupNCCL.hpp` needs: those beside PyTorch's wheel, or what
/// `NCCL_INCLUDE_DIR` and `CUDA_HOME` name.
fn nvidia_headers(libraries: &Path) -> Result<Vec<PathBuf>, BuildError> {
    println!("cargo:rerun-if-env-changed=NCCL_INCLUDE_DIR");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    if !libraries.join("libtorch_cuda.so").exists() {
        return Err(BuildError::NoCuda(libraries.to_owned()));
    }
    // The wheels lie in site-packages, next to torch; the folder may be reached through a link.
    let torch = libraries.canonicalize().unwrap_or_else(|_| libraries.to_owned());
    let wheels = torch.join("../../nvidia");
    let nccl = env::var_os("NCCL_INCLUDE_DIR").map_or_else(|| wheels.join("nccl/include"), PathBuf::from);
    let cuda = env::var_os("CUDA_HOME").map_or_else(|| wheels.join("cu13"), PathBuf::from).join("include");
    let folders = vec![nccl, cuda.join("cccl"), cuda];
    for header in ["nccl.h", "cuda_runtime_api.h", "crt/host_defines.h", "nv/target"] {
        if !folders.iter().any(|folder| folder.join(header).exists()) {
            return Err(BuildError::NoHeader { header, folders });
        }
    }
    Ok(folders)
}
