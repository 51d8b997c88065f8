//! The shard store (Zarr v3) and sampling patches from it.
