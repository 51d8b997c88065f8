//! Where two plans differ.

use serde_json::Value;
use stage::{Difference, differences};

/// One line per value that differs: `  path.to.value: STORED in the checkpoint, NOW now`. Empty for equal plans.
#[must_use]
pub fn plan_differences(stored: &Value, now: &Value) -> Vec<String> {
    let show = |value: Option<Value>| value.map_or_else(|| "absent".to_owned(), |value| value.to_string());
    let line = |Difference { path, stored, now }: Difference| {
        let path = if path.is_empty() { "plan" } else { &path };
        format!("  {path}: {} in the checkpoint, {} now", show(stored), show(now))
    };
    differences(stored, now).into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_differing_value_has_a_line() {
        let a = json!({"lr": 0.1, "net": {"name": "resenc", "depth": 3}, "seed": 1});
        let b = json!({"lr": 0.1, "net": {"name": "resenc", "depth": 4}, "batch": 2});
        assert_eq!(
            plan_differences(&a, &b),
            [
                "  batch: absent in the checkpoint, 2 now",
                "  net.depth: 3 in the checkpoint, 4 now",
                "  seed: 1 in the checkpoint, absent now"
            ]
        );
        assert!(plan_differences(&a, &a).is_empty());
        assert_eq!(plan_differences(&json!(1), &json!(2)), ["  plan: 1 in the checkpoint, 2 now"]);
    }
}
