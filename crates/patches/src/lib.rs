//! The shard store: one Zarr v3 group per case (OME-Zarr 0.5) with sharded arrays, written once, box by box, and read by
//! patches. `docs/shards.md` describes it and has the measurements behind the layout.
//!
//! Memory: writing holds one shard and its encoded form ([`CaseWriter`]); reading holds what it returns and one inner chunk.

mod error;
mod files;
mod foreground;
mod images;
mod layout;
mod names;
mod ome;
mod reader;
mod record;
mod region;
pub mod sampler;
mod seal;
mod shard;
pub mod stack;
mod store;
mod volume;
mod whole;
mod writer;

pub use error::{Damage, Error, Result};
pub use foreground::ForegroundSample;
pub use layout::{Compression, Layout};
pub use reader::Case;
pub use record::{
    CaseRecord, ChannelRecord, LabelCount, LabelRecord, Normalisation, SourceRecord, WarningRecord,
};
pub use region::Region;
pub use store::ShardStore;
pub use whole::{LabelVoxels, write_case};
pub use writer::{CaseWriter, LabelType};
