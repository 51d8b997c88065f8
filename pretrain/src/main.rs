//! Shards and text embeddings to an encoder; see the library.

fn main() {
    torch_runtime::leave(stage::status_of("pretrain", env!("CARGO_PKG_VERSION"), pretrain::run))
}
