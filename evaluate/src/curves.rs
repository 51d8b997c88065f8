//! Training curves from `metrics.jsonl`.

use anyhow::Result;
use serde_json::{Map, Value};
use stage::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// Record of a training run, one object a line.
const RECORD: &str = "metrics.jsonl";

/// A named series over training steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// `training` or `validation`.
    pub(crate) kind: &'static str,
    /// The number's name in the record.
    pub(crate) name: String,
    /// (step, value), finite values only.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The charts of a training stage: title and which series it shows.
type Charts = [(&'static str, fn(&Curve) -> bool)];

/// What fine-tuning records.
pub(crate) const TRAIN: &Charts = &[
    ("loss", |c| c.name == "loss"),
    ("parts of the loss", |c| c.name.ends_with("_loss") || c.name.contains("entropy")),
    (DICE, |c| c.kind == "validation" && c.name.contains("dice") && !c.name.contains("loss")),
];

/// What pretraining records: the total, image against text in both views, the visual loss between the views, and the spread
/// of the features, which goes to 0 when they collapse.
pub(crate) const PRETRAIN: &Charts = &[
    ("loss", |c| c.name == "loss"),
    ("image-text loss by view", |c| c.name.starts_with("vlp")),
    ("visual loss, unweighted", |c| c.name == "vr"),
    ("spread of the features", |c| c.name == "feature_spread"),
];

/// Title of the chart whose values lie in 0…1.
pub(crate) const DICE: &str = "Dice on validation cases";

/// All series of the record in `directory`; none without a record.
///
/// # Errors
/// Names the line that is not an object with a step.
pub(crate) fn read(directory: &Path) -> Result<Vec<Curve>> {
    let path = directory.join(RECORD);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let mut series: BTreeMap<(&'static str, String), Vec<(f64, f64)>> = BTreeMap::new();
    for (number, line) in fs_err::read_to_string(&path)?.lines().enumerate() {
        let wrong = |detail: &str| {
            Message::error("E512", "the training record cannot be read")
                .detail(format!("{}, line {}: {detail}", path.display(), number + 1))
                .fix("Train again, or restore the file")
        };
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|e| wrong(&e.to_string()))?;
        let step = object.get("step").and_then(Value::as_f64).ok_or_else(|| wrong("no 'step'"))?;
        let kind = if object.get("kind").and_then(Value::as_str) == Some("validation") {
            "validation"
        } else {
            "training"
        };
        for (name, value) in object {
            // numbers that are not finite are texts in the record: gaps of the curve
            if let (true, Some(value)) = (name != "step", value.as_f64()) {
                series.entry((kind, name)).or_default().push((step, value));
            }
        }
    }
    Ok(series.into_iter().map(|((kind, name), points)| Curve { kind, name, points }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_by_kind_and_name() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_empty());
        let text = "{\"step\":1,\"kind\":\"step\",\"loss\":2.0}\n{\"step\":2,\"kind\":\"step\",\"loss\":\"NaN\"}\n{\"step\":2,\"kind\":\"validation\",\"dice\":0.5}\n";
        fs_err::write(directory.path().join(RECORD), text).unwrap();
        let curves = read(directory.path()).unwrap();
        assert_eq!(curves[0], Curve { kind: "training", name: "loss".into(), points: vec![(1.0, 2.0)] });
        assert_eq!((curves[1].kind, curves[1].name.as_str()), ("validation", "dice"));
        let shown = |i: usize| {
            TRAIN.iter().filter(|(_, pick)| pick(&curves[i])).map(|(title, _)| *title).collect::<Vec<_>>()
        };
        assert_eq!((shown(0), shown(1)), (vec!["loss"], vec![DICE]));
        fs_err::write(directory.path().join(RECORD), "{\"step\":1}\nhalf").unwrap();
        let error = read(directory.path()).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl, line 2"), "{error}");
    }
}
