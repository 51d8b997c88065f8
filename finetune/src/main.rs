//! Encoder and labelled shards to a model and label maps; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("finetune", env!("CARGO_PKG_VERSION"), finetune::run)
}
