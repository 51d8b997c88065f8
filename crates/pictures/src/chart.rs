//! Numbers over steps: panels one below the other, each with lines to an axis on its left and one on its right.

use crate::canvas::{Canvas, Colour, LINE, text_width};
use crate::scale::Scale;

/// Okabe and Ito's colours, which all kinds of colour vision tell apart, without black and yellow: they are for white paper.
pub const COLOURS: [Colour; 6] =
    [[0, 114, 178], [213, 94, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [230, 159, 0]];

const PAPER: Colour = [255; 3];
const INK: Colour = [30; 3];
const GRID: Colour = [225; 3];
/// Pixels of a panel's plotting area.
const AREA: [usize; 2] = [300, 960];
/// Pixels beside it, for the axes' numbers.
const SIDE: usize = 130;
/// Pixels above (title, legend) and below (numbers).
const ABOVE: usize = 3 * LINE;
const BELOW: usize = 2 * LINE;
const GAP: usize = 8;

/// Which axis a line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// On the left.
    Left,
    /// On the right.
    Right,
}

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What it shows, for the legend.
    pub name: String,
    /// Points `[step, value]` in the order of steps; a value that is not finite leaves a gap.
    pub points: Vec<[f64; 2]>,
    /// Where its numbers are.
    pub axis: Axis,
}

/// Lines that share steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// The lines, coloured in turn as [`COLOURS`].
    pub series: Vec<Series>,
}

/// Draws panels over one range of steps; `along` names what is counted.
#[must_use]
pub fn draw(panels: &[Panel], along: &str) -> Canvas {
    let height = panels.len() * (ABOVE + AREA[0] + BELOW) + LINE + GAP;
    let width = AREA[1] + 2 * SIDE;
    let mut canvas = Canvas::new(height, width, PAPER);
    let steps = panels.iter().flat_map(|panel| &panel.series).flat_map(|series| &series.points).map(|p| p[0]);
    let steps = Scale::tight(steps);
    for (i, panel) in panels.iter().enumerate() {
        Drawing { canvas: &mut canvas, top: i * (ABOVE + AREA[0] + BELOW) + ABOVE, steps }.panel(panel);
    }
    canvas.write(height - LINE - GAP / 2, (width - text_width(along)) / 2, along, INK);
    canvas
}

/// One panel on the way to the picture.
struct Drawing<'a> {
    canvas: &'a mut Canvas,
    /// Row of the plotting area's upper edge.
    top: usize,
    steps: Option<Scale>,
}

impl Drawing<'_> {
    fn panel(&mut self, panel: &Panel) {
        self.canvas.write(self.top - 2 * LINE - GAP, SIDE, &panel.title, INK);
        self.legend(panel);
        let scale = |axis| {
            let series = panel.series.iter().filter(move |series| series.axis == axis);
            Scale::rounded(series.flat_map(|series| &series.points).map(|point| point[1]))
        };
        let (left, right) = (scale(Axis::Left), scale(Axis::Right));
        let Some(steps) = self.steps.filter(|_| left.is_some() || right.is_some()) else {
            let text = "no values yet";
            self.canvas.write(self.top + AREA[0] / 2, SIDE + (AREA[1] - text_width(text)) / 2, text, INK);
            return self.frame();
        };
        self.grid(steps, left.or(right));
        self.numbers(left, Axis::Left);
        self.numbers(right, Axis::Right);
        self.frame();
        for (series, colour) in panel.series.iter().zip(COLOURS.into_iter().cycle()) {
            let scale = if series.axis == Axis::Left { left } else { right };
            if let Some(scale) = scale {
                self.series(series, steps, scale, colour);
            }
        }
    }

    fn legend(&mut self, panel: &Panel) {
        let mut column = SIDE;
        for (series, colour) in panel.series.iter().zip(COLOURS.into_iter().cycle()) {
            let side = if series.axis == Axis::Right { " (right)" } else { "" };
            let text = format!("{}{side}", series.name);
            let row = self.top - LINE - GAP;
            self.canvas.fill(row + LINE / 3, column, [4, 22], colour);
            self.canvas.write(row, column + 30, &text, INK);
            column += 30 + text_width(&text) + 3 * GAP;
        }
    }

    /// Numbers of steps below, lines across.
    fn grid(&mut self, steps: Scale, values: Option<Scale>) {
        for (value, text) in steps.ticks() {
            let column = column_of(steps, value);
            self.canvas.fill(self.top, column.round() as usize, [AREA[0], 1], GRID);
            let left = (column as usize).saturating_sub(text_width(&text) / 2);
            self.canvas.write(self.top + AREA[0] + GAP, left, &text, INK);
        }
        for (value, _) in values.iter().flat_map(Scale::ticks) {
            let row = self.row_of(values, value);
            self.canvas.fill(row, SIDE, [1, AREA[1]], GRID);
        }
    }

    fn numbers(&mut self, scale: Option<Scale>, axis: Axis) {
        for (value, text) in scale.iter().flat_map(Scale::ticks) {
            let row = self.row_of(scale, value).saturating_sub(LINE / 2 - 2);
            let column = match axis {
                Axis::Left => SIDE.saturating_sub(text_width(&text) + GAP),
                Axis::Right => SIDE + AREA[1] + GAP,
            };
            self.canvas.write(row, column, &text, INK);
        }
    }

    fn row_of(&self, scale: Option<Scale>, value: f64) -> usize {
        let share = scale.map_or(0.0, |scale| scale.share(value));
        self.top + ((1.0 - share) * AREA[0] as f64).round() as usize
    }

    fn frame(&mut self) {
        for row in [self.top, self.top + AREA[0]] {
            self.canvas.fill(row, SIDE, [1, AREA[1] + 1], INK);
        }
        for column in [SIDE, SIDE + AREA[1]] {
            self.canvas.fill(self.top, column, [AREA[0] + 1, 1], INK);
        }
    }

    fn series(&mut self, series: &Series, steps: Scale, scale: Scale, colour: Colour) {
        let place = |point: &[f64; 2]| {
            let row = self.top as f64 + (1.0 - scale.share(point[1])) * AREA[0] as f64;
            [row, column_of(steps, point[0])]
        };
        let places: Vec<Option<[f64; 2]>> = series
            .points
            .iter()
            .map(|point| point.iter().all(|value| value.is_finite()).then(|| place(point)))
            .collect();
        for (i, here) in places.iter().enumerate() {
            let Some(here) = *here else { continue };
            match places.get(i + 1).copied().flatten() {
                Some(next) => self.canvas.line(here, next, 2.0, colour),
                // the last of a line, or one on its own
                None => self.canvas.line(here, here, 5.0, colour),
            }
        }
    }
}

fn column_of(steps: Scale, step: f64) -> f64 {
    SIDE as f64 + steps.share(step) * AREA[1] as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: &[[f64; 2]], axis: Axis) -> Panel {
        let series = Series { name: "loss".to_owned(), points: points.to_vec(), axis };
        Panel { title: "Loss".to_owned(), series: vec![series] }
    }

    /// Rows of the first column of the plotting area's interior, and of the last, that have the first colour.
    fn ends(canvas: &Canvas) -> [Vec<usize>; 2] {
        [SIDE + 2, SIDE + AREA[1] - 2].map(|column| {
            (ABOVE..ABOVE + AREA[0]).filter(|row| canvas.at(*row, column) == Some(COLOURS[0])).collect()
        })
    }

    #[test]
    fn a_falling_line_falls() {
        let canvas = draw(&[panel(&[[0.0, 4.0], [50.0, 2.0], [100.0, 0.0]], Axis::Left)], "steps");
        let [first, last] = ends(&canvas);
        assert!(!first.is_empty() && !last.is_empty());
        assert!(
            first.iter().all(|row| *row < ABOVE + 10) && last.iter().all(|row| *row > ABOVE + AREA[0] - 10)
        );
    }

    #[test]
    fn what_is_not_finite_is_a_gap_and_nothing_is_said_so() {
        let gap = [[0.0, 1.0], [50.0, f64::NAN], [100.0, 0.0]];
        let middle = |points: &[[f64; 2]]| {
            let canvas = draw(&[panel(points, Axis::Right)], "steps");
            (ABOVE..ABOVE + AREA[0])
                .filter(|row| canvas.at(*row, SIDE + AREA[1] / 2) == Some(COLOURS[0]))
                .count()
        };
        assert_eq!(middle(&gap), 0);
        assert!(middle(&[gap[0], gap[2]]) > 0);
        let empty = draw(&[panel(&[], Axis::Left)], "steps");
        assert_ne!(empty, draw(&[panel(&gap, Axis::Left)], "steps"));
        assert!(empty.encode().is_ok());
    }
}
