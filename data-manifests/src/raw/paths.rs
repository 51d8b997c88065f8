//! Paths as people give them.

use crate::Descriptor;
use stage::Message;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Environment variables that name the folder of all raw data sets: ours, then nnU-Net's.
pub const RAW_ROOTS: [&str; 2] = ["GTGM_RAW", "nnUNet_raw"];

/// A path from a command line or an environment variable: surrounding blanks and quotes and a trailing slash go, `~` becomes
/// the home directory.
#[must_use]
pub fn clean(text: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    clean_with(text, home.as_deref())
}

fn clean_with(text: &str, home: Option<&Path>) -> PathBuf {
    let quotes = [('"', '"'), ('\'', '\''), ('“', '”'), ('‘', '’')];
    let mut text = text.trim();
    while let Some(inner) =
        quotes.iter().find_map(|(open, close)| text.strip_prefix(*open)?.strip_suffix(*close))
    {
        text = inner.trim();
    }
    let trimmed = text.trim_end_matches('/');
    let text = if trimmed.is_empty() && !text.is_empty() { "/" } else { trimmed };
    match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// The folder of a data set's raw files where no command line names it, and the variable that led there: the first of
/// [`RAW_ROOTS`] below which there is a folder of that name.
///
/// # Errors
/// `E191` says of each root whether it is set and exists, and which names below it are nearest.
pub fn default_raw(descriptor: &Descriptor) -> Result<(PathBuf, &'static str), Message> {
    let roots = RAW_ROOTS.map(|name| {
        let value = std::env::var_os(name).map(|value| clean(&value.to_string_lossy()));
        (name, value.filter(|path| !path.as_os_str().is_empty()))
    });
    below_roots(descriptor, &roots)
}

fn below_roots(
    descriptor: &Descriptor,
    roots: &[(&'static str, Option<PathBuf>)],
) -> Result<(PathBuf, &'static str), Message> {
    let folder = descriptor.raw.folder();
    let mut looked = Vec::new();
    for (name, root) in roots {
        let Some(root) = root else {
            looked.push(format!("{name} is not set"));
            continue;
        };
        let place = root.join(folder);
        if place.is_dir() {
            return Ok((place, name));
        }
        let found = match folders(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
            Err(error) => format!("cannot be read ({error})"),
            Ok(there) => match nearest(folder, there) {
                near if near.is_empty() => "exists and holds no such name".to_owned(),
                near => format!("exists; nearest there: {}", near.join(", ")),
            },
        };
        looked.push(format!("{name}={} {found}", root.display()));
    }
    Err(Message::error("E191", format!("no raw files of '{}'", descriptor.name))
        .detail(format!("looked for a folder {folder}: {}", looked.join("; ")))
        .fix(format!(
            "Give --raw the data set's own folder, or set {} to the one that holds it",
            RAW_ROOTS[0]
        )))
}

/// Names of the folders below `root`.
fn folders(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let entry = entry?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// What lies in `folder`, is of the kind that is looked for and has a name like `wanted`.
pub(crate) fn nearest_in(folder: &Path, wanted: &str, is_sought: impl Fn(&Path) -> bool) -> Vec<String> {
    // a folder that cannot be read has nothing to offer
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let sought = entries.filter(|entry| is_sought(&entry.path()));
    nearest(wanted, sought.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Letters that have to be put in, left out or changed to make one word of another.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

/// Whether one word is the other with a slip of the keyboard; numbers that differ are others.
fn is_slip(one: &str, other: &str) -> bool {
    const LONG: usize = 5;
    let are_letters =
        [one, other].iter().all(|word| word.len() >= LONG && word.chars().all(char::is_alphabetic));
    are_letters && edits(one, other) <= 2
}

/// The names that share a word with `wanted`, those that share most first.
pub(crate) fn nearest(wanted: &str, mut names: Vec<String>) -> Vec<String> {
    const SHOWN: usize = 3;
    let words = |name: &str| -> BTreeSet<String> {
        let parts = name.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        parts.filter(|part| part.len() > 2).collect()
    };
    let own = words(wanted);
    let shared = |name: &str| {
        words(name).iter().filter(|word| own.iter().any(|own| own == *word || is_slip(own, word))).count()
    };
    names.retain(|name| shared(name) > 0);
    names.sort_by_key(|name| (Reverse(shared(name)), name.clone()));
    names.truncate(SHOWN);
    names
}

/// A path of an index file (`dataset.json`, a table) below its folder: `./` goes, backslashes become slashes.
///
/// # Errors
/// Says what is wrong with a path that is empty or leads out of the folder.
pub(super) fn below(text: &str) -> Result<String, &'static str> {
    let text = text.trim().replace('\\', "/");
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let drive = text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if text.starts_with('/') || drive || parts.contains(&"..") {
        return Err("leads out of the folder; expected a path below it");
    }
    if parts.is_empty() { Err("is no path") } else { Ok(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_becomes_a_path() {
        let home = Path::new("/home/a");
        let cleaned = |text: &str| clean_with(text, Some(home)).display().to_string();
        for (typed, path) in [
            ("data/raw/", "data/raw"),
            ("\"/data/my raw/\"", "/data/my raw"),
            (" '~/raw' ", "/home/a/raw"),
            ("~", "/home/a"),
            ("~/", "/home/a"),
            ("“data”", "data"),
            ("/", "/"),
            ("~other/raw", "~other/raw"),
            ("it's", "it's"),
        ] {
            assert_eq!(cleaned(typed), path, "{typed}");
        }
        assert_eq!(clean_with("~/raw", None), Path::new("~/raw"));
    }

    #[test]
    fn the_first_root_that_has_the_folder_counts_and_all_are_named_if_none_has() {
        let descriptor = Descriptor::find("msd04-hippocampus").unwrap();
        let [ours, theirs] = [0, 1].map(|_| tempfile::tempdir().unwrap());
        let below = |ours: Option<&Path>, theirs: Option<&Path>| {
            let roots = [("GTGM_RAW", ours), ("nnUNet_raw", theirs)];
            below_roots(&descriptor, &roots.map(|(name, root)| (name, root.map(Path::to_owned))))
        };
        for name in ["Dataset004_Hippocampus", "Task03_Liver", "hippocampus-task04"] {
            fs_err::create_dir(ours.path().join(name)).unwrap();
        }
        let none = below(Some(ours.path()), Some(Path::new("/no/such"))).unwrap_err().to_string();
        let none = none.replace(ours.path().to_str().unwrap(), "/raw");
        assert_eq!(
            none,
            "E191 no raw files of 'msd04-hippocampus'. looked for a folder Task04_Hippocampus: GTGM_RAW=/raw exists; \
             nearest there: hippocampus-task04, Dataset004_Hippocampus; nnUNet_raw=/no/such does not exist. Give --raw \
             the data set's own folder, or set GTGM_RAW to the one that holds it."
        );
        let unset = below(None, None).unwrap_err().to_string();
        assert!(unset.contains("GTGM_RAW is not set; nnUNet_raw is not set"), "{unset}");
        let place = theirs.path().join("Task04_Hippocampus");
        let strange = below(None, Some(theirs.path())).unwrap_err().to_string();
        assert!(strange.contains("exists and holds no such name"), "{strange}");
        fs_err::create_dir(&place).unwrap();
        for first in [None, Some(ours.path())] {
            assert_eq!(below(first, Some(theirs.path())).unwrap(), (place.clone(), "nnUNet_raw"));
        }
        let own = ours.path().join("Task04_Hippocampus");
        fs_err::create_dir(&own).unwrap();
        assert_eq!(below(Some(ours.path()), Some(theirs.path())).unwrap(), (own, "GTGM_RAW"));
    }

    #[test]
    fn slips_of_the_keyboard_are_near_and_other_numbers_are_not() {
        let near = |wanted: &str| {
            let names = ["msd03-liver", "msd04-hippocampus", "Dataset001_Tiny", "out"].map(str::to_owned);
            nearest(wanted, names.to_vec()).join(" ")
        };
        assert_eq!(near("hipocampus"), "msd04-hippocampus");
        assert_eq!(near("livre"), "msd03-liver");
        assert_eq!(near("Dataset001_Tin"), "Dataset001_Tiny");
        assert_eq!((near("msd05"), near("spleen")), (String::new(), String::new()));
        assert_eq!((edits("", "abc"), edits("kitten", "sitting"), edits("a", "a")), (3, 3, 0));
    }

    #[test]
    fn paths_of_an_index_stay_below_it() {
        assert_eq!(below("./imagesTr/a b.nii.gz").unwrap(), "imagesTr/a b.nii.gz");
        assert_eq!(below("imagesTr\\a.nii.gz").unwrap(), "imagesTr/a.nii.gz");
        for text in ["/etc/passwd", "../a", "a/../../b", "C:\\data\\a.nii", "", "./"] {
            assert!(below(text).is_err(), "{text}");
        }
    }
}
