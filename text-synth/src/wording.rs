//! Varied but deterministic wording, and numbers as people write them.

use data_manifests::digest::sha256_hex;

/// Chooses among wordings by a hash of seed, text and place, so that neighbours differ and reruns do not.
#[derive(Debug, Clone)]
pub struct Wording {
    seed: u64,
    key: String,
}

impl Wording {
    /// The wording of one text, named by `key`, which decides choices but never appears in them.
    #[must_use]
    pub fn new(seed: u64, key: &str) -> Self {
        Self { seed, key: key.to_owned() }
    }

    /// One of `options`; `place` names the spot in the text. Empty options give an empty text.
    #[must_use]
    pub fn pick<'a>(&self, place: &str, options: &[&'a str]) -> &'a str {
        let hash = sha256_hex(format!("{}\n{}\n{place}", self.seed, self.key).as_bytes());
        let number = hash.bytes().take(8).fold(0, |n, digit| {
            n * 16 + usize::from(if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 })
        });
        options.get(number % options.len().max(1)).copied().unwrap_or_default()
    }
}

/// A share of 1 in percent.
#[must_use]
pub fn percent(share: f64) -> String {
    match share {
        s if s <= 0.0 => "0 %".to_owned(),
        s if s < 0.01 => "less than 1 %".to_owned(),
        s if s > 0.99 && s < 1.0 => "more than 99 %".to_owned(),
        s => format!("{:.0} %", s * 100.0),
    }
}

/// A length in mm, or in cm from 10 cm on.
#[must_use]
pub fn millimetres(mm: f64) -> String {
    match mm {
        m if m >= 99.95 => format!("{:.1} cm", m / 10.0),
        m if m >= 9.95 => format!("{m:.0} mm"),
        m => format!("{m:.1} mm"),
    }
}

/// A length in nm, or in µm from 1 µm on.
#[must_use]
pub fn nanometres(nm: f64) -> String {
    match nm {
        n if n >= 999.5 => format!("{:.2} µm", n / 1000.0),
        n if n >= 9.95 => format!("{n:.0} nm"),
        n => format!("{n:.1} nm"),
    }
}

/// A small count as a word, `no` for 0, digits above ten.
#[must_use]
pub fn count(n: usize) -> String {
    const WORDS: [&str; 11] =
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    WORDS.get(n).map_or_else(|| n.to_string(), |w| (*w).to_owned())
}

/// `one focus`, `three foci`.
#[must_use]
pub fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { many })
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn list(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A text with its first letter in upper case and one full stop at its end.
#[must_use]
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let mut out: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    out.push_str(letters.as_str());
    if !out.is_empty() && !out.ends_with(['.', '!', '?']) {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_stable_and_spread() {
        let options = ["a", "b", "c"];
        let all: Vec<_> = (0..60).map(|i| Wording::new(0, &i.to_string()).pick("x", &options)).collect();
        let again: Vec<_> = (0..60).map(|i| Wording::new(0, &i.to_string()).pick("x", &options)).collect();
        assert_eq!(all, again);
        assert!(options.iter().all(|o| all.iter().filter(|a| *a == o).count() > 8));
        assert_eq!(Wording::new(0, "k").pick("x", &[]), "");
    }

    #[test]
    fn numbers_read_well() {
        let percents = [0.0, 0.004, 0.256, 0.995, 1.0].map(percent);
        assert_eq!(percents, ["0 %", "less than 1 %", "26 %", "more than 99 %", "100 %"]);
        assert_eq!([3.25, 42.2, 123.0].map(millimetres), ["3.2 mm", "42 mm", "12.3 cm"]);
        assert_eq!([4.57, 80.4, 4700.0].map(nanometres), ["4.6 nm", "80 nm", "4.70 µm"]);
        assert_eq!(counted(1, "focus", "foci"), "one focus");
        assert_eq!(counted(12, "focus", "foci"), "12 foci");
        assert_eq!(list(&["a".into(), "b".into(), "c".into()]), "a, b and c");
        assert_eq!(sentence("élan"), "Élan.");
    }
}
