//! Lower envelopes of the parabolas of one line.

/// The lower envelope of the parabolas of one line: which vertices it has and where each begins to be the lowest.
pub(super) struct Envelope {
    spacing: f64,
    /// 1 / (2 spacing² n) for n steps.
    reciprocals: Vec<f64>,
    vertices: Vec<usize>,
    /// Height of each vertex.
    heights: Vec<f64>,
    starts: Vec<f64>,
}

impl Envelope {
    pub(super) fn new(n: usize, spacing: f64) -> Self {
        Self {
            spacing,
            reciprocals: (0..n).map(|steps| 1.0 / (2.0 * spacing * spacing * steps as f64)).collect(),
            vertices: Vec::with_capacity(n),
            heights: Vec::with_capacity(n),
            starts: Vec::with_capacity(n),
        }
    }

    /// The envelope of the parabolas `line[q] + (spacing * (p - q))²`.
    pub(super) fn build(&mut self, line: &[f64]) {
        self.vertices.clear();
        self.heights.clear();
        self.starts.clear();
        for (q, height) in line.iter().enumerate() {
            if height.is_infinite() {
                continue;
            }
            let mut start = f64::NEG_INFINITY;
            while let (Some(&top), Some(&top_height), Some(&top_start)) =
                (self.vertices.last(), self.heights.last(), self.starts.last())
            {
                // where the parabola of q comes to lie below that of the top, in grid steps
                start = (height - top_height) * self.reciprocals[q - top] + (q + top) as f64 / 2.0;
                if start > top_start {
                    break;
                }
                self.vertices.pop();
                self.heights.pop();
                self.starts.pop();
                start = f64::NEG_INFINITY;
            }
            self.vertices.push(q);
            self.heights.push(*height);
            self.starts.push(start);
        }
    }

    fn height_at(&self, k: usize, p: usize) -> f64 {
        let along = self.vertices[k].abs_diff(p) as f64 * self.spacing;
        self.heights[k] + along * along
    }

    /// The envelope at `p`; `k` is the parabola of an earlier point, 0 at the beginning. Infinite without any parabola.
    pub(super) fn lowest_at(&self, p: usize, k: &mut usize) -> f64 {
        if self.vertices.is_empty() {
            return f64::INFINITY;
        }
        while self.starts.get(*k + 1).is_some_and(|start| *start < p as f64) {
            *k += 1;
        }
        // A crossing rounded to the wrong side of a grid point would cost the last digits of the minimum, which decide
        // whether a distance is within a tolerance: the neighbours in the envelope are asked too.
        let mut lowest = self.height_at(*k, p);
        if *k > 0 {
            lowest = lowest.min(self.height_at(*k - 1, p));
        }
        if *k + 1 < self.vertices.len() {
            lowest = lowest.min(self.height_at(*k + 1, p));
        }
        lowest
    }
}
