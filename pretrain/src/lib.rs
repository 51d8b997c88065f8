//! Shards and text embeddings to an encoder: two views of each patch, image-text contrast with the reports that overlap the
//! patch, and a negative-free visual loss (gtgm.md, sections 2 to 5).
//!
//! The text encoder is frozen, so a report is a row of numbers here; no language model runs in the loop.
//!
//! Memory: the queue holds a few batches of windows as float32 beside the network, its optimiser state and activations.

mod arguments;
mod exam;
mod init;
mod inputs;
mod mixture;
mod pairs;
mod parts;
mod plan;
mod run;
mod selection;
mod shape;
mod task;
mod text;
mod watch;

pub use arguments::Arguments;
pub use run::run;
