//! The little of LibTorch that tch does not expose.
