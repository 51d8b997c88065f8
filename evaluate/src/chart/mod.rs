//! Charts as inline SVG: no script, no font, no network. Series differ by colour, dash and mark, so that they stay apart in print
//! and for colour-blind readers.

mod agreement;
mod distribution;
mod fractions;
mod lines;

pub(crate) use agreement::{Volumes, bland_altman};
pub(crate) use distribution::distribution;
pub(crate) use fractions::{Curve, Point, fractions};
pub(crate) use lines::{Series, lines};

use std::fmt::Write;

/// Colours that stay apart for colour-blind readers (M. Okabe and K. Ito, 2008).
pub(crate) const PALETTE: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// Dashes of a series' line, by its position.
pub(crate) const DASHES: [&str; 6] = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];

/// Text that is safe inside SVG and HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// At most `most + 1` round numbers that cover `low..=high`.
fn ticks(low: f64, high: f64, most: usize) -> Vec<f64> {
    let raw = (high - low).max(f64::MIN_POSITIVE) / most as f64;
    let power = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(raw);
    let first = (low / step - 1e-9).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

fn label(value: f64) -> String {
    let text = if value != 0.0 && (value.abs() < 1e-3 || value.abs() >= 1e6) {
        format!("{value:.1e}")
    } else {
        format!("{value:.4}")
    };
    match text.split_once('.') {
        Some((_, decimals)) if !decimals.contains('e') => {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => text,
    }
}

fn put(svg: &mut String, element: &str) {
    // writing to a String cannot fail
    let _never = writeln!(svg, "{element}");
}

/// The beginning of a chart of this height, with its name for screen readers.
fn open(title: &str, height: f64) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    )
}

fn text(svg: &mut String, class: &str, [x, y]: [f64; 2], anchor: &str, words: &str) {
    let words = escape(words);
    put(
        svg,
        &format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"),
    );
}

fn line(svg: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    put(
        svg,
        &format!("<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"),
    );
}

/// A mark that differs by series: circle, square, triangle, diamond.
fn mark(svg: &mut String, series: usize, [x, y]: [f64; 2], words: &str) {
    let colour = PALETTE[series % PALETTE.len()];
    let shape = match series % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\">"),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"6.4\" height=\"6.4\" fill=\"{colour}\">",
            x - 3.2,
            y - 3.2
        ),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.2 7.4h-8.4z\" fill=\"{colour}\">", y - 4.6),
        _ => format!("<path d=\"M{x:.1} {:.1}l4.4 4.4l-4.4 4.4l-4.4 -4.4z\" fill=\"{colour}\">", y - 4.4),
    };
    let end = match series % 4 {
        0 => "</circle>",
        1 => "</rect>",
        _ => "</path>",
    };
    put(svg, &format!("{shape}<title>{}</title>{end}", escape(words)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        assert_eq!(ticks(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(0.0, 300.0, 6), [0.0, 50.0, 100.0, 150.0, 200.0, 250.0, 300.0]);
        assert_eq!([0.6000000000000001, 250.0, 0.00002, 0.0].map(label), ["0.6", "250", "2.0e-5", "0"]);
    }
}
