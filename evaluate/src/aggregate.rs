//! From cases to classes to the foreground.

use crate::scoring::CaseResult;
use crate::summary::{CaseEntry, ClassSummary, LEVEL, Means, MetricSummary};
use crate::targets::{MeanRule, Named};
use metrics::policy::PresenceCounts;
use metrics::statistics::{Interval, bootstrap, bootstrap_mean, summarise};
use metrics::{ClassScore, Definition};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const RESAMPLES: usize = 2000;
/// The interval is a pure function of the values.
const BOOTSTRAP_SEED: u64 = 0;

/// Summarises the finite ones of `values`.
pub(crate) fn summary_of(id: String, name: &str, values: &[f64]) -> MetricSummary {
    let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    let summary = summarise(&finite);
    MetricSummary {
        definition: id,
        name: name.to_owned(),
        n: finite.len(),
        infinite: values.len() - finite.len(),
        mean: summary.map(|s| s.mean),
        median: summary.map(|s| s.median),
        quartiles: summary.map(|s| s.quartiles),
        std: summary.and_then(|s| s.std),
        interval: bootstrap_mean(&finite, LEVEL, RESAMPLES, BOOTSTRAP_SEED),
        mean_with_diagonal: None,
    }
}

/// Summarises `values` of cases with their diagonals.
fn metric(definition: Definition, values: &[(f64, f64)]) -> MetricSummary {
    let own: Vec<f64> = values.iter().map(|v| v.0).collect();
    let filled: Vec<f64> =
        values.iter().map(|(v, diagonal)| if v.is_finite() { *v } else { *diagonal }).collect();
    MetricSummary {
        mean_with_diagonal: definition.is_distance().then(|| summarise(&filled).map(|s| s.mean)).flatten(),
        ..summary_of(definition.id(), definition.name(), &own)
    }
}

fn value_of(score: &ClassScore, definition: Definition) -> Option<f64> {
    score.values.iter().find(|m| m.definition == definition).and_then(|m| m.value)
}

/// Summaries of each class, in the order of the protocol.
#[must_use]
pub(crate) fn classes(
    results: &[CaseResult],
    targets: &[Named],
    definitions: &[Definition],
) -> Vec<ClassSummary> {
    targets
        .iter()
        .enumerate()
        .map(|(position, named)| {
            let mut presence = PresenceCounts::default();
            for result in results {
                presence.add(result.scores[position].presence);
            }
            let metrics = definitions
                .iter()
                .map(|definition| {
                    let values: Vec<(f64, f64)> = results
                        .iter()
                        .filter_map(|r| Some((value_of(&r.scores[position], *definition)?, r.diagonal_mm)))
                        .collect();
                    metric(*definition, &values)
                })
                .collect();
            ClassSummary { class: named.target.to_string(), name: named.name.clone(), presence, metrics }
        })
        .collect()
}

/// The foreground: each mean is over the classes that were scored at all (by nnU-Net's rule there is none unless all were), of
/// their means over cases, and the interval is that mean's; the other numbers are those of the cases' own means over classes.
#[must_use]
pub(crate) fn foreground(
    results: &[CaseResult],
    classes: &[ClassSummary],
    definitions: &[Definition],
    rule: MeanRule,
) -> Vec<MetricSummary> {
    definitions
        .iter()
        .enumerate()
        .map(|(position, definition)| {
            // cases where no class has a finite value are in no mean
            let (values, diagonals): (Vec<Vec<Option<f64>>>, Vec<f64>) = results
                .iter()
                .map(|result| {
                    let of_class = |s| value_of(s, *definition).filter(|v| v.is_finite());
                    (result.scores.iter().map(of_class).collect::<Vec<_>>(), result.diagonal_mm)
                })
                .filter(|(row, _)| row.iter().any(Option::is_some))
                .unzip();
            let own = values.iter().zip(&diagonals).filter_map(|(row, diagonal)| {
                let finite: Vec<f64> = row.iter().copied().flatten().collect();
                Some((summarise(&finite)?.mean, *diagonal))
            });
            let over_classes = |pick: fn(&MetricSummary) -> Option<f64>| {
                rule.mean(classes.iter().map(|c| pick(&c.metrics[position])))
            };
            MetricSummary {
                mean: over_classes(|m| m.mean),
                mean_with_diagonal: over_classes(|m| m.mean_with_diagonal),
                infinite: classes.iter().map(|c| c.metrics[position].infinite).sum(),
                interval: foreground_interval(&values, rule),
                ..metric(*definition, &own.collect::<Vec<_>>())
            }
        })
        .collect()
}

/// Bootstrap interval of the mean over classes of their means over cases: cases are drawn, and both means taken anew. A class that no
/// case of a resample has is left out of it; by nnU-Net's rule the resample has no value then and is dropped.
///
/// # Shapes
/// `values`: by case, then class; each case has a value.
fn foreground_interval(values: &[Vec<Option<f64>>], rule: MeanRule) -> Option<Interval> {
    let classes = values.first()?.len();
    let (mut sums, mut counts) = (vec![0.0; classes], vec![0_usize; classes]);
    bootstrap(values.len(), LEVEL, RESAMPLES, BOOTSTRAP_SEED, |drawn| {
        sums.fill(0.0);
        counts.fill(0);
        for case in drawn {
            for (class, value) in values[*case].iter().enumerate() {
                sums[class] += value.unwrap_or_default();
                counts[class] += usize::from(value.is_some());
            }
        }
        rule.mean(sums.iter().zip(&counts).map(|(sum, n)| (*n > 0).then(|| sum / *n as f64)))
    })
}

/// The key of a metric in nnU-Net's tables: `Dice`, `IoU`, or our id.
fn key(definition: Definition) -> String {
    match definition {
        Definition::Dice | Definition::Iou => definition.name().to_owned(),
        other => other.id(),
    }
}

/// JSON has neither infinity nor NaN.
pub(crate) fn number(value: Option<f64>) -> Value {
    match value {
        Some(v) if v.is_finite() => json!(v),
        Some(_) => json!("inf"),
        None => Value::Null,
    }
}

/// Metrics of a case by class, with nnU-Net's keys.
#[must_use]
pub(crate) fn case_metrics(result: &CaseResult) -> BTreeMap<String, BTreeMap<String, Value>> {
    result
        .scores
        .iter()
        .map(|score| {
            let counts = &score.counts;
            let mut row: BTreeMap<String, Value> =
                score.values.iter().map(|m| (key(m.definition), number(m.value))).collect();
            row.extend([
                ("TP".to_owned(), json!(counts.true_positive)),
                ("FP".to_owned(), json!(counts.false_positive)),
                ("FN".to_owned(), json!(counts.false_negative)),
                ("TN".to_owned(), json!(counts.true_negative)),
                ("n_pred".to_owned(), json!(counts.prediction())),
                ("n_ref".to_owned(), json!(counts.reference())),
            ]);
            (counts.target.to_string(), row)
        })
        .collect()
}

/// Means per class and over classes, with nnU-Net's keys. Values that are not finite numbers are left out of a mean over cases.
#[must_use]
pub(crate) fn nnunet_means(cases: &[CaseEntry], rule: MeanRule) -> (Means, BTreeMap<String, Means>) {
    let mut values: BTreeMap<&String, BTreeMap<&String, Vec<f64>>> = BTreeMap::new();
    for (class, row) in cases.iter().flat_map(|case| &case.metrics) {
        for (key, value) in row {
            values.entry(class).or_default().entry(key).or_default().extend(value.as_f64());
        }
    }
    let mean: BTreeMap<String, Means> = values
        .into_iter()
        .map(|(class, row)| {
            let row = row.into_iter().map(|(key, v)| (key.clone(), summarise(&v).map(|s| s.mean))).collect();
            (class.clone(), row)
        })
        .collect();
    let mut columns: BTreeMap<String, Vec<Option<f64>>> = BTreeMap::new();
    for (key, value) in mean.values().flatten() {
        columns.entry(key.clone()).or_default().push(*value);
    }
    let foreground = columns.into_iter().map(|(key, v)| (key, rule.mean(v.into_iter()))).collect();
    (foreground, mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::{Policy, Protocol, Target, score_case};

    fn results() -> Vec<CaseResult> {
        let protocol = Protocol {
            targets: [1, 2].map(|v| Target::class(v).unwrap()).into(),
            ignore: None,
            definitions: vec![Definition::Dice, Definition::Hd95],
            policy: Policy::Clinical,
        };
        // class 1: perfect, then missed; class 2: in no case
        let mut mask = [0_u8; 27];
        mask[13] = 1;
        [mask, [0; 27]]
            .iter()
            .zip(["a", "b"])
            .map(|(guess, id)| CaseResult {
                id: id.into(),
                diagonal_mm: 5.0,
                voxel_ml: 0.001,
                scores: score_case(&mask, guess, [3; 3], [1.0; 3], &protocol).unwrap(),
                missing: false,
            })
            .collect()
    }

    #[test]
    fn missed_structures_count_and_absent_classes_do_not() {
        let (results, definitions) = (results(), [Definition::Dice, Definition::Hd95]);
        let named = [(1, "one"), (2, "two")]
            .map(|(v, name)| Named { target: Target::class(v).unwrap(), name: name.into() });
        let classes = classes(&results, &named, &definitions);
        assert_eq!(
            (classes[0].presence.both, classes[0].presence.missed, classes[1].presence.both_empty),
            (1, 1, 2)
        );
        assert_eq!((classes[0].metrics[0].mean, classes[0].metrics[0].n), (Some(0.5), 2));
        let hd95 = &classes[0].metrics[1];
        assert_eq!((hd95.mean, hd95.n, hd95.infinite, hd95.mean_with_diagonal), (Some(0.0), 1, 1, Some(2.5)));
        assert_eq!((classes[1].metrics[0].mean, classes[1].metrics[0].n), (None, 0));
        let scored = foreground(&results, &classes, &definitions, MeanRule::Scored);
        assert_eq!((scored[0].mean, scored[1].mean_with_diagonal), (Some(0.5), Some(2.5)));
        // a plain mean has no value where one class has none
        assert_eq!(foreground(&results, &classes, &definitions, MeanRule::Nnunet)[0].mean, None);
    }

    #[test]
    fn the_interval_of_the_foreground_is_of_the_mean_shown() {
        // a common class of good scores, and a rare one of bad ones: the mean of class means is far below the cases' own means
        let values: Vec<Vec<Option<f64>>> = (0..20)
            .map(|i| {
                let common = 0.9 + 0.005 * f64::from(i % 7);
                vec![Some(common), (i % 10 == 0).then(|| 0.2 + 0.02 * f64::from(i))]
            })
            .collect();
        let class =
            |c: usize| summarise(&values.iter().filter_map(|row| row[c]).collect::<Vec<_>>()).unwrap();
        let shown = f64::midpoint(class(0).mean, class(1).mean);
        let own: Vec<f64> = values
            .iter()
            .map(|row| summarise(&row.iter().copied().flatten().collect::<Vec<_>>()).unwrap().mean)
            .collect();
        let of_cases = bootstrap_mean(&own, LEVEL, RESAMPLES, BOOTSTRAP_SEED).unwrap();
        assert!(shown < of_cases.low, "{shown} {of_cases:?}");
        let found = foreground_interval(&values, MeanRule::Scored).unwrap();
        assert!(found.low < shown && shown < found.high, "{shown} {found:?}");
        // a resample without the rare class is the common class alone, or none
        assert!(found.high > 0.9, "{found:?}");
        let strict = foreground_interval(&values, MeanRule::Nnunet).unwrap();
        assert!(strict.low < shown && shown < strict.high && strict.high < 0.8, "{strict:?}");
        // of one class it is the interval of the mean
        let alone: Vec<Vec<Option<f64>>> = values.iter().map(|row| vec![row[0]]).collect();
        let plain: Vec<f64> = alone.iter().filter_map(|row| row[0]).collect();
        let expected = bootstrap_mean(&plain, LEVEL, RESAMPLES, BOOTSTRAP_SEED);
        assert_eq!(foreground_interval(&alone, MeanRule::Scored), expected);
        assert_eq!(foreground_interval(&[], MeanRule::Scored), None);
    }

    #[test]
    fn nnunet_keys() {
        let cases: Vec<CaseEntry> = results()
            .iter()
            .map(|r| CaseEntry {
                case: r.id.clone(),
                reference_file: String::new(),
                prediction_file: None,
                voxel_ml: None,
                metrics: case_metrics(r),
            })
            .collect();
        assert_eq!(cases[1].metrics["1"]["hd95:surfel"], json!("inf"));
        let (foreground, mean) = nnunet_means(&cases, MeanRule::Scored);
        let keys: Vec<&str> = foreground.keys().map(String::as_str).collect();
        assert_eq!(keys, ["Dice", "FN", "FP", "TN", "TP", "hd95:surfel", "n_pred", "n_ref"]);
        assert_eq!((mean["1"]["Dice"], mean["2"]["Dice"], foreground["Dice"]), (Some(0.5), None, Some(0.5)));
        let (foreground, _) = nnunet_means(&cases, MeanRule::Nnunet);
        assert_eq!(foreground["Dice"], None);
    }
}
