//! What an embedding knows, asked without training: retrieval of texts, effective rank, and a linear probe.

mod linear;
mod rank;
mod retrieval;

pub use linear::{Probe, linear_probe};
pub use rank::effective_rank;
pub use retrieval::{Retrieval, retrieve};
