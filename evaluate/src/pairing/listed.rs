//! Pairs that a table of `--pairs` lists.

use super::{Pair, Pairing};
use crate::maps::Map;
use anyhow::Result;
use data_manifests::cases;
use data_manifests::raw::Source;
use serde::Deserialize;
use stage::Message;
use std::collections::BTreeSet;
use std::path::Path;

/// A row of a table for `--pairs`; paths are relative to the table's folder.
#[derive(Debug, Deserialize)]
struct Listed {
    case: String,
    reference: String,
    /// Empty where there is none.
    prediction: String,
    /// For overlays.
    #[serde(default)]
    image: String,
}

/// By a table of the columns case, reference, prediction and, if wanted, image.
pub(super) fn listed(table: &Path) -> Result<Pairing> {
    let wrong = |what: String| {
        Message::error("E506", what)
            .detail(table.display().to_string())
            .fix("Give --pairs a CSV file with the columns case,reference,prediction (and image for overlays); paths are relative to it")
    };
    let root = table.parent().unwrap_or(Path::new(""));
    let rows: Vec<Listed> = cases::from_csv(table).map_err(|e| wrong(format!("{e:#}")))?;
    let mut pairing = Pairing { pairs: Vec::new(), failed: Vec::new(), has_manifest: false, absent: None };
    let mut seen = BTreeSet::new();
    for row in rows {
        if !seen.insert(row.case.clone()) {
            return Err(wrong(format!("the case {} is listed twice", row.case)).into());
        }
        // pictures are named after it
        if row.case.is_empty() || row.case.contains('/') {
            return Err(wrong(format!("'{}' cannot be the name of a case", row.case)).into());
        }
        let there = |text: &str| {
            let map = Some(Map::named(text, root)).filter(|_| !text.is_empty())?;
            map.missing().is_none().then_some(map)
        };
        let Some(reference) = there(&row.reference) else {
            pairing.failed.push(
                Message::error("E506", "the reference of this case is missing")
                    .case(&row.case)
                    .detail(root.join(&row.reference).display().to_string())
                    .fix("Correct the table of --pairs: paths are relative to its folder"),
            );
            continue;
        };
        let prediction = there(&row.prediction);
        if prediction.is_none() && !row.prediction.is_empty() {
            pairing.absent.get_or_insert_with(|| root.join(&row.prediction));
        }
        let image = Some(Source::named(&row.image, root)).filter(|_| !row.image.is_empty());
        pairing.pairs.push(Pair {
            prediction,
            expected: None,
            split: None,
            image: image.filter(|image| image.missing().is_none()),
            reference,
            id: row.case,
        });
    }
    pairing.pairs.sort_by(|a, b| a.id.cmp(&b.id));
    if pairing.pairs.is_empty() && pairing.failed.is_empty() {
        return Err(wrong("this table lists no case".to_owned()).into());
    }
    Ok(pairing)
}
