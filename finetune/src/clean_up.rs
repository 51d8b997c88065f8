//! Clean-up of label maps: only the largest connected component of the foreground, or of a class, stays, where that was better on
//! validation cases (F. Isensee et al., "nnU-Net", Nature Methods 18 (2021) 203–211, postprocessing).

mod choose;

pub(crate) use choose::run;

use crate::chosen::Chosen;
use label_maps::{Connectivity, label_components};
use serde::{Deserialize, Serialize};

/// What was chosen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CleanUp {
    schema: String,
    /// SHA-256 of the models as predictions list them, of a directory its manifest's; ascending.
    models: Vec<String>,
    /// SHA-256 of their weights in that order; files of earlier versions do not say.
    #[serde(default)]
    weights: Vec<String>,
    /// Validation cases that it was chosen on.
    cases: usize,
    /// Whether only the largest component of the whole foreground stays.
    foreground: bool,
    /// Classes of which, after that, only the largest component stays.
    classes: Vec<u16>,
    /// All that was tried.
    tried: Vec<Trial>,
}

/// Mean Dice of the validation cases without and with a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    step: String,
    without: f64,
    with: f64,
    taken: bool,
}

impl Chosen for CleanUp {
    const SCHEMA: &'static str = "gtgm/clean-up/1";
    const CODE: &'static str = "E423";
    const COMMAND: &'static str = "finetune clean-up";

    fn schema(&self) -> &str {
        &self.schema
    }

    fn models(&self) -> &[String] {
        &self.models
    }

    fn weights(&self) -> &[String] {
        &self.weights
    }
}

impl CleanUp {
    /// Cleans a label map, z, y, x of `shape_zyx`.
    pub(crate) fn apply(&self, labels: &mut [u16], shape_zyx: [usize; 3]) -> label_maps::Result<()> {
        if self.foreground {
            keep_largest(labels, shape_zyx, |label| label != 0)?;
        }
        for class in &self.classes {
            keep_largest(labels, shape_zyx, |label| label == *class)?;
        }
        Ok(())
    }
}

/// Of the voxels that belong, clears all but the largest component (26 neighbours; of equal ones the first).
///
/// Memory: 5 bytes per voxel of the box around them.
fn keep_largest(
    labels: &mut [u16],
    shape_zyx: [usize; 3],
    belongs: impl Fn(u16) -> bool,
) -> label_maps::Result<()> {
    let [_, ny, nx] = shape_zyx;
    let place = |i: usize| [i / (ny * nx), i / nx % ny, i % nx];
    let (mut low, mut high) = ([usize::MAX; 3], [0; 3]);
    for (i, _) in labels.iter().enumerate().filter(|(_, label)| belongs(**label)) {
        for ((low, high), at) in low.iter_mut().zip(&mut high).zip(place(i)) {
            *low = (*low).min(at);
            *high = (*high).max(at + 1);
        }
    }
    if low[0] >= high[0] {
        return Ok(());
    }
    let size: [usize; 3] = std::array::from_fn(|axis| high[axis] - low[axis]);
    let row = |r: usize| ((low[0] + r / size[1]) * ny + low[1] + r % size[1]) * nx + low[2];
    let mut mask = Vec::with_capacity(size.iter().product());
    for r in 0..size[0] * size[1] {
        mask.extend(labels[row(r)..][..size[2]].iter().map(|label| belongs(*label)));
    }
    let components = label_components(&mask, size, Connectivity::Corners)?;
    drop(mask);
    let largest = components.largest();
    for r in 0..size[0] * size[1] {
        let numbers = &components.labels[r * size[2]..][..size[2]];
        for (label, number) in labels[row(r)..][..size[2]].iter_mut().zip(numbers) {
            if *number != 0 && Some(*number) != largest {
                *label = 0;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chosen::{self, tests::identity};

    fn choice(foreground: bool, classes: &[u16]) -> CleanUp {
        CleanUp {
            schema: CleanUp::SCHEMA.to_owned(),
            models: vec!["a".to_owned(), "b".to_owned()],
            weights: vec!["wa".to_owned(), "wb".to_owned()],
            cases: 2,
            foreground,
            classes: classes.to_vec(),
            tried: Vec::new(),
        }
    }

    #[test]
    fn smaller_components_go() {
        let map = [0, 1, 1, 0, 2, 0, 1, 0, 2, 2, 2, 0, 2];
        let cleaned = |choice: &CleanUp| {
            let mut labels = map;
            choice.apply(&mut labels, [1, 1, 13]).unwrap();
            labels
        };
        assert_eq!(cleaned(&choice(false, &[])), map);
        assert_eq!(cleaned(&choice(true, &[])), [0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0]);
        assert_eq!(cleaned(&choice(false, &[1])), [0, 1, 1, 0, 2, 0, 0, 0, 2, 2, 2, 0, 2]);
        // corners connect, and what is not there stays so
        let mut corner = [3, 0, 0, 0, 0, 0, 0, 3];
        choice(true, &[3, 7]).apply(&mut corner, [2, 2, 2]).unwrap();
        assert_eq!(corner, [3, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn a_choice_is_for_its_models() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("choice.json");
        fs_err::write(&path, serde_json::to_vec(&choice(true, &[2])).unwrap()).unwrap();
        let models = [identity(Some("a"), None), identity(None, Some("wb"))];
        assert_eq!(chosen::load::<CleanUp>(&path, &models).unwrap(), choice(true, &[2]));
        let said = chosen::load::<CleanUp>(&path, &models[..1]).unwrap_err().to_string();
        assert!(said.starts_with("E423 this choice was made for other models"), "{said}");
        // of an earlier version
        let earlier = CleanUp { weights: Vec::new(), ..choice(true, &[]) };
        fs_err::write(&path, serde_json::to_vec(&earlier).unwrap()).unwrap();
        let said = chosen::load::<CleanUp>(&path, &models).unwrap_err().to_string();
        assert!(said.starts_with("E423 this choice does not say whether"), "{said}");
        let by_directory = ["b", "a"].map(|listed| identity(Some(listed), Some("w")));
        chosen::load::<CleanUp>(&path, &by_directory).unwrap();
        fs_err::write(&path, "{}").unwrap();
        let said = chosen::load::<CleanUp>(&path, &models).unwrap_err().to_string();
        assert!(said.starts_with("E423 this is not a choice"), "{said}");
    }
}
