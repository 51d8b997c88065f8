//! Linker flags that let executables and tests find LibTorch.
//!
//! Cargo applies `rustc-link-arg` to the targets of the package that prints it and to no other, so the flags of
//! torch-sys and tch never reach our binaries. Without them the run path is missing and nothing starts outside `make`.
//! `libtorch_cuda` is not linked, which no symbol names but those of NCCL: torch-runtime loads it from the run path where a GPU is asked for. Every package with executables or tests that use LibTorch therefore has `torch-sys` as a direct dependency (only
//! direct dependents are told where LibTorch is) and this build script:
//!
//! ```ignore
//! fn main() -> Result<(), torch_link::LinkError> {
//!     torch_link::link()
//! }
//! ```
#![expect(clippy::print_stdout, reason = "a build script talks to cargo through standard output")]

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The variable in which cargo passes torch-sys's library folder to direct dependents.
const LIBRARY_FOLDER: &str = "DEP_TCH_LIBTORCH_LIB";

/// Why the flags could not be made.
pub enum LinkError {
    /// torch-sys is not a direct dependency of the package being built.
    NotDirect,
    /// The folder that torch-sys named holds no LibTorch.
    Missing(PathBuf),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDirect => write!(
                f,
                "{LIBRARY_FOLDER} is not set: add `torch-sys.workspace = true` to [dependencies] of {}",
                env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "this package".to_owned())
            ),
            Self::Missing(folder) => write!(
                f,
                "no LibTorch in {}: run `make setup`, which installs it into .venv",
                folder.display()
            ),
        }
    }
}

// What cargo shows when a build script's `main` returns an error.
impl fmt::Debug for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LinkError {}

/// Prints the flags for the package whose build script calls it.
///
/// # Errors
/// When torch-sys is not a direct dependency, or its library folder holds no LibTorch.
pub fn link() -> Result<(), LinkError> {
    let folder = library_folder()?;
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    // The folder in which the wheel is replaced keeps its name, so watch the libraries. A file that is absent must not
    // be named: cargo would run the script, and build the package, every time.
    for name in ["libtorch_cpu.so", "libtorch_cpu.dylib"] {
        let library = folder.join(name);
        if library.exists() {
            println!("cargo:rerun-if-changed={}", library.display());
        }
    }
    for argument in arguments(&folder, &env::var("CARGO_CFG_TARGET_OS").unwrap_or_default()) {
        println!("cargo:rustc-link-arg={argument}");
    }
    Ok(())
}

/// The folder with LibTorch's shared libraries, as torch-sys found it.
///
/// # Errors
/// As for [`link`].
pub fn library_folder() -> Result<PathBuf, LinkError> {
    let folder = env::var_os(LIBRARY_FOLDER).map(PathBuf::from).ok_or(LinkError::NotDirect)?;
    if folder.is_dir() { Ok(folder) } else { Err(LinkError::Missing(folder)) }
}

/// A C++ compiler as LibTorch's headers need it, with these at hand.
///
/// # Errors
/// As for [`link`].
pub fn compiler() -> Result<cc::Build, LinkError> {
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    // Wheel and LibTorch archive alike keep `include` beside `lib`; LIBTORCH_INCLUDE is torch-sys's own override.
    let root = match env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root),
        None => library_folder()?.join(".."),
    };
    let abi = env::var("LIBTORCH_CXX11_ABI");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").pic(true).warnings(true);
    build.define("_GLIBCXX_USE_CXX11_ABI", abi.as_deref().unwrap_or("1"));
    // Headers that are not ours must not warn.
    for folder in ["include", "include/torch/csrc/api/include"] {
        build.flag("-isystem").flag(root.join(folder));
    }
    Ok(build)
}

/// One source that includes these, paths from the package's root, to be compiled in their place: LibTorch's headers, which are read once
/// then, take longer than anything else. Their names without linkage must differ.
///
/// # Errors
/// What `OUT_DIR` answers.
#[expect(clippy::disallowed_methods, reason = "into a build script's own folder, which cargo makes anew")]
pub fn one_unit(sources: &[&str]) -> io::Result<PathBuf> {
    let [root, out] = ["CARGO_MANIFEST_DIR", "OUT_DIR"].map(|name| env::var_os(name).map(PathBuf::from));
    let (root, out) = root.zip(out).ok_or(io::ErrorKind::NotFound)?;
    let unit = out.join("unit.cpp");
    let includes = sources.iter().map(|source| format!("#include \"{}\"\n", root.join(source).display()));
    fs::write(&unit, includes.collect::<String>())?;
    Ok(unit)
}

/// Linker arguments for LibTorch in `folder` on `target_os`.
fn arguments(folder: &Path, target_os: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    if target_os == "linux" {
        // RUNPATH, not RPATH: LD_LIBRARY_PATH can then name another LibTorch on another machine.
        arguments.push("-Wl,--enable-new-dtags".to_owned());
    }
    arguments.push(format!("-Wl,-rpath,{}", folder.display()));
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_gets_a_run_path_that_can_be_overruled() {
        let found = arguments(Path::new("/nowhere/lib"), "linux");
        assert_eq!(found, ["-Wl,--enable-new-dtags", "-Wl,-rpath,/nowhere/lib"]);
    }

    #[test]
    fn other_systems_get_no_gnu_flags() {
        assert_eq!(arguments(Path::new("/nowhere/lib"), "macos"), ["-Wl,-rpath,/nowhere/lib"]);
    }
}
