//! Who is who under several names, and how all cases of a subject are used.

use data_manifests::seen::{Covered, ImageFiles};
use std::collections::{HashMap, HashSet};

/// What a case is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Trained,
    HeldOut,
    /// Neither, since it or another one of its subject is scored on later.
    Kept,
    /// Neither, for other reasons.
    None,
}

/// A case of a data set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kin<'a> {
    /// Number of its subject; each data set has subjects of its own.
    pub(super) subject: usize,
    pub(super) image: &'a ImageFiles,
    pub(super) used: Use,
    /// It is scored on later.
    pub(super) scored: bool,
    /// Another one of its subject is scored on, and a split trains on this one all the same.
    pub(super) parted: bool,
}

/// How each case is used where subjects with an image in common are one. What is scored on keeps all cases of its subject from training. Where a
/// split parts the subject, images of its other side go on as they are, unless they are scored on, too. Of what remains all is held out where
/// any is.
pub(super) fn settled(cases: &[Kin<'_>]) -> Vec<Use> {
    let persons = persons(cases);
    let parted: HashSet<usize> = cases.iter().filter(|case| case.parted).map(|case| case.subject).collect();
    let images = |of: &dyn Fn(&Kin<'_>) -> bool| {
        Covered::by(cases.iter().filter(|case| of(case)).map(|case| case.image))
    };
    let scored = images(&|case| case.scored);
    let spared = images(&|case| case.parted);
    let by_split = images(&|case| case.scored && parted.contains(&case.subject));
    // what is scored on, and whether splits alone say so
    let mut kept: HashMap<usize, bool> = HashMap::new();
    for (case, person) in cases.iter().zip(&persons).filter(|(case, _)| case.scored) {
        *kept.entry(*person).or_insert(true) &= parted.contains(&case.subject) || by_split.meets(case.image);
    }
    let used = cases.iter().zip(&persons).map(|(case, person)| match (case.used, kept.get(person)) {
        (Use::Trained | Use::HeldOut, Some(only_by_split)) => {
            let spared = *only_by_split && (case.parted || spared.meets(case.image));
            if spared && !scored.meets(case.image) { case.used } else { Use::Kept }
        }
        (used, _) => used,
    });
    let mut used: Vec<Use> = used.collect();
    let held_out: HashSet<usize> = persons
        .iter()
        .zip(&used)
        .filter(|(_, used)| **used == Use::HeldOut)
        .map(|(person, _)| *person)
        .collect();
    for (used, person) in used.iter_mut().zip(&persons) {
        if *used == Use::Trained && held_out.contains(person) {
            *used = Use::HeldOut;
        }
    }
    used
}

/// Of each case a number that all cases of its subject have, under whatever name: those with an image in common.
fn persons(cases: &[Kin<'_>]) -> Vec<usize> {
    let mut parents: Vec<usize> = (0..=cases.iter().map(|case| case.subject).max().unwrap_or(0)).collect();
    let mut files: HashMap<&str, Vec<([usize; 2], usize)>> = HashMap::new();
    for case in cases {
        for part in &case.image.parts {
            files.entry(part.file.as_str()).or_default().push((part.range(), case.subject));
        }
    }
    for sections in files.values_mut() {
        sections.sort_unstable();
        let mut last: Option<(usize, usize)> = None;
        for ([first, end], subject) in sections.iter().copied() {
            last = match last {
                Some((until, other)) if first < until => {
                    let [a, b] = [other, subject].map(|subject| root(&mut parents, subject));
                    parents[a.max(b)] = a.min(b);
                    Some((until.max(end), subject))
                }
                _ => Some((end, subject)),
            };
        }
    }
    cases.iter().map(|case| root(&mut parents, case.subject)).collect()
}

/// The end of a chain, which is made shorter on the way.
fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_manifests::seen::FilePart;

    /// Images by text: `a` a file, `a+b` two channels, `a[0:5]` sections.
    fn image(text: &str) -> ImageFiles {
        let part = |text: &str| match data_manifests::seen::sections_of(text) {
            Some((file, sections)) => FilePart { file: file.to_owned(), sections: Some(sections) },
            None => FilePart { file: text.to_owned(), sections: None },
        };
        ImageFiles {
            parts: text.split('+').filter(|text| !text.is_empty()).map(part).collect(),
            joined: None,
        }
    }

    /// Cases as `SUBJECT IMAGE USE`, where uses are `train`, `hold`, `keep`, `none`, `score` (and keep) and `part` (and train).
    fn settle(cases: &[&str]) -> Vec<Use> {
        let words: Vec<[&str; 3]> =
            cases.iter().map(|case| case.split(' ').collect::<Vec<_>>().try_into().unwrap()).collect();
        let images: Vec<ImageFiles> = words.iter().map(|[_, file, _]| image(file)).collect();
        let mut names: Vec<&str> = words.iter().map(|[subject, ..]| *subject).collect();
        names.sort_unstable();
        names.dedup();
        let kin = words.iter().zip(&images).map(|([subject, _, used], image)| Kin {
            subject: names.iter().position(|name| name == subject).unwrap(),
            image,
            used: match *used {
                "train" | "part" => Use::Trained,
                "hold" => Use::HeldOut,
                "keep" | "score" => Use::Kept,
                _ => Use::None,
            },
            scored: *used == "score",
            parted: *used == "part",
        });
        settled(&kin.collect::<Vec<_>>())
    }

    use Use::{HeldOut as H, Kept as K, None as N, Trained as T};

    #[test]
    fn cases_without_an_image_or_a_subject_in_common_stay_as_they_are() {
        assert_eq!(
            settle(&["A1 a train", "A2 b hold", "B1 c score", "B2  train", "C1  hold"]),
            [T, H, K, T, H]
        );
        assert_eq!(settle(&[]), []);
        // parts of one volume as the split parts them, and a sibling that it does not name
        let parts = ["A1 a[0:12] part", "A1 a[12:20] score", "A1 b keep"];
        assert_eq!(settle(&parts), [T, K, K]);
    }

    #[test]
    fn subjects_stay_whole_across_data_sets() {
        // a case that is held out for its twin, and another of its subject
        assert_eq!(settle(&["A1 a hold", "B1 a train", "B1 b train", "B2 c train"]), [H, H, H, T]);
        // one that is left out for its twin, and another of its subject
        assert_eq!(settle(&["A1 a score", "B1 a train", "B1 b train", "B2 c hold"]), [K, K, K, H]);
        // the twin of a sibling of what is scored on
        assert_eq!(settle(&["A1 a score", "A1 b keep", "B1 b train"]), [K, K, K]);
        // over a third data set, and over a case that is not used
        assert_eq!(
            settle(&["A1 a score", "B1 a none", "B1 b none", "C1 b train", "C1 c train"]),
            [K, N, N, K, K]
        );
        // what is scored on goes before what is held out
        assert_eq!(settle(&["A1 a hold", "B1 a train", "B1 b hold", "C1 b score"]), [K, K, K, K]);
        // one image under two subjects of a data set
        assert_eq!(settle(&["A1 a score", "A2 a train", "A3 a hold"]), [K, K, K]);
    }

    #[test]
    fn images_are_recognised_by_channels_and_sections() {
        assert_eq!(settle(&["A1 a+b score", "B1 b train", "B2 c train"]), [K, K, T]);
        assert_eq!(settle(&["A1 a[0:12] hold", "B1 a train"]), [H, H]);
        assert_eq!(settle(&["A1 a[0:12] hold", "B1 a[12:20] train", "B2 a[5:7] train"]), [H, T, H]);
        // several that meet in one
        assert_eq!(settle(&["A1 a[0:5] train", "A2 a[6:9] hold", "B1 a train"]), [H, H, H]);
    }

    #[test]
    fn what_a_split_parts_stays_parted_under_other_names() {
        let split = ["A1 a[0:12] part", "A1 a[12:20] score"];
        let with = |others: &[&str]| settle(&[&split[..], others].concat());
        // the whole volume has what is scored on; the same parts in another data set are on the same sides
        assert_eq!(with(&["B1 a train", "B1 b train"]), [T, K, K, K]);
        assert_eq!(with(&["B1 a[0:12] train", "B1 a[12:20] train"]), [T, K, T, K]);
        assert_eq!(with(&["B1 a[0:12] part", "B1 a[12:20] score"]), [T, K, T, K]);
        assert_eq!(with(&["B1 a[0:13] train"]), [T, K, K]);
        // held out is held out
        assert_eq!(with(&["B1 a[0:12] hold"]), [H, K, H]);
        // scored on in itself, or of a subject that is scored on elsewhere, which no split parts
        assert_eq!(with(&["B1 a score"]), [K, K, K]);
        assert_eq!(with(&["B1 b score", "B1 a[0:12] keep"]), [K, K, K, K]);
        assert_eq!(settle(&["A1 a[0:12] part", "A1 a[10:20] score"]), [K, K]);
    }
}
