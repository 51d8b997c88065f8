//! The commands of a run, word by word.

use super::table::Run;
use crate::arguments::{Arguments, Command, Sweep, Train};
use clap::Parser as _;
use stage::Message;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What all runs share.
pub(super) struct Commands<'a> {
    pub(super) arguments: &'a Sweep,
    pub(super) split: PathBuf,
    pub(super) dataset: &'a Path,
}

/// The directories of a run.
pub(super) struct Place {
    pub(super) model: PathBuf,
    pub(super) predictions: PathBuf,
    pub(super) scores: PathBuf,
}

impl Place {
    pub(super) fn of(directory: &Path) -> Self {
        let [model, predictions, scores] =
            ["model", "predictions", "scores"].map(|name| directory.join(name));
        Self { model, predictions, scores }
    }

    pub(super) fn all(&self) -> [&Path; 3] {
        [&self.model, &self.predictions, &self.scores]
    }
}

impl Commands<'_> {
    /// Reads the options of 'finetune train' as each run will, so that what none accepts is refused once.
    ///
    /// # Errors
    /// `E420` with what is wrong with them.
    pub(super) fn check(&self, run: &Run) -> Result<Train, Message> {
        let words = self.train(run, Path::new("model"));
        let refuse = |detail: String| {
            Message::error("E420", "the options after -- are not those that 'finetune train' takes here")
                .detail(detail)
                .fix("Correct them; shards, split, fraction, seed, start, device and precision are options of 'finetune sweep' itself")
        };
        let read = Arguments::try_parse_from(std::iter::once("finetune".into()).chain(words));
        match read.map(|read| read.command) {
            Ok(Command::Train(train)) => Ok(*train),
            Ok(_) => Err(refuse("they name another command".to_owned())),
            Err(error) => {
                let text = error.to_string();
                let first = text.lines().next().unwrap_or_default();
                Err(refuse(first.trim_start_matches("error: ").to_owned()))
            }
        }
    }

    /// Device and precision.
    fn compute(&self) -> [OsString; 4] {
        let Sweep { device, precision, .. } = self.arguments;
        ["--device".into(), device.into(), "--precision".into(), precision.into()]
    }

    pub(super) fn train(&self, run: &Run, model: &Path) -> Vec<OsString> {
        let arguments = self.arguments;
        let mut words: Vec<OsString> =
            vec!["train".into(), "--shards".into(), (&arguments.shards).into(), "--out".into(), model.into()];
        words.extend(["--split".into(), (&self.split).into()]);
        words.extend(["--fraction".into(), run.fraction.to_string().into()]);
        words.extend(["--seed".into(), run.seed.to_string().into()]);
        match &arguments.encoder_weights {
            Some(file) if run.pretrained => words.extend(["--encoder-weights".into(), file.into()]),
            _ => words.push("--from-scratch".into()),
        }
        words.extend(self.compute());
        words.extend(arguments.train.iter().cloned());
        words
    }

    pub(super) fn predict(&self, place: &Place) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["predict".into(), "--model".into(), (&place.model).into()];
        words.extend(["--input".into(), (&self.arguments.raw).into(), "--cases".into(), "val".into()]);
        words.extend(["--out".into(), (&place.predictions).into(), "--overwrite".into()]);
        words.extend(self.compute());
        words
    }

    pub(super) fn score(&self, place: &Place) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            vec!["score".into(), "--references".into(), (&self.arguments.raw).into()];
        words.extend(["--predictions".into(), (&place.predictions).into()]);
        words.extend(["--dataset".into(), self.dataset.into(), "--out".into(), (&place.scores).into()]);
        words
    }
}
