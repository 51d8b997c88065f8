//! Which subject goes to which part of a split, so that every class is in every part where there are enough subjects that have it.

use super::members::Subject;
use std::collections::{BTreeMap, BTreeSet};

/// The part of each subject; none is empty where there are as many subjects as parts. Part p gets about `shares[p]` of the subjects that
/// have a class, for every class that as many subjects have as there are parts, the rarest first: each part at least one, and else those
/// parts that lack most of the class, and then of all subjects. A class of fewer subjects cannot be everywhere and decides nothing. The
/// other subjects fill up what the shares of all want. Within what is dealt at once, part 0 gets the first, part 1 the next, and so on.
///
/// After Sechidis et al. 2011, On the stratification of multi-label data, with blocks of the given order in place of single draws.
pub(super) fn parts(subjects: &[&Subject<'_>], shares: &[f64]) -> Vec<usize> {
    let mut part: Vec<Option<usize>> = vec![None; subjects.len()];
    let mut waiting: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (index, subject) in subjects.iter().enumerate() {
        for class in &subject.classes {
            waiting.entry(*class).or_default().push(index);
        }
    }
    waiting.retain(|_, all| all.len() >= shares.len());
    while let Some(class) = rarest(&waiting, &part) {
        let all = waiting.remove(&class).unwrap_or_default();
        deal(&all, shares, &mut part);
    }
    deal(&(0..subjects.len()).collect::<Vec<_>>(), shares, &mut part);
    // the last deal left nobody out
    part.into_iter().map(Option::unwrap_or_default).collect()
}

/// The class with the fewest subjects that have no part yet, at least one.
fn rarest(waiting: &BTreeMap<u64, Vec<usize>>, part: &[Option<usize>]) -> Option<u64> {
    let open = |all: &[usize]| all.iter().filter(|i| part[**i].is_none()).count();
    let open = waiting.iter().map(|(class, all)| (open(all), *class)).filter(|(n, _)| *n > 0);
    open.min().map(|(_, class)| class)
}

/// Gives parts to those of `all` that have none.
fn deal(all: &[usize], shares: &[f64], part: &mut [Option<usize>]) {
    let open: Vec<usize> = all.iter().copied().filter(|i| part[*i].is_none()).collect();
    let mut have = vec![0_usize; shares.len()];
    for index in all {
        if let Some(p) = part[*index] {
            have[p] += 1;
        }
    }
    let mut counts = vec![0_usize; shares.len()];
    let placed: Vec<usize> =
        (0..shares.len()).map(|p| part.iter().filter(|q| **q == Some(p)).count()).collect();
    for _ in 0..open.len() {
        let need = |p: usize| {
            let lack = |of: usize, has: usize| shares[p] * of as f64 - (has + counts[p]) as f64;
            (have[p] + counts[p] == 0, lack(all.len(), have[p]), lack(part.len(), placed[p]))
        };
        let first = (0..shares.len()).reduce(|best, p| if need(p) > need(best) { p } else { best });
        counts[first.unwrap_or_default()] += 1;
    }
    let order = counts.iter().enumerate().flat_map(|(p, n)| std::iter::repeat_n(p, *n));
    for (index, p) in open.into_iter().zip(order) {
        part[index] = Some(p);
    }
}

/// The same subjects, those first that together have all classes: each the next of the order that adds most. What a small share of them
/// lacks is then lacking only where that few subjects cannot have it, as far as this greedy choice sees.
pub(super) fn covering_first<'s, 'a>(subjects: &[&'s Subject<'a>]) -> Vec<&'s Subject<'a>> {
    let mut rest: Vec<&Subject<'_>> = subjects.to_vec();
    let mut covered: BTreeSet<u64> = BTreeSet::new();
    let mut order = Vec::with_capacity(rest.len());
    loop {
        let gain = |s: &Subject<'_>| s.classes.difference(&covered).count();
        let best = (0..rest.len()).reduce(|best, i| if gain(rest[i]) > gain(rest[best]) { i } else { best });
        match best {
            Some(best) if gain(rest[best]) > 0 => {
                covered.extend(&rest[best].classes);
                order.push(rest.remove(best));
            }
            _ => break,
        }
    }
    order.extend(rest);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(classes: &[u64]) -> Subject<'static> {
        Subject { cases: BTreeSet::new(), classes: classes.iter().copied().collect() }
    }

    fn dealt(classes: &[&[u64]], shares: &[f64]) -> Vec<usize> {
        let subjects: Vec<_> = classes.iter().map(|c| subject(c)).collect();
        parts(&subjects.iter().collect::<Vec<_>>(), shares)
    }

    #[test]
    fn a_rare_class_is_in_every_part() {
        // class 2 is in two subjects of ten, neither of which would validate by their order
        let mut classes: Vec<&[u64]> = vec![&[1]; 10];
        classes[7] = &[1, 2];
        classes[9] = &[1, 2];
        assert_eq!(dealt(&classes, &[0.2, 0.8]), [0, 1, 1, 1, 1, 1, 1, 0, 1, 1]);
        // in one of ten: it decides nothing
        classes[9] = &[1];
        assert_eq!(dealt(&classes, &[0.2, 0.8]), [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        // the same classes everywhere, or none: the first ones
        assert_eq!(dealt(&[&[1_u64, 2] as &[u64]; 5], &[0.4, 0.6]), [0, 0, 1, 1, 1]);
        assert_eq!(dealt(&[&[] as &[u64]; 5], &[0.4, 0.6]), [0, 0, 1, 1, 1]);
        assert_eq!(dealt(&[&[] as &[u64]; 5], &[1.0 / 3.0; 3]), [0, 0, 1, 1, 2]);
    }

    #[test]
    fn a_small_share_has_all_classes_where_it_can() {
        let subjects = [subject(&[1]), subject(&[1, 2]), subject(&[3]), subject(&[1])];
        let refs: Vec<_> = subjects.iter().collect();
        let order = covering_first(&refs);
        assert_eq!(order, [&subjects[1], &subjects[2], &subjects[0], &subjects[3]]);
    }
}
