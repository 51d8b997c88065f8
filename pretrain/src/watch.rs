//! Watches a run for the two ways in which pretraining fails without an error: features that collapse (W303), and an
//! image-text loss that learns no alignment (W304). Each is said once a run.

use serde_json::{Map, Value};
use stage::{Context, Message};
use std::io::{BufRead, BufReader};
use std::path::Path;
use training::record::Values;
use training::run::{Observer, Reporter};

/// Features count as collapsing below this share of the spread 1/√d of d independent ones,
const HEALTHY_SHARE: f64 = 0.1;
/// where it is also below this share of the run's first: features of instance-normed maps have much in common from the start, and lie below
/// the limit while what tells them apart grows.
const SHARE_OF_FIRST: f64 = 0.5;
/// Steps of low spread before the warning.
const COLLAPSE_STEPS: u64 = 100;
/// The image-text loss counts as no better than chance above this share of it.
const CHANCE_SHARE: f64 = 0.98;
/// Steps of that before the warning.
const CHANCE_STEPS: u64 = 500;

/// Names in the record.
pub(crate) const SPREAD: &str = "feature_spread";
/// What the image-text loss of one view is when image and text tell nothing of each other.
pub(crate) const CHANCE: &str = "vlp_chance";
/// The image-text loss of the second view, which every choice of views has.
const LOSS: &str = "vlp_2";
/// That of parts of patches, the mean over both views, and what it is at chance.
pub(crate) const PARTS: &str = "vlp_parts";
pub(crate) const PARTS_CHANCE: &str = "vlp_parts_chance";

/// Since when something has held.
#[derive(Debug, Default)]
struct Streak {
    since: Option<u64>,
    said: bool,
}

impl Streak {
    /// Takes the steps `from..to`; gives the streak's length when it reaches `limit` for the first time.
    fn reaches(&mut self, limit: u64, holds: bool, from: u64, to: u64) -> Option<u64> {
        if !holds {
            self.since = None;
            return None;
        }
        let length = to - *self.since.get_or_insert(from);
        if self.said || length < limit {
            return None;
        }
        self.said = true;
        Some(length)
    }
}

/// Streaks over the record's lines.
#[derive(Debug)]
struct Health {
    /// Spread below which features may be collapsing.
    healthy: f64,
    /// The run's first.
    first: Option<f64>,
    step: u64,
    collapse: Streak,
    chance: Streak,
    parts_chance: Streak,
}

impl Health {
    fn new(features: i64, first: u64) -> Self {
        let healthy = HEALTHY_SHARE / (features as f64).sqrt();
        Self {
            healthy,
            first: None,
            step: first,
            collapse: Streak::default(),
            chance: Streak::default(),
            parts_chance: Streak::default(),
        }
    }

    fn look(&mut self, step: u64, metrics: &Values) -> Vec<Message> {
        let from = std::mem::replace(&mut self.step, step);
        let mut messages = Vec::new();
        let first = self.first.or_else(|| metrics.get(SPREAD).copied());
        self.first = first;
        let healthy = self.healthy.min(SHARE_OF_FIRST * first.unwrap_or(f64::INFINITY));
        if let Some(spread) = metrics.get(SPREAD)
            && let Some(steps) = self.collapse.reaches(COLLAPSE_STEPS, *spread < healthy, from, step)
        {
            let text = format!(
                "feature spread {spread:.1e} (healthy: above {healthy:.1e}) for {steps} steps: the encoder's features \
                 are collapsing"
            );
            messages
                .push(Message::warning("W303", text).fix("Try a lower --lr, a larger --batch, or more text"));
        }
        for (name, at_chance, what, streak) in [
            (LOSS, CHANCE, "image-text loss", &mut self.chance),
            (PARTS, PARTS_CHANCE, "image-text loss of parts", &mut self.parts_chance),
        ] {
            if let (Some(loss), Some(chance)) = (metrics.get(name), metrics.get(at_chance))
                && let Some(steps) = streak.reaches(CHANCE_STEPS, *loss > CHANCE_SHARE * chance, from, step)
            {
                let text =
                    format!("{what} {loss:.3} for {steps} steps, chance is {chance:.3}: no alignment learnt");
                messages.push(Message::warning("W304", text).fix(
                    "Check that the reports differ from each other (text-synth says how many are equal), --temperature and --lr",
                ));
            }
        }
        messages
    }
}

/// A reporter that also watches.
pub(crate) struct Watch<'a> {
    reporter: Reporter<'a>,
    health: Health,
}

impl<'a> Watch<'a> {
    /// For a run from `first` to `steps` of an encoder with so many features.
    pub(crate) fn new(context: &'a Context, first: u64, steps: u64, features: i64) -> Self {
        Self { reporter: Reporter::new(context, first, steps), health: Health::new(features, first) }
    }

    /// Looks at the record of a run that goes on, whose warnings were given: streaks go on, too, however short the jobs that a run is made in.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(crate) fn begin(&mut self, record: &Path) -> std::io::Result<()> {
        if !record.is_file() {
            return Ok(());
        }
        let first = std::mem::take(&mut self.health.step);
        for line in BufReader::new(fs_err::File::open(record)?).lines() {
            let Ok(line) = serde_json::from_str::<Map<String, Value>>(&line?) else { continue };
            let step = line.get("step").and_then(Value::as_u64).filter(|step| *step <= first);
            if let Some(step) = step.filter(|_| line.get("kind").and_then(Value::as_str) == Some("step")) {
                let numbers = line.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
                self.health.look(step, &numbers.collect());
            }
        }
        self.health.step = first;
        Ok(())
    }

    /// Ends the progress display.
    pub(crate) fn finish(&self) {
        self.reporter.finish();
    }
}

impl Observer for Watch<'_> {
    fn step(&mut self, step: u64, steps: u64) {
        self.reporter.step(step, steps);
    }

    fn logged(&mut self, step: u64, metrics: &Values, timing: &Values) {
        self.reporter.logged(step, metrics, timing);
        for message in self.health.look(step, metrics) {
            self.reporter.message(message);
        }
    }

    fn validated(&mut self, step: u64, values: &Values, is_best: bool) {
        self.reporter.validated(step, values, is_best);
    }

    fn message(&mut self, message: Message) {
        self.reporter.message(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(spread: f64, loss: f64) -> Values {
        [(SPREAD, spread), (LOSS, loss), (CHANCE, 5.0)].map(|(n, v)| (n.to_owned(), v)).into()
    }

    fn codes(health: &mut Health, step: u64, values: &Values) -> Vec<&'static str> {
        health.look(step, values).iter().map(|m| m.code).collect()
    }

    #[test]
    fn a_lasting_collapse_is_said_once() {
        let started = |spread: f64| {
            let mut health = Health::new(100, 0);
            assert!(codes(&mut health, 10, &values(spread, 1.0)).is_empty());
            health
        };
        let mut health = started(0.05);
        for step in (20..110).step_by(10) {
            assert!(codes(&mut health, step, &values(0.009, 1.0)).is_empty());
        }
        assert_eq!(codes(&mut health, 110, &values(0.009, 1.0)), ["W303"]);
        assert!(codes(&mut health, 120, &values(0.009, 1.0)).is_empty());
        // features that have much in common from the start do not collapse by that
        let mut health = started(0.005);
        assert!((20..1000).step_by(10).all(|step| codes(&mut health, step, &values(0.006, 1.0)).is_empty()));
        let mut health = started(0.005);
        assert!((20..1000).step_by(10).any(|step| !codes(&mut health, step, &values(0.002, 1.0)).is_empty()));
        // spreads recover and fall again
        let mut health = started(0.05);
        for step in (10..1000).step_by(10) {
            let spread = if step % 100 == 50 { 0.02 } else { 0.001 };
            assert!(codes(&mut health, step, &values(spread, 1.0)).is_empty());
        }
    }

    #[test]
    fn a_run_that_goes_on_has_the_first_spread_of_its_record() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("metrics.jsonl");
        let context = Context::new("pretrain", true);
        let first = |text: Option<&str>| {
            let mut watch = Watch::new(&context, 20, 40, 100);
            if let Some(text) = text {
                fs_err::write(&record, text).unwrap();
            }
            watch.begin(&record).unwrap();
            watch.health.first
        };
        assert_eq!(first(None), None);
        let validated = "{\"step\":5,\"kind\":\"validation\",\"recall_5\":0.1}\n";
        assert_eq!(first(Some(validated)), None);
        let lines = format!(
            "{validated}{{\"step\":10,\"kind\":\"step\",\"{SPREAD}\":0.25}}\n{{\"step\":20,\"kind\":\"step\",\"{SPREAD}\":0.5}}\n"
        );
        assert_eq!(first(Some(&lines)), Some(0.25));
    }

    /// Jobs shorter than a streak end none, and what one of them said no later one says again.
    #[test]
    fn streaks_go_on_from_job_to_job() {
        let directory = tempfile::tempdir().unwrap();
        let record = directory.path().join("metrics.jsonl");
        let context = Context::new("pretrain", true);
        let (mut lines, mut said) = (String::new(), Vec::new());
        for job in 0..8_u64 {
            fs_err::write(&record, &lines).unwrap();
            let mut watch = Watch::new(&context, 200 * job, 1600, 100);
            watch.begin(&record).unwrap();
            for step in (200 * job + 10..=200 * (job + 1)).step_by(10) {
                let found = values(0.1, 4.95);
                said.extend(watch.health.look(step, &found).into_iter().map(|message| (step, message.code)));
                let numbers: Map<String, Value> =
                    found.into_iter().map(|(name, v)| (name, v.into())).collect();
                let mut line = serde_json::json!({"step": step, "kind": "step"});
                line.as_object_mut().unwrap().extend(numbers);
                lines.push_str(&format!("{line}\n"));
            }
        }
        assert_eq!(said, [(500, "W304")]);
    }

    #[test]
    fn a_loss_that_stays_at_chance_is_said_once() {
        let mut health = Health::new(100, 200);
        let said: Vec<u64> = (210..2000)
            .step_by(10)
            .filter(|step| codes(&mut health, *step, &values(0.1, 4.95)) == ["W304"])
            .collect();
        assert_eq!(said, [700]);
        let mut health = Health::new(100, 0);
        assert!((10..2000).step_by(10).all(|step| codes(&mut health, step, &values(0.1, 4.8)).is_empty()));
        // parts of patches may learn nothing while whole ones do
        let parts = [(PARTS, 7.9), (PARTS_CHANCE, 8.0)].map(|(name, value)| (name.to_owned(), value));
        let found: Values = values(0.1, 4.8).into_iter().chain(parts).collect();
        let mut health = Health::new(100, 0);
        let said: Vec<String> = (10..2000)
            .step_by(10)
            .flat_map(|step| health.look(step, &found))
            .map(|message| message.to_string())
            .collect();
        assert!(
            said.len() == 1 && said[0].contains("image-text loss of parts 7.900 for 500 steps"),
            "{said:?}"
        );
    }
}
