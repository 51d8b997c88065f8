//! Agreement of two volumes (J. M. Bland and D. G. Altman, Lancet 327 (1986) 307–310): the difference over the mean of both.

use super::{BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, label, line, mark, open, text, ticks};
use metrics::statistics::summarise;

/// Room for the words beside the lines.
const MARGIN: f64 = 96.0;

/// The volumes of one class.
pub(crate) struct Volumes {
    /// Class name.
    pub(crate) class: String,
    /// Case, reference and prediction, in ml.
    pub(crate) cases: Vec<(String, f64, f64)>,
}

/// Predicted less reference volume of one class over the mean of both, with the mean difference and the limits of agreement (1.96 standard
/// deviations) from two cases on: classes have their own bias and spread, so that limits over several would be those of none. `number` gives
/// the colour and mark. Empty without a case.
pub(crate) fn bland_altman(title: &str, number: usize, volumes: &Volumes) -> String {
    let points: Vec<(&str, f64, f64)> =
        volumes.cases.iter().map(|(case, r, p)| (case.as_str(), f64::midpoint(*r, *p), p - r)).collect();
    let differences: Vec<f64> = points.iter().map(|p| p.2).collect();
    let Some(summary) = summarise(&differences) else { return String::new() };
    let lines: Vec<(f64, &str, &str)> = summary.std.map_or_else(Vec::new, |std| {
        vec![
            (summary.mean + 1.96 * std, "median", "+1.96 SD"),
            (summary.mean, "mean", "mean"),
            (summary.mean - 1.96 * std, "median", "-1.96 SD"),
        ]
    });
    let x1 = points.iter().map(|p| p.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let heights = differences.iter().copied().chain(lines.iter().map(|l| l.0));
    let (mut y0, mut y1) = heights.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), d| (a.min(d), b.max(d)));
    if y0 == y1 {
        (y0, y1) = (y0 - 1.0, y1 + 1.0);
    }
    let px = |x: f64| LEFT + x / x1 * (WIDTH - LEFT - RIGHT - MARGIN);
    let py = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let right = WIDTH - RIGHT - MARGIN;
    let mut svg = open(title, HEIGHT);
    for y in ticks(y0, y1, 5) {
        line(&mut svg, "grid", [LEFT, py(y)], [right, py(y)]);
        text(&mut svg, "tick", [LEFT - 6.0, py(y) + 3.5], "end", &label(y));
    }
    for x in ticks(0.0, x1, 5) {
        text(&mut svg, "tick", [px(x), HEIGHT - BOTTOM + 15.0], "middle", &label(x));
    }
    for (y, class, words) in lines {
        line(&mut svg, class, [LEFT, py(y)], [right, py(y)]);
        text(&mut svg, "tick", [right + 4.0, py(y) + 3.5], "start", &format!("{words} {}", short(y)));
    }
    for (case, mean, difference) in &points {
        let words = format!("{case}: mean {}, difference {} ml", label(*mean), label(*difference));
        mark(&mut svg, number, [px(*mean), py(*difference)], &words);
    }
    mark(&mut svg, number, [LEFT + 4.0, HEIGHT - 11.5], &volumes.class);
    text(&mut svg, "legend", [LEFT + 13.0, HEIGHT - 8.0], "start", &volumes.class);
    text(&mut svg, "tick", [WIDTH - RIGHT, HEIGHT - 8.0], "end", "mean of both, ml");
    svg.push_str("</svg>");
    svg
}

/// Three significant digits, so that the words beside a line stay short.
fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize;
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(cases: Vec<(String, f64, f64)>) -> Volumes {
        Volumes { class: "one".into(), cases }
    }

    #[test]
    fn limits_of_agreement_by_hand() {
        let points = vec![("a".to_owned(), 1.0, 2.0), ("b".to_owned(), 2.0, 2.0), ("c".to_owned(), 3.0, 5.0)];
        let svg = bland_altman("Volumes", 0, &one(points));
        // differences 1, 0, 2: mean 1, standard deviation 1
        for part in
            ["mean 1.00<", "+1.96 SD 2.96<", "-1.96 SD -0.960<", "a: mean 1.5, difference 1 ml", ">one<"]
        {
            assert!(svg.contains(part), "{part}\n{svg}");
        }
        let equal = vec![("a".to_owned(), 0.0, 0.0), ("b".to_owned(), 0.0, 0.0)];
        assert!(!bland_altman("x", 0, &one(equal)).contains("NaN"));
    }

    #[test]
    fn one_case_has_no_limits_and_none_no_chart() {
        let svg = bland_altman("x", 1, &one(vec![("a".into(), 1.0, 1.5)]));
        assert!(svg.contains("a: mean 1.25, difference 0.5 ml") && !svg.contains("NaN"), "{svg}");
        assert!(!svg.contains(" SD ") && !svg.contains("class=\"mean\""), "{svg}");
        assert_eq!(bland_altman("x", 0, &one(Vec::new())), "");
    }
}
