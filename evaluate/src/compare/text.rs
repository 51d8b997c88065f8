//! A comparison as Markdown and as a table.

use crate::comparison::{ALL, Favours, Ranking, Row};
use crate::values::{MEAN, Values};
use anyhow::Result;
use metrics::ranking::Aggregation;
use stage::message::counted;

fn number(value: Option<f64>) -> String {
    value.map_or_else(
        || "n/a".to_owned(),
        |v| if v.abs() >= 100.0 { format!("{v:.1}") } else { format!("{v:.4}") },
    )
}

fn p_value(value: Option<f64>) -> String {
    match value {
        None => "n/a".to_owned(),
        Some(p) if p < 1e-4 => format!("{p:.1e}"),
        Some(p) => format!("{p:.4}"),
    }
}

/// So many of something; nothing for none.
fn some(n: usize, what: &str) -> String {
    if n > 0 { format!(" ({n} {what})") } else { String::new() }
}

/// The whole comparison as Markdown.
pub(super) fn markdown(
    runs: &[(String, Values)],
    cases: usize,
    rows: &[Row],
    rankings: &[Ranking],
) -> String {
    let first = runs.first().map_or("", |(name, _)| name);
    let mut lines = vec![format!("# Comparison with {first}"), String::new(), preface(first, cases, rows)];
    lines.extend([
        String::new(),
        format!(
            "| definition | class | group | run | n | {first} | run's mean | difference | p (Holm: runs, all) | effect | better / equal / worse |"
        ),
        format!("|{}", " --- |".repeat(11)),
    ]);
    lines.extend(rows.iter().map(|row| test_line(row, first)));
    lines.extend([String::new(), "## What so many cases can show".to_owned(), String::new()]);
    let tested = rows.iter().filter(|row| row.pairs > 0);
    let mut sizes: Vec<(&str, usize)> = tested.map(|row| (row.group.as_str(), row.pairs)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for (group, n) in sizes {
        let power = metrics::paired::power(n);
        let group = if group == ALL { "all cases" } else { group };
        // a size that would be found is none where nothing can be
        let shows = match power.least_p > 0.05 {
            true => ": no difference can be significant at 5 %".to_owned(),
            false => format!(
                "; a mean difference of {:.2} standard deviations of the differences is found at 5 % in four of five such studies",
                power.detectable
            ),
        };
        lines.push(format!(
            "- {group}, n = {n}: the smallest possible p is {}{shows}.",
            p_value(Some(power.least_p))
        ));
    }
    if runs.len() > 1 && !rankings.is_empty() {
        lines.extend(ranking_lines(runs, rankings));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the columns of the tests are.
fn preface(first: &str, cases: usize, rows: &[Row]) -> String {
    let mut text = format!(
        "{} in common. Differences are other less {first}, means over pairs of finite values, with 95 % bootstrap intervals from six pairs on; p by Wilcoxon's signed-rank test, in brackets Holm's correction over the runs and over everything tested with this definition. The effect is the rank-biserial correlation, positive where the run's values are larger, with the run that has the better ones. Better, equal, worse count cases.",
        counted(cases, "case")
    );
    if rows.iter().any(|row| row.infinite > 0) {
        text.push_str(" An infinite distance ranks behind every finite one: it counts in p, effect, better, equal, worse and ranking, but in no mean and no difference, which may then point the other way.");
    }
    if rows.iter().any(|row| row.class == MEAN) {
        text.push_str(" The class 'mean' is each case's mean over the classes that it has: another number than the report's, which is the mean over classes of their means over cases.");
    }
    text
}

/// The row of one test.
fn test_line(row: &Row, first: &str) -> String {
    let interval = row
        .interval
        .map_or_else(String::new, |i| format!(" [{}, {}]", number(Some(i.low)), number(Some(i.high))));
    let n = format!("{}{}", row.pairs, some(row.left_out, "not scored"));
    let mut difference = format!("{}{interval}", number(row.difference));
    if row.infinite > 0 {
        let finite = row.pairs - row.infinite;
        difference.push_str(&format!(" ({finite} of {} pairs)", row.pairs));
    }
    let [better, equal, worse] = row.better_equal_worse;
    format!(
        "| {} | {} | {} | {} | {n} | {}{} | {}{} | {difference} | {} ({}, {}) | {} | {better} / {equal} / {worse} |",
        row.definition,
        row.class,
        row.group,
        row.run,
        number(row.mean_first),
        some(row.infinite_first, "infinite"),
        number(row.mean_other),
        some(row.infinite_other, "infinite"),
        p_value(row.p),
        p_value(row.p_holm_runs),
        p_value(row.p_holm_all),
        effect(row, first),
    )
}

/// The effect and what it says.
fn effect(row: &Row, first: &str) -> String {
    let Some(effect) = row.effect else { return "n/a".to_owned() };
    let says = match row.favours {
        Some(Favours::First) => format!("{first} better"),
        Some(Favours::Other) => format!("{} better", row.run),
        Some(Favours::Neither) => "neither better".to_owned(),
        None if effect > 0.0 => format!("{} larger", row.run),
        None if effect < 0.0 => format!("{first} larger"),
        None => "neither larger".to_owned(),
    };
    format!("{effect:+.2}: {says}")
}

/// The table of ranks.
fn ranking_lines(runs: &[(String, Values)], rankings: &[Ranking]) -> Vec<String> {
    let head: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = vec![
        String::new(),
        "## Ranking".to_owned(),
        String::new(),
        "Rank by the mean over cases, or where a value is infinite by the mean of the ranks within each case (infinite last, equal values share their mean rank): the column 'by' says which. In brackets the share of 2,000 bootstrap samples of the cases in which the run keeps it.".to_owned(),
        String::new(),
        format!("| definition | class | cases | by | {} |", head.join(" | ")),
        format!("|{}", " --- |".repeat(runs.len() + 4)),
    ];
    for ranking in rankings {
        let cells = ranking.ranks.iter().zip(&ranking.infinite).map(|(r, infinite)| {
            let mut cell = format!("{} ({:.0} %", r.rank, r.stability * 100.0);
            if ranking.by == Aggregation::MeanRank {
                cell.push_str(&format!(", mean rank {:.2}, {infinite} infinite", r.mean));
            }
            format!("{cell})")
        });
        let by = match ranking.by {
            Aggregation::Mean => "mean",
            Aggregation::MeanRank => "mean rank",
        };
        lines.push(format!(
            "| {} | {} | {}{} | {by} | {} |",
            ranking.definition,
            ranking.class,
            ranking.cases,
            some(ranking.left_out, "not scored"),
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    lines
}

/// `comparison.csv`, one row per test.
pub(super) fn table(rows: &[Row]) -> Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "definition",
        "class",
        "group",
        "run",
        "pairs",
        "left_out",
        "infinite",
        "mean_first",
        "mean_other",
        "difference",
        "low",
        "high",
        "median_difference",
        "better",
        "equal",
        "worse",
        "p",
        "p_holm_runs",
        "p_holm_all",
        "effect",
        "infinite_first",
        "infinite_other",
        "favours",
    ])?;
    let text = |value: Option<f64>| value.map_or_else(|| "n/a".to_owned(), |v| v.to_string());
    for row in rows {
        let mut cells = vec![row.definition.clone(), row.class.clone(), row.group.clone(), row.run.clone()];
        cells.extend([row.pairs, row.left_out, row.infinite].map(|n| n.to_string()));
        let (low, high) = (row.interval.map(|i| i.low), row.interval.map(|i| i.high));
        cells.extend(
            [row.mean_first, row.mean_other, row.difference, low, high, row.median_difference].map(text),
        );
        cells.extend(row.better_equal_worse.map(|n| n.to_string()));
        cells.extend([row.p, row.p_holm_runs, row.p_holm_all, row.effect].map(text));
        cells.extend([row.infinite_first, row.infinite_other].map(|n| n.to_string()));
        let favours = match row.favours {
            Some(Favours::First) => "first",
            Some(Favours::Other) => "other",
            Some(Favours::Neither) => "neither",
            None => "n/a",
        };
        cells.push(favours.to_owned());
        table.write_record(cells)?;
    }
    Ok(table.into_inner()?)
}
