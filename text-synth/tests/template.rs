//! What the template says of given facts, and that the check of sentences bears it.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::Descriptor;
use data_manifests::records::Verdict;
use text_synth::facts::Facts;
use text_synth::grounding::Grounding;
use text_synth::grounding::terms::Terms;
use text_synth::volume_facts;
use text_synth::writer::template::Template;
use text_synth::writer::{Subject, Task};

fn task(subject: Subject, id: &str, facts: &Facts) -> Task {
    Task { id: id.into(), subject, caption: String::new(), facts: facts.clone(), draft: None }
}

fn grounding(dataset: &str) -> Grounding {
    Grounding::new(&Descriptor::find(dataset).unwrap().text, Terms::load(&[] as &[&str]).unwrap())
}

fn frame(facts: &mut Facts, dataset: &str, modality: &str, section: usize) {
    let text = Descriptor::find(dataset).unwrap().text;
    facts.word("modality", modality);
    facts.word("imaging", &text.imaging);
    facts.word("anatomy", &text.anatomy);
    facts.word("plane", "axial");
    facts.word("level", "middle");
    facts.count("section", section);
    facts.count("sections", 40);
}

fn ct(soft_tissue: f64) -> Facts {
    let mut facts = Facts::default();
    frame(&mut facts, "msd03-liver", "ct", 20);
    facts.number("width_mm", 300.0);
    facts.number("soft_tissue_fraction", soft_tissue);
    facts.number("fat_fraction", 0.05);
    facts.number("at_window_low_fraction", 0.95 - soft_tissue);
    facts
}

#[test]
fn only_most_of_a_picture_is_what_it_mainly_consists_of() {
    let grounding = grounding("msd03-liver");
    for (share, mainly) in [(0.1, false), (0.5, false), (0.51, true), (0.9, true)] {
        let facts = ct(share);
        let texts: Vec<String> = (0..40)
            .map(|i| Template::default().text(&task(Subject::Slice, &i.to_string(), &facts)).unwrap())
            .collect();
        let says = |words: &str| texts.iter().filter(|text| text.contains(words)).count();
        assert_eq!(says("mainly") > 5, mainly, "{share}: {texts:#?}");
        assert!(mainly || says("largest measured share of the slice is soft tissue (") > 5, "{texts:#?}");
        assert!(says("makes up the largest measured share") > 5, "{texts:#?}");
        for sentence in texts.iter().flat_map(|text| grounding.check(text, &facts)) {
            assert_eq!(sentence.verdict, Verdict::Supported, "{}: {:?}", sentence.text, sentence.reasons);
        }
    }
}

#[test]
fn counts_of_a_volume_are_told_as_those_of_its_parts() {
    let tile = |section, column, compartments, median, dense| {
        let mut facts = Facts::default();
        frame(&mut facts, "cremi-a", "em", section);
        facts.count("tile_rows", 1);
        facts.count("tile_columns", 2);
        facts.count("tile_column", column);
        facts.number("membrane_fraction", 0.3);
        facts.count("compartment_count", compartments);
        facts.number("compartment_median_nm", median);
        facts.count("dense_count", dense);
        facts.number("dense_largest_nm", 94.0);
        facts.word("dense_largest_place", "upper left");
        facts
    };
    let tiles = [tile(1, 1, 14, 100.0, 1), tile(1, 2, 1, 400.0, 1), tile(2, 1, 5, 220.0, 1)];
    let facts = volume_facts::of_slices(&tiles.each_ref());
    let grounding = grounding("cremi-a");
    for i in 0..20 {
        let text = Template::default().text(&task(Subject::Volume, &i.to_string(), &facts)).unwrap();
        assert!(text.contains("2 axial slices in 3 tiles"), "{text}");
        assert!(
            text.contains("part up to 14 compartments in a tile, their median diameter 145 nm on average"),
            "{text}"
        );
        assert!(text.contains("p to one electron-dense profile in a tile"), "{text}");
        assert!(text.contains("of its tile"), "{text}");
        for sentence in grounding.check(&text, &facts) {
            assert_ne!(sentence.verdict, Verdict::Contradicted, "{}: {:?}", sentence.text, sentence.reasons);
        }
    }
}

#[test]
fn structures_of_a_volume_are_the_most_of_one_slice() {
    let slice = |section, n, length| {
        let mut facts = ct(0.6);
        facts.count("section", section);
        facts.count("dense_structures_count", n);
        facts.number("dense_structures_largest_length_mm", length);
        facts.word("dense_structures_largest_place", "left");
        facts
    };
    let facts = volume_facts::of_slices(&[&slice(1, 3, 10.0), &slice(2, 1, 30.0)]);
    let text = Template::default().text(&task(Subject::Volume, "a", &facts)).unwrap();
    let found = "up to three high-attenuation structures in a slice, the largest of 30 mm in left position";
    assert!(text.contains(found) && text.contains("2 axial slices"), "{text}");
    for sentence in grounding("msd03-liver").check(&text, &facts) {
        assert_eq!(sentence.verdict, Verdict::Supported, "{}: {:?}", sentence.text, sentence.reasons);
    }
}
