//! Versioned prompt files with placeholders.
//!
//! A file has a head (`name: …`, `version: …`), then `--- system` and `--- user`, each followed by its text. `{{name}}` stands for
//! a value; see [`PLACEHOLDERS`].

use crate::facts::Facts;
use data_manifests::digest;
use data_manifests::records::Caption;
use stage::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// The built-in prompt of the `api` writer.
const REPORT: &str = include_str!("../prompts/report.txt");

/// Names that a prompt may use, with what they stand for.
pub const PLACEHOLDERS: [(&str, &str); 7] = [
    ("caption", "the caption"),
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

impl Prompt {
    /// The built-in prompt, or one from a file.
    ///
    /// # Errors
    /// `E213` for a file that is no prompt: head, parts or placeholders.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        match file {
            None => Ok(Self::parse(REPORT, "the built-in prompt")?),
            Some(path) => Ok(Self::parse(&fs_err::read_to_string(path)?, &path.display().to_string())?),
        }
    }

    fn parse(text: &str, origin: &str) -> Result<Self, Message> {
        let wrong = |detail: String| {
            Message::error("E213", "the prompt cannot be used")
                .detail(format!("{origin}: {detail}"))
                .fix("Compare it with text-synth/prompts/report.txt")
        };
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
        let mut used = Vec::new();
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
                used.push(name);
            }
        }
        if !used.contains(&"caption") && !used.contains(&"facts") {
            return Err(wrong(
                "neither {{caption}} nor {{facts}} is used: all replies would be alike".to_owned(),
            ));
        }
        Ok(prompt)
    }

    /// Name and version with the beginning of the digest, such as `report/1 (3f2c91aa)`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{} ({})", self.name, self.version, &self.sha256[..8])
    }

    /// The messages for a caption. Neither its id nor its case can appear: they are not among the values.
    #[must_use]
    pub fn render(&self, caption: &Caption, vocabulary: &[String]) -> Rendered {
        let facts = Facts::from_record(&caption.facts);
        let plain =
            |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let lines: Vec<_> = facts.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
        let word = |name: &str| facts.get_word(name).unwrap_or_default().to_owned();
        let values = BTreeMap::from([
            ("caption", caption.caption.clone()),
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
    use data_manifests::records::Plane;
    use serde_json::json;

    fn caption() -> Caption {
        Caption {
            id: "patient_7:axial:3:0".into(),
            case: "patient_7".into(),
            dataset: "d".into(),
            plane: Plane::Axial,
            index: 3,
            box_zyx: [3, 0, 0, 4, 9, 9],
            caption: "A {{facts}} caption.".into(),
            captioner: "measure/1".into(),
            facts: BTreeMap::from([
                ("anatomy".into(), json!("abdomen")),
                ("entropy_bits".into(), json!(2.5)),
            ]),
        }
    }

    #[test]
    fn the_built_in_prompt_names_no_case() {
        let prompt = Prompt::load(None).unwrap();
        let rendered = prompt.render(&caption(), &["liver".into(), "spleen".into()]);
        let all = format!("{}{}", rendered.system, rendered.user);
        assert!(
            all.contains("abdomen") && all.contains("entropy_bits: 2.5") && all.contains("liver, spleen")
        );
        assert!(all.contains("A {{facts}} caption."));
        assert!(!all.contains("patient_7"));
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
