//! Encoders, decoders, the text encoder and the captioner, with weights in and out; no training.
//!
//! Networks are built from a serialisable configuration, a path in a `VarStore` and a seed, carry PyTorch's state-dict
//! names, and take `[batch, channels, z, y, x]`. Forward passes return errors where tch would panic (a GPU out of
//! memory among them), each with one line for people.

pub mod bert;
pub mod blip;
pub mod blocks;
mod config;
mod encoder;
mod error;
pub mod heads;
mod init;
mod layout;
mod levels;
mod memory;
mod pretrained;
mod resenc;
mod resnet;
mod resunet;
mod segmentation;
mod shape;
mod swin;
mod tokens;
mod topology;
pub mod weights;

pub use bert::{MAX_TOKENS, Pooling, TextEncoder, default_text_encoder};
pub use blocks::Statistics;
pub use config::{EncoderConfig, EncoderKind, NetworkConfig, NetworkKind};
pub use encoder::Encoder;
pub use error::Error;
pub use heads::{HeadNorm, ProjectionHead};
pub use layout::MemoryFormat;
pub use resenc::{ResEncEncoder, ResEncUNet};
pub use resnet::ResNet50;
pub use resunet::{DecoderNorm, ResUNet50, ResUNetOptions};
pub use segmentation::SegmentationNetwork;
pub use shape::AskedShape;
pub use swin::{SwinConfig, SwinMerging, SwinUnetr, SwinUnetrEncoder};
pub use topology::{ResEncConfig, ResEncSize};
