//! Shards to captions, reports and embeddings.
//!
//! `caption` measures slices of the shards and says what it measured, or lets a vision model say what it sees; `slices` writes the
//! pictures that such a model sees; `report` turns each caption into a short report, by templates or by a language model behind an
//! OpenAI-compatible API; `embed` turns the reports into vectors with a frozen text encoder. Each of these reads one finished stage
//! directory and writes another. `review` shows a sample of what came out to people.

pub mod captioner;
pub mod client;
mod command;
pub mod embed;
pub mod facts;
pub mod grounding;
pub mod ledger;
pub mod measure;
pub mod prompts;
pub mod render;
pub mod review;
pub mod sides;
pub mod slabs;
pub mod slices;
pub mod volume_facts;
pub mod wording;
pub mod writer;

pub use command::{Arguments, Command, run};
