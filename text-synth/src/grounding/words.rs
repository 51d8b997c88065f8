//! Sentences, and the words and numbers in them.

/// A word, number or mark of a sentence.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Lower case, without marks around it.
    Word(String),
    /// A number as it is written.
    Number {
        /// Its value.
        value: f64,
        /// Digits behind the point.
        decimals: u32,
    },
    /// `,`, `;`, `(`, `)`, `:` or `%`.
    Mark(char),
}

impl Token {
    /// The word, where it is one.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Abbreviations whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 10] = ["approx", "ca", "cf", "e.g", "fig", "i.e", "no", "st", "vs", "dr"];

/// The sentences of a text: parts that end in `.`, `!` or `?` before a blank and something other than a small letter.
#[must_use]
pub fn sentences(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut start = 0;
    let characters: Vec<(usize, char)> = text.char_indices().collect();
    for (i, (at, c)) in characters.iter().enumerate() {
        if !matches!(c, '.' | '!' | '?') {
            continue;
        }
        let mut rest = characters[i + 1..].iter().map(|(_, c)| *c);
        let ends = match rest.next() {
            None => true,
            Some(next) if next.is_whitespace() => {
                !rest.find(|c| !c.is_whitespace()).is_some_and(char::is_lowercase)
            }
            Some(_) => false,
        };
        let before = text[start..*at].rsplit([' ', '(']).next().unwrap_or_default().to_lowercase();
        if ends && !(*c == '.' && ABBREVIATIONS.contains(&before.as_str())) {
            found.push(text[start..at + c.len_utf8()].trim());
            start = at + c.len_utf8();
        }
    }
    found.push(text[start..].trim());
    found.retain(|sentence| !sentence.is_empty());
    found
}

/// The tokens of a sentence: hyphens part words, digits part from the letters of a unit (`12mm`), not from those before them
/// (`t1`).
#[must_use]
pub fn tokens(sentence: &str) -> Vec<Token> {
    let characters: Vec<char> = sentence.to_lowercase().chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let digit = |i: usize| characters.get(i).is_some_and(char::is_ascii_digit);
    while at < characters.len() {
        let c = characters[at];
        let begins_number = digit(at)
            || (matches!(c, '-' | '−')
                && digit(at + 1)
                && (at == 0 || !characters[at - 1].is_alphanumeric()));
        if begins_number {
            let (token, next) = number(&characters, at);
            tokens.push(token);
            at = next;
        } else if c.is_alphabetic() {
            let mut word = String::new();
            while at < characters.len() && (characters[at].is_alphanumeric()) {
                word.push(characters[at]);
                at += 1;
            }
            // possessives: what's behind the mark is no word
            if characters.get(at).is_some_and(|c| matches!(c, '\'' | '’')) {
                while characters.get(at).is_some_and(|c| !c.is_whitespace()) {
                    at += 1;
                }
            }
            tokens.push(Token::Word(word));
        } else {
            if matches!(c, ',' | ';' | '(' | ')' | ':' | '%') {
                tokens.push(Token::Mark(c));
            }
            at += 1;
        }
    }
    tokens
}

fn number(characters: &[char], start: usize) -> (Token, usize) {
    let digit = |i: usize| characters.get(i).is_some_and(char::is_ascii_digit);
    let mut text = String::new();
    let mut at = start;
    if !digit(at) {
        text.push('-');
        at += 1;
    }
    let mut decimals = None;
    loop {
        if digit(at) {
            text.push(characters[at]);
            decimals = decimals.map(|d: u32| d + 1);
            at += 1;
        } else if characters.get(at) == Some(&'.') && digit(at + 1) && decimals.is_none() {
            text.push('.');
            decimals = Some(0);
            at += 1;
        } else if characters.get(at) == Some(&',') && (1..4).all(|i| digit(at + i)) && !digit(at + 4) {
            // 1,204
            at += 1;
        } else {
            break;
        }
    }
    // what was read is a number; far too many digits make an infinite one, which equals no fact
    let value = text.parse().unwrap_or(f64::INFINITY);
    (Token::Number { value, decimals: decimals.unwrap_or(0) }, at)
}

/// A word without the ending of a plural, so that one form is compared.
#[must_use]
pub fn singular(word: &str) -> String {
    const SAME: [&str; 4] = ["gas", "pancreas", "pons", "ascites"];
    const IRREGULAR: [(&str, &str); 9] = [
        ("foci", "focus"),
        ("hippocampi", "hippocampus"),
        ("bronchi", "bronchus"),
        ("thrombi", "thrombus"),
        ("nuclei", "nucleus"),
        ("mitochondria", "mitochondrion"),
        ("vertebrae", "vertebra"),
        ("metastases", "metastasis"),
        ("axes", "axis"),
    ];
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == word) {
        return (*one).to_owned();
    }
    if SAME.contains(&word)
        || word.len() < 4
        || word.ends_with("ss")
        || word.ends_with("us")
        || word.ends_with("is")
    {
        return word.to_owned();
    }
    if let Some(stem) = word.strip_suffix("ies") {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes"] {
        if word.ends_with(ending) {
            return word[..word.len() - 2].to_owned();
        }
    }
    word.strip_suffix('s').unwrap_or(word).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_end_where_people_end_them() {
        let text = "Axial CT, 12.5 mm wide. The largest (approx. 3 mm) is left. 4 foci? no end";
        assert_eq!(
            sentences(text),
            ["Axial CT, 12.5 mm wide.", "The largest (approx. 3 mm) is left.", "4 foci? no end"]
        );
        assert!(sentences("  ").is_empty());
    }

    #[test]
    fn numbers_part_from_units_and_words_from_hyphens() {
        let word = |w: &str| Token::Word(w.to_owned());
        let number = |value, decimals| Token::Number { value, decimals };
        assert_eq!(
            tokens("T1-weighted, 12mm (1,204 at −100.5 HU) 6-8 %, liver's"),
            [
                word("t1"),
                word("weighted"),
                Token::Mark(','),
                number(12.0, 0),
                word("mm"),
                Token::Mark('('),
                number(1204.0, 0),
                word("at"),
                number(-100.5, 1),
                word("hu"),
                Token::Mark(')'),
                number(6.0, 0),
                number(8.0, 0),
                Token::Mark('%'),
                Token::Mark(','),
                word("liver"),
            ]
        );
    }

    #[test]
    fn plurals_are_folded() {
        let pairs = [
            ("kidneys", "kidney"),
            ("masses", "mass"),
            ("biopsies", "biopsy"),
            ("foci", "focus"),
            ("gas", "gas"),
            ("axis", "axis"),
            ("membranes", "membrane"),
            ("thrombus", "thrombus"),
            ("lens", "len"),
        ];
        for (many, one) in pairs {
            assert_eq!(singular(many), one);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            let joined: String = sentences(&text).concat().chars().filter(|c| !c.is_whitespace()).collect();
            let all: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            prop_assert_eq!(joined, all);
            for sentence in sentences(&text) {
                let _ = tokens(sentence);
            }
        }
    }
}
