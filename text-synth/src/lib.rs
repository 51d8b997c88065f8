//! Shards to captions, reports and embeddings.
