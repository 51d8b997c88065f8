//! Lines over training steps.

use super::{BOTTOM, DASHES, HEIGHT, LEFT, PALETTE, RIGHT, TOP, WIDTH, escape, label, put, ticks};

/// A line in a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// Name in the legend.
    pub(crate) name: String,
    /// Points from left to right.
    pub(crate) points: Vec<(f64, f64)>,
    /// Whether to mark each point.
    pub(crate) marked: bool,
}

/// At most `MOST` points, each the mean of a run of neighbours: a record may have a line for each of 200,000 steps.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    const MOST: usize = 300;
    let run = points.len().div_ceil(MOST).max(1);
    points
        .chunks(run)
        .map(|chunk| {
            let n = chunk.len() as f64;
            let sum = chunk.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
            (sum.0 / n, sum.1 / n)
        })
        .collect()
}

/// Running mean over a twentieth of the points, centred; `None` for series too short to need it.
fn smoothed(points: &[(f64, f64)]) -> Option<Vec<(f64, f64)>> {
    const SHORTEST: usize = 60;
    if points.len() < SHORTEST {
        return None;
    }
    let reach = points.len() / 40;
    Some(
        (0..points.len())
            .map(|i| {
                // the window shrinks evenly towards both ends, so that the ends are not drawn towards the middle
                let reach = reach.min(i).min(points.len() - 1 - i);
                let window = &points[i - reach..=i + reach];
                (points[i].0, window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64)
            })
            .collect(),
    )
}

/// Lines over steps, with grid, ticks and legend. `range` fixes the vertical axis. Empty without any point.
pub(crate) fn lines(title: &str, series: &[Series], range: Option<(f64, f64)>) -> String {
    let points = || series.iter().flat_map(|s| &s.points);
    let (mut x0, mut x1) =
        points().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p.0), b.max(p.0)));
    if x0 > x1 {
        return String::new();
    }
    let (mut y0, mut y1) = range.unwrap_or_else(|| {
        let (low, high) =
            points().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p.1), b.max(p.1)));
        // losses begin at 0 unless they go below
        (low.min(0.0), high)
    });
    if x0 == x1 {
        (x0, x1) = (x0 - 1.0, x1 + 1.0);
    }
    if y0 == y1 {
        (y0, y1) = (y0 - 1.0, y1 + 1.0);
    }
    let px = |x: f64| LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT);
    let py = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    for y in ticks(y0, y1, 5) {
        let at = py(y);
        put(
            &mut svg,
            &format!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
                WIDTH - RIGHT
            ),
        );
        put(
            &mut svg,
            &format!(
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 3.5,
                label(y)
            ),
        );
    }
    for x in ticks(x0, x1, 6) {
        let at = px(x);
        let foot = HEIGHT - BOTTOM + 15.0;
        put(
            &mut svg,
            &format!(
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{foot:.1}\" text-anchor=\"middle\">{}</text>",
                label(x)
            ),
        );
    }
    let base = HEIGHT - BOTTOM;
    put(
        &mut svg,
        &format!(
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{base}\" y2=\"{base}\"/>",
            WIDTH - RIGHT
        ),
    );
    let mut legend = LEFT;
    for (number, (series, colour)) in series.iter().zip(PALETTE.iter().cycle()).enumerate() {
        let points = thinned(&series.points);
        let smooth = smoothed(&points);
        let dash = DASHES[number % DASHES.len()];
        let mut draw = |points: &[(f64, f64)], width: f64, opacity: f64| {
            let path: Vec<String> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", px(*x), py(*y))).collect();
            let look = format!(
                "stroke=\"{colour}\" stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" stroke-dasharray=\"{dash}\""
            );
            put(&mut svg, &format!("<polyline fill=\"none\" {look} points=\"{}\"/>", path.join(" ")));
        };
        match smooth {
            Some(smooth) => {
                draw(&points, 1.0, 0.3);
                draw(&smooth, 1.8, 1.0);
            }
            None => draw(&points, 1.6, 1.0),
        }
        if series.marked {
            for (x, y) in &points {
                put(
                    &mut svg,
                    &format!("<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", px(*x), py(*y)),
                );
            }
        }
        let foot = HEIGHT - 8.0;
        put(
            &mut svg,
            &format!(
                "<rect x=\"{legend:.1}\" y=\"{:.1}\" width=\"14\" height=\"3\" fill=\"{colour}\"/>",
                foot - 5.0
            ),
        );
        put(
            &mut svg,
            &format!(
                "<text class=\"legend\" x=\"{:.1}\" y=\"{foot:.1}\">{}</text>",
                legend + 19.0,
                escape(&series.name)
            ),
        );
        legend += 34.0 + 6.2 * series.name.chars().count() as f64;
    }
    put(
        &mut svg,
        &format!(
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">step</text>",
            WIDTH - RIGHT,
            HEIGHT - 8.0
        ),
    );
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_series_are_thinned_and_smoothed_about_their_values() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 2.0)).collect();
        let thin = thinned(&points);
        assert_eq!((thin.len(), thin[0]), (295, (16.5, 2.0)));
        assert!(smoothed(&thin).unwrap().iter().all(|p| (p.1 - 2.0).abs() < 1e-12));
        assert_eq!(smoothed(&points[..20]), None);
        assert_eq!(thinned(&points[..7]), points[..7]);
    }

    #[test]
    fn names_cannot_break_out_of_the_markup() {
        let series = Series { name: "<script>&\"".into(), points: vec![(1.0, 2.0)], marked: true };
        let svg = lines("a<b", &[series], None);
        assert!(
            svg.contains("&lt;script&gt;&amp;&quot;") && !svg.contains("<script>") && !svg.contains("NaN"),
            "{svg}"
        );
        assert_eq!(lines("x", &[], None), "");
    }
}
