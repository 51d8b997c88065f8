//! TensorBoard's own reader gets what the record holds, before and after a resume.

use std::process::Command;
use test_peers::python;
use training::record::{Record, Values, events};

const SCRIPT: &str = "import json, sys\n\
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n\
    events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})\n\
    events.Reload()\n\
    tags = events.Tags()['scalars']\n\
    print(json.dumps({tag: [[s.step, s.value] for s in events.Scalars(tag)] for tag in sorted(tags)}))\n\
    assert all(s.wall_time > 1e9 for tag in tags for s in events.Scalars(tag))\n";

#[test]
fn tensorboard_reads_the_record() {
    let Some(python) = python("tensorboard") else { return };
    let directory = tempfile::tempdir().unwrap();
    let values = |loss: f64| Values::from([("loss".to_owned(), loss), ("lr".to_owned(), 0.125)]);
    let mut record = Record::create(directory.path()).unwrap();
    for step in 1..=4 {
        record.metrics(step, "step", &values(1.0 / step as f64)).unwrap();
    }
    record.sync().unwrap();
    let (mut record, _) = Record::resume(directory.path(), 2, false).unwrap();
    record.metrics(3, "step", &values(7.5)).unwrap();
    record.metrics(100_000, "validation", &values(f64::NAN)).unwrap();
    record.timing(3, "step", &values(2.0)).unwrap();
    record.sync().unwrap();
    let folder = directory.path().join(events::FOLDER);
    let output = Command::new(python).args(["-W", "ignore", "-c", SCRIPT]).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "step/loss": [[1, 1.0], [2, 0.5], [3, 7.5]],
        "step/lr": [[1, 0.125], [2, 0.125], [3, 0.125]],
        "timing-step/loss": [[3, 2.0]],
        "timing-step/lr": [[3, 0.125]],
        "validation/lr": [[100_000, 0.125]],
    });
    assert_eq!(found, expected);
}
