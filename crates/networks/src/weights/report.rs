//! What became of each tensor of a file and each variable of a network.

use crate::weights::names::{self, is_stem};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What follows where [`LoadReport::other_encoder`] says something.
pub const OTHER_ENCODER: &str =
    "The weights were learnt in a deeper or another encoder, and what its other layers learnt is lost";

/// What follows where [`LoadReport::random_stem`] says something.
pub const RANDOM_STEM: &str = "What the other layers learnt rests on that of the first";

/// What to do then.
pub const OTHER_STEM: &str = "Use weights of a network whose first convolution has this shape";

/// What it means where a file does not say in which order its transformer merges patches, and nobody else does.
pub const OTHER_MERGING: &str =
    "Both orders have tensors of the same names and shapes: in the other one they give other numbers";

/// What to do then.
pub const WHICH_MERGING: &str =
    "Give --swin-merging: published for weights of MONAI 0.9 to 1.4, complete for later ones";

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
    /// Variables that kept their value because the file's tensor does not fit.
    pub unfit: Vec<String>,
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
    /// Whether the network has a variable for it, which it does not fit.
    pub unfit: bool,
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

    /// What to say where the first convolution, which sees the image, kept its random weights.
    pub fn random_stem(&self) -> Option<String> {
        let stem = self.unfit.iter().chain(&self.missing).find(|name| is_stem(name))?;
        let skipped =
            self.skipped.iter().find(|skipped| skipped.unfit && names::leads_to(&skipped.name, stem));
        let why = skipped.map_or_else(|| "not in the file".to_owned(), |skipped| skipped.reason.clone());
        Some(format!("the encoder's first convolution keeps random weights: {stem}, {why}"))
    }

    /// The share in whole percent, rounded down: all but one of many are not all.
    pub(super) fn percent(&self) -> usize {
        100 * self.loaded() / self.considered.max(1)
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
            "{}: {} matched, {} adapted, {} skipped, {} missing",
            self.path.display(),
            self.matched.len(),
            self.adapted.len(),
            self.skipped.len(),
            self.missing.len(),
        )?;
        if !self.unfit.is_empty() {
            write!(f, ", {} unfit", self.unfit.len())?;
        }
        write!(f, " ({} % of the network's tensors)", self.percent())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_are_not_all_and_a_random_stem_is_told() {
        let skipped = |name: &str, reason: &str, unfit| Skipped {
            name: name.to_owned(),
            reason: reason.to_owned(),
            unfit,
        };
        let mut report = LoadReport {
            path: "resnet50.safetensors".into(),
            considered: 265,
            matched: (0..264).map(|i| format!("encoder2.{i}")).collect(),
            adapted: Vec::new(),
            skipped: vec![
                skipped("fc.weight", "no tensor of this encoder", false),
                skipped("module.conv1.weight", "shape [64, 1, 7, 7, 7], expected [64, 1, 3, 7, 7]", true),
            ],
            unplaced: Vec::new(),
            missing: Vec::new(),
            unfit: vec!["encoder1.0.weight".to_owned()],
        };
        let text = report.to_string();
        assert!(text.contains("264 matched, 0 adapted, 2 skipped, 0 missing, 1 unfit (99 % of"), "{text}");
        let said = report.random_stem().unwrap();
        assert!(
            said.ends_with("encoder1.0.weight, shape [64, 1, 7, 7, 7], expected [64, 1, 3, 7, 7]"),
            "{said}"
        );
        (report.unfit, report.missing) = (Vec::new(), vec!["encoder1.0.weight".to_owned()]);
        report.skipped.truncate(1);
        assert!(report.random_stem().unwrap().ends_with("encoder1.0.weight, not in the file"));
        (report.missing, report.considered) = (Vec::new(), 264);
        assert!(report.to_string().contains("0 missing (100 % of") && report.random_stem().is_none());
    }
}
