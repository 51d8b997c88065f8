//! What generated volumes are made of: noise that is a function of place, and bodies with soft edges.
//!
//! Places and lengths are in the units of a scene (mm, or nm for electron microscopy); arrays of voxels have axes z, y, x.

pub mod noise;
pub mod shapes;
