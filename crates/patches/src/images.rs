//! Which raw files the cases of a shard directory were made of, whatever they are called.

use crate::ShardStore;
use data_manifests::digest;
use data_manifests::raw::SCAN_ENDINGS;
use data_manifests::seen::{FilePart, ImageFiles, sections_of};
use data_manifests::{Artefact, CaseRow};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;

/// Hexadecimal digits of a digest that tell one file from another.
const DIGITS: usize = 32;
/// A file that as many subjects have, beside channels of their own, is an atlas or an empty mask, and tells none of them.
const COMMON: usize = 3;
/// Endings of headers that may leave their voxels to another file.
const HEADERS: [&str; 4] = [".mhd", ".nhdr", ".mha", ".nrrd"];

impl ShardStore {
    /// The raw files of each finished case's image, by id. Cases whose files the manifest does not list have none.
    #[must_use]
    pub fn images(&self) -> HashMap<&str, ImageFiles> {
        of_rows(self.rows(), &self.manifest().inputs)
    }
}

fn of_rows<'a>(rows: &'a [CaseRow], inputs: &[Artefact]) -> HashMap<&'a str, ImageFiles> {
    let files = Files::of(rows, inputs);
    let mut found: Vec<(&CaseRow, ImageFiles)> = rows
        .iter()
        .map(|row| {
            let mut parts: Vec<FilePart> = channels(&row.image).filter_map(|text| files.part(text)).collect();
            parts.sort();
            parts.dedup();
            (row, ImageFiles { parts, joined: files.joined(&row.image) })
        })
        .filter(|(_, image)| !image.parts.is_empty())
        .collect();
    without_common(&mut found);
    found.into_iter().map(|(row, image)| (row.id.as_str(), image)).collect()
}

/// Takes files that tell no image from those that have others.
fn without_common(images: &mut [(&CaseRow, ImageFiles)]) {
    /// Some subjects, and some of the files that stand together.
    type Users<'a> = (Vec<&'a str>, Vec<&'a [FilePart]>);
    fn add<T: PartialEq>(known: &mut Vec<T>, one: T) {
        if known.len() < COMMON && !known.contains(&one) {
            known.push(one);
        }
    }
    let mut users: HashMap<&FilePart, Users<'_>> = HashMap::new();
    for (row, image) in images.iter().filter(|(_, image)| image.parts.len() > 1) {
        for part in &image.parts {
            let (subjects, together) = users.entry(part).or_default();
            add(subjects, row.subject.as_str());
            add(together, image.parts.as_slice());
        }
    }
    users.retain(|_, (subjects, together)| subjects.len() == COMMON && together.len() == COMMON);
    let common: HashSet<FilePart> = users.into_keys().cloned().collect();
    for (_, image) in images.iter_mut() {
        if image.parts.iter().any(|part| !common.contains(part)) {
            image.parts.retain(|part| !common.contains(part));
        }
    }
}

/// The names in a table's column of images.
fn channels(image: &str) -> impl Iterator<Item = &str> {
    // names may hold a semicolon
    image.split(";$RAW/").map(|text| text.strip_prefix("$RAW/").unwrap_or(text))
}

/// The file of a name, without labels and sections.
fn file_of(text: &str) -> &str {
    let text = sections_of(text).map_or(text, |(file, _)| file);
    text.split_once('#').map_or(text, |(file, _)| file)
}

/// Raw files below `$RAW`.
struct Files<'a> {
    /// Digests by path; folders that are one input end with `/`.
    digests: BTreeMap<&'a str, &'a str>,
    /// Digests of the voxels of headers that leave them to another file.
    voxels: HashMap<&'a str, &'a str>,
}

impl<'a> Files<'a> {
    fn of(rows: &[CaseRow], inputs: &'a [Artefact]) -> Self {
        let listed: Vec<(&str, &str)> = inputs
            .iter()
            .filter_map(|input| Some((input.path.strip_prefix("$RAW/")?, input.sha256.as_str())))
            .collect();
        let texts = rows.iter().flat_map(|row| channels(&row.image).chain(channels(&row.label)));
        let named: HashSet<&str> = texts.map(file_of).collect();
        let is_named = |path: &str| {
            let folders = path.char_indices().filter(|(_, c)| *c == '/').map(|(at, _)| &path[..at]);
            folders.chain([path]).any(|path| named.contains(path))
        };
        let ends = |path: &str, endings: &[&str]| {
            let path = path.to_lowercase();
            endings.iter().any(|ending| path.ends_with(ending))
        };
        // a header is listed with its voxels behind it, which no table names
        let voxels = listed
            .windows(2)
            .filter(|pair| ends(pair[0].0, &HEADERS) && !ends(pair[1].0, &SCAN_ENDINGS))
            .filter(|pair| !is_named(pair[1].0))
            .map(|pair| (pair[0].0, pair[1].1))
            .collect();
        Self { digests: listed.into_iter().collect(), voxels }
    }

    /// Paths and digests of all below a folder.
    fn below(&self, folder: &str) -> Vec<(&str, &str)> {
        let folder = format!("{folder}/");
        let from = (Bound::Included(folder.as_str()), Bound::Unbounded);
        let found = self.digests.range::<str, _>(from).map(|(path, sha256)| (*path, *sha256));
        found.take_while(|(path, _)| path.starts_with(&folder)).collect()
    }

    /// What an image's name, `FILE` or `FILE[FIRST:END]`, stands for; `None` for what is not listed.
    fn part(&self, text: &str) -> Option<FilePart> {
        let found = self.digest(text).map(|file| FilePart { file, sections: None });
        found.or_else(|| {
            let (file, sections) = sections_of(text)?;
            Some(FilePart { file: self.digest(file)?, sections: Some(sections) })
        })
    }

    fn digest(&self, file: &str) -> Option<String> {
        if let Some(sha256) = self.voxels.get(file).or_else(|| self.digests.get(file)) {
            return Some(short(sha256));
        }
        let below = self.below(file);
        // of an image in OME-Zarr the voxels, since metadata are alike; of a folder of slices all of them
        let labels = format!("{file}/labels/");
        let mut arrays = below.iter().filter(|(path, _)| path.ends_with('/') && !path.starts_with(&labels));
        if let Some((_, sha256)) = arrays.next() {
            return Some(short(sha256));
        }
        let slices: Vec<&str> = below.into_iter().map(|(_, sha256)| sha256).collect();
        (!slices.is_empty()).then(|| short(&digest::sha256_hex(slices.join(" ").as_bytes())))
    }

    /// The digest of all channels and sections that earlier versions wrote into files of weights.
    fn joined(&self, image: &str) -> Option<String> {
        let of_channel = |text: &str| -> Option<String> {
            let text = text.strip_prefix("$RAW/").unwrap_or(text);
            let (file, sections) = match text.rsplit_once('[') {
                Some((file, sections)) if text.ends_with(']') => (file, sections),
                _ => (text, ""),
            };
            let found: Vec<&str> = match self.digests.get(file) {
                Some(sha256) => vec![sha256],
                None => self.below(file).into_iter().map(|(_, sha256)| sha256).collect(),
            };
            (!found.is_empty()).then(|| format!("{}[{sections}", found.join(" ")))
        };
        let channels: Option<Vec<String>> = image.split(';').map(of_channel).collect();
        Some(short(&digest::sha256_hex(channels?.join(";").as_bytes())))
    }
}

fn short(sha256: &str) -> String {
    sha256.get(..DIGITS).unwrap_or(sha256).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::{CaseSplit, CaseStatus};

    fn row(id: &str, image: &str) -> CaseRow {
        CaseRow {
            id: id.to_owned(),
            subject: format!("subject of {id}"),
            image: image.to_owned(),
            label: String::new(),
            split: CaseSplit::Train,
            shape: String::new(),
            spacing: String::new(),
            status: CaseStatus::Done,
            digest: String::new(),
            label_voxels: String::new(),
        }
    }

    fn inputs(files: &[(&str, &str)]) -> Vec<Artefact> {
        let input = |(path, sha256): &(&str, &str)| Artefact {
            role: "raw".to_owned(),
            path: format!("$RAW/{path}"),
            bytes: 1,
            sha256: (*sha256).to_owned(),
        };
        files.iter().map(input).collect()
    }

    /// The parts of cases that are made of these images, as they stand in files of weights.
    fn parts(images: &[&str], files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let rows: Vec<CaseRow> =
            images.iter().enumerate().map(|(at, image)| row(&at.to_string(), image)).collect();
        let inputs = inputs(files);
        let found = of_rows(&rows, &inputs);
        let texts = |row: &CaseRow| {
            found.get(row.id.as_str()).map(|image| image.parts.iter().map(FilePart::to_string).collect())
        };
        rows.iter().map(|row| texts(row).unwrap_or_default()).collect()
    }

    #[test]
    fn files_and_sections_tell_images_apart_and_names_do_not() {
        let files = [
            ("a.h5", "1"),
            ("b [x].h5", "1"),
            ("s/0.png", "2"),
            ("s/1.png", "3"),
            ("s.txt", "4"),
            ("c;d", "5"),
        ];
        let images = [
            "$RAW/a.h5[0:75]",
            "$RAW/a.h5",
            "$RAW/b [x].h5",
            "$RAW/s",
            "$RAW/c.h5",
            "",
            "$RAW/c;d;$RAW/a.h5;$RAW/c.h5",
        ];
        let slices = &digest::sha256_hex(b"2 3")[..DIGITS];
        let expected: [&[&str]; 7] = [&["1[0:75]"], &["1"], &["1"], &[slices], &[], &[], &["1", "5"]];
        assert_eq!(parts(&images, &files), expected);
    }

    #[test]
    fn voxels_tell_images_apart_where_headers_and_metadata_are_alike() {
        let files = [
            ("a/i.mhd", "header"),
            ("a/i.raw", "1"),
            ("b/i.mhd", "header"),
            ("b/i.raw", "2"),
            ("c.mha", "3"),
            ("s/0.png", "4"),
            ("d.zarr/.zattrs", "metadata"),
            ("d.zarr/0/", "5"),
            ("d.zarr/labels/l/.zattrs", "metadata"),
            ("d.zarr/labels/l/0/", "6"),
        ];
        let images = [
            "$RAW/a/i.mhd",
            "$RAW/b/i.mhd",
            "$RAW/c.mha",
            "$RAW/s",
            "$RAW/d.zarr",
            "$RAW/d.zarr/0[2:5]",
            "$RAW/d.zarr/labels/l",
        ];
        let slice = &digest::sha256_hex(b"4")[..DIGITS];
        let expected: [&[&str]; 7] = [&["1"], &["2"], &["3"], &[slice], &["5"], &["5[2:5]"], &["6"]];
        assert_eq!(parts(&images, &files), expected);
    }

    #[test]
    fn a_mask_that_many_subjects_have_tells_none_of_them() {
        let files = [("a", "1"), ("b", "2"), ("c", "3"), ("mask", "0")];
        let with_mask = ["$RAW/a;$RAW/mask", "$RAW/b;$RAW/mask", "$RAW/c;$RAW/mask", "$RAW/mask"];
        let expected: [&[&str]; 4] = [&["1"], &["2"], &["3"], &["0"]];
        assert_eq!(parts(&with_mask, &files), expected);
        // two of them are one image with two partners
        assert_eq!(parts(&with_mask[..2], &files), [["0", "1"], ["0", "2"]]);
        // and one image of several channels stays itself, however often it is given
        assert_eq!(parts(&[with_mask[0]; 3], &files), [["0", "1"], ["0", "1"], ["0", "1"]]);
    }

    #[test]
    fn digests_of_earlier_versions_are_found_again() {
        let files = inputs(&[("a.h5", "1"), ("s/0.png", "2"), ("s/1.png", "3")]);
        let old = |text: &str| Some(digest::sha256_hex(text.as_bytes())[..DIGITS].to_owned());
        for (image, expected) in [
            ("$RAW/a.h5[0:75]", old("1[0:75]")),
            ("$RAW/a.h5;$RAW/s", old("1[;2 3[")),
            ("$RAW/a.h5;$RAW/b.h5", None),
        ] {
            assert_eq!(of_rows(&[row("1", image)], &files)["1"].joined, expected, "{image}");
        }
    }
}
