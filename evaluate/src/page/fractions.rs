//! Curves of scores over shares of labels.

use super::{FractionCard, find};
use crate::chart::{self, Curve, Point};
use crate::methods::Method;
use crate::report::Run;
use crate::summary::{Details, MetricSummary};
use metrics::statistics::summarise;

/// Scores over the share of labels, one chart per data set, with the published rows.
pub(super) fn cards(runs: &[Run], methods: &[Method]) -> Vec<FractionCard> {
    let mut names: Vec<&str> = Vec::new();
    for run in runs {
        let name = run.summary.gtgm.dataset.name.as_str();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut cards = Vec::new();
    for name in names {
        let is_here = |run: &&Run| run.summary.gtgm.dataset.name == name && run.fraction.is_some();
        let Some(first) = runs.iter().find(is_here) else { continue };
        let details: &Details = &first.summary.gtgm;
        let mut curves: Vec<Curve> = Vec::new();
        for method in methods {
            let pools: Vec<Vec<&Run>> = method
                .pools
                .iter()
                .map(|pool| pool.iter().map(|run| &runs[*run]).filter(is_here).collect())
                .collect();
            let mut points: Vec<Point> = pools.iter().filter_map(|pool| point(pool)).collect();
            points.sort_by(|a, b| a.fraction.total_cmp(&b.fraction));
            if !points.is_empty() {
                curves.push(Curve { name: method.name.clone(), points });
            }
        }
        for row in details.dataset.published.iter().filter(|p| p.metric == "Dice %") {
            let point = Point { fraction: row.fraction, value: row.value / 100.0, interval: None };
            let curve = format!("{} (published)", row.method);
            match curves.iter_mut().find(|c| c.name == curve) {
                Some(known) => known.points.push(point),
                None => curves.push(Curve { name: curve, points: vec![point] }),
            }
        }
        let title = format!("Foreground Dice by share of the labels: {}", details.dataset.title);
        let svg = chart::fractions(&title, &curves);
        if !svg.is_empty() {
            cards.push(FractionCard { title, svg });
        }
    }
    cards
}

/// The point of runs that differ in nothing but the seed: of one with the interval over cases, of several from the worst to the best.
fn point(pool: &[&Run]) -> Option<Point> {
    let fraction = pool.first()?.fraction?;
    let metrics: Vec<&MetricSummary> =
        pool.iter().filter_map(|run| find(&run.summary.gtgm.foreground, "dice")).collect();
    let means: Vec<f64> = metrics.iter().filter_map(|metric| metric.mean).collect();
    let value = summarise(&means)?.mean;
    let interval = match metrics.as_slice() {
        [one] => one.interval.map(|i| [i.low, i.high]),
        _ => Some([
            means.iter().copied().fold(f64::INFINITY, f64::min),
            means.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        ]),
    };
    Some(Point { fraction, value, interval })
}
