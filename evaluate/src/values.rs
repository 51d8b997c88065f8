//! `metrics.csv` of a score, read again.

use crate::score::METRICS;
use anyhow::Result;
use data_manifests::Manifest;
use metrics::statistics::summarise;
use serde::Deserialize;
use stage::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Class of the mean over the classes of a case.
pub(crate) const MEAN: &str = "mean";

/// Which column of values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Definition id.
    pub(crate) definition: String,
    /// Class key; [`MEAN`] for the mean over classes.
    pub(crate) class: String,
}

/// Values by definition and class, then case; what was not scored is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Values {
    values: BTreeMap<Key, BTreeMap<String, f64>>,
    cases: BTreeSet<String>,
    order: Vec<Key>,
    /// What is not a mean over classes, as written.
    written: BTreeMap<(String, Key), String>,
}

#[derive(Deserialize)]
struct Row {
    case: String,
    class: String,
    definition: String,
    value: String,
}

/// From rows (case, class, definition, value).
#[cfg(test)]
pub(crate) fn from_rows(rows: impl IntoIterator<Item = (String, String, String, f64)>) -> Values {
    let mut values = Values::default();
    for (case, class, definition, value) in rows {
        values.put(case, Key { definition, class }, Some(value));
    }
    values.add_means();
    values
}

impl Values {
    /// The values of a finished score.
    ///
    /// # Errors
    /// A directory that holds none, or a table that was changed.
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        Manifest::load(directory, "score")?;
        let path = directory.join(METRICS);
        let mut values = Self::default();
        let bytes = fs_err::read(&path)?;
        let wrong = |detail: String| {
            Message::error("E514", "a table of metrics cannot be read")
                .detail(format!("{}: {detail}", path.display()))
                .fix("Run 'evaluate score' again")
        };
        for row in csv::Reader::from_reader(bytes.as_slice()).deserialize() {
            let row: Row = row.map_err(|e| wrong(e.to_string()))?;
            let number = match row.value.as_str() {
                "n/a" => None,
                text => Some(text.parse().map_err(|_| wrong(format!("'{text}' is not a number")))?),
            };
            let key = Key { definition: row.definition, class: row.class };
            values.written.insert((row.case.clone(), key.clone()), row.value);
            values.put(row.case, key, number);
        }
        values.add_means();
        Ok(values)
    }

    fn put(&mut self, case: String, key: Key, value: Option<f64>) {
        if !self.values.contains_key(&key) {
            self.order.push(key.clone());
            self.values.insert(key.clone(), BTreeMap::new());
        }
        if let (Some(value), Some(column)) = (value, self.values.get_mut(&key)) {
            column.insert(case.clone(), value);
        }
        self.cases.insert(case);
    }

    /// For each definition the mean over the classes that a case has, where there are several: infinite as soon as one is.
    fn add_means(&mut self) {
        let mut definitions: Vec<String> = self.order.iter().map(|key| key.definition.clone()).collect();
        let mut seen = BTreeSet::new();
        definitions.retain(|definition| seen.insert(definition.clone()));
        let mut order = Vec::new();
        for definition in definitions {
            let own: Vec<Key> =
                self.order.iter().filter(|key| key.definition == definition).cloned().collect();
            if own.len() > 1 {
                let key = Key { definition, class: MEAN.to_owned() };
                let column = self.cases.iter().filter_map(|case| {
                    let values: Vec<f64> =
                        own.iter().filter_map(|key| self.values.get(key)?.get(case)).copied().collect();
                    Some((case.clone(), summarise(&values)?.mean))
                });
                let column = column.collect();
                self.values.insert(key.clone(), column);
                order.push(key);
            }
            order.extend(own);
        }
        self.order = order;
    }

    /// Definitions in the order of the table; of each the mean first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.order.iter()
    }

    /// One column by case.
    pub(crate) fn of(&self, key: &Key) -> Option<&BTreeMap<String, f64>> {
        self.values.get(key)
    }

    /// A value as the table has it.
    pub(crate) fn written(&self, case: &str, key: &Key) -> Option<&str> {
        self.written.get(&(case.to_owned(), key.clone())).map(String::as_str)
    }

    /// All cases.
    pub(crate) fn cases(&self) -> impl Iterator<Item = &str> {
        self.cases.iter().map(String::as_str)
    }

    /// Whether a case was scored.
    pub(crate) fn holds(&self, case: &str) -> bool {
        self.cases.contains(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_over_the_classes_that_a_case_has() {
        let row = |case: &str, class: &str, v: f64| (case.to_owned(), class.to_owned(), "dice".to_owned(), v);
        let values = from_rows([row("a", "1", 0.5), row("a", "2", 1.0), row("b", "2", 0.25)]);
        let mean = values.of(&Key { definition: "dice".into(), class: MEAN.into() }).unwrap();
        assert_eq!((mean["a"], mean["b"]), (0.75, 0.25));
        assert_eq!(values.keys().map(|k| k.class.as_str()).collect::<Vec<_>>(), [MEAN, "1", "2"]);
    }
}
