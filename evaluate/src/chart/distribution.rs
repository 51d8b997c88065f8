//! How values spread over cases: every case as a dot, quartiles as a box, mean and median as lines.

use super::{PALETTE, RIGHT, TOP, WIDTH, label, line, open, put, text, ticks};
use metrics::statistics::summarise;

const ROW: f64 = 42.0;

/// One row per group. The axis begins at 0 and ends at 1 for shares, else at the largest value. Empty without any value.
pub(crate) fn distribution(
    title: &str,
    groups: &[(String, Vec<(String, f64)>)],
    share: bool,
    unit: &str,
) -> String {
    let values = || groups.iter().flat_map(|(_, values)| values).map(|(_, v)| *v);
    if values().next().is_none() {
        return String::new();
    }
    let (low, high) = if share {
        (0.0, 1.0)
    } else {
        let (low, high) = values().fold((0.0, 0.0), |(a, b): (f64, f64), v| (a.min(v), b.max(v)));
        (low, if high > low { high } else { low + 1.0 })
    };
    let names = groups.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let left = (14.0 + 6.4 * names as f64).clamp(60.0, 190.0);
    let height = TOP + ROW * groups.len() as f64 + 26.0;
    let px = |v: f64| left + (v - low) / (high - low) * (WIDTH - left - RIGHT);
    let base = height - 24.0;
    let mut svg = open(title, height);
    for tick in ticks(low, high, 5) {
        line(&mut svg, "grid", [px(tick), TOP], [px(tick), base]);
        text(&mut svg, "tick", [px(tick), height - 8.0], "middle", &label(tick));
    }
    if !unit.is_empty() {
        text(&mut svg, "tick", [left - 8.0, height - 8.0], "end", unit);
    }
    for (row, ((name, values), colour)) in groups.iter().zip(PALETTE.iter().cycle()).enumerate() {
        let middle = TOP + ROW * (row as f64 + 0.5);
        text(&mut svg, "legend", [left - 8.0, middle + 3.5], "end", name);
        let numbers: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
        let Some(summary) = summarise(&numbers) else { continue };
        let [first, third] = summary.quartiles.map(px);
        put(
            &mut svg,
            &format!(
                "<rect x=\"{first:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"28\" fill=\"{colour}\" fill-opacity=\"0.13\" stroke=\"{colour}\" stroke-opacity=\"0.6\"/>",
                middle - 14.0,
                (third - first).max(0.5)
            ),
        );
        for (i, (case, value)) in values.iter().enumerate() {
            // neighbours in a fixed pattern of heights, so that equal values stay visible
            let shift = (i * 7 % 11) as f64 - 5.0;
            put(
                &mut svg,
                &format!(
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\" fill=\"{colour}\" fill-opacity=\"0.55\"><title>{}: {}</title></circle>",
                    px(*value),
                    middle + 1.9 * shift,
                    super::escape(case),
                    label(*value)
                ),
            );
        }
        line(&mut svg, "mean", [px(summary.mean), middle - 17.0], [px(summary.mean), middle + 17.0]);
        line(&mut svg, "median", [px(summary.median), middle - 14.0], [px(summary.median), middle + 14.0]);
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_a_dot_and_names_are_escaped() {
        let group = ("a<b".to_owned(), vec![("c\"1".to_owned(), 0.25), ("c2".to_owned(), 0.75)]);
        let svg = distribution("Dice", &[group, ("none".into(), Vec::new())], true, "");
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a&lt;b") && svg.contains("c&quot;1: 0.25") && !svg.contains("NaN"), "{svg}");
        assert_eq!(svg.matches("class=\"mean\"").count(), 1);
        let flat = distribution("HD95", &[("a".into(), vec![("c".into(), 0.0)])], false, "mm");
        assert!(!flat.contains("NaN") && flat.contains(">mm<"), "{flat}");
        assert_eq!(distribution("x", &[("a".into(), Vec::new())], true, ""), "");
    }
}
