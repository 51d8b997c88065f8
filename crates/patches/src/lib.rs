//! The shard store: one Zarr v3 group per case with sharded arrays, written once and read by patches.
//!
//! Memory: writing holds one shard (at most 256³ voxels of all channels) beside the case; reading holds the inner chunks
//! that a patch touches, one at a time.

mod error;
mod layout;
mod reader;
mod record;
mod region;
pub mod sampler;
mod seal;
mod store;
mod writer;

pub use error::{Error, Result};
pub use reader::Case;
pub use record::{
    CaseRecord, ChannelRecord, LabelCount, LabelRecord, Normalisation, SourceRecord, WarningRecord,
};
pub use region::Region;
pub use store::ShardStore;
pub use writer::{LabelVoxels, write_case};
