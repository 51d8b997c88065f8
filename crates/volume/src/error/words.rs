//! Numbers in messages.

use crate::grouped;
use std::fmt;

/// Values with the number of voxels that hold them; shows the first eight.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ValueTable(pub Vec<(f64, u64)>);

impl fmt::Display for ValueTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (value, count)) in self.0.iter().take(8).enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            let noun = if *count == 1 { "voxel" } else { "voxels" };
            write!(f, "{separator}{value} ({} {noun})", grouped(*count))?;
        }
        if self.0.len() > 8 {
            write!(f, " and {} more values", self.0.len() - 8)?;
        }
        Ok(())
    }
}

pub(super) fn extent([low, high]: &[[f64; 3]; 2]) -> String {
    [0, 1, 2].map(|axis: usize| format!("{:.1}…{:.1}", low[axis], high[axis])).join(", ")
}

pub(crate) fn size(shape_zyx: &[usize; 3]) -> String {
    format!("{}×{}×{}", shape_zyx[0], shape_zyx[1], shape_zyx[2])
}

pub(super) fn progress(decoded: u64, expected: u64) -> String {
    if expected == 0 {
        String::new()
    } else {
        format!(" after {} of {} voxel bytes", grouped(decoded), grouped(expected))
    }
}

pub(super) fn note(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// Lengths along z, y and x with four digits.
pub(crate) fn lengths(mm: &[f64; 3]) -> String {
    mm.map(|mm| format!("{mm:.3e}").parse().unwrap_or(mm)).map(|mm: f64| mm.to_string()).join("×")
}
