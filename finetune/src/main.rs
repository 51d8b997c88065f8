//! Encoder and labelled shards to a model and label maps; see the library.

fn main() {
    torch_runtime::leave(stage::status_of("finetune", env!("CARGO_PKG_VERSION"), finetune::run))
}
