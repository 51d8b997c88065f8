//! Versioned prompt files with placeholders.
//!
//! A file has a head (`name: …`, `version: …`), then `--- system` and `--- user`, each followed by its text. `{{name}}` stands for
//! a value; see [`PLACEHOLDERS`].

use crate::writer::{Subject, Task};
use data_manifests::digest;
use stage::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// Built-in prompts of the `api` writer.
const REPORT: &str = include_str!("../prompts/report.txt");
const VOLUME: &str = include_str!("../prompts/volume.txt");
const REWRITE: &str = include_str!("../prompts/rewrite.txt");
/// Built-in prompt of the captioner `api`.
const CAPTION: &str = include_str!("../prompts/caption.txt");

/// Names that a prompt may use, with what they stand for.
pub const PLACEHOLDERS: [(&str, &str); 9] = [
    ("caption", "the caption; for a volume its slice reports, one a line"),
    ("draft", "the report that is to be corrected"),
    ("reasons", "what is wrong with it, one reason a line"),
    ("facts", "one 'name: value' line for each measured fact"),
    ("modality", "ct, mri or em"),
    ("imaging", "the long name of the imaging method"),
    ("anatomy", "the imaged part"),
    ("plane", "axial, coronal or sagittal"),
    ("vocabulary", "structures that may be named, separated by commas"),
];

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Name.
    pub name: String,
    /// Version, raised with every change of the text.
    pub version: String,
    /// SHA-256 of the file.
    pub sha256: String,
    system: String,
    user: String,
}

/// A prompt with its values in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// System message.
    pub system: String,
    /// User message.
    pub user: String,
}

/// The prompts of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts {
    slice: Prompt,
    volume: Prompt,
    rewrite: Prompt,
}

impl Prompts {
    /// The built-in prompts, or those from files.
    ///
    /// # Errors
    /// `E213` for a file that is no prompt: head, parts or placeholders.
    pub fn load(slice: Option<&Path>, volume: Option<&Path>, rewrite: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self {
            slice: Prompt::load(slice, REPORT)?,
            volume: Prompt::load(volume, VOLUME)?,
            rewrite: Prompt::load(rewrite, REWRITE)?,
        })
    }

    /// The prompt for a task.
    #[must_use]
    pub fn of(&self, task: &Task) -> &Prompt {
        match (&task.draft, task.subject) {
            (Some(_), _) => &self.rewrite,
            (None, Subject::Slice) => &self.slice,
            (None, Subject::Volume) => &self.volume,
        }
    }

    /// Names, versions and digests of all, such as `report/1 (3f2c91aa), volume/1 (…), rewrite/1 (…)`.
    #[must_use]
    pub fn label(&self) -> String {
        [&self.slice, &self.volume, &self.rewrite].map(Prompt::label).join(", ")
    }

    /// Digest of all.
    ///
    /// # Errors
    /// Never in practice: texts are JSON.
    pub fn sha256(&self) -> serde_json::Result<String> {
        digest::digest_of(&[&self.slice, &self.volume, &self.rewrite].map(|prompt| &prompt.sha256))
    }
}

impl Prompt {
    /// The built-in text, or that of a file.
    fn load(file: Option<&Path>, built_in: &str) -> anyhow::Result<Self> {
        match file {
            None => Ok(Self::parse(built_in, "the built-in prompt")?),
            Some(path) => Ok(Self::parse(&fs_err::read_to_string(path)?, &path.display().to_string())?),
        }
    }

    /// The prompt of the captioner `api`, built in or from a file. Requests differ by their pictures, so it need not use captions or facts.
    ///
    /// # Errors
    /// As [`Prompts::load`].
    pub fn for_pictures(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            None => Ok(Self::parse_any(CAPTION, "the built-in prompt")?),
            Some(path) => Ok(Self::parse_any(&fs_err::read_to_string(path)?, &path.display().to_string())?),
        }
    }

    fn parse(text: &str, origin: &str) -> Result<Self, Message> {
        let prompt = Self::parse_any(text, origin)?;
        let uses = |name: &str| [&prompt.system, &prompt.user].iter().any(|part| part.contains(name));
        if !uses("{{caption}}") && !uses("{{facts}}") {
            return Err(wrong(
                origin,
                "neither {{caption}} nor {{facts}} is used: all replies would be alike",
            ));
        }
        Ok(prompt)
    }

    fn parse_any(text: &str, origin: &str) -> Result<Self, Message> {
        let wrong = |detail: String| wrong(origin, &detail);
        let (head, rest) =
            text.split_once("--- system\n").ok_or_else(|| wrong("no line '--- system'".to_owned()))?;
        let (system, user) =
            rest.split_once("--- user\n").ok_or_else(|| wrong("no line '--- user'".to_owned()))?;
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|v| v.trim().to_owned()))
                .filter(|v| !v.is_empty())
                .ok_or_else(|| wrong(format!("no line '{name}: …' before '--- system'")))
        };
        let prompt = Self {
            name: field("name")?,
            version: field("version")?,
            sha256: digest::sha256_hex(text.as_bytes()),
            system: system.trim().to_owned(),
            user: user.trim().to_owned(),
        };
        for part in [&prompt.system, &prompt.user] {
            for piece in part.split("{{").skip(1) {
                let (name, _) =
                    piece.split_once("}}").ok_or_else(|| wrong("'{{' without '}}'".to_owned()))?;
                if !PLACEHOLDERS.iter().any(|(known, _)| *known == name) {
                    let known: Vec<_> = PLACEHOLDERS.iter().map(|(known, _)| *known).collect();
                    return Err(wrong(format!(
                        "unknown placeholder '{name}'; known are {}",
                        known.join(", ")
                    )));
                }
            }
        }
        Ok(prompt)
    }

    /// Name and version with the beginning of the digest, such as `report/1 (3f2c91aa)`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{} ({})", self.name, self.version, &self.sha256[..8])
    }

    /// The messages for a task. Its id cannot appear: it is not among the values.
    #[must_use]
    pub fn render(&self, task: &Task, vocabulary: &[String]) -> Rendered {
        let facts = &task.facts;
        let objections: Vec<String> =
            task.draft.iter().flat_map(|draft| &draft.objections).map(ToString::to_string).collect();
        let plain =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let lines: Vec<_> = facts.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
        let word = |name: &str| facts.get_word(name).unwrap_or_default().to_owned();
        let values = BTreeMap::from([
            ("caption", task.caption.clone()),
            ("draft", task.draft.as_ref().map(|draft| draft.text.clone()).unwrap_or_default()),
            ("reasons", objections.join("\n")),
            ("facts", lines.join("\n")),
            ("modality", word("modality")),
            ("imaging", word("imaging")),
            ("anatomy", word("anatomy")),
            ("plane", word("plane")),
            ("vocabulary", vocabulary.join(", ")),
        ]);
        Rendered { system: fill(&self.system, &values), user: fill(&self.user, &values) }
    }
}

fn wrong(origin: &str, detail: &str) -> Message {
    Message::error("E213", "the prompt cannot be used")
        .detail(format!("{origin}: {detail}"))
        .fix("Compare it with those in text-synth/prompts")
}

/// One pass: a value that holds `{{…}}` itself stays as it is.
fn fill(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut pieces = template.split("{{");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        // parsing made sure that each piece has a known name and an end
        if let Some((name, rest)) = piece.split_once("}}") {
            out.push_str(values.get(name).map_or("", String::as_str));
            out.push_str(rest);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Facts;
    use crate::writer::{Draft, Objection};
    use serde_json::json;

    fn task() -> Task {
        Task {
            id: "patient_7:axial:3:0".into(),
            subject: Subject::Slice,
            caption: "A {{facts}} caption.".into(),
            facts: Facts::from_record(&BTreeMap::from([
                ("anatomy".into(), json!("abdomen")),
                ("entropy_bits".into(), json!(2.5)),
            ])),
            draft: None,
        }
    }

    #[test]
    fn the_built_in_prompt_names_no_case() {
        let prompts = Prompts::load(None, None, None).unwrap();
        let objection = Objection { sentence: None, reason: "No kidney here.".into() };
        let rewrite = Some(Draft { text: "A kidney.".into(), objections: vec![objection] });
        for task in [task(), Task { subject: Subject::Volume, ..task() }, Task { draft: rewrite, ..task() }] {
            let rendered = prompts.of(&task).render(&task, &["liver".into(), "spleen".into()]);
            let all = format!("{}{}", rendered.system, rendered.user);
            assert!(
                all.contains("abdomen") && all.contains("entropy_bits: 2.5") && all.contains("liver, spleen")
            );
            assert!(all.contains("A {{facts}} caption."));
            assert!(!all.contains("patient_7"));
            let is_rewrite = all.contains("A kidney.") && all.contains("No kidney here.");
            assert_eq!(is_rewrite, task.draft.is_some());
        }
    }

    #[test]
    fn a_wrong_prompt_is_named() {
        let error = |text: &str| Prompt::parse(text, "p.txt").unwrap_err().to_string();
        assert!(error("name: a\n").contains("p.txt: no line '--- system'"));
        assert!(error("--- system\n--- user\n{{caption}}").contains("no line 'name: …'"));
        let unknown = error("name: a\nversion: 1\n--- system\n\n--- user\n{{case}}");
        assert!(
            unknown.contains("unknown placeholder 'case'") && unknown.contains("vocabulary"),
            "{unknown}"
        );
        assert!(error("name: a\nversion: 1\n--- system\n\n--- user\nhello").contains("alike"));
    }
}
