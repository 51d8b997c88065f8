//! Reports that tell one direction from its opposite, which a mirror image turns around.

use data_manifests::records::OPPOSITES;

/// How many of the texts name one of each pair of directions more often than the other: what is said of both alike holds in a mirror image, too.
#[must_use]
pub fn count<'a>(texts: impl Iterator<Item = &'a str>) -> [u64; OPPOSITES.len()] {
    let mut counts = [0; OPPOSITES.len()];
    for text in texts {
        let text = text.to_lowercase();
        let words: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).collect();
        let named = |word: &str| words.iter().filter(|found| **found == word).count();
        for (count, (_, [one, other])) in counts.iter_mut().zip(OPPOSITES) {
            *count += u64::from(named(one) != named(other));
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_counts_and_both_alike_do_not() {
        let texts = [
            "Left and right halves of the field are symmetric.",
            "The largest lies in right posterior position; left and right halves differ.",
            "A slice of the upper third, anterior, with leftover noise.",
            "",
        ];
        assert_eq!(count(texts.into_iter()), [1, 2, 0, 1]);
    }
}
