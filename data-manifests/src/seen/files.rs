//! Which raw files an image was made of: what two images share shows, whatever they are called.

use std::collections::HashMap;
use std::fmt;

/// The raw files of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFiles {
    /// Of each channel one.
    pub parts: Vec<FilePart>,
    /// One digest of all channels and sections, by which files of weights of earlier versions tell images apart; where all are known.
    pub joined: Option<String>,
}

/// A raw file, or some of its sections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePart {
    /// Digest.
    pub file: String,
    /// The first section and one past the last; none for all there are.
    pub sections: Option<[usize; 2]>,
}

impl FilePart {
    /// The first section and one past the last, of all there are where none are named.
    #[must_use]
    pub fn range(&self) -> [usize; 2] {
        self.sections.unwrap_or(ALL)
    }

    /// The file's digest and the sections in what [`fmt::Display`] wrote.
    fn read(text: &str) -> (&str, [usize; 2]) {
        sections_of(text).map_or((text, ALL), |(file, sections)| (file, sections))
    }
}

impl fmt::Display for FilePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sections {
            Some([first, end]) => write!(f, "{}[{first}:{end}]", self.file),
            None => f.write_str(&self.file),
        }
    }
}

/// Every section of a file.
const ALL: [usize; 2] = [0, usize::MAX];

/// What stands before `[first:end]` at the end of a text, and these; `None` without.
#[must_use]
pub fn sections_of(text: &str) -> Option<(&str, [usize; 2])> {
    let (before, range) = text.strip_suffix(']')?.rsplit_once('[')?;
    let (first, end) = range.split_once(':')?;
    Some((before, [first.parse().ok()?, end.parse().ok()?]))
}

/// Files, and which of their sections, of any number of images.
#[derive(Debug, Clone, Default)]
pub struct Covered<'a> {
    /// By digest, in order and apart from each other.
    files: HashMap<&'a str, Vec<[usize; 2]>>,
}

impl<'a> Covered<'a> {
    /// The files of these images.
    #[must_use]
    pub fn by(images: impl IntoIterator<Item = &'a ImageFiles>) -> Self {
        let parts = images.into_iter().flat_map(|image| &image.parts);
        Self::of(parts.map(|part| (part.file.as_str(), part.range())))
    }

    /// What is listed in a file's metadata.
    pub(super) fn listed(texts: impl IntoIterator<Item = &'a String>) -> Self {
        Self::of(texts.into_iter().map(|text| FilePart::read(text)))
    }

    fn of(parts: impl Iterator<Item = (&'a str, [usize; 2])>) -> Self {
        let mut files: HashMap<&str, Vec<[usize; 2]>> = HashMap::new();
        for (file, range) in parts {
            files.entry(file).or_default().push(range);
        }
        for ranges in files.values_mut() {
            ranges.sort_unstable();
            ranges.dedup_by(|next, last| {
                let meets = next[0] <= last[1];
                if meets {
                    last[1] = last[1].max(next[1]);
                }
                meets
            });
        }
        Self { files }
    }

    /// Whether any of an image is among them.
    #[must_use]
    pub fn meets(&self, image: &ImageFiles) -> bool {
        image.parts.iter().any(|part| self.meets_part(part))
    }

    fn meets_part(&self, part: &FilePart) -> bool {
        let [first, end] = part.range();
        self.files.get(part.file.as_str()).is_some_and(|ranges| {
            let after = ranges.partition_point(|range| range[1] <= first);
            ranges.get(after).is_some_and(|range| range[0] < end)
        })
    }

    /// Whether an image of all channels and sections is among those that earlier versions listed.
    pub(super) fn lists(&self, image: &ImageFiles) -> bool {
        image.joined.as_ref().is_some_and(|joined| self.files.contains_key(joined.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(parts: &[(&str, Option<[usize; 2]>)]) -> ImageFiles {
        let part = |(file, sections): &(&str, _)| FilePart { file: (*file).to_owned(), sections: *sections };
        ImageFiles { parts: parts.iter().map(part).collect(), joined: None }
    }

    #[test]
    fn images_meet_where_a_channel_and_its_sections_do() {
        let stack = [image(&[("a", Some([10, 20]))]), image(&[("a", Some([30, 40])), ("b", None)])];
        let covered = Covered::by(&stack);
        for (sections, expected) in [
            (None, true),
            (Some([0, 10]), false),
            (Some([0, 11]), true),
            (Some([19, 25]), true),
            (Some([20, 30]), false),
            (Some([39, 90]), true),
            (Some([40, 90]), false),
        ] {
            assert_eq!(covered.meets(&image(&[("a", sections)])), expected, "{sections:?}");
        }
        assert!(covered.meets(&image(&[("c", None), ("b", Some([5, 6]))])));
        assert!(!covered.meets(&image(&[("c", None)])) && !covered.meets(&ImageFiles::default()));
        // one within another
        let nested = [image(&[("a", Some([0, 50]))]), image(&[("a", Some([10, 20]))])];
        assert!(Covered::by(&nested).meets(&image(&[("a", Some([40, 41]))])));
    }

    #[test]
    fn parts_survive_their_texts() {
        for part in [("ab", None), ("ab", Some([0, 12]))] {
            let [part] = <[FilePart; 1]>::try_from(image(&[part]).parts).unwrap();
            assert_eq!(FilePart::read(&part.to_string()), (part.file.as_str(), part.range()));
        }
        assert_eq!(sections_of("a [x].h5"), None);
        assert_eq!(sections_of("a.h5[3:b]"), None);
        assert_eq!(sections_of("a.h5[3:7]"), Some(("a.h5", [3, 7])));
    }
}
