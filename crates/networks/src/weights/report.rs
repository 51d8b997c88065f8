//! What became of each tensor of a file and each variable of a network.

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What follows where [`LoadReport::other_encoder`] says something.
pub const OTHER_ENCODER: &str =
    "The weights were learnt in a deeper or another encoder, and what its other layers learnt is lost";

/// What loading did, for people and for `report.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoadReport {
    /// The file.
    pub path: PathBuf,
    /// How many variables could take a tensor; batch normalisation's counters and constants do not
    /// count.
    pub considered: usize,
    /// Variables that took a tensor as it is.
    pub matched: Vec<String>,
    /// Variables that took a changed tensor.
    pub adapted: Vec<Adapted>,
    /// Tensors of the file that were not used.
    pub skipped: Vec<Skipped>,
    /// Those among them that belong to an encoder, each by one name: the file's encoder is another one, of which only a part is used.
    pub unplaced: Vec<String>,
    /// Variables that kept their value because the file has no tensor for them.
    pub missing: Vec<String>,
}

/// A variable that took a changed tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapted {
    /// The variable.
    pub name: String,
    /// What was done, with both shapes.
    pub how: String,
}

/// A tensor of the file that was not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// Its name in the file.
    pub name: String,
    /// Why not, found against expected.
    pub reason: String,
}

impl LoadReport {
    /// Variables that took a tensor.
    pub fn loaded(&self) -> usize {
        self.matched.len() + self.adapted.len()
    }

    /// What to say where the file's encoder is not this network's, however well this one is filled.
    pub fn other_encoder(&self) -> Option<String> {
        let first = self.unplaced.first()?;
        Some(format!(
            "{} tensors of the file's encoder have no place in this one: first {first}",
            self.unplaced.len()
        ))
    }

    /// The share of the variables considered that took a tensor, from 0 to 1.
    pub fn share(&self) -> f64 {
        if self.considered == 0 { 0.0 } else { self.loaded() as f64 / self.considered as f64 }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Lines of each kind that people see; `report.json` holds all.
        const SHOWN: usize = 5;
        write!(
            f,
            "{}: {} matched, {} adapted, {} skipped, {} missing ({:.0} % of the network's tensors)",
            self.path.display(),
            self.matched.len(),
            self.adapted.len(),
            self.skipped.len(),
            self.missing.len(),
            100.0 * self.share()
        )?;
        for adapted in self.adapted.iter().take(SHOWN) {
            write!(f, "\n  adapted {}: {}", adapted.name, adapted.how)?;
        }
        for skipped in self.skipped.iter().take(SHOWN) {
            write!(f, "\n  skipped {}: {}", skipped.name, skipped.reason)?;
        }
        for missing in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing {missing}")?;
        }
        let hidden: usize = [self.adapted.len(), self.skipped.len(), self.missing.len()]
            .into_iter()
            .map(|count| count.saturating_sub(SHOWN))
            .sum();
        if hidden > 0 {
            write!(f, "\n  and {hidden} more")?;
        }
        Ok(())
    }
}
