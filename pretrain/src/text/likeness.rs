//! Which reports are none of each other's negatives.

use super::{Text, row_words};
use data_manifests::records::EmbeddingRow;
use std::collections::HashMap;

/// A number for each way in which reports may be alike: they describe one caption, their captions are in one group of nearly identical reports
/// in the first wording, in the second and so on, or they have the same words. Two are no negatives of each other where one of the numbers is
/// the same. What is alike to a third is not alike for that: wordings of which each groups a few would else join nearly all.
pub(crate) type Likeness = Vec<i64>;

/// Whether two reports are alike in any way.
pub(crate) fn are_alike(a: &Likeness, b: &Likeness) -> bool {
    a.iter().zip(b).any(|(a, b)| a == b)
}

/// Numbers that nothing else has.
#[derive(Default)]
struct Fresh(i64);

impl Fresh {
    fn next(&mut self) -> i64 {
        self.0 -= 1;
        self.0
    }
}

/// The likeness of every row, by data set and wording. Captions and groups of different data sets are different ones, whatever their names;
/// the same words are the same words.
pub(crate) fn likeness(sources: &[&[Text]]) -> Vec<Vec<Vec<Likeness>>> {
    let wordings = sources.iter().map(|texts| texts.len()).max().unwrap_or(0);
    let mut words: HashMap<&str, i64> = HashMap::new();
    let (mut captions_before, mut groups_before, mut fresh) = (0, 0, Fresh::default());
    let mut found = Vec::with_capacity(sources.len());
    for texts in sources {
        // of each caption its number, and its group in each wording that has it
        let mut captions: HashMap<&str, (i64, Vec<i64>)> = HashMap::new();
        for (wording, text) in texts.iter().enumerate() {
            for row in &text.rows {
                let next = captions_before + captions.len() as i64;
                let unknown = || (next, (0..wordings).map(|_| fresh.next()).collect());
                let (_, groups) = captions.entry(row.id.as_str()).or_insert_with(unknown);
                groups[wording] = groups_before + row.group as i64;
            }
            groups_before += text.groups() as i64;
        }
        captions_before += captions.len() as i64;
        let mut of_row = |row| {
            let row: &EmbeddingRow = row;
            let (caption, groups) = &captions[row.id.as_str()];
            let next = words.len() as i64;
            let same_words = match row_words(row) {
                Some(digest) => *words.entry(digest).or_insert(next),
                // nothing says what its words are
                None => fresh.next(),
            };
            [*caption].into_iter().chain(groups.iter().copied()).chain([same_words]).collect()
        };
        found.push(texts.iter().map(|text| text.rows.iter().map(&mut of_row).collect()).collect());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{row, text};

    fn alike(a: &[Likeness], b: &[Likeness]) -> Vec<Vec<bool>> {
        a.iter().map(|a| b.iter().map(|b| are_alike(a, b)).collect()).collect()
    }

    #[test]
    fn captions_that_are_nearly_identical_in_some_wording_are_alike() {
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 0), row(2, [2, 3], 1), row(3, [3, 4], 1)]);
        let second = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1), row(2, [2, 3], 1), row(3, [3, 4], 2)]);
        let found = likeness(&[&[first, second]]);
        let [one, other] = &found[0][..] else { panic!("{found:?}") };
        let [t, f] = [true, false];
        // the first and the second, the second and the third, the third and the fourth: but not the first and the third
        let expected = [[t, t, f, f], [t, t, t, f], [f, t, t, t], [f, f, t, t]];
        // however they are worded
        for (a, b) in [(one, one), (other, other), (one, other)] {
            assert_eq!(alike(a, b), expected);
        }
        assert!(likeness(&[]).is_empty());
    }

    #[test]
    fn data_sets_have_words_in_common_and_nothing_else() {
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1)]);
        let other_wording = text(vec![row(1, [1, 2], 0)]);
        let mut second = text(vec![row(0, [0, 1], 0), row(7, [1, 2], 1), row(8, [1, 2], 2)]);
        second.rows[0].sha256 = "its own".to_owned();
        second.rows[1].sha256.clone_from(&first.rows[1].sha256);
        second.rows[2].sha256.clear();
        let found = likeness(&[&[first, other_wording], &[second]]);
        assert_eq!(alike(&found[0][0], &found[1][0]), [[false, false, false], [false, true, false]]);
        // a caption without the other wording, and words that are not known, are like nothing else
        assert_eq!(alike(&found[0][0], &found[0][1]), [[false], [true]]);
        assert!(found.iter().flatten().flatten().all(|row| row.len() == 4));
        assert!(found[1][0][2][3] < 0);
    }
}
