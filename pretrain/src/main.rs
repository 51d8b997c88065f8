//! Shards and text embeddings to an encoder; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("pretrain", env!("CARGO_PKG_VERSION"), pretrain::run)
}
