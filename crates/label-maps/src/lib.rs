//! Operations on label maps.
