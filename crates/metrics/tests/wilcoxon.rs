//! The signed-rank test against SciPy.

use metrics::paired::{Distribution, wilcoxon};
use serde_json::Value;
use std::process::Command;
use test_peers::python;

const SCRIPT: &str = "
import json
import numpy as np
from scipy.stats import wilcoxon
rng = np.random.default_rng(1)
rows = []
for n in list(range(2, 40)) + [50, 51, 80, 200]:
    for kind in ('plain', 'tied', 'zeros'):
        d = rng.normal(rng.uniform(-0.5, 0.5), 1, n)
        if kind != 'plain':
            d = np.round(d * 4) / 4
        if kind == 'zeros':
            d = np.concatenate([d, np.zeros(3)])
        if not d.any():
            continue
        kept = d[d != 0]
        tied = len(np.unique(np.abs(kept))) < len(kept)
        method = 'exact' if len(kept) <= 50 and not tied else 'approx'
        found = wilcoxon(kept, method=method, correction=False)
        rows.append({'d': d.tolist(), 'n': len(kept), 'statistic': float(found.statistic), 'p': float(found.pvalue), 'method': method})
print(json.dumps(rows))
";

#[test]
fn equal_to_scipy() {
    let Some(python) = python("scipy") else { return };
    let output = Command::new(python).args(["-W", "ignore", "-c", SCRIPT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut compared = [0, 0];
    for row in rows {
        let differences: Vec<f64> = serde_json::from_value(row["d"].clone()).unwrap();
        let found = wilcoxon(&differences).unwrap();
        let number = |key: &str| row[key].as_f64().unwrap();
        assert_eq!((found.n as f64, found.statistic), (number("n"), number("statistic")), "{row}");
        let exact = found.distribution == Distribution::Exact;
        // few ties are enumerated here, not there
        if exact == (row["method"] == "exact") {
            assert!((found.p - number("p")).abs() <= 1e-10 * number("p"), "{found:?} {row}");
            compared[usize::from(exact)] += 1;
        } else {
            assert!(found.n < 10 || (found.p - number("p")).abs() < 0.05, "{found:?} {row}");
        }
    }
    assert!(compared[0] > 20 && compared[1] > 30, "{compared:?}");
}
