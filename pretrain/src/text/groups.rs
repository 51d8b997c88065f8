//! Which reports are none of each other's negatives.

use super::{Text, row_words};
use std::collections::HashMap;

/// Numbers for the groups of all reports, of every data set and its wordings: groups become one that hold reports of one caption, or,
/// of whatever data set, reports of the same words. None of them is a negative of another.
pub(crate) fn joined_groups(sources: &[&[Text]]) -> Vec<Vec<Vec<i64>>> {
    let texts =
        || sources.iter().enumerate().flat_map(|(of, texts)| texts.iter().map(move |text| (of, text)));
    let mut parents: Vec<usize> = (0..texts().map(|(_, text)| text.groups()).sum()).collect();
    let root = |parents: &mut Vec<usize>, mut at: usize| {
        while parents[at] != at {
            parents[at] = parents[parents[at]];
            at = parents[at];
        }
        at
    };
    let mut captions: HashMap<(usize, &str), usize> = HashMap::new();
    let mut words: HashMap<&str, usize> = HashMap::new();
    let mut start = 0;
    for (of, text) in texts() {
        for row in &text.rows {
            let group = start + row.group;
            let of_caption = *captions.entry((of, &row.id)).or_insert(group);
            let of_words = row_words(row).map(|digest| *words.entry(digest).or_insert(group));
            for earlier in std::iter::once(of_caption).chain(of_words) {
                let (a, b) = (root(&mut parents, earlier), root(&mut parents, group));
                // the lower one stays, so that numbers do not depend on the order of rows
                let (low, high) = (a.min(b), a.max(b));
                parents[high] = low;
            }
        }
        start += text.groups();
    }
    let mut next = 0;
    let mut numbers = |text: &Text| -> Vec<i64> {
        let own = next..next + text.groups();
        next = own.end;
        own.map(|at| root(&mut parents, at) as i64).collect()
    };
    sources.iter().map(|texts| texts.iter().map(&mut numbers).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::{row, text};

    #[test]
    fn wordings_of_one_caption_share_a_group() {
        // r0 and r1 are worded alike in the second text, so that they and r2's other wording do not part
        let first = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 1), row(2, [2, 3], 2)]);
        let second = text(vec![row(0, [0, 1], 0), row(1, [1, 2], 0), row(2, [2, 3], 1)]);
        assert_eq!(joined_groups(&[std::slice::from_ref(&first)]), [[[0, 1, 2]]]);
        let both = [first, second];
        assert_eq!(joined_groups(&[&both]), [[vec![0, 0, 2], vec![0, 2]]]);
        // a caption of another data set is another one, whatever its name; the same words are the same words
        let mut alike = text(vec![row(0, [0, 1], 0), row(7, [1, 2], 1)]);
        alike.rows[1].sha256.clone_from(&both[0].rows[2].sha256);
        alike.rows[0].sha256 = "its own".to_owned();
        assert_eq!(joined_groups(&[&both, &[alike]]), [vec![vec![0, 0, 2], vec![0, 2]], vec![vec![5, 2]]]);
        assert!(joined_groups(&[]).is_empty());
    }
}
