//! Raw volumes to shards; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("preprocess", env!("CARGO_PKG_VERSION"), preprocess::run)
}
