//! The record once more as a picture for people: nnU-Net's three panels, with the share of time spent waiting for data.

use super::{METRICS, TIMING};
use crate::Result;
use pictures::chart::{Axis, Panel, Series, draw};
use serde_json::Value;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// File of the picture.
pub const PROGRESS: &str = "progress.png";

/// Draws what `metrics.jsonl` and `timing.jsonl` in `directory` hold.
///
/// # Errors
/// When they cannot be read or the picture cannot be written.
pub fn save(directory: &Path) -> Result<()> {
    let mut loss = Panel { title: "Loss and validation score".to_owned(), series: Vec::new() };
    for (kind, value, name, axis) in [
        ("step", "loss", "training loss", Axis::Left),
        ("validation", "loss", "validation loss", Axis::Left),
        ("validation", "score", "score", Axis::Right),
        ("validation", "score_smoothed", "score, smoothed", Axis::Right),
    ] {
        loss.series.push(line(directory, METRICS, (kind, value), name, axis, |loss| loss)?);
    }
    loss.series.retain(|series| !series.points.is_empty());
    let seconds =
        line(directory, TIMING, ("step", "steps_per_second"), "seconds per step", Axis::Left, f64::recip)?;
    let waiting =
        line(directory, TIMING, ("step", "data_wait"), "% waiting for data", Axis::Right, |share| {
            100.0 * share
        })?;
    let rate = line(directory, METRICS, ("step", "lr"), "learning rate", Axis::Left, |rate| rate)?;
    let panels = [
        loss,
        Panel { title: "Time".to_owned(), series: vec![seconds, waiting] },
        Panel { title: "Learning rate".to_owned(), series: vec![rate] },
    ];
    let picture = draw(&panels, "steps").encode().map_err(io::Error::other)?;
    Ok(stage::atomic::write(&directory.join(PROGRESS), &picture)?)
}

/// The points of one value in the lines of one kind.
fn line(
    directory: &Path,
    file: &str,
    (kind, value): (&str, &str),
    name: &str,
    axis: Axis,
    shown: impl Fn(f64) -> f64,
) -> Result<Series> {
    let mut points = Vec::new();
    for text in BufReader::new(fs_err::File::open(directory.join(file))?).lines() {
        let line: Value = serde_json::from_str(&text?).map_err(io::Error::from)?;
        if line["kind"] == kind
            && let (Some(step), Some(value)) = (line["step"].as_f64(), line.get(value))
        {
            // what is not finite stands there as a word
            points.push([step, shown(value.as_f64().unwrap_or(f64::NAN))]);
        }
    }
    Ok(Series { name: name.to_owned(), points, axis })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Record, Values};

    #[test]
    fn values_that_are_not_finite_are_gaps() {
        let directory = tempfile::tempdir().unwrap();
        let mut record = Record::create(directory.path()).unwrap();
        for (step, loss) in [(1, 2.0), (2, f64::NAN), (3, 0.5)] {
            record.metrics(step, "step", &Values::from([("loss".to_owned(), loss)])).unwrap();
            record.metrics(step, "validation", &Values::from([("loss".to_owned(), 7.0)])).unwrap();
        }
        let found =
            line(directory.path(), METRICS, ("step", "loss"), "loss", Axis::Left, |loss| 2.0 * loss).unwrap();
        assert_eq!((found.points[0], found.points[2]), ([1.0, 4.0], [3.0, 1.0]));
        assert!(found.points.len() == 3 && found.points[1][1].is_nan());
        save(directory.path()).unwrap();
        let bytes = fs_err::read(directory.path().join(PROGRESS)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
    }
}
