//! Paired comparison of runs: what is tested, on which cases, with what result.

use crate::values::{Key, Values};
use metrics::paired::{self, Distribution, Power, holm, wilcoxon};
use metrics::ranking::{Aggregation, Rank, rank_all};
use metrics::statistics::{Interval, bootstrap_mean, summarise};
use serde::Serialize;
use std::collections::BTreeMap;

const LEVEL: f64 = 0.95;
const RESAMPLES: usize = 2000;

/// Name of the group of all cases.
pub(crate) const ALL: &str = "all";

/// One run against the first, for one metric of one class in one group of cases.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The run that is compared with the first one.
    pub(crate) run: String,
    /// Group of cases.
    pub(crate) group: String,
    /// Class key; `mean` for the mean over classes of each case.
    pub(crate) class: String,
    /// Definition id.
    pub(crate) definition: String,
    /// Pairs of values.
    pub(crate) pairs: usize,
    /// Cases of the group where one of the two has no value.
    pub(crate) left_out: usize,
    /// Pairs where a distance is infinite: they have ranks, but no part in means and differences.
    pub(crate) infinite: usize,
    /// Infinite values of the first run in these pairs.
    pub(crate) infinite_first: usize,
    /// Infinite values of the other run in these pairs.
    pub(crate) infinite_other: usize,
    /// Mean of the first run over pairs of finite values.
    pub(crate) mean_first: Option<f64>,
    /// Mean of the other run over the same pairs.
    pub(crate) mean_other: Option<f64>,
    /// Mean of other less first.
    pub(crate) difference: Option<f64>,
    /// Bootstrap interval of that mean.
    pub(crate) interval: Option<Interval>,
    /// Median of other less first.
    pub(crate) median_difference: Option<f64>,
    /// Pairs where the other run is better, equal and worse.
    pub(crate) better_equal_worse: [usize; 3],
    /// Two-sided p-value of Wilcoxon's signed-rank test; none where no pair differs.
    pub(crate) p: Option<f64>,
    /// How it was found.
    pub(crate) distribution: Option<Distribution>,
    /// Rank-biserial correlation of all pairs, positive where the other run's values are larger.
    pub(crate) effect: Option<f64>,
    /// Which run that speaks for; none where larger values are neither better nor worse, or no pair differs.
    pub(crate) favours: Option<Favours>,
    /// Holm's correction over the runs.
    pub(crate) p_holm_runs: Option<f64>,
    /// Holm's correction over runs, classes and groups of this definition.
    pub(crate) p_holm_all: Option<f64>,
    /// What so many pairs can show.
    pub(crate) power: Power,
}

/// The run that has the better ones of the paired values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Favours {
    /// The first run.
    First,
    /// The one that is compared with it.
    Other,
    /// Neither: better and worse ranks have the same sum.
    Neither,
}

/// Ranks of all runs by one metric of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ranking {
    /// Class key.
    pub(crate) class: String,
    /// Definition id.
    pub(crate) definition: String,
    /// Cases that have a value in every run, finite or not: what was ranked.
    pub(crate) cases: usize,
    /// Cases in common where some run has no value.
    pub(crate) left_out: usize,
    /// What the runs were ranked by: the mean, or where a value is infinite the mean rank within the cases.
    pub(crate) by: Aggregation,
    /// Infinite values of each run in these cases.
    pub(crate) infinite: Vec<usize>,
    /// In the order of the runs.
    pub(crate) ranks: Vec<Rank>,
}

/// Whether larger values are better, from the id; `None` where neither is (differences).
fn larger_is_better(definition: &str) -> Option<bool> {
    let stem = definition.split([':', '@']).next().unwrap_or(definition);
    match stem {
        "volume-difference" => None,
        "hd95" | "hd" | "asd" | "assd" | "voi" | "voi-split" | "voi-merge" | "arand" | "cremi-score"
        | "splits" | "merges" => Some(false),
        _ => Some(true),
    }
}

/// Which run an effect speaks for.
fn favours(definition: &str, effect: f64) -> Option<Favours> {
    let gain = if larger_is_better(definition)? { effect } else { -effect };
    Some(match gain {
        _ if gain > 0.0 => Favours::Other,
        _ if gain < 0.0 => Favours::First,
        _ => Favours::Neither,
    })
}

/// Differences with a place for infinite distances: behind every finite one.
fn difference(first: f64, other: f64) -> f64 {
    if first == other {
        0.0
    } else if first.is_finite() && other.is_finite() {
        other - first
    } else {
        f64::MAX * (other - first).signum()
    }
}

fn row(run: &str, group: &str, key: &Key, cases: &[&str], first: &Values, other: &Values) -> Row {
    let value = |values: &Values, case: &str| values.of(key).and_then(|v| v.get(case)).copied();
    let pairs: Vec<(f64, f64)> =
        cases.iter().filter_map(|case| Some((value(first, case)?, value(other, case)?))).collect();
    let finite: Vec<(f64, f64)> =
        pairs.iter().copied().filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
    let differences: Vec<f64> = finite.iter().map(|(a, b)| b - a).collect();
    let all: Vec<f64> = pairs.iter().map(|(a, b)| difference(*a, *b)).collect();
    let mean = |pick: fn(&(f64, f64)) -> f64| {
        summarise(&finite.iter().map(pick).collect::<Vec<_>>()).map(|s| s.mean)
    };
    let larger = larger_is_better(&key.definition);
    let gain = |(a, b): &(f64, f64)| match larger {
        Some(true) => difference(*a, *b),
        Some(false) => difference(*b, *a),
        // a difference is better when it is nearer to 0
        None => difference(b.abs(), a.abs()),
    };
    let infinite = |pick: fn(&(f64, f64)) -> f64| pairs.iter().filter(|p| pick(p).is_infinite()).count();
    let gains: Vec<f64> = pairs.iter().map(gain).collect();
    let count = |wanted: fn(f64) -> bool| gains.iter().filter(|g| wanted(**g)).count();
    let test = wilcoxon(&all);
    Row {
        run: run.to_owned(),
        group: group.to_owned(),
        class: key.class.clone(),
        definition: key.definition.clone(),
        pairs: pairs.len(),
        left_out: cases.len() - pairs.len(),
        infinite: pairs.len() - finite.len(),
        infinite_first: infinite(|p| p.0),
        infinite_other: infinite(|p| p.1),
        mean_first: mean(|p| p.0),
        mean_other: mean(|p| p.1),
        difference: summarise(&differences).map(|s| s.mean),
        interval: bootstrap_mean(&differences, LEVEL, RESAMPLES, 0),
        median_difference: summarise(&differences).map(|s| s.median),
        better_equal_worse: [count(|g| g > 0.0), count(|g| g == 0.0), count(|g| g < 0.0)],
        p: test.map(|t| t.p),
        distribution: test.map(|t| t.distribution),
        effect: test.map(|t| t.effect),
        favours: test.and_then(|t| favours(&key.definition, t.effect)),
        p_holm_runs: None,
        p_holm_all: None,
        power: paired::power(pairs.len()),
    }
}

/// Compares all runs with the first one over the cases that all of them hold; `groups` gives each case's group.
pub(crate) fn compare(runs: &[(String, Values)], groups: &BTreeMap<String, String>) -> Vec<Row> {
    let Some(((_, first), others)) = runs.split_first() else { return Vec::new() };
    let common = common_cases(runs);
    let mut names: Vec<&str> = common.iter().filter_map(|c| groups.get(*c)).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.insert(0, ALL);
    let mut rows = Vec::new();
    for key in first.keys() {
        for group in &names {
            let inside = |case: &&&str| *group == ALL || groups.get(**case).is_some_and(|g| g == group);
            let cases: Vec<&str> = common.iter().filter(inside).copied().collect();
            for (run, values) in others {
                if values.of(key).is_some() {
                    rows.push(row(run, group, key, &cases, first, values));
                }
            }
        }
    }
    let same_place = |row: &Row| format!("{}\n{}\n{}", row.definition, row.class, row.group);
    correct(&mut rows, same_place, |row| &mut row.p_holm_runs);
    correct(&mut rows, |row| row.definition.clone(), |row| &mut row.p_holm_all);
    rows
}

/// Holm's correction within each family.
fn correct(rows: &mut [Row], family: impl Fn(&Row) -> String, into: fn(&mut Row) -> &mut Option<f64>) {
    let mut families: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.p.is_some()) {
        families.entry(family(row)).or_default().push(i);
    }
    for places in families.values() {
        let p_values: Vec<f64> = places.iter().filter_map(|i| rows[*i].p).collect();
        for (i, adjusted) in places.iter().zip(holm(&p_values)) {
            *into(&mut rows[*i]) = Some(adjusted);
        }
    }
}

/// Cases that every run holds.
pub(crate) fn common_cases(runs: &[(String, Values)]) -> Vec<&str> {
    let Some(((_, first), others)) = runs.split_first() else { return Vec::new() };
    first.cases().filter(|case| others.iter().all(|(_, values)| values.holds(case))).collect()
}

/// Ranks all runs by each metric of each class, where one order is better.
pub(crate) fn rankings(runs: &[(String, Values)]) -> Vec<Ranking> {
    let Some((_, first)) = runs.first() else { return Vec::new() };
    let common = common_cases(runs);
    let of_key = |key: &Key| {
        let larger = larger_is_better(&key.definition)?;
        let values: Vec<_> = runs.iter().map(|(_, values)| values.of(key)).collect::<Option<_>>()?;
        let scored = |case: &&&str| values.iter().all(|v| v.contains_key(**case));
        let cases: Vec<&str> = common.iter().filter(scored).copied().collect();
        let lists: Vec<Vec<f64>> = values.iter().map(|v| cases.iter().map(|c| v[*c]).collect()).collect();
        let (by, ranks) = rank_all(&lists, larger, RESAMPLES, 0)?;
        let Key { class, definition } = key.clone();
        let infinite = lists.iter().map(|l| l.iter().filter(|v| v.is_infinite()).count()).collect();
        let left_out = common.len() - cases.len();
        Some(Ranking { class, definition, cases: cases.len(), left_out, by, infinite, ranks })
    };
    first.keys().filter_map(of_key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::from_rows;

    fn run(name: &str, shift: f64) -> (String, Values) {
        let rows = (0..12).flat_map(|i| {
            let dice = 0.5 + 0.03 * f64::from(i) + shift * (1.0 + 0.1 * f64::from(i));
            let hd95 = if i == 3 && shift > 0.0 { f64::INFINITY } else { 4.0 - shift };
            let row = |class: &str, id: &str, v: f64| (format!("c{i}"), class.to_owned(), id.to_owned(), v);
            [row("1", "dice", dice), row("1", "hd95:surfel", hd95)]
        });
        (name.to_owned(), from_rows(rows))
    }

    #[test]
    fn a_better_run_is_found_with_its_p_value_and_groups() {
        let runs = [run("a", 0.0), run("b", 0.02), run("c", -0.01)];
        let groups =
            (0..12).map(|i| (format!("c{i}"), if i < 6 { "left" } else { "right" }.to_owned())).collect();
        let rows = compare(&runs, &groups);
        let find = |run: &str, group: &str, id: &str| {
            rows.iter()
                .find(|r| r.run == run && r.group == group && r.definition == id && r.class == "1")
                .unwrap()
        };
        let all = find("b", ALL, "dice");
        assert_eq!((all.pairs, all.better_equal_worse), (12, [12, 0, 0]));
        assert_eq!(all.p, Some(2.0 / 4096.0));
        assert_eq!(all.p_holm_runs, Some(4.0 / 4096.0));
        assert!(all.p_holm_all > all.p_holm_runs && all.interval.unwrap().low > 0.0);
        let left = find("c", "left", "dice");
        assert_eq!((left.pairs, left.p, left.effect), (6, Some(2.0 / 64.0), Some(-1.0)));
        // an infinite distance is worse than any other, and in no mean
        let distance = find("b", ALL, "hd95:surfel");
        assert_eq!((distance.infinite, distance.better_equal_worse), (1, [11, 0, 1]));
        assert!((distance.difference.unwrap() + 0.02).abs() < 1e-9);
        let ranking = rankings(&runs).into_iter().find(|r| r.definition == "dice" && r.class == "1").unwrap();
        assert_eq!(ranking.ranks.iter().map(|r| r.rank).collect::<Vec<_>>(), [2, 1, 3]);
        assert!((ranking.ranks[1].stability - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_misses_most_objects_is_worse_in_test_and_rank() {
        let distances = |name: &str, value: &dyn Fn(u32) -> f64| {
            let row = |i: u32| (format!("c{i}"), "1".to_owned(), "hd95:surfel".to_owned(), value(i));
            (name.to_owned(), from_rows((0..10).map(row)))
        };
        let runs = [
            distances("all found", &|i| 2.0 + 0.1 * f64::from(i)),
            distances("one found", &|i| if i == 0 { 1.0 } else { f64::INFINITY }),
        ];
        let row = &compare(&runs, &BTreeMap::new())[0];
        // the difference of the one finite pair has the other sign than the test
        assert_eq!((row.pairs, row.infinite, row.difference), (10, 9, Some(-1.0)));
        assert_eq!((row.infinite_first, row.infinite_other), (0, 9));
        assert_eq!(row.better_equal_worse, [1, 0, 9]);
        assert!(row.p.unwrap() < 0.01 && row.effect.unwrap() > 0.9, "{row:?}");
        assert_eq!(row.favours, Some(Favours::First));
        let ranking = &rankings(&runs)[0];
        assert_eq!((ranking.cases, ranking.left_out, ranking.by), (10, 0, Aggregation::MeanRank));
        assert_eq!(ranking.infinite, [0, 9]);
        assert_eq!(ranking.ranks.iter().map(|r| r.rank).collect::<Vec<_>>(), [1, 2]);
        assert!(ranking.ranks[0].stability > 0.99, "{ranking:?}");
    }

    #[test]
    fn what_is_neither_better_nor_worse_favours_nobody() {
        let [more, less] = [favours("hd95:surfel", 0.5), favours("dice", 0.5)];
        assert_eq!((more, less), (Some(Favours::First), Some(Favours::Other)));
        assert_eq!(favours("dice", 0.0), Some(Favours::Neither));
        assert_eq!(favours("volume-difference:ml", 0.5), None);
    }

    #[test]
    fn runs_without_a_difference_have_no_p_value() {
        let rows = compare(&[run("a", 0.0), run("b", 0.0)], &BTreeMap::new());
        assert!(rows.iter().all(|r| r.p.is_none() && r.p_holm_all.is_none() && r.difference == Some(0.0)));
    }
}
