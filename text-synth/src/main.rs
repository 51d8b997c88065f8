//! Shards to captions, reports and embeddings.

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::main("text-synth", env!("CARGO_PKG_VERSION"), text_synth::run)
}
