//! Weights to start from.

use crate::support::{Study, run, text};
use data_manifests::phantom::Kind;
use networks::weights;
use std::collections::BTreeMap;

#[test]
fn new_text_starts_from_the_old_encoder() {
    let study = Study::with(&[Kind::Ct]);
    let [old, new] = [1, 2].map(|seed| study.text(Kind::Ct, 5, seed));
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "16,16,16"];
    study.pretrain(&[Kind::Ct], &[&old], "first", &settings).expect(0);
    let encoder = study.path("first/encoder.safetensors");
    let init = [&settings[..], &["--init", text(&encoder)]].concat();
    let said = study.pretrain(&[Kind::Ct], &[&new], "second", &init).expect(0);
    assert!(said.contains("0 adapted, 0 skipped, 0 missing (100 %"), "{said}");
    let inputs = study.json("second/manifest.json")["inputs"].clone();
    assert_eq!(inputs[2]["role"], "init");
    assert_eq!(inputs[2]["path"], "../first/encoder.safetensors");
    // a checkpoint has the same weights beside heads and optimiser
    let checkpoint = study.path("first/checkpoint_final.safetensors");
    let init = [&settings[..], &["--init", text(&checkpoint)]].concat();
    let said = study.pretrain(&[Kind::Ct], &[&new], "from-checkpoint", &init).expect(0);
    assert!(said.contains("0 missing (100 %"), "{said}");
    let [a, b] = ["second", "from-checkpoint"].map(|out| study.recorded(out, "loss"));
    assert_eq!(a, b);
    // of a deeper encoder, of which this one is filled and the rest is lost
    let mut tensors = weights::read_tensors(&encoder).unwrap();
    let name = tensors.keys().find(|name| name.contains(".blocks.0.conv1.conv.weight")).unwrap().clone();
    let more = tensors[&name].copy();
    tensors.insert(name.replace(".blocks.0.", ".blocks.9."), more);
    let deeper = study.path("deeper.safetensors");
    weights::save_tensors(&tensors, &deeper, &BTreeMap::new()).unwrap();
    let init = [&settings[..], &["--init", text(&deeper)]].concat();
    let said = study.pretrain(&[Kind::Ct], &[&new], "from-deeper", &init).expect(0);
    assert!(said.contains("W326 1 tensors of the file's encoder have no place in this one"), "{said}");
    // options that ask for other shapes than the weights', be they such that names and sizes fit
    for (option, value) in [("--network-patch-zyx", "2,64,64"), ("--size", "full")] {
        let flat = [&settings[..], &["--init", text(&encoder), option, value]].concat();
        let said = study.pretrain(&[Kind::Ct], &[&new], "flat", &flat).expect(1);
        let expected =
            format!("E326 {option} asks for another encoder than the weights to start from are of");
        assert!(said.contains(&expected), "{said}");
    }
    // weights of another network are refused
    let other = [&settings[..4], &["--test-cases", "use", "--init", text(&encoder), "--encoder", "resnet50"]]
        .concat();
    let (shards, out) = (study.path("ct"), study.path("third"));
    let words = [&["--shards", text(&shards), "--out", text(&out)], &other[..]].concat();
    let said = run(&words).expect(1);
    assert!(
        said.contains("E326") && said.contains("Give --init weights of the --encoder that is trained"),
        "{said}"
    );
    // and those that are not as they were written
    let mut bytes = fs_err::read(&encoder).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs_err::write(&encoder, bytes).unwrap();
    let init = [&settings[..], &["--init", text(&encoder)]].concat();
    let said = study.pretrain(&[Kind::Ct], &[&new], "fourth", &init).expect(1);
    assert!(said.contains("E015 a file is not as it was written") && said.contains("'pretrain'"), "{said}");
}

/// A mixture has no spacing, a data set of sections has one: the patch is the same, and the weights say what it was halved by.
#[test]
fn weights_of_a_mixture_go_on_in_one_data_set() {
    let study = Study::with(&[Kind::Ct, Kind::Em]);
    let settings = ["--steps", "1", "--batch", "4", "--patch-zyx", "16,32,32"];
    study.pretrain(&[Kind::Ct, Kind::Em], &[], "mixed", &settings).expect(0);
    let said = study.pretrain(&[Kind::Em], &[], "own", &settings).expect(0);
    assert!(!said.contains("I326"), "{said}");
    let shape = |out: &str| study.json(&format!("{out}/plan.json"))["encoder"].clone();
    assert_ne!(shape("mixed"), shape("own"));
    for (from, onto) in [("mixed", &[Kind::Em][..]), ("own", &[Kind::Ct, Kind::Em])] {
        let encoder = study.path(&format!("{from}/encoder.safetensors"));
        let out = format!("from-{from}");
        let init = [&settings[..], &["--init", text(&encoder)]].concat();
        let said = study.pretrain(onto, &[], &out, &init).expect(0);
        assert!(said.contains("I326 the encoder has the shape of the weights to start from"), "{said}");
        assert!(said.contains("0 missing (100 %"), "{said}");
        assert_eq!(shape(&out), shape(from));
        let plan = study.json(&format!("{out}/plan.json"));
        assert_eq!(plan["patch_zyx"], serde_json::json!([16, 32, 32]));
    }
}
