//! Shards to captions, reports and embeddings.
//!
//! `caption` measures slices of the shards and says what it measured; `report` turns each caption into a short report, by
//! templates or by a language model behind an OpenAI-compatible API; `embed` turns the reports into vectors with a frozen
//! text encoder. Each subcommand reads one finished stage directory and writes another.

pub mod captioner;
pub mod client;
mod command;
pub mod embed;
pub mod facts;
pub mod ledger;
pub mod measure;
pub mod prompts;
pub mod render;
pub mod slabs;
pub mod slices;
pub mod wording;
pub mod writer;

pub use command::{Arguments, Command, run};
