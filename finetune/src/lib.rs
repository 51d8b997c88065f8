//! Encoder and labelled shards to a model and label maps.
