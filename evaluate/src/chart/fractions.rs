//! A score over the share of labels used, with intervals.

use super::{
    BOTTOM, DASHES, HEIGHT, LEFT, PALETTE, RIGHT, TOP, WIDTH, label, line, mark, open, put, text, ticks,
};

/// A value at a share of the labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Share of the labels, in (0, 1].
    pub(crate) fraction: f64,
    /// The score.
    pub(crate) value: f64,
    /// Interval, where there is one.
    pub(crate) interval: Option<[f64; 2]>,
}

/// The points of one method, by ascending share.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    /// Method.
    pub(crate) name: String,
    /// Its points.
    pub(crate) points: Vec<Point>,
}

/// Curves over a logarithmic axis of shares. Empty with fewer than two shares.
pub(crate) fn fractions(title: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|c| &c.points);
    let (least, most) =
        points().fold((f64::INFINITY, 0.0_f64), |(a, b), p| (a.min(p.fraction), b.max(p.fraction)));
    if least >= most {
        return String::new();
    }
    let legend_rows = curves.len() as f64;
    let height = HEIGHT + 16.0 * legend_rows;
    let (low, high) = points().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| {
        let [low, high] = p.interval.unwrap_or([p.value; 2]);
        (a.min(low), b.max(high))
    });
    let margin = ((high - low) * 0.06).max(1e-6);
    let (y0, y1) = (low - margin, high + margin);
    let px = |f: f64| LEFT + 12.0 + (f / least).ln() / (most / least).ln() * (WIDTH - LEFT - RIGHT - 24.0);
    let py = |y: f64| HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open(title, height);
    for y in ticks(y0, y1, 5) {
        line(&mut svg, "grid", [LEFT, py(y)], [WIDTH - RIGHT, py(y)]);
        text(&mut svg, "tick", [LEFT - 6.0, py(y) + 3.5], "end", &label(y));
    }
    let mut shares: Vec<f64> = points().map(|p| p.fraction).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    for share in shares {
        let words = format!("{} %", crate::page::compact(share * 100.0));
        text(&mut svg, "tick", [px(share), HEIGHT - BOTTOM + 15.0], "middle", &words);
    }
    text(&mut svg, "tick", [WIDTH - RIGHT, HEIGHT - BOTTOM + 30.0], "end", "share of the labels");
    for (number, curve) in curves.iter().enumerate() {
        let colour = PALETTE[number % PALETTE.len()];
        let dash = DASHES[number % DASHES.len()];
        let path: Vec<String> =
            curve.points.iter().map(|p| format!("{:.1},{:.1}", px(p.fraction), py(p.value))).collect();
        put(
            &mut svg,
            &format!(
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.7\" stroke-dasharray=\"{dash}\" points=\"{}\"/>",
                path.join(" ")
            ),
        );
        for point in &curve.points {
            let x = px(point.fraction);
            if let Some([low, high]) = point.interval {
                put(
                    &mut svg,
                    &format!(
                        "<path d=\"M{x:.1} {:.1}V{:.1}M{:.1} {:.1}h8M{:.1} {:.1}h8\" stroke=\"{colour}\" stroke-width=\"1.3\" fill=\"none\"/>",
                        py(low),
                        py(high),
                        x - 4.0,
                        py(low),
                        x - 4.0,
                        py(high)
                    ),
                );
            }
            mark(&mut svg, number, [x, py(point.value)], &format!("{}: {}", curve.name, label(point.value)));
        }
        let y = HEIGHT + 16.0 * number as f64;
        put(
            &mut svg,
            &format!(
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" stroke-width=\"1.7\" stroke-dasharray=\"{dash}\"/>",
                LEFT + 30.0
            ),
        );
        mark(&mut svg, number, [LEFT + 15.0, y], &curve.name);
        text(&mut svg, "legend", [LEFT + 38.0, y + 3.5], "start", &curve.name);
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_have_intervals_and_one_share_is_no_curve() {
        let point = |fraction, value, interval| Point { fraction, value, interval };
        let ours = Curve {
            name: "ours".into(),
            points: vec![point(0.01, 0.6, Some([0.5, 0.7])), point(1.0, 0.9, Some([0.88, 0.92]))],
        };
        let theirs = Curve { name: "GTGM".into(), points: vec![point(0.1, 0.79, None)] };
        let svg = fractions("Dice", &[ours, theirs.clone()]);
        assert_eq!((svg.matches("<polyline").count(), svg.matches("h8M").count()), (2, 2));
        for part in [">1 %<", ">10 %<", ">100 %<", "GTGM: 0.79"] {
            assert!(svg.contains(part), "{part}");
        }
        assert!(!svg.contains("NaN"));
        assert_eq!(fractions("Dice", &[theirs]), "");
    }
}
