//! `data-manifests`: looks at and makes what the stages write down; see `data_manifests`.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("data-manifests", env!("CARGO_PKG_VERSION"), data_manifests::run)
}
