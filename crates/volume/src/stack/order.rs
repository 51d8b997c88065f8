//! The order of slices by their names.
//!
//! Runs of digits compare as numbers. Where the names differ in one number only and some have a sign or a decimal point
//! (`z-2`, `z0`, `z1.5`: positions), that number decides. A `-` before every number is a separator (`slice-001`).

use crate::warning::Warning;
use std::cmp::Ordering;

/// File names in order.
#[derive(Debug)]
pub(super) struct Order {
    /// Places in the given list.
    pub(super) places: Vec<usize>,
    /// What is odd about them.
    pub(super) warnings: Vec<Warning>,
    /// Two names with the same number, which nothing puts into an order.
    pub(super) twins: Option<[usize; 2]>,
}

/// Orders file names.
pub(super) fn order(names: &[&str]) -> Order {
    let stems: Vec<&str> = names.iter().map(|name| stem(name)).collect();
    let mut places: Vec<usize> = (0..names.len()).collect();
    if let Some(numbers) = positions(&stems) {
        places.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
        let sorted: Vec<f64> = places.iter().map(|place| numbers[*place]).collect();
        let steps: Vec<f64> = sorted.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let warnings = jump(&steps, |a, b| (a - b).abs() <= 1e-6 * b.abs())
            .map(|at| gap(names[places[at]], names[places[at + 1]]));
        return Order { warnings: warnings.into_iter().collect(), places, twins: None };
    }
    places.sort_by(|a, b| natural(stems[*a], stems[*b]).then_with(|| names[*a].cmp(names[*b])));
    let twins = places
        .windows(2)
        .find(|pair| natural(stems[pair[0]], stems[pair[1]]) == Ordering::Equal)
        .map(|pair| [pair[0], pair[1]]);
    let sorted: Vec<&str> = places.iter().map(|place| names[*place]).collect();
    let warnings = mixed(&sorted).or_else(|| gap_of(&sorted));
    Order { warnings: warnings.into_iter().collect(), places, twins }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn gap(before: &str, after: &str) -> Warning {
    Warning::SliceGap { before: before.to_owned(), after: after.to_owned() }
}

/// The one number in which all stems differ, where some have a sign or a decimal point and no two are equal.
fn positions(stems: &[&str]) -> Option<Vec<f64>> {
    let (first, rest) = stems.split_first()?;
    let shared = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let shared_end =
        |a: &str, b: &str| a.bytes().rev().zip(b.bytes().rev()).take_while(|(a, b)| a == b).count();
    // the number begins before the first digit that differs, and ends behind the last one
    let head = before_number(&first.as_bytes()[..rest.iter().map(|other| shared(first, other)).min()?]);
    if matches!(first.as_bytes()[..head], [.., b'0'..=b'9', b'.']) {
        // one of several numbers with dots between them, as in 1.2.840.9
        return None;
    }
    let tail = rest.iter().map(|other| shared_end(first, other)).min()?;
    let tail = tail - first.as_bytes()[first.len() - tail..].iter().take_while(|b| is_part(**b)).count();
    let mut fields: Vec<&str> =
        stems.iter().map(|stem| stem.get(head..stem.len().checked_sub(tail)?)).collect::<Option<_>>()?;
    if fields.iter().all(|field| field.starts_with('-')) {
        fields.iter_mut().for_each(|field| *field = &field[1..]);
    }
    if !fields.iter().any(|field| field.contains(['-', '+', '.'])) {
        return None;
    }
    let numbers: Vec<f64> = fields.iter().map(|field| decimal(field)).collect::<Option<_>>()?;
    let mut sorted = numbers.clone();
    sorted.sort_by(f64::total_cmp);
    // 1.1 and 1.10 are two counters, not one number
    sorted.windows(2).all(|pair| pair[0] < pair[1]).then_some(numbers)
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// Where the number begins that `head`, the common begin of all stems, may have cut.
fn before_number(head: &[u8]) -> usize {
    let digits = head.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let start = head.len() - digits;
    let signed = start > 0 && matches!(head[start - 1], b'-' | b'+');
    start - usize::from(signed)
}

/// `-3`, `+0.5`, `12`: a number as people write it, and nothing else.
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(fraction)).then(|| text.parse().ok()).flatten()
}

/// Runs of digits compare as numbers of any length, the rest as text; `s1` and `s01` are equal.
fn natural(mut left: &str, mut right: &str) -> Ordering {
    while let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (digits(&mut left), digits(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            left = &left[x.len_utf8()..];
            right = &right[y.len_utf8()..];
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    left.len().cmp(&right.len())
}

/// Takes the leading digits off, without leading zeros.
fn digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    number.trim_start_matches('0')
}

/// Two slices whose names differ in more than their numbers: files of two series, perhaps.
fn mixed(names: &[&str]) -> Option<Warning> {
    let words = |name: &str| {
        let mut words: Vec<String> = Vec::new();
        let stem = stem(name);
        words.extend(stem.split(|c: char| c.is_ascii_digit()).filter(|w| !w.is_empty()).map(str::to_owned));
        words
    };
    // slices without numbers are in the order of the alphabet, as somebody may have meant them
    names.iter().find(|name| name.contains(|c: char| c.is_ascii_digit()))?;
    let first = names.first()?;
    let other = names.iter().find(|name| words(name) != words(first))?;
    Some(Warning::MixedNames { first: (*first).to_owned(), other: (*other).to_owned() })
}

/// The first place where the last number of the names does not go on by the usual step (the smallest one).
fn gap_of(names: &[&str]) -> Option<Warning> {
    let numbers: Option<Vec<(&str, u64)>> = names.iter().map(|name| last_number(name)).collect();
    let numbers = numbers?;
    if numbers.iter().any(|(prefix, _)| *prefix != numbers[0].0) {
        return None;
    }
    let steps: Vec<u64> = numbers.windows(2).map(|pair| pair[1].1.saturating_sub(pair[0].1)).collect();
    jump(&steps, |a, b| a == b).map(|at| gap(names[at], names[at + 1]))
}

/// The first step that is not the smallest one.
fn jump<T: Copy + PartialOrd>(steps: &[T], same: impl Fn(T, T) -> bool) -> Option<usize> {
    let smallest = steps.iter().copied().reduce(|a, b| if b < a { b } else { a })?;
    steps.iter().position(|step| !same(*step, smallest))
}

/// What precedes the last number of a name, and the number.
fn last_number(name: &str) -> Option<(&str, u64)> {
    let stem = stem(name);
    let end = stem.rfind(|c: char| c.is_ascii_digit())? + 1;
    let start = stem[..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
    Some((&stem[..start], stem[start..end].parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
        order(names).places.into_iter().map(|place| names[place]).collect()
    }

    fn said(names: &[&str]) -> String {
        order(names).warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = ["s10", "s2", "s1", "s1b", "t", "s99999999999999999999999", "é2", "s"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["s", "s1", "s1b", "s2", "s10", "s99999999999999999999999", "t", "é2"]);
        // the ending is no part of the name
        assert_eq!(sorted(&["s1a.tif", "s1.tiff"]), ["s1.tiff", "s1a.tif"]);
    }

    #[test]
    fn positions_below_zero_and_between_whole_numbers_are_in_order() {
        let check = |names: &[&str]| {
            let mut shuffled = names.to_vec();
            shuffled.sort_unstable();
            assert_eq!(sorted(&shuffled), names);
            assert!(order(names).twins.is_none());
        };
        check(&["z-10.png", "z-2.png", "z-1.png", "z0.png", "z1.png", "z10.png"]);
        check(&["z9.5.png", "z9.75.png", "z10.png", "z10.25.png"]);
        check(&["-1.5mm.tif", "0mm.tif", "1.5mm.tif", "+3mm.tif"]);
        assert_eq!(said(&["z9.5.png", "z9.75.png", "z10.png"]), "");
        assert!(said(&["z-2.png", "z-1.png", "z1.png"]).contains("from z-1.png to z1.png"));
        // a separator, a counter behind a dot, two counters
        check(&["slice-001.png", "slice-002.png", "slice-010.png"]);
        check(&["scan.1.png", "scan.2.png", "scan.10.png"]);
        check(&["v2.1.png", "v2.2.png", "v2.10.png"]);
        check(&["1.1.png", "1.2.png", "1.10.png", "2.1.png"]);
        check(&["1.2.840.9.png", "1.2.840.10.png", "1.2.841.1.png"]);
    }

    #[test]
    fn equal_numbers_have_no_order() {
        let names = ["s1.png", "s01.png", "s2.png"];
        assert!(order(&names).twins.is_some_and(|[a, b]| names[a] == "s01.png" && names[b] == "s1.png"));
        assert!(order(&["s1.tif", "s1.tiff"]).twins.is_some());
        assert!(order(&["s1.png", "s2.png", "s10.png"]).twins.is_none());
    }

    #[test]
    fn names_of_two_series_are_noticed() {
        let found = said(&["a1.png", "a2.png", "b1.png"]);
        assert!(found.contains("a1.png") && found.contains("b1.png"), "{found}");
        assert_eq!(said(&["a1.png", "a2.png"]), "");
        assert_eq!(said(&["t1_z1.png", "t1_z2.png"]), "");
        assert_eq!(said(&["a.png", "b.png"]), "");
    }

    #[test]
    fn missing_slices_are_noticed() {
        assert_eq!(said(&["s1.png", "s2.png", "s3.png"]), "");
        assert_eq!(said(&["s10.png", "s20.png"]), "");
        let found = said(&["s1.png", "s2.png", "s4.png"]);
        assert!(found.contains("from s2.png to s4.png"), "{found}");
    }

    proptest! {
        #[test]
        fn the_order_is_total(a in "[a0-2]{0,5}", b in "[a0-2]{0,5}", c in "[a0-2]{0,5}") {
            prop_assert_eq!(natural(&a, &b), natural(&b, &a).reverse());
            if natural(&a, &b).is_le() && natural(&b, &c).is_le() {
                prop_assert!(natural(&a, &c).is_le());
            }
        }

        #[test]
        fn any_names_get_an_order(names in prop::collection::vec("[a.é+0-2-]{0,6}", 0..6)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut places = order(&names).places;
            places.sort_unstable();
            prop_assert_eq!(places, (0..names.len()).collect::<Vec<_>>());
        }
    }
}
