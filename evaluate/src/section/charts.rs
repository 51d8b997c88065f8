//! The charts of one run.

use super::CurveCard;
use crate::chart::{self, Series, Volumes};
use crate::curves;
use crate::page::{is_length, stem};
use crate::report::Run;
use crate::summary::ClassSummary;
use crate::values::Key;
use anyhow::Result;

/// How each metric of the default set spreads over cases, by class.
pub(super) fn spreads(run: &Run) -> Vec<CurveCard> {
    let details = &run.summary.gtgm;
    let shown = ["dice", "hd95:surfel", "nsd:surfel", "voi:cremi", "arand:cremi"];
    let notes = details.definitions.iter().filter(|note| shown.contains(&stem(&note.id)));
    notes
        .filter_map(|note| {
            let groups: Vec<(String, Vec<(String, f64)>)> = details
                .classes
                .iter()
                .map(|class| {
                    let key = Key { definition: note.id.clone(), class: class.class.clone() };
                    let column = run.values.of(&key).into_iter().flatten();
                    let finite = column.filter(|(_, v)| v.is_finite()).map(|(case, v)| (case.clone(), *v));
                    (class.name.clone(), finite.collect())
                })
                .collect();
            let share = matches!(stem(&note.id), "dice" | "nsd:surfel");
            let unit = if is_length(&note.id) { "mm" } else { "" };
            let title = format!("{} of every case by class ({})", note.name, note.id);
            let svg = chart::distribution(&title, &groups, share, unit);
            (!svg.is_empty()).then_some(CurveCard { title, svg })
        })
        .collect()
}

/// Predicted against reference volumes, class by class.
pub(super) fn agreement(run: &Run) -> Vec<CurveCard> {
    let volumes = |class: &ClassSummary| {
        let cases = run.summary.metric_per_case.iter();
        let points = cases.filter_map(|case| {
            let voxels = |name: &str| case.metrics.get(&class.class)?.get(name)?.as_f64();
            let ml = case.voxel_ml?;
            let (reference, prediction) = (voxels("n_ref")? * ml, voxels("n_pred")? * ml);
            (reference > 0.0 || prediction > 0.0).then(|| (case.case.clone(), reference, prediction))
        });
        Volumes { class: class.name.clone(), cases: points.collect() }
    };
    let card = |(number, class): (usize, &ClassSummary)| {
        let title = format!("Volume of {} (Bland–Altman): predicted less reference, ml", class.name);
        CurveCard { svg: chart::bland_altman(&title, number, &volumes(class)), title }
    };
    let cards = run.summary.gtgm.classes.iter().enumerate().map(card);
    cards.filter(|card| !card.svg.is_empty()).collect()
}

/// The curves of training and pretraining.
///
/// # Errors
/// A training record that cannot be read.
pub(super) fn curve_cards(run: &Run) -> Result<Vec<CurveCard>> {
    let mut cards = Vec::new();
    for (stage, words, charts) in
        [("train", "Fine-tuning", curves::TRAIN), ("pretrain", "Pretraining", curves::PRETRAIN)]
    {
        for link in run.links.iter().filter(|l| l.stage() == stage) {
            let curves = curves::read(&link.directory)?;
            for (name, pick) in charts {
                let series: Vec<Series> = curves
                    .iter()
                    .filter(|c| pick(c))
                    .map(|c| Series {
                        name: format!("{} {}", c.kind, c.name.replace('_', " ")),
                        points: c.points.clone(),
                        marked: c.kind == "validation",
                    })
                    .collect();
                let title = format!("{words}: {name}");
                let range = (*name == curves::DICE).then_some((0.0, 1.0));
                cards.push(CurveCard { svg: chart::lines(&title, &series, range), title });
            }
        }
    }
    cards.retain(|card| !card.svg.is_empty());
    Ok(cards)
}
