//! Which cases weights have learnt from, carried from file to file: who scores a model must know what it has seen.

use crate::digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Key in the metadata of files of weights.
pub const KEY: &str = "seen";

/// Cases by data set, of everything that a file's weights come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seen {
    /// By name of the data set.
    pub datasets: BTreeMap<String, SeenCases>,
    /// What tells the images that were learnt from apart, whatever their cases are called.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<String>,
    /// Weights among its origins do not say what they have seen: there may be more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
}

/// Cases of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenCases {
    /// Ids of those whose images were learnt from.
    pub images: BTreeSet<String>,
    /// Ids of those whose labels were, too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
}

impl Seen {
    /// What a file's metadata says; weights of other origin say nothing, and may have seen anything.
    ///
    /// # Errors
    /// For what is no such record.
    pub fn of_metadata(metadata: &BTreeMap<String, String>) -> Result<Self, serde_json::Error> {
        match metadata.get(KEY) {
            Some(text) => serde_json::from_str(text),
            None => Ok(Self { incomplete: true, ..Self::default() }),
        }
    }

    /// As it stands in metadata: the same record is the same text.
    ///
    /// # Errors
    /// None that is known of.
    pub fn text(&self) -> Result<String, serde_json::Error> {
        Ok(digest::canonical(&serde_json::to_value(self)?))
    }

    /// Adds cases whose images were learnt from, and their labels where `labelled`. `images` tells what the cases of the data set are made of.
    pub fn add<'a>(
        &mut self,
        dataset: &str,
        ids: impl IntoIterator<Item = &'a String>,
        images: &HashMap<&str, String>,
        labelled: bool,
    ) {
        let cases = self.datasets.entry(dataset.to_owned()).or_default();
        for id in ids {
            cases.images.insert(id.clone());
            self.files.extend(images.get(id.as_str()).cloned());
            if labelled {
                cases.labels.insert(id.clone());
            }
        }
    }

    /// Adds what other weights have seen.
    pub fn join(&mut self, other: Self) {
        self.incomplete |= other.incomplete;
        self.files.extend(other.files);
        for (dataset, cases) in other.datasets {
            let own = self.datasets.entry(dataset).or_default();
            own.images.extend(cases.images);
            own.labels.extend(cases.labels);
        }
    }

    /// How many of these cases' images were learnt from, under whatever name, and of how many the labels.
    pub fn among<'a>(
        &self,
        dataset: &str,
        ids: impl IntoIterator<Item = &'a String>,
        images: &HashMap<&str, String>,
    ) -> [usize; 2] {
        let cases = self.datasets.get(dataset);
        let mut seen = [0; 2];
        for id in ids {
            let file = images.get(id.as_str()).is_some_and(|image| self.files.contains(image));
            let named =
                |of: fn(&SeenCases) -> &BTreeSet<String>| cases.is_some_and(|cases| of(cases).contains(id));
            seen[0] += usize::from(file || named(|cases| &cases.images));
            seen[1] += usize::from(named(|cases| &cases.labels));
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_adds_up_and_survives_a_file() {
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let images = HashMap::from([("1", "file of 1".to_owned()), ("9", "file of 1".to_owned())]);
        let none = HashMap::new();
        let mut encoder = Seen::default();
        encoder.add("a", &ids(&["1", "2"]), &images, false);
        let mut model = Seen::default();
        model.add("a", &ids(&["2", "3"]), &none, true);
        model.join(encoder);
        let metadata = BTreeMap::from([(KEY.to_owned(), model.text().unwrap())]);
        let found = Seen::of_metadata(&metadata).unwrap();
        assert_eq!(found, model);
        assert_eq!(found.among("a", &ids(&["1", "2", "4"]), &none), [2, 1]);
        assert_eq!(found.among("b", &ids(&["1"]), &none), [0, 0]);
        // the same file under another name, in another data set
        assert_eq!(found.among("b", &ids(&["9", "8"]), &images), [1, 0]);
        assert!(!found.incomplete);
        let stranger = Seen::of_metadata(&BTreeMap::new()).unwrap();
        assert!(stranger.incomplete && stranger.datasets.is_empty());
        model.join(stranger);
        assert!(model.incomplete && model.text().unwrap().contains("\"incomplete\":true"));
        assert!(Seen::of_metadata(&BTreeMap::from([(KEY.to_owned(), "7".to_owned())])).is_err());
    }
}
