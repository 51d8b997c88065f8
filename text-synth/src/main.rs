//! Shards to captions, reports and embeddings.

fn main() {
    torch_runtime::leave(stage::status_of("text-synth", env!("CARGO_PKG_VERSION"), text_synth::run))
}
