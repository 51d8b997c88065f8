//! Which runs are one row of a table and one curve, and which of them one number: only those that differ in nothing but the seed.

use crate::names::names;
use crate::recipe::Recipe;
use crate::report::Run;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is asked of a run.
pub(crate) struct Entry<'a> {
    /// How the model was made, in words.
    pub(crate) words: &'a str,
    pub(crate) directory: &'a Path,
    pub(crate) dataset: &'a str,
    /// Share of the labels; all where predictions do not say.
    pub(crate) fraction: f64,
    /// None of predictions without a training record.
    pub(crate) recipe: Option<&'a Recipe>,
}

/// A row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Method {
    /// Unlike those of all others.
    pub(crate) name: String,
    /// Runs by their place, those of one number together; at most one such for a data set and a share of its labels.
    pub(crate) pools: Vec<Vec<usize>>,
}

/// The rows of a report's runs.
pub(crate) fn of(runs: &[Run]) -> Vec<Method> {
    let entries: Vec<Entry<'_>> = runs
        .iter()
        .map(|run| Entry {
            words: &run.method,
            directory: &run.directory,
            dataset: &run.summary.gtgm.dataset.name,
            fraction: run.fraction.unwrap_or(1.0),
            recipe: run.recipe.as_ref(),
        })
        .collect();
    methods(&entries)
}

type Pool = Vec<usize>;

/// Groups of equal keys, in the order of their first members.
fn grouped<T, K: PartialEq>(items: Vec<T>, key: impl Fn(&T) -> K) -> Vec<Vec<T>> {
    let mut groups: Vec<(K, Vec<T>)> = Vec::new();
    for item in items {
        let own = key(&item);
        match groups.iter_mut().find(|(known, _)| *known == own) {
            Some((_, group)) => group.push(item),
            None => groups.push((own, vec![item])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Runs that differ in their seeds alone are one pool; with a seed that is unknown or twice there, each is its own.
fn pools(entries: &[Entry<'_>]) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let same = |pool: &&mut Pool| match (entry.recipe, entries[pool[0]].recipe) {
            (Some(own), Some(other)) => own.is_same_but_seed(other),
            _ => false,
        };
        match pools.iter_mut().find(same) {
            Some(pool) => pool.push(i),
            None => pools.push(vec![i]),
        }
    }
    let seed = |i: &usize| entries[*i].recipe.and_then(|recipe| recipe.seed);
    let are_seeds = |pool: &Pool| {
        pool.iter()
            .enumerate()
            .all(|(n, i)| seed(i).is_some() && !pool[..n].iter().any(|j| seed(j) == seed(i)))
    };
    pools
        .into_iter()
        .flat_map(
            |pool| {
                if are_seeds(&pool) { vec![pool] } else { pool.into_iter().map(|i| vec![i]).collect() }
            },
        )
        .collect()
}

fn methods(entries: &[Entry<'_>]) -> Vec<Method> {
    let of = |pool: &Pool| &entries[pool[0]];
    let encoders = |pool: &Pool| of(pool).recipe.map(|recipe| &recipe.encoders);
    let rules = |pool: &Pool| match of(pool).recipe {
        Some(recipe) => json!([of(pool).words, recipe.rules]),
        // nothing says that two such belong together
        None => json!(pool[0]),
    };
    let of_any_fraction = |pool: &Pool| of(pool).recipe.map_or(Value::Null, Recipe::of_any_fraction);
    let cell = |pool: &Pool| (of(pool).dataset, of(pool).fraction.to_bits());
    let has_one_each = |row: &[Pool]| {
        row.iter().enumerate().all(|(n, pool)| !row[..n].iter().any(|other| cell(other) == cell(pool)))
    };
    // data sets may have encoders of their own, but each has one
    let has_one_encoder = |row: &[Pool]| {
        row.iter().enumerate().all(|(n, pool)| {
            let same = row[..n].iter().filter(|other| of(other).dataset == of(pool).dataset);
            same.into_iter().all(|other| encoders(other) == encoders(pool))
        })
    };
    let mut rows: Vec<Vec<Pool>> = Vec::new();
    for row in grouped(pools(entries), rules) {
        if has_one_each(&row) && has_one_encoder(&row) {
            rows.push(row);
            continue;
        }
        for row in grouped(row, encoders) {
            if has_one_each(&row) {
                rows.push(row);
                continue;
            }
            for row in grouped(row, of_any_fraction) {
                if has_one_each(&row) {
                    rows.push(row);
                } else {
                    rows.extend(row.into_iter().map(|pool| vec![pool]));
                }
            }
        }
    }
    named(rows, entries)
}

/// Rows of one name are told apart by the folders of their first runs.
fn named(rows: Vec<Vec<Pool>>, entries: &[Entry<'_>]) -> Vec<Method> {
    let words: Vec<&str> = rows.iter().map(|row| entries[row[0][0]].words).collect();
    let of_name = |name: &str| (0..rows.len()).filter(|row| words[*row] == name).collect::<Vec<_>>();
    let name = |row: usize| {
        let same = of_name(words[row]);
        if same.len() == 1 {
            return words[row].to_owned();
        }
        let folders: Vec<PathBuf> =
            same.iter().map(|row| entries[rows[*row][0][0]].directory.to_owned()).collect();
        let place = same.iter().position(|other| *other == row).unwrap_or_default();
        let more = match rows[row].iter().map(Vec::len).sum::<usize>() {
            1 => String::new(),
            runs => format!(" and {} more", runs - 1),
        };
        format!("{} ({}{more})", words[row], names(&folders)[place])
    };
    let all: Vec<String> = (0..rows.len()).map(name).collect();
    all.into_iter().zip(rows).map(|(name, pools)| Method { name, pools }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(seed: Option<u64>, fraction: f64, steps: u64, encoder: &str) -> Recipe {
        Recipe {
            train: json!({"fraction": fraction, "steps": steps}),
            encoders: vec![encoder.to_owned()],
            made: Vec::new(),
            rules: json!("clinical"),
            data: json!("d"),
            seed,
        }
    }

    /// Of runs in the folders `0`, `1`, …: each row's name and its pools.
    fn rows(runs: &[Recipe]) -> Vec<(String, Vec<Vec<usize>>)> {
        let folders: Vec<PathBuf> = (0..runs.len()).map(|i| format!("runs/{i}").into()).collect();
        let entries: Vec<Entry<'_>> = runs
            .iter()
            .zip(&folders)
            .map(|(recipe, directory)| Entry {
                words: "resenc",
                directory,
                dataset: "d",
                fraction: recipe.train["fraction"].as_f64().unwrap(),
                recipe: Some(recipe),
            })
            .collect();
        methods(&entries).into_iter().map(|m| (m.name, m.pools)).collect()
    }

    #[test]
    fn seeds_are_pooled_and_fractions_are_one_row() {
        let of = |seed, fraction| recipe(Some(seed), fraction, 100, "e");
        let found = rows(&[of(0, 0.1), of(1, 0.1), of(0, 1.0)]);
        assert_eq!(found, [("resenc".to_owned(), vec![vec![0, 1], vec![2]])]);
        // the same seed twice, or none that is known: no spread over seeds
        let found = rows(&[of(0, 0.1), of(0, 0.1)]);
        assert_eq!(
            found,
            [("resenc (0)".to_owned(), vec![vec![0]]), ("resenc (1)".to_owned(), vec![vec![1]])]
        );
        assert_eq!(rows(&[recipe(None, 0.1, 100, "e"), of(1, 0.1)]).len(), 2);
    }

    #[test]
    fn other_encoders_steps_and_rules_are_rows_of_their_own() {
        let of = |seed, fraction, steps, encoder| recipe(Some(seed), fraction, steps, encoder);
        // also where no cell would have both
        let found = rows(&[of(0, 0.1, 100, "e"), of(1, 0.1, 100, "e"), of(0, 1.0, 100, "f")]);
        assert_eq!(
            found,
            [
                ("resenc (0 and 1 more)".to_owned(), vec![vec![0, 1]]),
                ("resenc (2)".to_owned(), vec![vec![2]])
            ]
        );
        let found =
            rows(&[of(0, 0.1, 100, "e"), of(0, 0.1, 200, "e"), of(0, 1.0, 100, "e"), of(0, 1.0, 200, "e")]);
        let pools: Vec<_> = found.into_iter().map(|row| row.1).collect();
        assert_eq!(pools, [[[0], [2]], [[1], [3]]]);
        let other = Recipe { rules: json!("brats"), ..of(1, 0.1, 100, "e") };
        assert_eq!(rows(&[of(0, 0.1, 100, "e"), other]).len(), 2);
    }

    #[test]
    fn predictions_of_other_programs_are_never_one_row() {
        let folders = ["a/scores", "b/scores", "c/scores"].map(PathBuf::from);
        let datasets = ["d", "d", "other"];
        let entries: Vec<Entry<'_>> = folders
            .iter()
            .zip(datasets)
            .map(|(directory, dataset)| Entry {
                words: "scores",
                directory,
                dataset,
                fraction: 1.0,
                recipe: None,
            })
            .collect();
        let names: Vec<String> = methods(&entries).into_iter().map(|m| m.name).collect();
        assert_eq!(names, ["scores (a/scores)", "scores (b/scores)", "scores (c/scores)"]);
    }
}
