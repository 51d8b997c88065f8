//! Takes out of captions what a model learnt from the captions of papers and nobody can see on the slice: numbers of figures and
//! cases, and ages.

/// Words that a number of a figure or case follows.
const NUMBERED: [&str; 6] = ["figure", "figures", "fig", "figs", "case", "cases"];
/// Words that lead to such a number and go with it.
const LEADING: [&str; 7] = ["the", "in", "see", "of", "from", "a", "an"];
/// Words that follow an age and go with it.
const PERSONS: [&str; 13] = [
    "man", "woman", "male", "female", "patient", "boy", "girl", "child", "infant", "person", "men", "women",
    "patients",
];

/// The caption without figure and case numbers and ages; empty when nothing else was in it.
///
/// Letters keep their case. `the figure 3. the chest ct scan` gives `the chest ct scan`.
#[must_use]
pub fn clean(caption: &str) -> String {
    // decoders part hyphens from words
    let caption = caption.replace(" - ", "-");
    let words: Vec<&str> = caption.split_whitespace().collect();
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    let mut at = 0;
    while at < words.len() {
        let taken = numbered(&words[at..]).or_else(|| age(&words[at..]));
        let Some(taken) = taken else {
            kept.push(words[at]);
            at += 1;
            continue;
        };
        while kept.last().is_some_and(|word| LEADING.contains(&bare(word).as_str())) {
            kept.pop();
        }
        at += taken;
        while words.get(at).is_some_and(|word| bare(word).is_empty()) {
            at += 1;
        }
    }
    let text = kept.join(" ");
    let text =
        text.trim_start_matches(|c: char| !c.is_alphanumeric()).trim_end_matches([' ', '-', ':', ',', '(']);
    if text.chars().any(char::is_alphabetic) { text.to_owned() } else { String::new() }
}

/// A word in lower case without punctuation around it.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase()
}

/// Whether a word is a number with at most a letter behind it, such as `3`, `12` or `3a`.
fn is_number(word: &str) -> bool {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit());
    rest.len() < word.len() && rest.len() <= 1 && rest.chars().all(|c| c.is_ascii_alphabetic())
}

/// How many words at the beginning are a figure's or a case's number.
fn numbered(words: &[&str]) -> Option<usize> {
    let first = bare(words.first()?);
    // `fig.3`
    if let Some((name, number)) = first.split_once('.')
        && NUMBERED.contains(&name)
        && is_number(number)
    {
        return Some(1);
    }
    if !NUMBERED.contains(&first.as_str()) {
        return None;
    }
    // a mark of its own may lie between: `fig . 3`
    let marks = words[1..].iter().take_while(|word| bare(word).is_empty()).count();
    is_number(&bare(words.get(1 + marks)?)).then_some(2 + marks)
}

/// How many words at the beginning are an age, such as `55-year-old woman`, `7 years old` or, cut by the end, `55-`.
fn age(words: &[&str]) -> Option<usize> {
    let first = words.first()?.to_lowercase();
    let rest = first.trim_start_matches(|c: char| c.is_ascii_digit());
    if rest.len() == first.len() {
        return None;
    }
    let mut taken = match rest {
        "-" if words.len() == 1 => return Some(1),
        "" if words.len() == 2 && words[1] == "-" => return Some(2),
        r if r.starts_with("-year") => 1,
        "" | "-" if words.get(1).is_some_and(|w| bare(w).starts_with("year")) => 2,
        _ => return None,
    };
    if !bare(words[taken - 1]).ends_with("old") {
        match words.get(taken) {
            Some(word) if bare(word) == "old" => taken += 1,
            // the caption was cut
            None => {}
            Some(_) => return None,
        }
    }
    if words.get(taken).is_some_and(|w| PERSONS.contains(&bare(w).as_str())) {
        taken += 1;
    }
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_figures_and_cases_and_ages_go() {
        for (caption, expected) in [
            ("figure 3 : axial ct of the liver", "axial ct of the liver"),
            ("Fig. 12. Axial CT", "Axial CT"),
            ("FIGURE 1a. coronal mri", "coronal mri"),
            ("fig. 2 the spleen", "the spleen"),
            ("fig.4 the spleen", "the spleen"),
            ("fig . 5 . the spleen", "the spleen"),
            ("the figure 3. the chest ct scan shows a mass", "the chest ct scan shows a mass"),
            ("mri of the brain of case 11.", "mri of the brain"),
            ("chest ct of a 55 - year - old man with a mass", "chest ct with a mass"),
            ("chest ct of a 55-year-old woman.", "chest ct"),
            ("a 7 years old child with a mass", "with a mass"),
            ("chest ct of a 55 -", "chest ct"),
            ("ct (figure 2) of the liver", "ct of the liver"),
            ("figure 3.", ""),
            ("case 4", ""),
            ("...", ""),
        ] {
            assert_eq!(clean(caption), expected, "{caption}");
        }
    }

    #[test]
    fn all_else_stays() {
        for caption in [
            "axial ct shows 3 lesions of 12 mm",
            "in this case the liver is large",
            "a figure of eight, T2-weighted",
            "the 5-mm nodule, 2 years later; 5-year survival",
        ] {
            assert_eq!(clean(caption), caption);
        }
        assert_eq!(clean(&clean("the figure 3. the chest ct")), clean("the figure 3. the chest ct"));
    }
}
