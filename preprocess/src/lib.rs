//! Raw volumes to shards.
