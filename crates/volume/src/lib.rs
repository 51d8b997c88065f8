//! One volume: reading, geometry, resampling, intensity rules and label checks.
