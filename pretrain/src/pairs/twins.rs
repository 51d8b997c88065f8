//! Images that are in several data sets: what one of them keeps from training, none of the others trains on.

use super::{Pairs, Source};
use stage::message::counted;
use stage::{Context, Message};
use std::collections::{HashMap, HashSet};

impl Pairs {
    /// Leaves out, or holds out, the images that another data set leaves out or holds out, whatever they are called.
    ///
    /// # Errors
    /// `E320` where a data set has no other.
    pub(crate) fn without_twins(mut self, context: &Context) -> anyhow::Result<Self> {
        let known: Vec<HashMap<String, String>> = self
            .sources
            .iter()
            .map(|source| {
                source.store.images().into_iter().map(|(id, image)| (id.to_owned(), image)).collect()
            })
            .collect();
        let of = |wanted: fn(&Source) -> &Vec<String>| -> Vec<HashSet<&String>> {
            let sources = self.sources.iter().zip(&known);
            sources
                .map(|(source, known)| wanted(source).iter().filter_map(|id| known.get(id)).collect())
                .collect()
        };
        let (kept, held) = (of(|source| &source.kept), of(|source| &source.held_out));
        let mut changes = Vec::with_capacity(self.sources.len());
        for (at, (source, known)) in self.sources.iter().zip(&known).enumerate() {
            let elsewhere = |sets: &[HashSet<&String>], id: &String| {
                let Some(image) = known.get(id) else { return false };
                sets.iter().enumerate().any(|(other, set)| other != at && set.contains(image))
            };
            let all = source.ids.iter().chain(&source.held_out);
            let left_out: HashSet<String> = all.filter(|id| elsewhere(&kept, id)).cloned().collect();
            let trained = source.ids.iter().filter(|id| !left_out.contains(*id));
            let moved: Vec<String> = trained.filter(|id| elsewhere(&held, id)).cloned().collect();
            changes.push((left_out, moved));
        }
        for (source, (left_out, moved)) in self.sources.iter_mut().zip(changes) {
            let name = source.store.descriptor().name.clone();
            source.ids.retain(|id| !left_out.contains(id) && !moved.contains(id));
            source.held_out.retain(|id| !left_out.contains(id));
            source.kept.extend(
                source.store.rows().iter().map(|row| &row.id).filter(|id| left_out.contains(*id)).cloned(),
            );
            let of_others = |count: usize, what: &str| {
                let text = format!(
                    "{} of {name} with images of cases that another data set {what}",
                    counted(count, "case")
                );
                Message::warning("W340", text)
            };
            if !left_out.is_empty() {
                context
                    .tell(of_others(left_out.len(), "keeps from training").cause("They are left out, too"));
            }
            if !moved.is_empty() {
                context.tell(of_others(moved.len(), "holds out").cause("They are held out, too"));
            }
            source.held_out.extend(moved);
            if source.ids.is_empty() {
                return Err(Message::error("E320", format!("no case of {name} is left to train on"))
                    .cause("Other data sets keep its images from training")
                    .fix("Give these data only once, or change --test-cases, --leave-out or --holdout")
                    .into());
            }
        }
        Ok(self.mixed())
    }
}
