//! The `evaluate` command; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("evaluate", env!("CARGO_PKG_VERSION"), evaluate::run)
}
