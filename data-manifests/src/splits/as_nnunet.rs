//! The folds that nnU-Net draws where nobody gives it others: scikit-learn's `KFold(5, shuffle=True, random_state=12345)` over the sorted ids.

use super::Split;
use super::folds::drawn;
use super::members::{Member, subjects};
use anyhow::bail;
use rand_mt::Mt;
use std::collections::BTreeSet;

/// nnU-Net's number of folds.
const FOLDS: usize = 5;
/// Its seed.
const SEED: u32 = 12345;

/// A number from 0 to `most` by NumPy's legacy generator: bits of the Mersenne Twister below the next power of two, until they fit.
fn up_to(random: &mut Mt, most: u32) -> u32 {
    let mask = most.checked_next_power_of_two().map_or(u32::MAX, |power| power - 1) | most;
    loop {
        let value = random.next_u32() & mask;
        if value <= most {
            return value;
        }
    }
}

/// `numpy.random.RandomState(seed).shuffle` of the numbers below `n`.
fn shuffled(n: u32, seed: u32) -> Vec<usize> {
    let mut random = Mt::new(seed);
    let mut order: Vec<usize> = (0..n as usize).collect();
    for last in (1..n).rev() {
        order.swap(last as usize, up_to(&mut random, last) as usize);
    }
    order
}

/// nnU-Net's five folds of these cases, and how many subjects they part: nnU-Net knows no subjects. Label fractions of a fold take cases in the order
/// in which it would be read from nnU-Net's file with the same seed.
///
/// # Errors
/// Fails for fewer cases than folds.
pub fn nnunet_folds(members: &[Member], seed: u64) -> anyhow::Result<(Vec<Split>, usize)> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let (Ok(n), true) = (u32::try_from(sorted.len()), sorted.len() >= FOLDS) else {
        bail!("found {} labelled cases for {FOLDS} folds, expected at least as many", sorted.len());
    };
    let order = shuffled(n, SEED);
    let (whole, rest) = (sorted.len() / FOLDS, sorted.len() % FOLDS);
    let mut splits = Vec::with_capacity(FOLDS);
    let mut parted = BTreeSet::new();
    let mut first = 0;
    for fold in 0..FOLDS {
        let size = whole + usize::from(fold < rest);
        let held: BTreeSet<usize> = order[first..first + size].iter().copied().collect();
        first += size;
        let (val, train): (Vec<_>, Vec<_>) = sorted.iter().enumerate().partition(|(at, _)| held.contains(at));
        let of =
            |part: Vec<(usize, &&Member)>| part.into_iter().map(|(_, member)| (*member).clone()).collect();
        let (val, train): (Vec<Member>, Vec<Member>) = (of(val), of(train));
        let trained: BTreeSet<&str> = train.iter().map(|member| member.subject.as_str()).collect();
        parted.extend(val.iter().filter(|m| trained.contains(m.subject.as_str())).map(|m| m.subject.clone()));
        let order = drawn(&subjects(&train), seed);
        splits.push(Split::of(seed, order, val.into_iter().map(|member| member.id).collect()));
    }
    Ok((splits, parted.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(n: usize) -> Vec<Member> {
        (0..n)
            .map(|i| Member { id: format!("c{i:03}"), subject: format!("s{i:03}"), classes: [1].into() })
            .collect()
    }

    /// By scikit-learn 1.9.1 with NumPy 2.4.6.
    #[test]
    fn folds_are_those_of_scikit_learn() {
        let validated = |n: usize| -> Vec<Vec<usize>> {
            let (splits, parted) = nnunet_folds(&members(n), 0).unwrap();
            assert_eq!(parted, 0);
            for split in &splits {
                split.check().unwrap();
                assert_eq!(split.train.len() + split.val.len(), n);
            }
            let number = |id: &String| id[1..].parse().unwrap();
            splits.iter().map(|split| split.val.iter().map(number).collect()).collect()
        };
        assert_eq!(validated(7), [vec![3, 6], vec![0, 4], vec![1], vec![5], vec![2]]);
        let thirteen = [vec![0, 7, 9], vec![3, 6, 10], vec![8, 11, 12], vec![1, 4], vec![2, 5]];
        assert_eq!(validated(13), thirteen);
        let many = validated(208);
        assert_eq!(many[0][..8], [14, 16, 17, 19, 20, 27, 30, 33]);
        assert_eq!(many[4][..8], [1, 7, 11, 23, 29, 31, 34, 36]);
        assert!(nnunet_folds(&members(4), 0).is_err());
    }

    #[test]
    fn parted_subjects_are_counted() {
        let mut all = members(10);
        for member in &mut all {
            member.subject = "one".to_owned();
        }
        assert_eq!(nnunet_folds(&all, 0).unwrap().1, 1);
    }
}
