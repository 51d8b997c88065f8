//! Checks reports sentence by sentence against what was measured, what the data set declares and a vocabulary.
//!
//! Published descriptions of GTGM+ name three steps: entities are extracted, relations validated, the text refined (README of
//! the successor; no code was released). Here: [`words`] reads sentences, [`lexicon`] finds terms of the [`terms`] in them,
//! [`check`] compares what is stated with the facts, and [`refine`] has contradicted texts written again or replaced.

pub mod check;
mod denial;
mod direction;
pub mod lexicon;
mod quantity;
pub mod refine;
mod share;
mod statements;
pub mod terms;
pub mod words;

#[cfg(test)]
mod tests;

pub use check::Grounding;
