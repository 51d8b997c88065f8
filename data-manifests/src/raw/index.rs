//! `dataset.json` of the Medical Segmentation Decathlon and of nnU-Net v2.
//!
//! Real files carry typos (`relase`, `license`), labels as a list, or one convention's labels in the other's folder: what can
//! be understood is, unknown members are left alone, and everything that cannot is told at once with line and column.

use super::declared::{self, Declared};
use super::json::Document;
use super::paths;
use anyhow::Context;
use serde_json::Value;
use stage::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// File name.
pub(crate) const FILE_NAME: &str = "dataset.json";

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Medical Segmentation Decathlon.
    Msd,
    /// nnU-Net, second version.
    Nnunet,
}

/// A training case of the Decathlon's list.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) image: String,
    pub(crate) label: String,
}

/// A case of nnU-Net's optional `dataset` member.
#[derive(Debug, Clone)]
pub(crate) struct ListedCase {
    pub(crate) id: String,
    pub(crate) images: Vec<String>,
    pub(crate) label: String,
}

/// What `dataset.json` says.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) kind: Kind,
    /// Channel names in their order.
    pub(crate) channels: Vec<String>,
    /// Labels; `None` where none are declared.
    pub(crate) labels: Option<Declared>,
    pub(crate) num_training: Option<usize>,
    pub(crate) num_test: Option<usize>,
    /// The Decathlon's lists, paths below the folder.
    pub(crate) training: Vec<Pair>,
    pub(crate) test: Vec<String>,
    /// nnU-Net's list; `None`: the folders tell.
    pub(crate) dataset: Option<Vec<ListedCase>>,
    /// nnU-Net's `file_ending`.
    pub(crate) file_ending: String,
    /// What is wrong with the lists of files.
    pub(crate) files: Vec<Message>,
    /// What is wrong with channels and the ending of the files.
    pub(crate) declarations: Vec<Message>,
    /// What is wrong with the labels.
    pub(crate) label_declarations: Vec<Message>,
    document: Document,
}

impl Index {
    /// Reads the `dataset.json` of a folder; flaws that leave the rest usable are [`Index::problems`].
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON object.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(FILE_NAME);
        let document = Document::read(&path)?;
        let object = document.value.as_object().with_context(|| {
            format!("{}: expected an object, found {}", path.display(), word(&document.value))
        })?;
        let has = |name: &str| object.contains_key(name);
        let kind = if has("channel_names") || (has("file_ending") && !has("modality")) {
            Kind::Nnunet
        } else {
            Kind::Msd
        };
        let mut index = Self {
            kind,
            channels: Vec::new(),
            labels: None,
            num_training: None,
            num_test: None,
            training: Vec::new(),
            test: Vec::new(),
            dataset: None,
            file_ending: ".nii.gz".to_owned(),
            files: Vec::new(),
            declarations: Vec::new(),
            label_declarations: Vec::new(),
            document,
        };
        index.fill();
        Ok(index)
    }

    /// The first of these members that is a text with something in it.
    pub(crate) fn text(&self, names: &[&str]) -> Option<String> {
        names
            .iter()
            .filter_map(|name| self.document.value.get(name)?.as_str())
            .map(|text| text.trim().to_owned())
            .find(|text| !text.is_empty())
    }

    /// File, line and column of a member.
    pub(crate) fn place(&self, pointer: &[&str]) -> String {
        self.document.place(pointer)
    }

    fn fill(&mut self) {
        let value = self.document.value.clone();
        let names = if self.kind == Kind::Nnunet { "channel_names" } else { "modality" };
        match value.get(names) {
            Some(channels) => match numbered(channels) {
                Some(channels) => self.channels = channels,
                None => self.wrong(
                    &[names],
                    format!("'{names}' is {}", word(channels)),
                    format!("Write {{\"0\": \"CT\"}} with numbers from 0 as \"{names}\""),
                ),
            },
            None if self.kind == Kind::Nnunet => {
                self.wrong(&[], "'channel_names' is missing", "Add \"channel_names\": {\"0\": \"CT\"}");
            }
            None => {}
        }
        let (labels, flaws) = declared::parse(&self.document);
        self.labels = labels;
        for flaw in flaws {
            let place: Vec<&str> = flaw.at.iter().map(String::as_str).collect();
            self.wrong(&place, flaw.what, flaw.fix);
        }
        if self.kind == Kind::Nnunet && value.get("labels").is_none() {
            let fix = "Add \"labels\": {\"background\": 0, \"NAME\": 1}";
            self.wrong(&["labels"], "'labels' is missing", fix);
        }
        for (name, number) in [("numTraining", &mut self.num_training), ("numTest", &mut self.num_test)] {
            // some files have numbers as texts; a count that cannot be read is not compared
            *number = value.get(name).and_then(|n| match n {
                Value::String(text) => text.trim().parse().ok(),
                n => n.as_u64().map(|n| n as usize),
            });
        }
        match self.kind {
            Kind::Msd => self.lists(&value),
            Kind::Nnunet => self.nnunet(&value),
        }
    }

    /// The Decathlon's `training` and `test`.
    fn lists(&mut self, value: &Value) {
        for (i, item) in elements(value, "training").enumerate() {
            let i = i.to_string();
            let pair =
                item.get("image").and_then(Value::as_str).zip(item.get("label").and_then(Value::as_str));
            let Some((image, label)) = pair else {
                let fix = "Write {\"image\": \"./imagesTr/ID.nii.gz\", \"label\": \"./labelsTr/ID.nii.gz\"}";
                self.wrong(&["training", &i], format!("'training' holds {item}"), fix);
                continue;
            };
            let image = self.path(&["training", &i, "image"], image);
            let label = self.path(&["training", &i, "label"], label);
            if let (Some(image), Some(label)) = (image, label) {
                self.training.push(Pair { image, label });
            }
        }
        for (i, item) in elements(value, "test").enumerate() {
            let i = i.to_string();
            // the tasks list plain paths; some copies list objects like those of `training`
            match item.as_str().or_else(|| item.get("image")?.as_str()) {
                Some(image) => {
                    let path = self.path(&["test", &i], image);
                    self.test.extend(path);
                }
                None => {
                    let fix = "Write \"./imagesTs/ID.nii.gz\"";
                    self.wrong(&["test", &i], format!("'test' holds {item}"), fix);
                }
            }
        }
    }

    /// Members that only nnU-Net's second version has.
    fn nnunet(&mut self, value: &Value) {
        match value.get("file_ending") {
            None => {
                self.wrong(&[], "'file_ending' is missing", "Add \"file_ending\": \".nii.gz\"");
            }
            Some(Value::String(ending)) if ending.starts_with('.') => self.file_ending.clone_from(ending),
            Some(other) => {
                let fix = "Write it with its dot, such as \".nii.gz\"";
                self.wrong(&["file_ending"], format!("'file_ending' is {other}"), fix);
            }
        }
        let Some(member) = value.get("dataset") else { return };
        let Some(listed) = member.as_object() else {
            let fix =
                "Write {\"ID\": {\"images\": [\"a_0000.nii.gz\"], \"label\": \"a.nii.gz\"}}, or leave it out";
            self.wrong(&["dataset"], format!("'dataset' is {}", word(member)), fix);
            return;
        };
        let mut cases = Vec::new();
        for (id, case) in listed {
            let images: Option<Vec<&str>> = case
                .get("images")
                .and_then(Value::as_array)
                .and_then(|list| list.iter().map(Value::as_str).collect());
            let (Some(images), Some(label)) = (images, case.get("label").and_then(Value::as_str)) else {
                let fix = "Write {\"images\": [one path per channel], \"label\": path}";
                self.wrong(&["dataset", id], format!("case '{id}' is {case}"), fix);
                continue;
            };
            let paths: Vec<Option<String>> = images
                .iter()
                .enumerate()
                .map(|(i, path)| self.path(&["dataset", id, "images", &i.to_string()], path))
                .collect();
            let label = self.path(&["dataset", id, "label"], label);
            if let (Some(images), Some(label)) = (paths.into_iter().collect(), label) {
                cases.push(ListedCase { id: id.clone(), images, label });
            }
        }
        self.dataset = Some(cases);
    }

    fn path(&mut self, pointer: &[&str], text: &str) -> Option<String> {
        match paths::below(text) {
            Ok(path) => Some(path),
            Err(why) => {
                self.wrong(
                    pointer,
                    format!("'{text}' {why}"),
                    "Name a file below the folder of dataset.json",
                );
                None
            }
        }
    }

    fn wrong(&mut self, pointer: &[&str], what: impl Into<String>, fix: impl Into<String>) {
        let place = self.place(pointer);
        let message = Message::error("E198", what).detail(place).fix(fix);
        match pointer.first() {
            Some(&("training" | "test" | "dataset")) => self.files.push(message),
            Some(&("labels" | "regions_class_order")) => self.label_declarations.push(message),
            _ => self.declarations.push(message),
        }
    }

    /// All that is wrong with what is declared.
    pub(crate) fn flaws(&self) -> impl Iterator<Item = &Message> {
        self.declarations.iter().chain(&self.label_declarations)
    }

    /// All that is wrong with channels, labels and ending as one message.
    pub(crate) fn refusal(&self) -> Message {
        let lines: Vec<String> = self
            .flaws()
            .map(|m| {
                let place = m.detail.as_deref().unwrap_or_default();
                format!("\n  {place}: {}. {}", m.what, m.fix.as_deref().unwrap_or_default())
            })
            .collect();
        Message::error("E198", "dataset.json cannot be used").detail(lines.concat())
    }
}

fn elements<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// Names by number from 0, as `{"0": "CT"}`, as a list, or a single name.
fn numbered(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(name) => Some(vec![name.clone()]),
        Value::Array(names) => names.iter().map(|n| n.as_str().map(str::to_owned)).collect(),
        Value::Object(names) => {
            let by_number: BTreeMap<usize, String> = names
                .iter()
                .map(|(number, name)| Some((number.trim().parse().ok()?, name.as_str()?.to_owned())))
                .collect::<Option<_>>()?;
            let complete = by_number.keys().copied().eq(0..names.len());
            complete.then(|| by_number.into_values().collect())
        }
        _ => None,
    }
    .filter(|names| !names.is_empty())
}

/// What a JSON value is, in a word.
pub(super) fn word(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The message where there is no `dataset.json`; a folder below that has one is named.
pub(super) fn missing(root: &Path, what: &'static str, expected: &str) -> Message {
    let inner = match fs_err::read_dir(root) {
        Ok(entries) => {
            let mut inner: Vec<_> = entries
                .filter_map(Result::ok)
                .map(|e| e.path())
                .filter(|p| p.join(FILE_NAME).is_file())
                .collect();
            inner.sort();
            inner.into_iter().next()
        }
        Err(_) => None,
    };
    let fix = match inner {
        Some(inner) => format!("Give its folder {}", inner.display()),
        None => format!("Give the folder {expected} that holds dataset.json"),
    };
    Message::error("E191", what).detail(format!("{} is missing", root.join(FILE_NAME).display())).fix(fix)
}
