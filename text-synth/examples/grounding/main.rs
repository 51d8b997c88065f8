//! Measures the check of sentences: reports of generated slices with known facts, untouched and with one contradiction each.
//!
//! `cargo run --release -p text-synth --example grounding [SLICES [SEED]]` prints one JSON object: for each kind of contradiction how
//! many were injected and found, and how many untouched sentences were objected to. `make bench BENCH=grounding` runs it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

mod injected;
mod pictures;

use data_manifests::records::Verdict;
use injected::Kind;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::collections::BTreeMap;
use text_synth::grounding::Grounding;
use text_synth::grounding::terms::Terms;
use text_synth::grounding::words;
use text_synth::writer::template::Template;
use text_synth::writer::{Subject, Task};

#[derive(Default)]
struct Count {
    all: usize,
    hit: usize,
    missed: Vec<String>,
}

impl Count {
    fn add(&mut self, hit: bool, text: &str) {
        self.all += 1;
        self.hit += usize::from(hit);
        if !hit && self.missed.len() < 3 {
            self.missed.push(text.to_owned());
        }
    }

    fn share(&self) -> f64 {
        self.hit as f64 / self.all.max(1) as f64
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|word| word.parse::<u64>().unwrap());
    let (slices, seed) = (arguments.next().unwrap_or(500), arguments.next().unwrap_or(0));
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let terms = Terms::load(&[] as &[&str]).unwrap();
    let mut grounded: BTreeMap<String, Grounding> = BTreeMap::new();
    let mut found: BTreeMap<Kind, Count> = BTreeMap::new();
    let (mut quiet, mut strict, mut beside, mut free) = <(Count, Count, Count, Count)>::default();
    for i in 0..slices {
        let (descriptor, facts) = pictures::slice(i, &mut random);
        let grounding = grounded
            .entry(descriptor.name.clone())
            .or_insert_with(|| Grounding::new(&descriptor.text, terms.clone()));
        let task = Task {
            id: format!("slice-{seed}-{i}"),
            subject: Subject::Slice,
            caption: String::new(),
            facts: facts.clone(),
            draft: None,
        };
        let report = Template { seed }.text(&task).unwrap();
        for sentence in grounding.check(&report, &facts) {
            quiet.add(sentence.verdict != Verdict::Contradicted, &sentence.text);
            strict.add(sentence.verdict == Verdict::Supported, &sentence.text);
        }
        for text in injected::free_wording(&facts) {
            let sentence = grounding.check(&text, &facts).remove(0);
            let why = format!("{text} [{}]", sentence.reasons.join("; "));
            free.add(sentence.verdict != Verdict::Contradicted, &why);
        }
        let sentences: Vec<String> = words::sentences(&report).into_iter().map(str::to_owned).collect();
        for kind in Kind::ALL {
            let Some((place, wrong)) = injected::inject(kind, &sentences, &facts, &mut random) else {
                continue;
            };
            let mut text = sentences.clone();
            if place < text.len() {
                text[place].clone_from(&wrong);
            } else {
                text.insert(random.random_range(0..=text.len()), wrong.clone());
            }
            for sentence in grounding.check(&text.join(" "), &facts) {
                if sentence.text == wrong {
                    let is_found = sentence.verdict == Verdict::Contradicted;
                    found.entry(kind).or_default().add(is_found, &wrong);
                } else {
                    beside.add(sentence.verdict != Verdict::Contradicted, &sentence.text);
                }
            }
        }
    }
    let of = |count: &Count| json!({"all": count.all, "hit": count.hit, "share": count.share(), "missed": count.missed});
    let all: usize = found.values().map(|c| c.all).sum();
    let hit: usize = found.values().map(|c| c.hit).sum();
    let alarm = |count: &Count| json!({"sentences": count.all, "objected": count.all - count.hit, "share": 1.0 - count.share(), "examples": count.missed});
    let kinds: BTreeMap<String, _> =
        found.iter().map(|(kind, count)| (kind.name().to_owned(), of(count))).collect();
    let result = json!({
        "slices": slices, "seed": seed,
        "recall": hit as f64 / all.max(1) as f64, "injected": all, "found": hit, "kinds": kinds,
        "false_alarms": alarm(&quiet), "not_supported": alarm(&strict), "false_alarms_beside": alarm(&beside),
        "false_alarms_free_wording": alarm(&free),
    });
    println!("{result}");
}
