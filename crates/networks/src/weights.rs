//! Weights in and out: safetensors files with PyTorch's state-dict names.
//!
//! [`save`] writes what `torch.nn.Module.load_state_dict(strict=True)` of the networks' authors takes; [`load`] reads
//! our files and theirs, and reports what became of each tensor. Nothing is skipped silently.

mod load;
mod names;
mod plan;
mod read;
mod report;
mod save;

pub use load::{LoadOptions, load};
pub use names::{count_parameters, is_encoder};
pub use plan::planned_encoder;
pub use read::{read_metadata, read_tensors};
pub use report::{
    Adapted, LoadReport, OTHER_ENCODER, OTHER_MERGING, OTHER_STEM, RANDOM_STEM, Skipped, WHICH_MERGING,
};
pub use save::{save, save_canonical, save_tensors, save_where};
