//! Shards and text embeddings to an encoder.
