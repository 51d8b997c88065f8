//! Where things lie, what is denied, and whose share a number is.

use super::{
    Contradicted, Descriptor, Grounding, Supported, Terms, Unsupported, ct, facts, grounding, verdicts,
};
use crate::facts::Facts;

/// One dense structure, left and posterior, and one gas-containing region, right and anterior.
fn two() -> Facts {
    let mut facts = ct();
    facts.count("dense_structures_count", 1);
    facts.number("dense_structures_largest_length_mm", 20.0);
    facts.number("gas_structures_largest_length_mm", 14.0);
    facts.word("gas_structures_largest_place", "right anterior");
    facts.number("soft_tissue_fraction", 0.65);
    facts.number("air_fraction", 0.28);
    facts.number("fat_fraction", 0.05);
    facts.number("at_window_low_fraction", 0.02);
    facts
}

#[test]
fn symmetry_excuses_pairs_of_sides_only() {
    let cases = [
        (
            "The picture is symmetric, and the dense structure of 20 mm lies in the right anterior part.",
            Contradicted,
        ),
        (
            "The picture is symmetric, and the dense structure of 20 mm lies in the left posterior part.",
            Supported,
        ),
        ("Left and right halves of the field are symmetric.", Supported),
        ("The left half is symmetric to the right half.", Supported),
        ("There is left-right symmetry.", Supported),
        ("Left and right appear symmetric, and the dense structure lies right.", Contradicted),
        ("The dense structure lies in the left and right halves.", Contradicted),
        ("One dense structure lies in the right half of the abdomen.", Contradicted),
        ("One dense structure lies in the left half of the abdomen.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
    let mut central = two();
    central.word("dense_structures_largest_place", "posterior");
    let cases = [
        ("The dense structure lies in the left half.", Unsupported),
        ("The dense structure lies in the left part.", Contradicted),
        ("The dense structure lies in the anterior half.", Contradicted),
    ];
    verdicts(&grounding("msd03-liver"), &central, &cases);
}

#[test]
fn directions_have_other_words() {
    let cases = [
        ("The dense structure lies dorsally on the sinistral side.", Supported),
        ("The dense structure lies ventrally.", Contradicted),
        ("The dense structure lies on the dextral side.", Contradicted),
        ("The dense structure lies anteriorly.", Contradicted),
        ("The dense structure lies leftward.", Supported),
        ("The dense structure lies cranially.", Unsupported),
        ("The dense structure is caudal.", Unsupported),
        ("The dense structure lies laterally.", Unsupported),
        ("An anterolateral dense structure.", Unsupported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
    let mut coronal = two();
    coronal.word("plane", "coronal");
    coronal.word("dense_structures_largest_place", "left superior");
    let cases = [
        ("The dense structure lies cranially.", Supported),
        ("The dense structure is caudal.", Contradicted),
        ("The dense structure lies dorsally.", Unsupported),
    ];
    verdicts(&grounding("msd03-liver"), &coronal, &cases);
}

#[test]
fn directions_in_declared_names_are_no_places() {
    let mut text = Descriptor::find("cremi-a").unwrap().text;
    text.anatomy = "dorsal root ganglion".to_owned();
    text.vocabulary.push("medial habenula".to_owned());
    let grounding = Grounding::new(&text, Terms::load(&[] as &[&str]).unwrap());
    let cases = [
        ("Axial section of the dorsal root ganglion.", Supported),
        ("Axial section of the medial habenula.", Supported),
        ("Axial section of the dorsal part.", Unsupported),
    ];
    verdicts(&grounding, &facts("em"), &cases);
}

#[test]
fn directions_are_said_of_what_is_near() {
    let cases = [
        (
            "On the left, a dense structure of 20 mm; on the right, a gas-containing region of 14 mm.",
            Supported,
        ),
        (
            "On the right, a dense structure of 20 mm; on the left, a gas-containing region of 14 mm.",
            Contradicted,
        ),
        ("On the left, a dense structure, and on the right, a gas-containing region.", Supported),
        ("On the right, a dense structure, and on the left, a gas-containing region.", Contradicted),
        ("A dense structure on the left, and a gas-containing region on the right.", Supported),
        ("A dense structure, on the left, and a gas-containing region, on the right.", Supported),
        ("In the left part a dense structure and in the right part a gas-containing region.", Supported),
        (
            "The gas-containing region lies in the right anterior part, the dense structure in the left posterior part.",
            Supported,
        ),
        ("One dense structure; it spans 20 mm and lies in the left posterior part.", Supported),
        ("One dense structure; it lies in the right part.", Contradicted),
        ("A dense structure lies left, while gas lies right.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
}

#[test]
fn what_is_denied_of_a_place_may_lie_elsewhere() {
    let cases = [
        ("No dense structure lies in the right part of the abdomen.", Supported),
        ("No dense structure lies in the left anterior part.", Supported),
        ("No dense structure lies in the left part.", Contradicted),
        ("No dense structure lies in the left posterior part.", Contradicted),
        ("The dense structure does not lie in the right part.", Supported),
        ("The dense structure does not lie in the left part.", Contradicted),
        ("No dense structure is visible.", Contradicted),
        ("The dense structure is not large and lies left.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
    // of three only the largest one's place is known
    let cases = [
        ("No dense structure lies in the right part.", Unsupported),
        ("No dense structure lies in the left part.", Contradicted),
    ];
    verdicts(&grounding("msd03-liver"), &ct(), &cases);
    let mut none = two();
    none.count("gas_structures_count", 0);
    for end in ["length_mm", "place"] {
        none = Facts::from_record(&{
            let mut record = none.record().clone();
            record.remove(&format!("gas_structures_largest_{end}"));
            record
        });
    }
    let cases = [
        ("No gas is seen on the right.", Supported),
        ("No gas is seen on the right, and the dense structure lies left.", Supported),
        ("Gas is seen on the right.", Contradicted),
    ];
    verdicts(&grounding("msd03-liver"), &none, &cases);
}

#[test]
fn many_words_deny() {
    let cases = [
        ("Neither gas nor dense structures are visible in this axial slice of the abdomen.", Contradicted),
        ("Neither gas nor bone is visible.", Contradicted),
        ("Never is a dense structure seen.", Contradicted),
        ("None of the dense structures is seen.", Contradicted),
        ("Gas is not visible.", Contradicted),
        ("Gas is absent.", Contradicted),
        ("No bone, gas or fat is seen.", Contradicted),
        ("Bone is not visible.", Supported),
        ("Neither bone nor bone-like attenuation is visible.", Supported),
        ("No bone, fat makes up 5 %.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
}

#[test]
fn shares_belong_to_what_they_are_said_of() {
    let cases = [
        ("Soft tissue makes up 65 % and air makes up 28 %.", Supported),
        ("Soft tissue makes up 28 % and air makes up 65 %.", Contradicted),
        ("65 % of the slice is soft tissue and 28 % air.", Supported),
        ("28 % of the slice is soft tissue and 65 % air.", Contradicted),
        ("65 % of the slice is soft tissue and 65 % air.", Contradicted),
        ("It shows 65 % soft tissue, 28 % air and 5 % fat.", Supported),
        ("It contains soft tissue (20 to 130 HU) 65 %, air 28 % and fat 5 %.", Supported),
        ("Soft tissue is seen, and 2 % of the slice lies at or below the window's end.", Supported),
        ("Soft tissue (65 %) and air (28 %).", Supported),
        ("Soft tissue (28 %) and air (65 %).", Contradicted),
        ("Air and soft tissue make up 28 % and 65 %, respectively.", Supported),
        ("There is little fat compared with 65 % for soft tissue.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
    let mut mri = facts("mri");
    mri.word("channel_1", "FLAIR");
    mri.number("tissue_fraction", 0.4);
    mri.number("flair_bright_fraction", 0.06);
    mri.number("flair_dark_fraction", 0.17);
    let cases = [
        ("6 % of the tissue is hyperintense and 17 % hypointense on FLAIR.", Supported),
        ("17 % of the tissue is hyperintense and 6 % hypointense on FLAIR.", Contradicted),
        ("FLAIR shows high signal in 6 % and low signal in 17 % of the tissue.", Supported),
        ("FLAIR shows high signal in 17 % and low signal in 6 % of the tissue.", Contradicted),
        ("40 % of the slice shows tissue.", Supported),
    ];
    verdicts(&grounding("msd01-braintumour"), &mri, &cases);
}

#[test]
fn most_is_more_than_half() {
    let cases = [
        ("The slice consists mainly of soft tissue (65 %), with air (28 %).", Supported),
        ("The slice consists mainly of soft tissue.", Supported),
        ("The slice is predominantly air.", Contradicted),
        ("Air makes up most of the slice.", Contradicted),
        ("Most of the slice is soft tissue.", Supported),
        ("The liver is mainly fat.", Unsupported),
        ("The dense structure is mainly fat.", Unsupported),
        ("The slice of the abdomen is mainly fat.", Contradicted),
        ("Soft tissue (65 %) makes up the largest measured share.", Supported),
        ("The largest measured share of the slice is soft tissue (65 %), with air (28 %).", Supported),
        ("Air (28 %) makes up the largest measured share.", Contradicted),
    ];
    verdicts(&grounding("msd03-liver"), &two(), &cases);
    let mut little = two();
    little.number("soft_tissue_fraction", 0.5);
    little.number("air_fraction", 0.1);
    let cases = [
        ("The slice consists mainly of soft tissue (50 %).", Contradicted),
        ("The slice consists mainly of soft tissue (50 %) and air (10 %).", Supported),
        ("Soft tissue makes up the largest measured share (50 %).", Supported),
        ("The dense structure lies mainly in the left part.", Supported),
    ];
    verdicts(&grounding("msd03-liver"), &little, &cases);
}
