//! The cases, several at once.

use crate::admission::Admission;
use crate::case::{self, Digests, Interrupted, Made, ReadDigests, Room, Rules};
use crate::estimate::Estimate;
use crate::{messages, output};
use data_manifests::raw::RawCase;
use patches::{Case, CaseRecord, LabelRecord, ShardStore, WarningRecord};
use stage::{Context, Message, interrupt};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

/// Cases that are being synchronised and named at the same time: they wait for the disk, and what waits together is written
/// together.
const PUBLISHERS: usize = 8;

/// What is kept of a finished case until the run ends: of thousands of cases no more than tables and warnings need.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) id: String,
    pub(crate) shape_zyx: [usize; 3],
    pub(crate) spacing_zyx_mm: [f64; 3],
    pub(crate) label: Option<LabelRecord>,
    pub(crate) warnings: Vec<WarningRecord>,
    /// Bytes and digest of its files, where they were written just now.
    pub(crate) tree: Option<(u64, String)>,
}

impl From<&CaseRecord> for Finished {
    fn from(record: &CaseRecord) -> Self {
        Self {
            id: record.id.clone(),
            shape_zyx: record.shape_zyx,
            spacing_zyx_mm: record.spacing_zyx_mm,
            label: record.label.clone(),
            warnings: record.warnings.clone(),
            tree: None,
        }
    }
}

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Made now.
    Converted(Finished),
    /// Made by an earlier run from the same bytes by the same rules, and whole.
    Kept(Finished),
    /// Not made, and why.
    Failed(Box<Message>),
    /// The run stopped before.
    NotStarted,
}

/// Why a run stops before its last case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A signal.
    Interrupted,
    /// No space or quota is left, or files may not become so large.
    DiskFull(Message),
}

/// What all cases share.
#[derive(Debug)]
pub(crate) struct Conversion<'a> {
    pub(crate) rules: Rules<'a>,
    pub(crate) out: &'a Path,
    pub(crate) context: &'a Context,
    pub(crate) admission: Admission,
    /// The first such failure.
    pub(crate) disk_full: OnceLock<Message>,
}

impl Conversion<'_> {
    /// Works on `workers` cases at once; the outcomes come in the order of the cases.
    pub(crate) fn all(
        &self,
        cases: &[RawCase],
        digests: &[ReadDigests],
        estimates: &[anyhow::Result<Estimate>],
        workers: usize,
    ) -> Vec<Outcome> {
        let progress = self.context.progress("cases", cases.len() as u64);
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::with_capacity(cases.len()));
        let ended = |i: usize, outcome: Outcome| {
            if !matches!(outcome, Outcome::NotStarted) {
                progress.step(&cases[i].id);
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push((i, outcome));
        };
        // threads that wait for the disk are not those that compute
        let (sender, receiver) = mpsc::sync_channel(PUBLISHERS);
        let receiver = Mutex::new(receiver);
        let publish = || {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((i, made)) = next else { return };
                ended(i, self.published(&cases[i], made));
            }
        };
        let work = |sender: mpsc::SyncSender<(usize, Made)>| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let (Some(case), Some(digests), Some(estimate)) =
                    (cases.get(i), digests.get(i), estimates.get(i))
                else {
                    return;
                };
                match self.one(case, digests.as_ref(), estimate.as_ref()) {
                    Ok(made) => {
                        if let Err(mpsc::SendError((i, made))) = sender.send((i, made)) {
                            ended(i, self.published(case, made));
                        }
                    }
                    Err(outcome) => ended(i, outcome),
                }
            }
        };
        // threads of their own: a task of rayon's pool that waits for its parts would begin another case meanwhile, and
        // memory would follow the number of cases
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let sender = sender.clone();
                scope.spawn(|| work(sender));
            }
            drop(sender);
            for _ in 0..PUBLISHERS {
                scope.spawn(publish);
            }
        });
        progress.finish();
        let mut outcomes = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcomes.sort_by_key(|(i, _)| *i);
        outcomes.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Gives a case its place.
    fn published(&self, case: &RawCase, made: Made) -> Outcome {
        let Made { pending, record, tree, messages } = made;
        match pending.publish() {
            Ok(()) => {
                for message in messages {
                    self.context.tell(message);
                }
                Outcome::Converted(Finished { tree: Some(tree), ..Finished::from(&record) })
            }
            Err(error) => self.ended_by(case, &error.into()),
        }
    }

    /// The outcome of an error.
    fn ended_by(&self, case: &RawCase, error: &anyhow::Error) -> Outcome {
        if error.is::<Interrupted>() {
            Outcome::NotStarted
        } else if let Some(full) = stage::disk::full(error.as_ref(), Some(self.out)) {
            self.disk_full.get_or_init(|| full);
            Outcome::NotStarted
        } else {
            self.failed(case, error)
        }
    }

    /// Why cases were not started, if so.
    pub(crate) fn stopped(&self, outcomes: &[Outcome]) -> Option<Stop> {
        if let Some(full) = self.disk_full.get() {
            Some(Stop::DiskFull(full.clone()))
        } else if outcomes.iter().any(|outcome| matches!(outcome, Outcome::NotStarted)) {
            Some(Stop::Interrupted)
        } else {
            None
        }
    }

    /// Makes a case, or keeps it when it is whole and was made from the same bytes by the same rules.
    fn one(
        &self,
        case: &RawCase,
        digests: Result<&Digests, &String>,
        estimate: Result<&Estimate, &anyhow::Error>,
    ) -> Result<Made, Outcome> {
        if interrupt::requested() || self.disk_full.get().is_some() {
            return Err(Outcome::NotStarted);
        }
        let destination = ShardStore::case_directory(self.out, &case.id);
        let digests = digests.map_err(|text| {
            let message = Message::error("E100", "a file cannot be read").detail(text);
            let error = message.fix("Check its rights and its disk, then rerun the same command").into();
            self.failed(case, &error)
        })?;
        // what a header refuses without a message of its own is worded where the voxels are read
        if let Err(error) = estimate
            && error.is::<Message>()
        {
            return Err(self.failed(case, error));
        }
        if let Some(kept) = self.kept(case, digests, &destination) {
            return Err(Outcome::Kept(kept));
        }
        // a header that cannot be read has no estimate, and its case ends where it is read again
        let room = estimate.map_or(Room::Memory, |estimate| self.admission.room(estimate, self.out));
        let _grant = estimate.ok().map(|estimate| self.admission.admit(estimate, &room));
        let make = || case::make(&self.rules, case, digests, &destination, &room);
        match panic::catch_unwind(AssertUnwindSafe(make)) {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(self.ended_by(case, &error)),
            Err(payload) => {
                let message = messages::of_panic(&case.id, payload.as_ref());
                Err(self.failed(case, &message.into()))
            }
        }
    }

    fn kept(&self, case: &RawCase, digests: &Digests, destination: &Path) -> Option<Finished> {
        if !destination.is_dir() {
            return None;
        }
        // whatever is wrong with it, the remedy is to make it anew
        let found = Case::open(destination).ok()?;
        let same = self.rules.work(case, digests).is_ok_and(|work| work == found.record().work);
        (same && found.check().is_ok()).then(|| Finished::from(found.record()))
    }

    fn failed(&self, case: &RawCase, error: &anyhow::Error) -> Outcome {
        Outcome::Failed(Box::new(messages::of_error(&case.id, error, self.rules.raw_root)))
    }

    /// Removes what an earlier run made of the cases that failed: it must not pass for them. Not called where no case could be made: then it is
    /// more likely the command that is wrong, and the right one finds its shards again.
    pub(crate) fn remove_outdated(&self, cases: &[RawCase], outcomes: &mut [Outcome]) {
        for (case, outcome) in cases.iter().zip(outcomes) {
            if let Outcome::Failed(message) = outcome
                && let Err(error) = output::remove(&ShardStore::case_directory(self.out, &case.id))
            {
                let text = format!("Its outdated shards cannot be removed either: {error}");
                **message = message.as_ref().clone().cause(text);
            }
        }
    }
}
