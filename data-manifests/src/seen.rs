//! Which cases weights have learnt from, carried from file to file: who scores a model must know what it has seen.

mod files;

pub use files::{Covered, FilePart, ImageFiles, sections_of};

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
    /// Digests of the raw files that were learnt from, whatever their cases are called: of each channel one, with `[first:end]` where only
    /// some of its sections were. Earlier versions wrote one digest of all channels and sections instead, which tells no part of an image.
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
        images: &HashMap<&str, ImageFiles>,
        labelled: bool,
    ) {
        let cases = self.datasets.entry(dataset.to_owned()).or_default();
        for id in ids {
            cases.images.insert(id.clone());
            let parts = images.get(id.as_str()).into_iter().flat_map(|image| &image.parts);
            self.files.extend(parts.map(FilePart::to_string));
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

    /// How many of these cases' images, or parts of them, were learnt from, under whatever name, and of how many the labels.
    pub fn among<'a>(
        &self,
        dataset: &str,
        ids: impl IntoIterator<Item = &'a String>,
        images: &HashMap<&str, ImageFiles>,
    ) -> [usize; 2] {
        let cases = self.datasets.get(dataset);
        let covered = Covered::listed(&self.files);
        let mut seen = [0; 2];
        for id in ids {
            let file =
                images.get(id.as_str()).is_some_and(|image| covered.meets(image) || covered.lists(image));
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
        let image = |file: &str, sections, joined: &str| ImageFiles {
            parts: vec![FilePart { file: file.to_owned(), sections }],
            joined: Some(joined.to_owned()),
        };
        let one = image("one", None, "all of one");
        let images = HashMap::from([("1", one.clone()), ("9", one)]);
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
        // some of its sections, and one of several channels
        let mut channels = image("another", None, "both");
        channels.parts.extend(image("one", None, "").parts);
        let parts = HashMap::from([("9", image("one", Some([0, 3]), "some of one")), ("8", channels)]);
        assert_eq!(found.among("b", &ids(&["9", "8"]), &parts), [2, 0]);
        let mut of_sections = Seen::default();
        of_sections.add("a", &ids(&["9"]), &parts, false);
        assert!(of_sections.text().unwrap().contains("\"one[0:3]\""));
        let others = HashMap::from([("7", image("one", Some([3, 6]), "others of one"))]);
        assert_eq!(of_sections.among("b", &ids(&["7"]), &others), [0, 0]);
        assert_eq!(of_sections.among("b", &ids(&["1"]), &images), [1, 0]);
        // as earlier versions wrote it: all of an image, or nothing
        let old = Seen { files: BTreeSet::from(["both".to_owned()]), ..Seen::default() };
        assert_eq!(old.among("b", &ids(&["9", "8"]), &parts), [1, 0]);
        assert!(!found.incomplete);
        let stranger = Seen::of_metadata(&BTreeMap::new()).unwrap();
        assert!(stranger.incomplete && stranger.datasets.is_empty());
        model.join(stranger);
        assert!(model.incomplete && model.text().unwrap().contains("\"incomplete\":true"));
        assert!(Seen::of_metadata(&BTreeMap::from([(KEY.to_owned(), "7".to_owned())])).is_err());
    }
}
