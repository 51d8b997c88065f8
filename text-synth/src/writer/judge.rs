//! Cleans replies of a language model and refuses those that are no reports.

use std::collections::HashMap;

/// Fewest words of a report.
const FEWEST_WORDS: usize = 8;
/// Words of the prompt in a row that make a reply an echo.
const ECHO_WORDS: usize = 12;
/// Words in a row that must not come three times.
const LOOP_WORDS: usize = 6;
/// Beginnings of refusals, lower case.
const REFUSALS: [&str; 12] = [
    "i'm sorry",
    "i am sorry",
    "sorry,",
    "i cannot",
    "i can't",
    "i can not",
    "i'm unable",
    "i am unable",
    "i'm not able",
    "as an ai",
    "as a language model",
    "unfortunately, i",
];

/// Words with which a chat model announces a report, lower case.
const ANNOUNCEMENTS: [&str; 11] = [
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "okay",
    "ok",
    "understood",
    "here is",
    "here's",
    "below is",
    "based on the",
];
/// What an announcement announces.
const ANNOUNCED: [&str; 8] =
    ["report", "description", "summary", "text", "caption", "paragraph", "version", "rewrit"];
/// Most words of a label before a report on the same line ("Radiology report: …").
const LONGEST_LABEL: usize = 3;
/// Most words of an announcement, which ends with a colon.
const LONGEST_ANNOUNCEMENT: usize = 25;
/// Words with which a chat model ends a turn, lower case.
const FAREWELLS: [&str; 8] = [
    "let me know",
    "please let me know",
    "i hope this",
    "feel free",
    "would you like",
    "if you need",
    "if you'd like",
    "if you would like",
];
/// Most words of a line that is a heading.
const LONGEST_HEADING: usize = 4;

/// Marks of turns that chat templates without `<|…|>` have.
const TURNS: [&str; 9] =
    ["[INST]", "[/INST]", "<<SYS>>", "<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"];
/// What stands around the names of the others.
const AROUND: [(&str, &str); 2] = [("<|", "|>"), ("<\u{ff5c}", "\u{ff5c}>")];

/// What before a number makes another of it.
const SIGNS: [char; 14] =
    ['-', '+', '<', '>', '=', '~', '\u{2212}', '\u{2013}', '±', '≤', '≥', '≈', '≠', '≪'];
/// What behind a number makes another of it.
const SHARES: [char; 2] = ['%', '‰'];

/// A mark of a chat template within a text: the server does not know the model's end, and what stands behind the mark is a turn that nobody
/// asked for.
fn mark(text: &str) -> Option<&str> {
    // a name has no white space in it: a mark is within one word, and no text takes more than one look
    let between = |(open, close): (&str, &str)| {
        text.split_whitespace().find_map(|word| {
            let start = word.find(open)?;
            let name = &word[start + open.len()..];
            Some(&word[start..start + open.len() + name.find(close)? + close.len()])
        })
    };
    let turn = || TURNS.into_iter().find(|mark| text.contains(mark));
    AROUND.into_iter().find_map(between).or_else(turn)
}

fn is_name(within: &str) -> bool {
    !within.contains(char::is_whitespace)
}

/// What stands before a mark at the very end of a text, which some servers leave there: nothing but the answer was said.
fn before_end_mark(text: &str) -> Option<&str> {
    let between = |(open, close): (&str, &str)| {
        let (before, name) = text.strip_suffix(close)?.rsplit_once(open)?;
        is_name(name).then_some(before)
    };
    let turn = || TURNS.into_iter().find_map(|mark| text.strip_suffix(mark));
    AROUND.into_iter().find_map(between).or_else(turn)
}

/// What follows the reasoning, which servers without a reasoning parser leave in the content, and stands before the marks of its end.
#[must_use]
pub fn answer(reply: &str) -> &str {
    let mut answer = reply.rsplit_once("</think>").map_or(reply, |(_, rest)| rest);
    while let Some(before) = before_end_mark(answer.trim_end()) {
        answer = before;
    }
    answer
}

/// A reply without reasoning blocks, fences, list marks and line breaks, and without what a chat model says around a report: announcements
/// ("Sure! Here is the report:"), headings ("## Findings", at the top "**Report:**", too) and offers at the end ("Let me know if …").
#[must_use]
pub fn clean(reply: &str) -> String {
    let lines = answer(reply).lines().map(str::trim).filter(|line| !line.starts_with("```"));
    // Further down a line before a colon may name what follows: a place, a size.
    let lines = lines.skip_while(|line| line.is_empty() || is_heading(line)).filter(|line| !is_title(line));
    let mut lines: Vec<String> = lines.map(without_marks).collect();
    lines.retain(|line| !line.is_empty());
    if let Some(first) = lines.first_mut()
        && let Some(rest) = after_announcement(first)
    {
        *first = rest.to_owned();
    }
    while lines.last().is_some_and(|line| begins_with_one_of(line, &FAREWELLS)) {
        lines.pop();
    }
    lines.retain(|line| !line.is_empty());
    lines.join(" ")
}

/// A line's words without marks of lists, headings and emphasis.
fn without_marks(line: &str) -> String {
    let words = line.trim_start_matches(['#', '*', '-', '>', ' ']).split_whitespace();
    words.map(|word| word.replace("**", "")).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether a line of few words begins like a title of Markdown, stands in bold, or before a colon alone.
fn is_heading(line: &str) -> bool {
    let is_bold = line.len() > 4 && line.starts_with("**") && line.trim_end_matches(':').ends_with("**");
    is_title(line) || (is_short(line) && (is_bold || line.trim_end_matches('*').ends_with(':')))
}

fn is_title(line: &str) -> bool {
    line.starts_with('#') && is_short(line)
}

fn is_short(line: &str) -> bool {
    line.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count() <= LONGEST_HEADING
}

/// What follows an announcement or a label; none where a line does not begin with one.
fn after_announcement(line: &str) -> Option<&str> {
    let (announcement, rest) = line.split_once(':')?;
    let lower = announcement.to_lowercase();
    let words = lower.split_whitespace().count();
    let last = lower.split_whitespace().last().unwrap_or_default();
    let announces = begins_with_one_of(announcement, &ANNOUNCEMENTS)
        && ANNOUNCED.iter().any(|what| lower.contains(what))
        && words <= LONGEST_ANNOUNCEMENT;
    let labels = words <= LONGEST_LABEL && ANNOUNCED.contains(&last);
    (announces || labels).then_some(rest.trim_start())
}

/// Whether a text begins with these words, whatever their case.
fn begins_with_one_of(text: &str, beginnings: &[&str]) -> bool {
    let start = text.to_lowercase().replace('’', "'");
    beginnings
        .iter()
        .any(|words| start.strip_prefix(words).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric)))
}

/// Lower-case words without punctuation around them: what "equal" means for texts. A sign, a comparison or a share beside a number stays: `-5`,
/// `> 5` and `5 %` are not 5.
#[must_use]
pub fn normalised(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    // of a word that is nothing else
    let mut signs = String::new();
    for word in text.split_whitespace() {
        let core = word.trim_matches(|c: char| !c.is_alphanumeric());
        let Some(start) = word.find(core).filter(|_| !core.is_empty()) else {
            if word.contains(SHARES)
                && let Some(last) = words.last_mut().filter(|last| last.ends_with(char::is_numeric))
            {
                last.extend(word.chars().filter(|c| SHARES.contains(c)));
                signs.clear();
            } else if !word.chars().all(|c| matches!(c, '-' | '\u{2013}')) {
                // a dash alone parts sentences
                signs = word.chars().filter(|c| SIGNS.contains(c)).map(plain_sign).collect();
            }
            continue;
        };
        let mut kept = String::new();
        let (before, after) = (&word[..start], &word[start + core.len()..]);
        if core.starts_with(char::is_numeric) {
            kept.push_str(&signs);
            kept.extend(before.chars().filter(|c| SIGNS.contains(c)).map(plain_sign));
            kept.push_str(if before.ends_with('.') && !before.ends_with("..") { "." } else { "" });
        }
        kept.push_str(&core.to_lowercase());
        if core.ends_with(char::is_numeric) {
            kept.extend(after.chars().filter(|c| SHARES.contains(c)));
        }
        signs.clear();
        words.push(kept);
    }
    words.join(" ")
}

fn plain_sign(sign: char) -> char {
    if matches!(sign, '\u{2212}' | '\u{2013}') { '-' } else { sign }
}

/// Why a cleaned reply cannot be used; nothing when it can.
#[must_use]
pub fn reasons(text: &str, caption: &str, prompt: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    let plain = normalised(text);
    let words: Vec<&str> = plain.split(' ').filter(|w| !w.is_empty()).collect();
    if words.is_empty() {
        return vec!["empty".to_owned()];
    }
    if text.contains("<think>") {
        reasons.push("reasoning without an answer".to_owned());
    }
    if let Some(mark) = mark(text) {
        reasons.push(format!("a mark of the model's chat template: {mark}"));
    }
    if begins_with_one_of(text, &REFUSALS) {
        reasons.push("refusal".to_owned());
    }
    if words.len() < FEWEST_WORDS {
        reasons.push(format!("too short: {} words, expected at least {FEWEST_WORDS}", words.len()));
    }
    let instructions = normalised(prompt);
    if plain == normalised(caption) {
        reasons.push("echo of the caption".to_owned());
    } else if words.windows(ECHO_WORDS).any(|w| instructions.contains(&w.join(" "))) {
        reasons.push("echo of the prompt".to_owned());
    }
    let mut seen: HashMap<&[&str], usize> = HashMap::new();
    for window in words.windows(LOOP_WORDS) {
        *seen.entry(window).or_default() += 1;
    }
    if seen.values().any(|n| *n >= 3) {
        reasons.push(format!("loop: the same {LOOP_WORDS} words three times"));
    }
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (all, latin) =
        letters.fold((0_usize, 0_usize), |(all, latin), c| (all + 1, latin + usize::from(c < '\u{250}')));
    if all == 0 || latin * 10 < all * 9 {
        reasons.push("not in Latin script".to_owned());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "Axial CT of the abdomen with soft tissue in the middle and a bright focus on the left.";
    const PROMPT: &str =
        "You write one short report from measured facts and never add findings that are not among them.";

    #[test]
    fn a_report_passes() {
        assert_eq!(reasons(GOOD, "caption", PROMPT), Vec::<String>::new());
        let clean = clean(&format!("<think>hm\n</think>\n```text\n## Report\n- **{GOOD}**\n```"));
        assert_eq!(clean, GOOD);
    }

    #[test]
    fn what_a_chat_says_around_a_report_is_taken_off() {
        for reply in [
            format!("Sure! Here is the report: {GOOD}"),
            format!("Sure, here’s a concise report based on the given facts:\n\n{GOOD}"),
            format!(
                "Certainly. Below is the description you asked for:\n{GOOD}\n\nLet me know if you need anything else!"
            ),
            format!("**Report:**\n{GOOD}\n"),
            format!("**Radiology report:** {GOOD}"),
            format!("Here's the rewritten caption: {GOOD}"),
            format!("### Radiology Report\n\n{GOOD}\n\nI hope this helps."),
            format!("Report:\n{GOOD}\nFeel free to ask for changes.\nWould you like a longer one?"),
        ] {
            assert_eq!(clean(&reply), GOOD, "{reply}");
        }
        // what belongs to a report stays
        for report in [
            "Here is a bright focus in the left lobe, and nothing else stands out in it.",
            "Surely bright: the liver, next to the darker spleen on the other side of it.",
            "Based on the intensities two structures can be told apart, the larger one dark.",
            "The report of the slice: a bright focus on the left and a dark one on the right.",
            "In this context: a bright focus on the left and a dark one on the right.",
            "Findings: a bright focus. Impression: one structure of 3 mm in the left half.",
            "**A bright focus lies in the left half of the section.**",
        ] {
            assert_eq!(clean(report), report.replace("**", ""));
            assert_eq!(reasons(&clean(report), "caption", PROMPT), Vec::<String>::new(), "{report}");
        }
        assert_eq!(clean("**Place:**\nleft\nSize:\n12 mm"), "left Size: 12 mm");
        assert_eq!(clean("Sure! Here is the report:"), "");
        assert_eq!(clean("Let me know."), "");
    }

    #[test]
    fn what_makes_another_number_keeps_texts_apart() {
        for [a, b] in [
            ["a focus of > 5 mm", "a focus of < 5 mm"],
            ["at -5 HU", "at 5 HU"],
            ["at \u{2212} 5 HU", "at 5 HU"],
            ["about 5 % of it", "about 5 of it"],
            ["(<5 mm)", "(5 mm)"],
            ["5%.", "5."],
            [".5 mm", "5 mm"],
        ] {
            assert_ne!(normalised(a), normalised(b), "{a}");
        }
        for [a, b] in [
            ["A Focus, of (5 mm).", "a focus of 5 mm"],
            ["> 5 mm, 5 %.", ">5 MM; 5%"],
            ["\u{2212}5 HU", "-5 hu"],
            ["a - b", "a b"],
            ["left-sided -- 3-5 mm", "left-sided 3-5 mm"],
            ["Is it > than <this>?", "is it than this"],
        ] {
            assert_eq!(normalised(a), normalised(b), "{a}");
        }
    }

    #[test]
    fn marks_are_found_in_one_look() {
        let started = std::time::Instant::now();
        for hostile in ["<|", "<| ", "|>", "<|\u{ff5c}>"] {
            let text = hostile.repeat(200_000);
            assert_eq!((mark(&text), answer(&text).is_empty()), (None, false));
        }
        assert_eq!(mark("a <| b<|im_end|> c"), Some("<|im_end|>"));
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn others_are_refused_with_the_reason() {
        let reason = |text: &str| reasons(text, GOOD, PROMPT).join("; ");
        assert_eq!(reason(""), "empty");
        assert_eq!(reason(" .. "), "empty");
        assert!(
            reason("I’m sorry, but I cannot write about images that I have not seen.").contains("refusal")
        );
        assert!(reason("A short text.").contains("too short: 3 words"));
        assert!(reason(&GOOD.to_uppercase()).contains("echo of the caption"));
        assert!(reason(&format!("Sure: {PROMPT}")).contains("echo of the prompt"));
        assert!(reason(&"the scan shows a large bright area ".repeat(4)).contains("loop"));
        assert!(reason("这 是 一 个 关于 腹部 的 报告 它 没有 用").contains("Latin"));
        for mark in
            ["<|im_end|>", "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>", "[INST]", "<end_of_turn>"]
        {
            let leaked = reason(&format!("{GOOD} {mark} Anything else?"));
            assert_eq!(leaked, format!("a mark of the model's chat template: {mark}"));
        }
        assert!(reason(&format!("{GOOD} Less <| 3.<|end|>")).contains("<|end|>"));
        for end in ["<|end|>", "</s>", " <|im_end|>\n<|endoftext|>\n", "<\u{ff5c}end\u{ff5c}>"] {
            assert_eq!(clean(&format!("{GOOD}{end}")), GOOD);
        }
        assert_eq!(reason(&clean("<|im_end|>")), "empty");
        for none in ["a value <| 3 or above |> 5", "less than <s or so"] {
            let text = format!("{GOOD} {none}");
            assert_eq!((clean(&text), reason(&text)), (text, String::new()));
        }
        assert!(reason("<think>the user wants a report of the scan so I will think").contains("reasoning"));
    }
}
