//! Overlap and surface metrics with named definitions.
