//! Labels that are objects: affinities are learnt and predicted, and become objects again.

use crate::support::{Study, recorded, run, text};
use patches::stack::{StackArray, label_group};
use std::collections::BTreeSet;
use test_peers::Ended;
use volume::hdf5::{AffinityFile, Cremi, CremiFile, NEURON_IDS, read_cremi, write_cremi};

/// Trains on the first sections, validates four times, predicts the last.
fn predicted(steps: u64, more: &[&str]) -> Study {
    let study = Study::neurons();
    let every = steps.div_ceil(4).to_string();
    // two patches take less time than one: LibTorch has no fast convolution for a single small one
    let words = [&["--from-scratch", "--validate-every", &every, "--batch", "2"], more].concat();
    study.train("model", steps, &words).expect(0);
    study.predict("affinities", &[&study.raw()], &[]).expect(0);
    study
}

fn instances(study: &Study, out: &str, more: &[&str]) -> Ended {
    let (from, out) = (study.path("affinities"), study.path(out));
    run(&[&["instances", "--predictions", text(&from), "--out", text(&out)], more].concat())
}

fn ids(study: &Study, out: &str) -> Vec<u64> {
    let file = CremiFile::open(study.path(out).join("sample_1_val.h5")).unwrap();
    file.read_labels(NEURON_IDS).unwrap().data
}

#[test]
fn sections_are_trained_on_others_predicted_and_neurons_found_in_them() {
    let study = predicted(60, &["--lr", "3e-3"]);
    let split = study.json("model/split.json");
    assert_eq!(split["train"], serde_json::json!(["sample_1_train"]));
    assert_eq!(split["val"], serde_json::json!(["sample_1_val"]));
    let plan = study.json("model/plan.json");
    assert_eq!(plan["model"]["objective"]["kind"], "affinities");
    assert_eq!(plan["model"]["objective"]["offsets_zyx"].as_array().unwrap().len(), 12);
    let metrics = study.path("model/metrics.jsonl");
    let losses = recorded(&metrics, "step", "affinity_loss");
    assert!(losses.last().unwrap() < &(losses[0] * 0.8), "{losses:?}");
    assert!(study.path("model/validation.png").is_file());
    let f1 = recorded(&metrics, "validation", "boundary_f1 0,0,-1");
    assert!(f1.len() == 4 && f1.iter().all(|f1| (0.0..=1.0).contains(f1)), "{f1:?}");

    let table = study.table("affinities");
    assert_eq!(table.keys().collect::<Vec<_>>(), ["sample_1_val"]);
    let [split, file, image, label] = &table["sample_1_val"];
    assert_eq!((split.as_str(), file.as_str()), ("val", "sample_1_val.h5"));
    assert!(label.starts_with("$RAW/sample_1.hdf#neuron_ids[") && image.starts_with("$RAW/sample_1.hdf["));
    let stack = CremiFile::open(study.raw().join("sample_1.hdf")).unwrap();
    let depth = stack.raw().shape_zyx[0];
    let [_, ny, nx] = stack.raw().shape_zyx;
    let affinities = AffinityFile::open(&study.path("affinities").join(file)).unwrap();
    assert_eq!(affinities.info().shape_zyx, [3, ny, nx]);
    let first_nm = (depth - 3) as f64 * stack.raw().resolution_zyx_nm[0];
    assert!((affinities.info().offset_zyx_nm[0] - first_nm).abs() < 1e-3);
    study.verified("affinities");
    let validated = recorded(&metrics, "validation", "loss");
    assert!(validated.len() == 4 && validated[3] < validated[0], "{validated:?}");

    // in 8 bits they are the same but for rounding, in less room
    study.predict("coarse", &[&study.raw()], &["--affinity-kind", "uint8"]).expect(0);
    let [whole, coarse] = ["affinities", "coarse"].map(|out| {
        let path = study.path(out).join(file);
        let values = AffinityFile::open(&path).unwrap().read([0; 3], [3, ny, nx]).unwrap();
        (values, fs_err::metadata(&path).unwrap().len())
    });
    assert!(whole.0.iter().zip(&coarse.0).all(|(a, b)| (a - b).abs() < 0.5001 / 255.0));
    assert!(whole.0 != coarse.0 && coarse.1 * 2 < whole.1, "{} and {} bytes", coarse.1, whole.1);
    // in OME-Zarr they are the same, and so are the objects that they make
    study.predict("zarr", &[&study.raw()], &["--format", "zarr"]).expect(0);
    let array = StackArray::open(&study.path("zarr/sample_1_val.zarr")).unwrap();
    assert_eq!(array.info().offset_zyx_nm, affinities.info().offset_zyx_nm);
    assert!(array.read_affinities([0; 3], [3, ny, nx]).unwrap() == whole.0);
    let (from, out) = (study.path("zarr"), study.path("zarr-objects"));
    let words = ["instances", "--predictions", text(&from), "--out", text(&out), "--format", "zarr"];
    run(&words).expect(0);
    study.verified("zarr-objects");
    instances(&study, "hdf5-objects", &[]).expect(0);
    let found = StackArray::open(&label_group(&out.join("sample_1_val.zarr"), NEURON_IDS)).unwrap();
    assert_eq!(found.read_ids([0; 3], [3, ny, nx]).unwrap(), ids(&study, "hdf5-objects"));
    // counted again without being made again
    let table = study.bytes("zarr-objects/instances.csv");
    fs_err::remove_file(out.join("manifest.json")).unwrap();
    run(&words).expect(0);
    assert!(study.bytes("zarr-objects/instances.csv") == table);

    // every method, and in blocks
    let mut seen = BTreeSet::new();
    for (out, more) in [
        // below the half at which a network that has learnt so little leaves gaps in boundaries
        ("components", vec!["--method", "components", "--threshold", "0.3"]),
        ("mean", vec![]),
        ("quantile", vec!["--method", "quantile", "--quantile", "25"]),
        ("mutex", vec!["--method", "mutex-watershed"]),
        ("multicut", vec!["--method", "multicut"]),
        ("blocks", vec!["--block", "2,48,48", "--halo", "1,16,16"]),
        ("mutex-blocks", vec!["--method", "mutex-watershed", "--block", "3,48,48", "--halo", "0,16,16"]),
    ] {
        let said = instances(&study, out, &more).expect(0);
        // blocks of 48 that see 16 of each other, and affinities that reach 27
        assert_eq!(said.contains("W453"), out == "mutex-blocks", "{out}: {said}");
        let files = study.verified(out);
        assert_eq!(
            files,
            [".lock", ".work", "instances.csv", "manifest.json", "report.json", "sample_1_val.h5"],
            "{out}"
        );
        let found = ids(&study, out);
        assert_eq!(found.len(), 3 * ny * nx);
        let objects: BTreeSet<u64> = found.iter().copied().filter(|id| *id > 0).collect();
        assert_eq!(objects.last().copied(), Some(objects.len() as u64), "{out}: numbered from 1");
        assert!(objects.len() > 1, "{out}: {} objects", objects.len());
        assert_eq!(study.json(&format!("{out}/manifest.json"))["counts"]["objects"], objects.len());
        seen.insert(found);
    }
    assert!(seen.len() >= 6, "methods differ");
    // what cannot be is refused before the objects of another run go
    let words = ["--method", "mutex-watershed", "--block", "2,48,48", "--halo", "0,16,16"];
    let said = instances(&study, "mutex", &words).expect(1);
    assert!(said.contains("E434 case sample_1_val: --halo") && said.contains("E419"), "{said}");
    study.verified("mutex");
    let bytes = study.bytes("mean/sample_1_val.h5");
    let said = instances(&study, "mean", &[]).expect(0);
    assert!(said.contains("Nothing to do"), "{said}");
    // an interrupted run of the same work keeps what is whole, and counts it
    let (finished, objects) = (study.path("mean/manifest.json"), study.bytes("mean/instances.csv"));
    let written = || fs_err::metadata(study.path("mean/sample_1_val.h5")).unwrap().modified().unwrap();
    let before = written();
    fs_err::remove_file(&finished).unwrap();
    instances(&study, "mean", &[]).expect(0);
    assert!(written() == before && study.bytes("mean/instances.csv") == objects);
    study.verified("mean");
    // one of other work does not
    instances(&study, "mean", &["--threshold", "0.4"]).expect(0);
    assert!(written() != before);
    instances(&study, "mean", &[]).expect(0);
    assert!(bytes == study.bytes("mean/sample_1_val.h5"), "the same objects give the same bytes");
    // objects of fewer voxels go
    instances(&study, "large", &["--smallest", "200"]).expect(0);
    assert!(ids(&study, "large").iter().max() < ids(&study, "mean").iter().max());
}

#[test]
fn method_and_threshold_are_chosen_on_labelled_sections() {
    let study = predicted(24, &["--lr", "3e-3"]);
    study.predict("trained", &[&study.raw()], &["--cases", "train,val"]).expect(0);
    let [model, trained, file] = ["model", "trained", "choice.json"].map(|name| study.path(name));
    let raw = study.raw();
    let words = ["threshold", "--model", text(&model), "--references", text(&raw), "--out", text(&file)];
    let tried = ["--methods", "mean,components,mutex-watershed", "--thresholds", "0.3,0.6"];
    let choose = |predictions: &std::path::Path, more: &[&str]| {
        run(&[&words[..], &["--predictions", text(predictions)], more].concat())
    };
    choose(&trained, &tried).expect(0);
    let choice = study.json("choice.json");
    let trials = choice["tried"].as_array().unwrap();
    assert_eq!(trials.len(), 5);
    assert_eq!((&choice["cases"], &choice["by"]), (&serde_json::json!(["sample_1_train"]), &"voi".into()));
    let voi = |trial: &serde_json::Value| {
        trial["voi_split"].as_f64().unwrap() + trial["voi_merge"].as_f64().unwrap()
    };
    let best = trials.iter().min_by(|a, b| voi(a).total_cmp(&voi(b))).unwrap();
    assert_eq!((&choice["method"], choice.get("threshold")), (&best["method"], best.get("threshold")));

    // objects are those of the options that were chosen
    instances(&study, "chosen", &["--choice", text(&file)]).expect(0);
    study.verified("chosen");
    let threshold = best.get("threshold").map(|threshold| threshold.to_string());
    let mut more = vec!["--method", best["method"].as_str().unwrap()];
    more.extend(threshold.iter().flat_map(|threshold| ["--threshold", threshold]));
    instances(&study, "told", &more).expect(0);
    assert!(study.bytes("chosen/sample_1_val.h5") == study.bytes("told/sample_1_val.h5"));
    let inputs = study.json("chosen/manifest.json")["inputs"].clone();
    assert!(inputs.as_array().unwrap().iter().any(|input| input["role"] == "choice"), "{inputs}");
    instances(&study, "both", &["--choice", text(&file), "--threshold", "0.5"]).expect(2);
    // how volumes were cut and what was too small belongs to the choice
    let cut = ["--smallest", "60", "--block", "4,48,48", "--halo", "1,16,16"];
    choose(&trained, &[&tried[..], &cut].concat()).expect(0);
    let best = study.json("choice.json");
    instances(&study, "cut", &["--choice", text(&file)]).expect(0);
    let threshold = best.get("threshold").map(|threshold| threshold.to_string());
    let mut more = [&["--method", best["method"].as_str().unwrap()], &cut[..]].concat();
    more.extend(threshold.iter().flat_map(|threshold| ["--threshold", threshold]));
    instances(&study, "told-cut", &more).expect(0);
    assert!(study.bytes("cut/sample_1_val.h5") == study.bytes("told-cut/sample_1_val.h5"));
    instances(&study, "both", &["--choice", text(&file), "--smallest", "60"]).expect(2);
    choose(&trained, &tried).expect(0);

    // of other models, of label maps, without references
    study
        .train("other", 1, &["--from-scratch", "--validate-every", "0", "--batch", "1", "--seed", "9"])
        .expect(0);
    let other = study.path("other");
    let said = run(&[
        &["threshold", "--model", text(&other), "--references", text(&raw), "--out", text(&file)][..],
        &["--predictions", text(&trained)],
    ]
    .concat());
    assert!(said.expect(1).contains("E437 these predictions are of other models"));
    let text_of = fs_err::read_to_string(&file).unwrap();
    // known by what the predictions list, and by its weights
    let [listed, weights] = ["models", "weights"].map(|key| choice[key][0].as_str().unwrap());
    assert_ne!(listed, weights);
    let moved = text_of.replace(listed, &"0".repeat(64));
    fs_err::write(&file, &moved).unwrap();
    instances(&study, "by-weights", &["--choice", text(&file)]).expect(0);
    fs_err::write(&file, moved.replace(weights, &"1".repeat(64))).unwrap();
    let said = instances(&study, "foreign", &["--choice", text(&file)]).expect(1);
    assert!(said.contains("E437 this choice was made for other models"), "{said}");
    // chosen on what is not scored, unless told
    let said = choose(&study.path("affinities"), &tried).expect(1);
    assert!(said.contains("E437 no labelled volume of train is among"), "{said}");
    choose(&study.path("affinities"), &[&tried[..2], &["--cases", "val"]].concat()).expect(0);
    assert_eq!(study.json("choice.json")["cases"], serde_json::json!(["sample_1_val"]));
    // another volume of as many voxels
    let sample = study.raw().join("sample_1.hdf");
    let Cremi { raw, mut info, neuron_ids, .. } = read_cremi(&sample).unwrap();
    let mut other = neuron_ids.unwrap();
    for shape in [&mut info.shape_zyx, &mut other.info.shape_zyx] {
        (shape[1], shape[2]) = (shape[1] / 2, shape[2] * 2);
    }
    fs_err::rename(&sample, study.path("moved.hdf")).unwrap();
    write_cremi(&sample, &raw, &info, &[other]).unwrap();
    let said = choose(&trained, &tried).expect(1);
    assert!(said.contains("E437 case sample_1_train: affinities and reference differ in shape"), "{said}");
    fs_err::remove_file(&sample).unwrap();
    let said = choose(&trained, &tried).expect(1);
    assert!(said.contains("E437 case sample_1_train: the reference of this case is missing"), "{said}");
}

#[test]
fn objects_are_made_of_a_boundary_mask_too() {
    let study = predicted(40, &["--affinities", "boundary", "--lr", "3e-3"]);
    let plan = study.json("model/plan.json");
    assert_eq!(plan["model"]["objective"]["offsets_zyx"], serde_json::json!([[0, 0, 0]]));
    let f1 = recorded(&study.path("model/metrics.jsonl"), "validation", "boundary_f1 0,0,0");
    assert!(f1.len() == 4 && f1.iter().all(|f1| (0.0..=1.0).contains(f1)), "{f1:?}");
    let file = AffinityFile::open(&study.path("affinities/sample_1_val.h5")).unwrap();
    assert_eq!(file.offsets_zyx(), [[0; 3]]);
    let inside = file.read([0; 3], file.info().shape_zyx).unwrap();
    for (out, more) in [
        ("components", vec!["--method", "components"]),
        ("mean", vec![]),
        ("multicut", vec!["--method", "multicut", "--block", "2,48,48", "--halo", "1,16,16"]),
    ] {
        instances(&study, out, &more).expect(0);
        study.verified(out);
        let found = ids(&study, out);
        assert!(found.iter().any(|id| *id > 0), "{out}");
        if out == "components" {
            // objects are where the mask says so, not where it does not
            assert!(found.iter().zip(&inside).all(|(id, inside)| (*id > 0) == (1.0 - inside < 0.5)));
        }
    }
    let said = instances(&study, "mutex", &["--method", "mutex-watershed"]).expect(1);
    assert!(said.contains("E434 case sample_1_val") && said.contains("nearest"), "{said}");
}

#[test]
fn what_does_not_fit_is_said() {
    let more = ["--affinity-loss", "mse", "--widen-borders", "0", "--affinity-balance", "per-channel"];
    let study = predicted(1, &[&["--affinities", "nearest"], &more[..]].concat());
    assert_eq!(study.json("model/plan.json")["model"]["objective"]["balance"], "per-channel");
    for option in [&["--targets", "classes"][..], &["--batch-dice"], &["--boundary-weight", "0.1"]] {
        let said = study.train("refused", 1, &[&["--from-scratch"], option].concat()).expect(1);
        assert!(said.contains(&format!("E411 {} is of labels that are classes", option[0])), "{said}");
    }
    let said = instances(&study, "mutex", &["--method", "mutex-watershed"]).expect(1);
    assert!(said.contains("E434 case sample_1_val") && said.contains("--affinities long-range"), "{said}");
    assert!(said.contains("E419 no objects could be made"), "{said}");
    let said = instances(&study, "halo", &["--halo", "64,1,1"]).expect(1);
    assert!(
        said.contains("E434 --halo must be at most the block")
            && said.contains("Give --halo from 1 to --block"),
        "{said}"
    );
    assert!(!said.contains("case ") && !said.contains("E419"), "before any case: {said}");
    let said = instances(&study, "half", &["--method", "multicut", "--threshold", "1"]).expect(1);
    assert!(said.contains("E434 --threshold must be above 0 and below 1"), "{said}");
    // what would do nothing
    for (option, value, method) in [
        ("--quantile", "80", "mean"),
        ("--strides", "2,2,2", "components"),
        ("--threshold", "0.9", "mutex-watershed"),
    ] {
        let said = instances(&study, "idle", &["--method", method, option, value]).expect(1);
        assert!(said.contains("E434") && said.contains(&format!("Leave out {option}")), "{said}");
    }
    instances(&study, "usage", &["--block", "1,2"]).expect(2);

    // a file that is cut off is its case's error
    let file = study.path("affinities/sample_1_val.h5");
    let bytes = fs_err::read(&file).unwrap();
    fs_err::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let said = instances(&study, "cut", &[]).expect(1);
    assert!(said.contains("case sample_1_val") && said.contains("sample_1_val.h5"), "{said}");

    // a model of classes has no affinities
    let classes = Study::new(data_manifests::phantom::Kind::Ct);
    classes.model();
    classes.predict("affinities", &[&classes.raw()], &[]).expect(0);
    let said = instances(&classes, "objects", &[]).expect(1);
    assert!(said.contains("E436"), "{said}");
}

#[test]
fn an_interrupted_run_goes_on_to_the_same_model() {
    let study = Study::neurons();
    let words = ["--from-scratch", "--validate-every", "0", "--batch", "1", "--checkpoint-every", "2"];
    study.train("whole", 4, &words).expect(0);
    study.train("halves", 4, &[&words[..], &["--wall-minutes", "0"]].concat()).expect(75);
    study.train("halves", 4, &words).expect(0);
    assert!(study.bytes("whole/model.safetensors") == study.bytes("halves/model.safetensors"));
}
