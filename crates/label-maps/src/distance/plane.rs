//! Squared distances in one plane of y and x, from the steps along z.
//!
//! Two ways lead to the same bits. The envelopes take the same time whatever is asked: each column along y, then each row of
//! which a point is asked. Looking around a point takes as many cells as lie nearer than what is found, so it is tried first
//! and given up for the plane when it has taken as many cells as the envelopes are worth.

use super::envelope::Envelope;
use super::step::Step;

/// Lines that are gathered together, so that a strided read uses whole cache lines.
const BLOCK: usize = 16;

/// Cells that may be looked at per point of the plane before envelopes are cheaper: one of theirs takes some ten times as long.
const CELLS_PER_POINT: usize = 8;

/// Working memory of one plane.
pub(super) struct Plane {
    spacing_zyx: [f64; 3],
    /// What the envelopes along y leave, axes y, x.
    heights: Vec<f64>,
    lines: Vec<f64>,
    along_y: Envelope,
    along_x: Envelope,
    nx: usize,
    ny: usize,
}

impl Plane {
    pub(super) fn new(ny: usize, nx: usize, spacing_zyx: [f64; 3]) -> Self {
        Self {
            spacing_zyx,
            heights: Vec::new(),
            lines: Vec::new(),
            along_y: Envelope::new(ny, spacing_zyx[1]),
            along_x: Envelope::new(nx, spacing_zyx[2]),
            nx,
            ny,
        }
    }

    /// Squared distances of the points `(y, x)` that are asked, in their order; `row(y)` holds the steps along z.
    pub(super) fn distances<'a, S: Step + 'a>(
        &mut self,
        row: impl Fn(usize) -> &'a [S],
        asked: impl Fn(usize, usize) -> bool,
    ) -> Vec<f64> {
        let points = |y: usize| {
            (0..self.nx).filter({
                let asked = &asked;
                move |x| asked(y, *x)
            })
        };
        self.by_looking_around(&row, points, CELLS_PER_POINT * self.ny * self.nx)
            .unwrap_or_else(|| self.by_envelopes(row, asked))
    }

    /// The same, whatever is asked and however far it is.
    fn by_envelopes<'a, S: Step + 'a>(
        &mut self,
        row: impl Fn(usize) -> &'a [S],
        asked: impl Fn(usize, usize) -> bool,
    ) -> Vec<f64> {
        let mut out = Vec::new();
        self.along_y(row);
        for y in 0..self.ny {
            if (0..self.nx).any(|x| asked(y, x)) {
                self.along_x(y, |x| asked(y, x), &mut out);
            }
        }
        out
    }

    /// The same where what is looked for is near; `None` where more cells than `most` would have to be looked at.
    fn by_looking_around<'a, S: Step + 'a, P: Iterator<Item = usize>>(
        &self,
        row: &impl Fn(usize) -> &'a [S],
        points: impl Fn(usize) -> P,
        most: usize,
    ) -> Option<Vec<f64>> {
        let mut out = Vec::new();
        let mut left = most;
        for y in 0..self.ny {
            for x in points(y) {
                out.push(self.nearest(row, y, x, &mut left)?);
            }
        }
        Some(out)
    }

    /// Squared distance of one point; `None` when there are no cells `left` to look at.
    fn nearest<'a, S: Step + 'a>(
        &self,
        row: &impl Fn(usize) -> &'a [S],
        y: usize,
        x: usize,
        left: &mut usize,
    ) -> Option<f64> {
        let [sz, sy, sx] = self.spacing_zyx;
        let mut lowest = f64::INFINITY;
        // the order of summation is that of the envelopes: z, y, x
        for dy in 0..self.ny {
            let along = dy as f64 * sy;
            let yy = along * along;
            if yy >= lowest {
                break;
            }
            let above = y.checked_sub(dy).filter(|_| dy > 0);
            let below = (y + dy < self.ny).then_some(y + dy);
            for steps in below.into_iter().chain(above).map(row) {
                let mut dx = 0;
                loop {
                    let along = dx as f64 * sx;
                    let xx = along * along;
                    if yy + xx >= lowest {
                        break;
                    }
                    let before = x.checked_sub(dx).map(|x| steps[x]);
                    let behind = steps.get(x + dx).copied();
                    if before.is_none() && behind.is_none() {
                        break;
                    }
                    for step in before.into_iter().chain(behind).filter(|step| *step != S::NOWHERE) {
                        let along = step.count() * sz;
                        lowest = lowest.min(along * along + yy + xx);
                    }
                    dx += 1;
                }
                *left = left.checked_sub(2 * dx)?;
            }
        }
        Some(lowest)
    }

    /// Squared distances in the plane of z and y, for all points of this plane.
    fn along_y<'a, S: Step + 'a>(&mut self, row: impl Fn(usize) -> &'a [S]) {
        let (ny, nx) = (self.ny, self.nx);
        self.heights.resize(ny * nx, 0.0);
        self.lines.resize(ny * BLOCK, 0.0);
        for first in (0..nx).step_by(BLOCK) {
            let count = BLOCK.min(nx - first);
            for y in 0..ny {
                for (j, step) in row(y)[first..first + count].iter().enumerate() {
                    let along = step.count() * self.spacing_zyx[0];
                    self.lines[j * ny + y] = if *step == S::NOWHERE { f64::INFINITY } else { along * along };
                }
            }
            for j in 0..count {
                let line = &mut self.lines[j * ny..(j + 1) * ny];
                self.along_y.build(line);
                let mut at = 0;
                for (y, out) in line.iter_mut().enumerate() {
                    *out = self.along_y.lowest_at(y, &mut at);
                }
            }
            for y in 0..ny {
                for (j, out) in self.heights[y * nx + first..][..count].iter_mut().enumerate() {
                    *out = self.lines[j * ny + y];
                }
            }
        }
    }

    /// Squared distances of the points of row `y` that are asked.
    fn along_x(&mut self, y: usize, asked: impl Fn(usize) -> bool, out: &mut Vec<f64>) {
        self.along_x.build(&self.heights[y * self.nx..(y + 1) * self.nx]);
        let mut at = 0;
        out.extend((0..self.nx).filter(|x| asked(*x)).map(|x| self.along_x.lowest_at(x, &mut at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn planes() -> impl Strategy<Value = (Vec<u16>, [usize; 2], [f64; 3])> {
        (1_usize..12, 1_usize..40, 1_u32..40).prop_flat_map(|(ny, nx, rarity)| {
            let step = prop_oneof![
                1 => (0_u16..20).boxed(),
                rarity => Just(u16::MAX).boxed(),
            ];
            let spacing = [0.1_f64..20.0, 0.1_f64..20.0, 0.1_f64..20.0];
            (prop::collection::vec(step, ny * nx), Just([ny, nx]), spacing)
        })
    }

    proptest! {
        #[test]
        fn both_ways_lead_to_the_same_bits((steps, [ny, nx], spacing) in planes()) {
            let mut plane = Plane::new(ny, nx, spacing);
            let row = |y: usize| &steps[y * nx..][..nx];
            let asked = |y: usize, x: usize| (y + x).is_multiple_of(2);
            let points = |y: usize| (0..nx).filter(move |x| asked(y, *x));
            let around = plane.by_looking_around(&row, points, usize::MAX).unwrap();
            prop_assert_eq!(&around, &plane.by_envelopes(row, asked));
            prop_assert_eq!(&around, &plane.distances(row, asked));
            let nowhere = steps.iter().all(|step| *step == u16::MAX);
            prop_assert_eq!(around.iter().any(|d| d.is_infinite()), nowhere);
        }
    }

    #[test]
    fn what_is_far_is_not_looked_for_cell_by_cell() {
        let mut steps = vec![u16::MAX; 64 * 64];
        steps[0] = 0;
        let plane = Plane::new(64, 64, [1.0; 3]);
        let row = |y: usize| &steps[y * 64..][..64];
        assert_eq!(plane.by_looking_around(&row, |y| (0..64).filter(move |_| y > 32), 8 * 64 * 64), None);
    }
}
