//! Compiles the C++ shim against LibTorch's headers and lets this package's tests find LibTorch.

use std::env;
use std::path::PathBuf;

fn main() -> Result<(), torch_link::LinkError> {
    torch_link::link()?;
    let libraries = torch_link::library_folder()?;
    println!("cargo:rerun-if-changed=shim/shim.cpp");
    println!("cargo:rerun-if-changed=shim/shim.h");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    println!("cargo:rustc-env=TORCH_LIBRARY_FOLDER={}", libraries.display());
    // Wheel and LibTorch archive alike keep `include` beside `lib`; LIBTORCH_INCLUDE is torch-sys's own override.
    let root = env::var_os("LIBTORCH_INCLUDE").map_or_else(|| libraries.join(".."), PathBuf::from);
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(true)
        .define("_GLIBCXX_USE_CXX11_ABI", env::var("LIBTORCH_CXX11_ABI").as_deref().unwrap_or("1"))
        // Headers that are not ours must not warn.
        .flag("-isystem")
        .flag(root.join("include"))
        .flag("-isystem")
        .flag(root.join("include/torch/csrc/api/include"))
        .file("shim/shim.cpp")
        .compile("torch_runtime_shim");
    // After the shim, whose symbols they resolve.
    println!("cargo:rustc-link-search=native={}", libraries.display());
    println!("cargo:rustc-link-lib=dylib=torch_cpu");
    println!("cargo:rustc-link-lib=dylib=c10");
    Ok(())
}
