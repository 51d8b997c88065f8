//! Where two JSON values differ: options of an earlier run and of this one, above all.

use serde_json::Value;
use std::collections::BTreeSet;

/// One value that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where it is: names of members, parted by points; empty for the whole.
    pub path: String,
    /// The earlier value; none where there was no such member.
    pub stored: Option<Value>,
    /// The value now; none where there is no such member.
    pub now: Option<Value>,
}

/// Every value that differs, sorted by path; lists are compared as wholes.
#[must_use]
pub fn differences(stored: &Value, now: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(stored), Some(now), &mut found);
    found
}

fn compare(path: &str, stored: Option<&Value>, now: Option<&Value>, found: &mut Vec<Difference>) {
    if stored == now {
        return;
    }
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (stored, now) {
        for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
            let inner = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            compare(&inner, a.get(key), b.get(key), found);
        }
        return;
    }
    found.push(Difference { path: path.to_owned(), stored: stored.cloned(), now: now.cloned() });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_told_apart_from_values() {
        let a = json!({"lr": 0.1, "net": {"name": "resenc", "depth": 3}, "seed": null, "zyx": [1, 2]});
        let b = json!({"lr": 0.1, "net": {"name": "resenc", "depth": 4}, "zyx": [1, 3]});
        let of = |path: &str, stored: Option<Value>, now: Option<Value>| Difference {
            path: path.into(),
            stored,
            now,
        };
        assert_eq!(
            differences(&a, &b),
            [
                of("net.depth", Some(json!(3)), Some(json!(4))),
                of("seed", Some(Value::Null), None),
                of("zyx", Some(json!([1, 2])), Some(json!([1, 3]))),
            ]
        );
        assert!(differences(&a, &a).is_empty());
        assert_eq!(differences(&json!(1), &json!(2)), [of("", Some(json!(1)), Some(json!(2)))]);
    }
}
