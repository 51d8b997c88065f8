//! SwinUNETR (Hatamizadeh et al. 2022, arXiv 2201.01266) and its encoder alone, with MONAI's state-dict names.
//!
//! A transformer of shifted windows makes five hidden states, each at half the resolution of the one before; a
//! convolutional decoder brings them back to the input's. No dropout, no stochastic depth.

mod attention;
mod block;
mod config;
mod convolution;
mod encoder;
mod merging;
mod transformer;
mod unetr;
mod windows;

pub use config::{SwinConfig, SwinMerging};
pub use encoder::SwinUnetrEncoder;
pub use unetr::SwinUnetr;
