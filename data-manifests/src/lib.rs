//! What the stages write down and read back.
