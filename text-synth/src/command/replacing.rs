//! What is finished is not replaced by what other options make, unless that is asked for.

use crate::ledger::{Header, place};
use crate::writer::api::batch::state;
use data_manifests::{Manifest, manifest};
use serde_json::{Map, Number, Value};
use stage::{Difference, Message, differences};
use std::path::Path;

/// Characters of a value in a message, at most.
const LONGEST_VALUE: usize = 60;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Replacing {
    /// Replace what is in --out although it was made with other options; answers of language models are kept
    #[arg(long)]
    pub(super) overwrite: bool,
}

/// What of a stage's manifest its user has chosen.
pub(super) struct Chosen<'a> {
    /// What the stage writes.
    pub(super) what: &'static str,
    /// Makes members named as flags of the parameters, without what the program or the inputs decide.
    pub(super) options: &'a dyn Fn(&mut Map<String, Value>),
    /// Role of the inputs that are a model's files, and the flag that gives them.
    pub(super) model: Option<(&'static str, &'static str)>,
}

impl Chosen<'_> {
    /// The options behind a manifest, by their flags' names without dashes.
    fn of(&self, manifest: &Manifest) -> Value {
        let mut options = manifest.parameters.as_object().cloned().unwrap_or_default();
        (self.options)(&mut options);
        options.retain(|_, value| !value.is_null());
        if let Some((role, flag)) = self.model {
            let files = manifest.inputs.iter().filter(|input| input.role == role);
            // the name alone: where the files lie decides nothing
            let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
            let files: Map<_, _> = files.map(|file| (name(&file.path), file.sha256.clone().into())).collect();
            if !files.is_empty() {
                options.insert(flag.to_owned(), files.into());
            }
        }
        Value::Object(options)
    }
}

impl Replacing {
    /// Refuses to replace what `out` holds of other options: a finished stage, answers of a model, batches at a server. `now` is the manifest of this
    /// command, `header` that of the ledger where it asks a model. Tells whether anything of other options is to be replaced.
    ///
    /// # Errors
    /// `E212` names the options that differ, `E228` batches that would be given up; `E215` for files that cannot be read.
    pub(super) fn check(
        &self,
        chosen: &Chosen<'_>,
        now: &Manifest,
        header: Option<&Header>,
        out: &Path,
    ) -> anyhow::Result<bool> {
        // a manifest that cannot be read is that of no finished stage
        let found = if out.join(manifest::FILE_NAME).is_file() { Manifest::load_any(out).ok() } else { None };
        let differ = match &found {
            Some(found) => differences(&chosen.of(found), &chosen.of(now)),
            None => Vec::new(),
        };
        let other = if found.is_none() { place::other(out, header)? } else { None };
        if differ.is_empty() && other.is_none() {
            return Ok(false);
        }
        if !self.overwrite {
            return Err(match other {
                Some((path, found)) => foreign(&path, &found, header),
                None => replaced(chosen.what, out, &told(differ)),
            }
            .into());
        }
        state::refuse_open(out)?;
        Ok(true)
    }
}

/// What is said where finished work would be lost.
fn replaced(what: &str, out: &Path, differ: &[String]) -> Message {
    let is_paid = place::header_of(&out.join(place::FILE_NAME)).is_ok_and(|header| header.is_some());
    let kept = if is_paid { ", which keeps the answers in its ledger" } else { "" };
    Message::error("E212", format!("{what} of other options are here"))
        .detail(format!("{}: {}", out.display(), differ.join("; ")))
        .fix(format!(
            "Repeat the options that they were made with, use another --out, or replace them with --overwrite{kept}"
        ))
}

/// What is said where an unfinished directory has answers of other options.
fn foreign(path: &Path, found: &Header, now: Option<&Header>) -> Message {
    let of = |h: &Header| format!("model {}, prompt {}, {}", h.model, h.prompt, h.parameters);
    let now = now.map_or_else(|| "no model is asked".to_owned(), of);
    Message::error("E212", "answers of another model, prompt or parameters are here")
        .detail(format!("{} holds {}; now {now}", path.display(), of(found)))
        .fix("Repeat the options that they were asked with, use another --out, or give --overwrite, which keeps these answers")
}

/// One text for each difference: `--temperature 0.2 → 0.9`. Where another writer or captioner is chosen, its own options follow from that.
fn told(differ: Vec<Difference>) -> Vec<String> {
    let is_kind = |d: &Difference| ["writer", "captioner"].contains(&d.path.as_str());
    let has_kind = differ.iter().any(is_kind);
    let counts = |d: &Difference| is_kind(d) || !has_kind || (d.stored.is_some() && d.now.is_some());
    differ
        .into_iter()
        .filter(counts)
        .map(|d| {
            let (flag, rest) = d.path.split_once('.').unwrap_or((&d.path, ""));
            let blank = if rest.is_empty() { "" } else { " " };
            let [stored, now] = [d.stored, d.now].map(|value| shown(value.as_ref()));
            format!("--{}{blank}{rest} {stored} → {now}", flag.replace('_', "-"))
        })
        .collect()
}

fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|item| shown(Some(item))).collect::<Vec<_>>().join(","),
        Some(Value::Number(number)) => shortest(number),
        Some(other) => other.to_string(),
    };
    // of a digest the beginning is enough
    let is_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let most = if is_digest { 12 } else { LONGEST_VALUE };
    match text.char_indices().nth(most) {
        Some((end, _)) if is_digest => text[..end].to_owned(),
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

/// A number as it was given: some options are of single precision, and JSON has more digits of them.
fn shortest(number: &Number) -> String {
    match number.as_f64().filter(|_| number.is_f64()).map(|wide| (wide, wide as f32)) {
        Some((wide, single)) if f64::from(single) == wide => single.to_string(),
        _ => number.to_string(),
    }
}

/// The name of a writer or captioner without the version of its rules, which the program decides: `api` of `api/1, facts measure/3`.
pub(super) fn without_version(options: &mut Map<String, Value>, name: &str) {
    if let Some(Value::String(text)) = options.get_mut(name) {
        text.truncate(text.find('/').unwrap_or(text.len()));
    }
}

/// Takes the members of the object `name` up among the others.
pub(super) fn lift(options: &mut Map<String, Value>, name: &str) {
    if let Some(Value::Object(inner)) = options.remove(name) {
        options.extend(inner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_by_their_flags() {
        let stored = json!({"writer": "api", "max_tokens": 256, "grounding": "rewrite", "plane": ["axial"]});
        let now =
            json!({"writer": "template", "seed": 0, "grounding": "check", "plane": ["axial", "coronal"]});
        let told = |stored: &Value, now: &Value| told(differences(stored, now)).join("; ");
        assert_eq!(
            told(&stored, &now),
            "--grounding rewrite → check; --plane axial → axial,coronal; --writer api → template"
        );
        let similar = |value: f32| json!({"similar": value});
        assert_eq!(told(&similar(0.999), &similar(0.5)), "--similar 0.999 → 0.5");
        let sha = |digit: &str| digit.repeat(64);
        let stored = json!({"prompt": sha("a"), "extra_body": {"a": {"b": true}}, "max_tokens": 256});
        let now = json!({"prompt": sha("b"), "extra_body": {"a": {}}, "top_p": 0.5, "max_tokens": 256});
        assert_eq!(
            told(&stored, &now),
            "--extra-body a.b true → none; --prompt aaaaaaaaaaaa → bbbbbbbbbbbb; --top-p none → 0.5"
        );
    }

    #[test]
    fn versions_of_rules_are_no_options() {
        for (name, kind) in [("api/1, facts measure/3", "api"), ("measure/3", "measure"), ("plain", "plain")]
        {
            let mut options = Map::from_iter([("captioner".to_owned(), json!(name))]);
            without_version(&mut options, "captioner");
            assert_eq!(options["captioner"], kind);
        }
    }
}
