//! Words for numbers.

/// `all`, `10 %`.
pub(crate) fn share_of_labels(fraction: f64) -> String {
    if fraction >= 1.0 {
        return "all".to_owned();
    }
    let percent = format!("{:.6}", fraction * 100.0);
    format!("{} %", percent.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_one_is_all() {
        let said = [1.0, 0.1, 0.005, 1.0 / 3.0].map(share_of_labels);
        assert_eq!(said, ["all", "10 %", "0.5 %", "33.333333 %"]);
    }
}
