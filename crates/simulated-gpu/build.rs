//! Compiles the device, a library that takes the place of LibTorch's CUDA part.

use std::env;
use std::fmt;
use std::path::PathBuf;

/// Why the device cannot be compiled.
enum BuildError {
    Link(torch_link::LinkError),
    Io(std::io::Error),
    Compiler(cc::Error),
    Failed { command: String, said: String },
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(error) => fmt::Display::fmt(error, f),
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Compiler(error) => fmt::Display::fmt(error, f),
            Self::Failed { command, said } => write!(f, "{command} failed:\n{said}"),
        }
    }
}

fn main() -> Result<(), BuildError> {
    torch_link::link().map_err(BuildError::Link)?;
    println!("cargo:rerun-if-changed=device");
    // it is found by name where LD_LIBRARY_PATH says, which is Linux's
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        println!("cargo:rustc-env=SIMULATED_GPU=");
        return Ok(());
    }
    let libraries = torch_link::library_folder().map_err(BuildError::Link)?;
    let library = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("libtorch_cuda.so");
    let build = torch_link::compiler().map_err(BuildError::Link)?;
    let mut command = build.try_get_compiler().map_err(BuildError::Compiler)?.to_command();
    let sources = ["device/memory.cpp", "device/device.cpp", "device/operators.cpp"];
    command.arg(torch_link::one_unit(&sources).map_err(BuildError::Io)?).arg("-shared");
    // programs ask for the CUDA part by this name
    command.arg("-Wl,-soname,libtorch_cuda.so");
    command.arg("-o").arg(&library).arg("-L").arg(&libraries).args(["-ltorch_cpu", "-lc10"]);
    command.arg(format!("-Wl,-rpath,{}", libraries.display()));
    let output = command.output().map_err(BuildError::Io)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(BuildError::Failed { command: format!("{command:?}"), said });
    }
    println!("cargo:rustc-env=SIMULATED_GPU={}", library.display());
    Ok(())
}
