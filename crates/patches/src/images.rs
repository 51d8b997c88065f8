//! Which images the cases of a shard directory were made of, whatever they are called.

use crate::ShardStore;
use data_manifests::digest;
use std::collections::{BTreeMap, HashMap};

/// Hexadecimal digits of a digest that tell one image from another.
const DIGITS: usize = 32;

impl ShardStore {
    /// What tells the image of each finished case from all others, by id: a digest of the digests of its raw files, and of which of their
    /// sections it is. The same files have the same one under any name. Cases whose files the manifest does not list have none.
    #[must_use]
    pub fn images(&self) -> HashMap<&str, String> {
        // a folder of slices is listed slice by slice
        let inputs = self.manifest().inputs.iter();
        let files: BTreeMap<&str, &str> = inputs.map(|i| (i.path.as_str(), i.sha256.as_str())).collect();
        let identified = |row: &str| -> Option<String> {
            let channels: Option<Vec<String>> = row.split(';').map(|text| of_channel(text, &files)).collect();
            Some(digest::sha256_hex(channels?.join(";").as_bytes())[..DIGITS].to_owned())
        };
        self.rows().iter().filter_map(|row| Some((row.id.as_str(), identified(&row.image)?))).collect()
    }
}

/// Digests of the files of `$RAW/FILE` or `$RAW/FILE[FIRST:END]`, and the sections.
fn of_channel(text: &str, files: &BTreeMap<&str, &str>) -> Option<String> {
    let (file, sections) = match text.rsplit_once('[') {
        Some((file, sections)) if text.ends_with(']') => (file, sections),
        _ => (text, ""),
    };
    let folder = format!("{file}/");
    let found: Vec<&str> = match files.get(file) {
        Some(sha256) => vec![sha256],
        None => {
            let slices = files.range(folder.as_str()..).take_while(|(path, _)| path.starts_with(&folder));
            slices.map(|(_, sha256)| *sha256).collect()
        }
    };
    (!found.is_empty()).then(|| format!("{}[{sections}", found.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_sections_tell_images_apart_and_names_do_not() {
        let files = BTreeMap::from([
            ("$RAW/a.h5", "1"),
            ("$RAW/b [x].h5", "1"),
            ("$RAW/s/0.png", "2"),
            ("$RAW/s/1.png", "3"),
            ("$RAW/s.txt", "4"),
        ]);
        let of = |text: &str| of_channel(text, &files);
        assert_eq!(of("$RAW/a.h5[0:75]").as_deref(), Some("1[0:75]"));
        assert_eq!(of("$RAW/a.h5"), of("$RAW/b [x].h5"));
        assert_ne!(of("$RAW/a.h5[0:75]"), of("$RAW/a.h5[75:125]"));
        assert_eq!(of("$RAW/s").as_deref(), Some("2 3["));
        assert_eq!((of("$RAW/c.h5"), of("")), (None, None));
    }
}
