//! Images and subjects that have several names: what is kept from training or held out under one of them is under all.

mod kin;

use super::{Pairs, Source};
use data_manifests::seen::{Covered, ImageFiles};
use data_manifests::{CaseRow, CaseSplit};
use kin::{Kin, Use};
use stage::message::counted;
use stage::{Context, Message};
use std::collections::{HashMap, HashSet};

/// Cases that are used in another way than their data set alone would have it.
#[derive(Default)]
struct Changes {
    left_out: Vec<String>,
    /// How many of them for their raw files; the others are for their subjects.
    left_out_images: usize,
    held_out: Vec<String>,
    held_out_images: usize,
}

impl Pairs {
    /// Leaves out, or holds out, the cases that show what is kept from training or held out under another name, be it in another data set,
    /// and all cases of their subjects.
    ///
    /// # Errors
    /// `E320` where a data set has no other.
    pub(crate) fn without_twins(mut self, context: &Context) -> anyhow::Result<Self> {
        let images: Vec<HashMap<&str, ImageFiles>> =
            self.sources.iter().map(|source| source.store.images()).collect();
        let changes = changes(&self.sources, &images);
        drop(images);
        for (source, changes) in self.sources.iter_mut().zip(changes) {
            if !changes.left_out.is_empty() || !changes.held_out.is_empty() {
                source.apply(changes, context)?;
            }
        }
        Ok(self.mixed())
    }
}

fn changes(sources: &[Source], images: &[HashMap<&str, ImageFiles>]) -> Vec<Changes> {
    let unknown = ImageFiles::default();
    let mut cases: Vec<Kin<'_>> = Vec::new();
    let mut rows: Vec<(usize, &CaseRow)> = Vec::new();
    let mut subjects = HashMap::new();
    for (number, (source, images)) in sources.iter().zip(images).enumerate() {
        let [trained, held_out, kept] = [&source.ids, &source.held_out, &source.kept]
            .map(|ids| ids.iter().map(String::as_str).collect::<HashSet<_>>());
        for row in source.store.rows() {
            let id = row.id.as_str();
            let (subject, next) = ((number, row.subject.as_str()), subjects.len());
            rows.push((number, row));
            cases.push(Kin {
                subject: *subjects.entry(subject).or_insert(next),
                image: images.get(id).unwrap_or(&unknown),
                used: if trained.contains(id) {
                    Use::Trained
                } else if held_out.contains(id) {
                    Use::HeldOut
                } else if kept.contains(id) {
                    Use::Kept
                } else {
                    Use::None
                },
                scored: source.scored.contains(id),
                parted: source.parted.contains(id),
            });
        }
    }
    let of = |used: Use| Covered::by(cases.iter().filter(|case| case.used == used).map(|case| case.image));
    let (kept, held_out) = (of(Use::Kept), of(Use::HeldOut));
    let mut changes: Vec<Changes> = sources.iter().map(|_| Changes::default()).collect();
    for ((case, used), (number, row)) in cases.iter().zip(kin::settled(&cases)).zip(rows) {
        let changes = &mut changes[number];
        match used {
            Use::Kept if case.used != used => {
                changes.left_out_images += usize::from(kept.meets(case.image));
                changes.left_out.push(row.id.clone());
            }
            Use::HeldOut if case.used != used => {
                changes.held_out_images += usize::from(held_out.meets(case.image));
                changes.held_out.push(row.id.clone());
            }
            _ => {}
        }
    }
    changes
}

impl Source {
    fn apply(&mut self, changes: Changes, context: &Context) -> Result<(), Message> {
        let Changes { left_out, left_out_images, held_out, held_out_images } = changes;
        let name = &self.store.descriptor().name;
        let all = counted(self.ids.len() + self.held_out.len(), "case");
        let tell = |ids: &[String], images: usize, what: &str, why: &str| {
            let Some(first) = ids.first() else { return };
            let reasons = [(images, "raw files"), (ids.len() - images, "subject")];
            let reasons: Vec<String> = reasons
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, of)| format!("{count} by {of}"))
                .collect();
            let text = format!(
                "{} of {all} of {name} {what}: {} of cases that {why}",
                ids.len(),
                reasons.join(" and ")
            );
            context.tell(
                Message::warning("W340", text)
                    .detail(format!("first {first}"))
                    .cause("The same images are in several data sets, or several times in one"),
            );
        };
        tell(&left_out, left_out_images, "left out", "are kept from training");
        tell(&held_out, held_out_images, "held out", "are held out");
        let [left, moved] = [&left_out, &held_out].map(|ids| ids.iter().collect::<HashSet<_>>());
        self.ids.retain(|id| !left.contains(id) && !moved.contains(id));
        self.held_out.retain(|id| !left.contains(id));
        if self.ids.is_empty() {
            return Err(Message::error("E320", format!("no case of {name} is left to train on"))
                .cause("Its images, or others of their subjects, are kept from training or held out under other names")
                .fix("Give these data only once, or change --test-cases, --leave-out or --holdout"));
        }
        let trained: HashSet<&String> = self.ids.iter().collect();
        let tests = self.store.rows().iter().filter(|row| row.split == CaseSplit::Test);
        self.test_cases_used = tests.filter(|row| trained.contains(&row.id)).count();
        self.held_out.extend(held_out);
        self.kept.extend(left_out);
        Ok(())
    }
}
