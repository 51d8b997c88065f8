//! The labels that `dataset.json` declares.

use super::index::word;
use super::json::Document;
use crate::descriptor::{LabelKind, Labels, Region};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Labels of either convention.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Class names by value.
    pub(crate) classes: Vec<String>,
    /// Value of voxels that nobody annotated.
    pub(crate) ignore: Option<u32>,
    /// nnU-Net's regions in the order in which they are painted.
    pub(crate) regions: Vec<Region>,
}

impl Declared {
    /// As a descriptor has them.
    pub(crate) fn labels(&self) -> Labels {
        Labels {
            kind: LabelKind::Semantic,
            classes: self.classes.clone(),
            ignore: self.ignore,
            map: BTreeMap::new(),
            regions: self.regions.clone(),
        }
    }
}

/// Something wrong with the labels.
#[derive(Debug)]
pub(super) struct Flaw {
    /// Where, as a path into the file.
    pub(super) at: Vec<String>,
    pub(super) what: String,
    pub(super) fix: String,
}

impl Flaw {
    fn new(at: &[&str], what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at: at.iter().map(|s| (*s).to_owned()).collect(), what: what.into(), fix: fix.into() }
    }
}

/// A name with the values that it stands for.
type Entry = (String, Vec<u32>);

/// Reads `labels`: value → name (Decathlon; also as a list of names), or name → value or list of values (nnU-Net v2).
/// `None` where nothing usable is left.
pub(super) fn parse(document: &Document) -> (Option<Declared>, Vec<Flaw>) {
    let mut flaws = Vec::new();
    let Some(labels) = document.value.get("labels") else { return (None, flaws) };
    let mut entries = entries(labels, &mut flaws);
    if !flaws.is_empty() {
        return (None, flaws);
    }
    // nnU-Net's regions have the order of the file
    entries.sort_by_key(|(name, _)| document.offset(&["labels", name]));
    let declared = build(entries, document.value.get("regions_class_order"), &mut flaws);
    (Some(declared).filter(|_| flaws.is_empty()), flaws)
}

fn entries(labels: &Value, flaws: &mut Vec<Flaw>) -> Vec<Entry> {
    let mut found: Vec<Entry> = Vec::new();
    match labels {
        Value::Array(names) => {
            for (value, name) in (0..).zip(names) {
                match name.as_str() {
                    Some(name) => found.push((name.to_owned(), vec![value])),
                    None => {
                        let what = format!("label {value} is {}", word(name));
                        flaws.push(Flaw::new(&["labels", &value.to_string()], what, "Write its name"));
                    }
                }
            }
        }
        Value::Object(members) => {
            for (key, member) in members {
                // the Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1} or {"tumour": [1, 2]}
                let entry = match member {
                    Value::String(name) => key.trim().parse().ok().map(|value| (name.clone(), vec![value])),
                    Value::Array(values) => {
                        let values: Option<Vec<u32>> = values.iter().map(whole).collect();
                        values.filter(|v| !v.is_empty()).map(|values| (key.clone(), values))
                    }
                    other => whole(other).map(|value| (key.clone(), vec![value])),
                };
                match entry {
                    Some(entry) => found.push(entry),
                    None => flaws.push(Flaw::new(
                        &["labels", key],
                        format!("label '{key}' is {member}"),
                        "Write \"NAME\": 1 (nnU-Net) or \"1\": \"NAME\" (Decathlon)",
                    )),
                }
            }
        }
        other => {
            let what = format!("'labels' is {}", word(other));
            flaws.push(Flaw::new(&["labels"], what, "Write {\"background\": 0, \"NAME\": 1}"));
        }
    }
    found
}

fn whole(value: &Value) -> Option<u32> {
    let number = value
        .as_u64()
        .or_else(|| value.as_f64().filter(|v| *v >= 0.0 && v.fract() == 0.0).map(|v| v as u64))?;
    u32::try_from(number).ok()
}

fn build(entries: Vec<Entry>, order: Option<&Value>, flaws: &mut Vec<Flaw>) -> Declared {
    let (ignored, entries): (Vec<Entry>, Vec<Entry>) =
        entries.into_iter().partition(|(name, _)| name.eq_ignore_ascii_case("ignore"));
    let mut ignore = None;
    for (_, values) in &ignored {
        match values.as_slice() {
            [value] => ignore = Some(*value),
            _ => flaws.push(Flaw::new(&["labels", "ignore"], "'ignore' has several values", "Give it one")),
        }
    }
    let values: BTreeSet<u32> = entries.iter().flat_map(|(_, values)| values).copied().collect();
    let count = values.len() as u32;
    if !values.iter().copied().eq(0..count) {
        let found = values.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let last = count.saturating_sub(1);
        let fix = "Renumber them, or describe the data set by a descriptor whose labels.map does it";
        let what = format!("label values are {found}; expected 0 to {last} without a gap");
        flaws.push(Flaw::new(&["labels"], what, fix));
        return Declared { classes: Vec::new(), ignore, regions: Vec::new() };
    }
    if let Some(ignore) = ignore.filter(|ignore| *ignore != count) {
        let what = format!("'ignore' is {ignore}; expected the highest label value, {count}");
        flaws.push(Flaw::new(
            &["labels", "ignore"],
            what,
            format!("Give unannotated voxels the value {count}"),
        ));
    }
    let mut classes: Vec<String> = (0..count).map(|value| format!("value {value}")).collect();
    for (name, values) in &entries {
        if let [value] = values.as_slice() {
            classes[*value as usize].clone_from(name);
        }
    }
    let distinct: BTreeSet<&String> = classes.iter().collect();
    if distinct.len() < classes.len() {
        flaws.push(Flaw::new(&["labels"], "two labels have the same name", "Name each once"));
    }
    // as nnU-Net, which asks for a label of several values
    let regions = if entries.iter().any(|(_, values)| values.len() > 1) {
        regions(&entries, order, flaws)
    } else {
        Vec::new()
    };
    Declared { classes, ignore, regions }
}

/// nnU-Net's regions: every label but the background, painted in the order of `regions_class_order`.
fn regions(entries: &[Entry], order: Option<&Value>, flaws: &mut Vec<Flaw>) -> Vec<Region> {
    let named: Vec<&Entry> = entries.iter().filter(|(_, values)| values.as_slice() != [0]).collect();
    let fix = format!(
        "Write \"regions_class_order\" with {} values: what each region, in the order of 'labels', becomes in a label map",
        named.len()
    );
    let order: Option<Vec<u32>> =
        order.and_then(Value::as_array).and_then(|list| list.iter().map(whole).collect());
    let Some(order) = order.filter(|order| order.len() == named.len()) else {
        let at: &[&str] = &["regions_class_order"];
        flaws.push(Flaw::new(at, "'labels' has regions without a matching 'regions_class_order'", fix));
        return Vec::new();
    };
    let mut regions = Vec::new();
    for ((name, values), paint) in named.into_iter().zip(order) {
        if values.contains(&0) || !values.contains(&paint) {
            let what = format!(
                "region '{name}' of {values:?} is painted {paint}; expected one of its values, none of them 0"
            );
            flaws.push(Flaw::new(&["labels", name], what, fix.clone()));
        }
        regions.push(Region { name: name.clone(), values: values.clone(), paint });
    }
    regions
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn read(labels: &str, order: &str) -> (Option<Declared>, Vec<Flaw>) {
        let order =
            if order.is_empty() { String::new() } else { format!(", \"regions_class_order\": {order}") };
        let text = format!("{{\"labels\": {labels}{order}}}");
        parse(&Document::parse(Path::new("dataset.json"), &text).unwrap())
    }

    fn good(labels: &str, order: &str) -> Declared {
        let (declared, flaws) = read(labels, order);
        assert!(flaws.is_empty(), "{flaws:?}");
        declared.unwrap()
    }

    fn flaws(labels: &str, order: &str) -> String {
        let (declared, flaws) = read(labels, order);
        assert_eq!(declared, None);
        flaws.iter().map(|f| format!("{}: {}", f.at.join("/"), f.what)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn both_conventions_say_the_same() {
        let msd = good(r#"{"0": "background", "1": "liver", "2": "tumour"}"#, "");
        for same in [
            r#"{"background": 0, "liver": 1, "tumour": 2}"#,
            r#"{"background": 0.0, "tumour": 2, "liver": 1}"#,
            r#"["background", "liver", "tumour"]"#,
        ] {
            assert_eq!(msd, good(same, ""));
        }
        assert_eq!(msd.classes, ["background", "liver", "tumour"]);
    }

    #[test]
    fn regions_and_the_ignore_label_are_kept() {
        let labels =
            r#"{"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3], "ignore": 4}"#;
        let found = good(labels, "[1, 2, 3]");
        assert_eq!(found.classes, ["background", "value 1", "value 2", "enhancing"]);
        assert_eq!(found.ignore, Some(4));
        let painted: Vec<_> = found.regions.iter().map(|r| (r.name.as_str(), r.paint)).collect();
        assert_eq!(painted, [("whole", 1), ("core", 2), ("enhancing", 3)]);
        insta::assert_snapshot!(flaws(labels, ""), @"regions_class_order: 'labels' has regions without a matching 'regions_class_order'");
        insta::assert_snapshot!(flaws(labels, "[1, 1, 3]"), @"labels/core: region 'core' of [2, 3] is painted 1; expected one of its values, none of them 0");
    }

    #[test]
    fn all_flaws_are_named() {
        insta::assert_snapshot!(flaws(r#"{"background": 0, "a": -1, "b": []}"#, ""), @r#"
        labels/a: label 'a' is -1
        labels/b: label 'b' is []
        "#);
        insta::assert_snapshot!(flaws(r#"{"background": 0, "a": 1, "b": 3}"#, ""), @"labels: label values are 0, 1, 3; expected 0 to 2 without a gap");
        insta::assert_snapshot!(flaws(r#"{"background": 0, "a": 1, "ignore": 255}"#, ""), @"labels/ignore: 'ignore' is 255; expected the highest label value, 2");
        insta::assert_snapshot!(flaws("\"a\"", ""), @"labels: 'labels' is a text");
    }
}
