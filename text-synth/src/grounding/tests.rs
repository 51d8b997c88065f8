//! Sentences with their verdicts.

mod places;

use super::Grounding;
use super::terms::Terms;
use crate::facts::Facts;
use data_manifests::Descriptor;
use data_manifests::records::Verdict::{self, Contradicted, Supported, Unsupported};

fn grounding(dataset: &str) -> Grounding {
    Grounding::new(&Descriptor::find(dataset).unwrap().text, Terms::load(&[] as &[&str]).unwrap())
}

fn facts(modality: &str) -> Facts {
    let mut facts = Facts::default();
    facts.word("modality", modality);
    facts.word("plane", "axial");
    facts.word("level", "upper");
    facts.count("section", 9);
    facts.count("sections", 12);
    facts.number("width_mm", 301.0);
    facts.number("entropy_bits", 5.1);
    facts
}

fn ct() -> Facts {
    let mut facts = facts("ct");
    facts.word("anatomy", "abdomen");
    facts.word("symmetry", "roughly symmetric");
    facts.number("fat_fraction", 0.24);
    facts.number("bone_fraction", 0.0);
    facts.count("dense_structures_count", 3);
    facts.number("dense_structures_largest_length_mm", 41.6);
    facts.word("dense_structures_largest_place", "left posterior");
    facts.count("gas_structures_count", 1);
    facts.number("gas_structures_largest_length_mm", 12.0);
    facts.word("gas_structures_largest_place", "central");
    facts
}

#[track_caller]
fn verdicts(grounding: &Grounding, facts: &Facts, expected: &[(&str, Verdict)]) {
    for (text, verdict) in expected {
        let found = grounding.check(text, facts);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].verdict, *verdict, "{text}: {:?} {:?}", found[0].sources, found[0].reasons);
        assert_eq!(found[0].reasons.is_empty(), *verdict == Supported, "{text}");
    }
}

/// What a data set says of its own imaging fits, whatever its modality, and digits in names of channels count nothing.
#[test]
fn names_of_channels_and_ones_own_imaging_are_no_flaws() {
    let mut descriptor = Descriptor::find("msd09-spleen").unwrap();
    let check = |descriptor: &Descriptor, text: &str, facts: &Facts| {
        let grounding = Grounding::new(&descriptor.text, Terms::load(&[] as &[&str]).unwrap());
        grounding.check(text, facts)[0].verdict
    };
    let text = "Axial computed tomography (CT, PET) of the abdomen.";
    assert_eq!(check(&descriptor, text, &ct()), Contradicted);
    descriptor.text.imaging = "computed tomography (CT, PET)".to_owned();
    assert_eq!(check(&descriptor, text, &ct()), Supported);
    let mut mri = facts("mri");
    mri.count("channels", 1);
    mri.number("rescale_to_0_1_bright_fraction", 0.18);
    mri.number("rescale_to_0_1_dark_fraction", 0.05);
    let text = "18 % of the tissue is hyperintense and 5 % hypointense on rescale_to_0_1.";
    let unnamed = check(&Descriptor::find("msd04-hippocampus").unwrap(), text, &mri);
    mri.word("channel_1", "rescale_to_0_1");
    let named = check(&Descriptor::find("msd04-hippocampus").unwrap(), text, &mri);
    assert!(unnamed != Supported && named == Supported, "{unnamed:?} {named:?}");
}

/// A number is borne by a fact that the sentence names, not by any that has its value.
#[test]
fn numbers_without_a_word_for_what_they_count_bear_nothing() {
    let mut facts = facts("mri");
    facts.count("channels", 1);
    facts.word("channel_1", "T1");
    facts.number("coherence", 0.4);
    let cases = [
        ("Variant 1.", Unsupported),
        ("Number 12 of many pictures.", Unsupported),
        ("The report is of grade 0.4.", Unsupported),
        ("The image has 1 channel.", Supported),
        ("The lines have a coherence of 0.4.", Supported),
        ("There are 12 slices.", Supported),
        ("An axial plane, variant 1.", Supported),
        ("An axial plane, variant 7.", Unsupported),
    ];
    let grounding = grounding("msd04-hippocampus");
    verdicts(&grounding, &facts, &cases);
    let found = &grounding.check("Variant 1.", &facts)[0];
    assert_eq!(found.reasons, ["it states nothing that was measured or declared"]);
    assert_eq!(grounding.check("An axial plane, variant 1.", &facts)[0].sources, ["fact:plane"]);
}

#[test]
fn ct_sentences_are_compared_with_facts_and_declarations() {
    let cases = [
        ("Axial CT of the abdomen through the liver.", Supported),
        ("Section 9 of 12, in the upper third.", Supported),
        ("Slice 8 of 12.", Contradicted),
        ("It lies in the lower third.", Contradicted),
        ("A coronal image.", Contradicted),
        ("T2-weighted MRI of the abdomen.", Contradicted),
        ("The cerebellum is seen.", Contradicted),
        ("Mitochondria with cristae are present.", Contradicted),
        ("The gallbladder is seen.", Unsupported),
        ("There is a liver tumour.", Unsupported),
        ("Three dense structures up to 42 mm.", Supported),
        ("Two dense structures.", Contradicted),
        ("Several high-density structures are noted.", Supported),
        ("A dense structure of 7 cm.", Contradicted),
        ("The largest dense structure lies in the left posterior part.", Supported),
        ("The largest dense structure lies in the right part.", Contradicted),
        ("A 12 mm gas pocket in the right part.", Contradicted),
        ("There are dense structures on the right.", Unsupported),
        ("Fat makes up 24 %.", Supported),
        ("Fat makes up 41 percent.", Contradicted),
        ("No fat is visible.", Contradicted),
        ("No bone-like attenuation is visible.", Supported),
        ("Bone makes up 0 %.", Supported),
        ("Bone is prominent.", Contradicted),
        ("The halves are symmetric.", Supported),
        ("The picture is asymmetric.", Contradicted),
        ("A homogeneous texture.", Contradicted),
        ("Left kidney and right kidney.", Supported),
        ("The images were reviewed with great care.", Unsupported),
        ("Its number is 77.", Unsupported),
    ];
    verdicts(&grounding("msd03-liver"), &ct(), &cases);
}

#[test]
fn channels_that_are_named_bind_what_is_said() {
    let mut facts = facts("mri");
    for (n, name) in ["FLAIR", "T1w"].iter().enumerate() {
        facts.word(format!("channel_{}", n + 1), *name);
    }
    facts.count("flair_bright_structures_count", 2);
    facts.word("flair_bright_structures_largest_place", "left");
    facts.count("t1w_bright_structures_count", 5);
    facts.word("t1w_bright_structures_largest_place", "right");
    let cases = [
        ("Two hyperintense FLAIR foci, the largest on the left.", Supported),
        ("Two hyperintense FLAIR foci, the largest on the right.", Contradicted),
        ("Five hyperintense FLAIR foci.", Contradicted),
        ("Five hyperintense foci.", Supported),
        ("Liver in a brain.", Contradicted),
        ("Hounsfield units are low.", Contradicted),
    ];
    verdicts(&grounding("msd01-braintumour"), &facts, &cases);
}

#[test]
fn electron_micrographs_have_words_of_their_own() {
    let mut facts = facts("em");
    facts.number("membrane_fraction", 0.3);
    facts.count("dense_count", 0);
    facts.number("dense_fraction", 0.0);
    let cases = [
        ("Neuropil of the fruit fly brain by electron microscopy.", Supported),
        ("CT angiography of the aorta.", Contradicted),
        ("Dense membrane-like profiles over 30 % of the area.", Supported),
        ("Sparse membranes.", Contradicted),
        ("No electron-dense profile of 80 nm or more.", Supported),
        ("An electron-dense profile.", Contradicted),
        ("Synapses and vesicles.", Supported),
        ("The endoplasmic reticulum.", Unsupported),
    ];
    verdicts(&grounding("cremi-a"), &facts, &cases);
}

#[test]
fn what_covers_area_is_there_though_nothing_is_counted() {
    let mut facts = facts("mri");
    facts.number("tissue_fraction", 0.42);
    facts.count("channels", 1);
    facts.word("channel_1", "T1");
    facts.number("t1_bright_fraction", 0.01);
    facts.count("t1_bright_structures_count", 0);
    let cases = [
        ("Imaged tissue fills 42 % of the slice.", Supported),
        ("Imaged tissue fills 24 % of the slice.", Contradicted),
        ("Hyperintense T1 areas of 1 %.", Supported),
        ("No hyperintense structures.", Supported),
        ("Two hyperintense structures.", Contradicted),
    ];
    verdicts(&grounding("msd04-hippocampus"), &facts, &cases);
    facts.number("t1_bright_fraction", 0.0);
    verdicts(&grounding("msd04-hippocampus"), &facts, &[("Hyperintense structures.", Contradicted)]);
}

#[test]
fn every_sentence_keeps_its_sources_and_reasons() {
    let found =
        grounding("msd03-liver").check("Axial CT slice. A 70 mm gas pocket in a normal liver.", &ct());
    assert_eq!(found[0].sources, ["descriptor:imaging", "fact:plane"]);
    let reasons = found[1].reasons.join("\n");
    assert!(
        reasons.contains("70 mm was not measured; the nearest is gas_structures_largest_length_mm with 12"),
        "{reasons}"
    );
    assert!(reasons.contains("nothing measures 'normal'"), "{reasons}");
}
