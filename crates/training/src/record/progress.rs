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
    let (metrics, timing) = (Table::read(&directory.join(METRICS))?, Table::read(&directory.join(TIMING))?);
    let mut losses = vec![
        metrics.series("step", "loss", "training loss", Axis::Left, |loss| loss),
        metrics.series("validation", "loss", "validation loss", Axis::Left, |loss| loss),
        metrics.series("validation", "score", "score", Axis::Right, |score| score),
        metrics.series("validation", "score_smoothed", "score, smoothed", Axis::Right, |score| score),
    ];
    // runs differ in what they validate
    losses.retain(|series| !series.points.is_empty());
    let times = vec![
        timing.series("step", "steps_per_second", "seconds per step", Axis::Left, f64::recip),
        timing.series("step", "data_wait", "% waiting for data", Axis::Right, |share| 100.0 * share),
    ];
    let rate = metrics.series("step", "lr", "learning rate", Axis::Left, |rate| rate);
    let panels = [
        Panel { title: "Loss and validation score".to_owned(), series: losses },
        Panel { title: "Time".to_owned(), series: times },
        Panel { title: "Learning rate".to_owned(), series: vec![rate] },
    ];
    let picture = draw(&panels, "steps").encode().map_err(io::Error::other)?;
    Ok(stage::atomic::write(&directory.join(PROGRESS), &picture)?)
}

/// The lines of a record.
struct Table(Vec<Value>);

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let lines = BufReader::new(fs_err::File::open(path)?).lines();
        let lines = lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::from));
        Ok(Self(lines.collect::<io::Result<_>>()?))
    }

    /// The points of one value in the lines of one kind.
    fn series(&self, kind: &str, value: &str, name: &str, axis: Axis, shown: impl Fn(f64) -> f64) -> Series {
        let points = self.0.iter().filter(|line| line["kind"] == kind).filter_map(|line| {
            // what is not finite stands there as a word
            let value = shown(line.get(value)?.as_f64().unwrap_or(f64::NAN));
            Some([line["step"].as_f64()?, value])
        });
        Series { name: name.to_owned(), points: points.collect(), axis }
    }
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
        let table = Table::read(&directory.path().join(METRICS)).unwrap();
        let found = table.series("step", "loss", "loss", Axis::Left, |loss| 2.0 * loss);
        assert_eq!((found.points[0], found.points[2]), ([1.0, 4.0], [3.0, 1.0]));
        assert!(found.points.len() == 3 && found.points[1][1].is_nan());
        save(directory.path()).unwrap();
        let bytes = fs_err::read(directory.path().join(PROGRESS)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG"));
    }
}
