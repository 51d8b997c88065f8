//! Which reports are none of each other's negatives.

use super::{Text, row_words};
use std::collections::HashMap;

/// How many ways there are for two reports to be alike.
pub(crate) const WAYS: usize = 3;

/// A number for each way in which reports may be alike: they describe one caption, they are in one group of nearly identical reports of a
/// wording, or they have the same words. Two are no negatives of each other where one of the numbers is the same. What is alike to a third
/// is not alike for that: wordings of which each groups a few would else join nearly all.
pub(crate) type Likeness = [i64; WAYS];

/// Whether two reports are alike in any way.
pub(crate) fn are_alike(a: &Likeness, b: &Likeness) -> bool {
    a.iter().zip(b).any(|(a, b)| a == b)
}

/// The likeness of every row, by data set and wording. Captions and groups of different data sets are different ones, whatever their names;
/// the same words are the same words.
pub(crate) fn likeness(sources: &[&[Text]]) -> Vec<Vec<Vec<Likeness>>> {
    let mut captions: HashMap<(usize, &str), i64> = HashMap::new();
    let mut words: HashMap<&str, i64> = HashMap::new();
    let (mut first_group, mut without_words) = (0, 0);
    let mut found = Vec::with_capacity(sources.len());
    for (of, texts) in sources.iter().enumerate() {
        let mut of_source = Vec::with_capacity(texts.len());
        for text in *texts {
            let mut of_text = Vec::with_capacity(text.rows.len());
            for row in &text.rows {
                let next = captions.len() as i64;
                let caption = *captions.entry((of, row.id.as_str())).or_insert(next);
                let next = words.len() as i64;
                let same_words = match row_words(row) {
                    Some(digest) => *words.entry(digest).or_insert(next),
                    // nothing says what its words are
                    None => {
                        without_words -= 1;
                        without_words
                    }
                };
                of_text.push([caption, first_group + row.group as i64, same_words]);
            }
            first_group += text.groups() as i64;
            of_source.push(of_text);
        }
        found.push(of_source);
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
    fn wordings_of_one_caption_and_nearly_identical_reports_are_alike() {
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 0), row(2, [2, 3], 1), row(3, [3, 4], 1)]);
        let second = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1), row(2, [2, 3], 1), row(3, [3, 4], 2)]);
        let found = likeness(&[&[first, second]]);
        let [one, other] = &found[0][..] else { panic!("{found:?}") };
        let [t, f] = [true, false];
        assert_eq!(alike(one, one), [[t, t, f, f], [t, t, f, f], [f, f, t, t], [f, f, t, t]]);
        assert_eq!(alike(other, other), [[t, f, f, f], [f, t, t, f], [f, t, t, f], [f, f, f, t]]);
        // of another wording a caption is alike to itself, and not to what the other wording's groups would chain it to
        assert_eq!(alike(one, other), [[t, f, f, f], [f, t, f, f], [f, f, t, f], [f, f, f, t]]);
        assert!(likeness(&[]).is_empty());
    }

    #[test]
    fn data_sets_have_words_in_common_and_nothing_else() {
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1)]);
        let mut second = text(vec![row(0, [0, 1], 0), row(7, [1, 2], 1), row(8, [1, 2], 2)]);
        second.rows[0].sha256 = "its own".to_owned();
        second.rows[1].sha256.clone_from(&first.rows[1].sha256);
        second.rows[2].sha256.clear();
        let found = likeness(&[&[first], &[second]]);
        assert_eq!(alike(&found[0][0], &found[1][0]), [[false, false, false], [false, true, false]]);
        // a report without a digest of its words is like no other that has none
        assert!(found[1][0][2][2] < 0);
    }
}
