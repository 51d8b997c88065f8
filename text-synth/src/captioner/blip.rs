//! The captioner `blip`: a frozen BLIP looks at the picture; facts are measured beside it, so that what it says can be checked.

pub mod journal;

use super::clean::clean;
use super::{PictureCaptioner, Seen, Told};
use crate::writer::Rejected;
use data_manifests::digest;
use journal::Journal;
use networks::blip::{Captioner, GreyImage, Search};
use stage::{Context, Message, interrupt};
use std::path::{Path, PathBuf};
use tch::Device;

/// Name and version, which stand in every record.
pub const NAME: &str = "blip/1";

/// The captioner.
#[derive(Debug)]
pub struct Blip {
    model: Captioner,
    search: Search,
    batch: usize,
    journal: Option<Journal>,
}

impl Blip {
    /// Opens a BLIP directory in Hugging Face layout; `batch` pictures go through the network at once.
    ///
    /// # Errors
    /// `E222` says what is wrong with the directory.
    pub fn open(directory: &Path, device: Device, search: Search, batch: usize) -> anyhow::Result<Self> {
        let model = Captioner::open(directory, device).map_err(|error| {
            Message::error("E222", "the captioner cannot be used").detail(error.to_string()).fix(
                "Give --blip the directory of a BLIP captioning model in Hugging Face layout: config.json, model.safetensors, and tokenizer.json or vocab.txt",
            )
        })?;
        Ok(Self { model, search, batch, journal: None })
    }

    /// Goes on from what an interrupted run has said in `directory`, and writes down what this one says; `work` is the digest of
    /// all that decides captions.
    ///
    /// # Errors
    /// Any I/O error.
    pub fn resume(mut self, directory: &Path, work: &str, context: &Context) -> anyhow::Result<Self> {
        let journal = Journal::open(directory, work, self.batch)?;
        if journal.len() > 0 {
            let text = format!("resumed: {} pictures captioned before", journal.len());
            context.tell(Message::info("I207", text));
        }
        self.journal = Some(journal);
        Ok(self)
    }

    /// What the model says of a batch, or has said already.
    fn say(&mut self, seen: &[Seen]) -> anyhow::Result<Vec<String>> {
        let ids = || seen.iter().map(|seen| seen.id.as_str());
        if let Some(said) = self.journal.as_ref().and_then(|journal| journal.all(ids())) {
            return Ok(said);
        }
        let pictures: Vec<GreyImage> = seen.iter().map(|s| s.picture.clone()).collect();
        let captions = self.model.caption(&pictures, "", &self.search).map_err(|error| {
            Message::error("E222", "the captioner failed")
                .detail(error.to_string())
                .fix("Try a smaller --batch; --max-length must fit the model")
        })?;
        if let Some(journal) = &mut self.journal {
            journal.add(ids().zip(captions.iter().map(String::as_str)))?;
        }
        Ok(captions)
    }

    /// The files on which captions depend.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        self.model.files()
    }
}

impl PictureCaptioner for Blip {
    fn name(&self) -> String {
        NAME.to_owned()
    }

    fn batch(&self) -> usize {
        self.batch
    }

    fn describe(&mut self, seen: &[Seen], _: &Context) -> anyhow::Result<Option<Vec<Told>>> {
        if interrupt::requested() {
            return Ok(None);
        }
        let captions = self.say(seen)?;
        let told = seen.iter().zip(captions).map(|(seen, raw)| {
            let text = clean(&raw);
            if !text.is_empty() {
                return Ok(Told { text: Some(text), ..Told::default() });
            }
            let rejected = Rejected {
                id: seen.id.clone(),
                request: digest::digest_of(&(&self.search, &seen.picture.values))?,
                attempt: 1,
                reasons: vec!["nothing but figure or case numbers and ages".to_owned()],
                finish_reason: None,
                text: raw,
                replaced: false,
            };
            Ok(Told { rejected: vec![rejected], ..Told::default() })
        });
        told.collect::<anyhow::Result<Vec<_>>>().map(Some)
    }

    fn finish(&mut self, _: &Context) -> anyhow::Result<Vec<(&'static str, u64)>> {
        Ok(Vec::new())
    }
}
