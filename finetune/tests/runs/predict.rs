//! `finetune predict`.

use crate::support::{Study, command, run, text};
use data_manifests::descriptor::Intensity;
use data_manifests::phantom::Kind;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use volume::nifti::{self, ImageType};
use volume::scan;
use volume::{Grid, Orientation};

pub(crate) fn images(study: &Study, folder: &str) -> Vec<PathBuf> {
    let entries = fs_err::read_dir(study.raw().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The grid of a prediction is its image's own, bit for bit.
fn assert_same_grid(prediction: &Path, image: &Path) {
    let [(found, grid, _), (_, expected, _)] = [prediction, image].map(|p| nifti::read_header(p).unwrap());
    assert_eq!((grid.shape_zyx, grid.affine), (expected.shape_zyx, expected.affine));
    assert_eq!((found.dims.len(), found.datatype.bytes()), (3, 1));
}

#[test]
fn a_raw_folder_is_predicted_on_its_own_grids() {
    let study = Study::new(Kind::Mri);
    study.model();
    let raw = study.raw();
    study.predict("predictions", &[&raw], &[]).expect(0);
    let files = study.verified("predictions");
    assert!(files.contains(&".work".to_owned()), "{files:?}");
    let table = study.table("predictions");
    let split = study.json("model/split.json");
    let val = split["val"][0].as_str().unwrap();
    assert_eq!(table.len(), 2);
    assert_eq!(table[val][0], "val");
    assert_eq!(table[val][3], format!("$RAW/labelsTr/{val}.nii.gz"));
    for [part, file, image, label] in table.values() {
        let prediction = study.path("predictions").join(file);
        assert_same_grid(&prediction, &raw.join(image.strip_prefix("$RAW/").unwrap()));
        assert_eq!(part == "test", label.is_empty());
        let labels = scan::read_labels(&prediction).unwrap().data;
        assert!(labels.iter().all(|value| *value < 4));
    }
    let before = study.bytes("predictions/manifest.json");
    assert!(study.predict("predictions", &[&raw], &[]).expect(0).contains("Nothing to do"));
    assert_eq!(study.bytes("predictions/manifest.json"), before);

    // other parts, mirrored: other work, so the old label maps go
    let train = ["--cases", "train", "--mirror"];
    let said = study.predict("predictions", &[&raw], &train).expect(1);
    assert!(said.contains("E440 2 finished files of other cases would be removed"), "{said}");
    assert_eq!(study.bytes("predictions/manifest.json"), before);
    study.predict("predictions", &[&raw], &[&train[..], &["--overwrite"]].concat()).expect(0);
    assert!(study.table("predictions").values().all(|row| row[0] == "train"));
    assert_eq!(study.verified("predictions").iter().filter(|file| file.ends_with(".nii.gz")).count(), 3);
}

#[test]
fn the_models_file_is_all_that_prediction_needs() {
    let study = Study::new(Kind::Mri);
    study.model();
    let raw = study.raw();
    study.predict("predictions", &[&raw], &[]).expect(0);
    let file = study.path("alone.safetensors");
    fs_err::copy(study.path("model/model.safetensors"), &file).unwrap();
    let (out, raw) = (study.path("of-file"), text(&raw));
    let words = |model: &Path| {
        run(&["predict", "--model", text(model), "--input", raw, "--out", text(&out), "--overlap", "0.25"])
    };
    words(&file).expect(0);
    study.verified("of-file");
    assert_eq!(study.table("of-file"), study.table("predictions"));
    for row in study.table("predictions").values() {
        let [a, b] = ["predictions", "of-file"].map(|out| study.bytes(&format!("{out}/{}", row[1])));
        assert!(a == b, "{}", row[1]);
    }
    let licence = |out: &str| study.json(&format!("{out}/manifest.json"))["licence"].clone();
    assert_eq!(licence("of-file"), licence("predictions"));

    // a checkpoint predicts by the averages that it keeps, as the model does
    study.train("averaged", 3, &["--from-scratch", "--validate-every", "1", "--ema", "0.5"]).expect(0);
    let map = |file: &str, out: &str| {
        let (model, out_path) = (study.path(&format!("averaged/{file}")), study.path(out));
        run(&[
            "predict",
            "--model",
            text(&model),
            "--input",
            raw,
            "--out",
            text(&out_path),
            "--overlap",
            "0.25",
        ])
        .expect(0);
        let file = study.table(out).values().next().unwrap()[1].clone();
        study.bytes(&format!("{out}/{file}"))
    };
    let last = map("model.safetensors", "of-model");
    assert!(last == map("checkpoint_final.safetensors", "of-last"));
    map("checkpoint_best.safetensors", "of-best");

    // another data set's folder
    let other = Study::new(Kind::Mri);
    for folder in ["imagesTr", "labelsTr"] {
        for entry in fs_err::read_dir(other.raw().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            fs_err::rename(&path, path.with_file_name(format!("other_{name}"))).unwrap();
        }
    }
    let list = other.raw().join("dataset.json");
    let renamed = fs_err::read_to_string(&list).unwrap();
    let renamed = renamed.replace("imagesTr/", "imagesTr/other_").replace("labelsTr/", "labelsTr/other_");
    fs_err::write(&list, renamed).unwrap();
    let said = study.predict("elsewhere", &[&other.raw()], &[]).expect(1);
    assert!(said.contains("E432") && said.contains("is of another data set"), "{said}");

    // cut short, of something else, not there
    let whole = fs_err::read(&file).unwrap();
    for length in [whole.len() - 7, 40, 0] {
        let cut = study.path("cut.safetensors");
        fs_err::write(&cut, &whole[..length]).unwrap();
        let said = words(&cut).expect(1);
        assert!(
            said.contains("E410") && said.contains("cut.safetensors") && said.contains("cut short"),
            "{length}: {said}"
        );
    }
    let said = words(&study.encoder()).expect(1);
    assert!(said.contains("E410 this is not a model of 'finetune train'"), "{said}");
    let said = words(&study.path("absent.safetensors")).expect(1);
    assert!(said.contains("E410") && said.contains("absent.safetensors"), "{said}");
    // another bit, where the manifest beside it knows better; a copy is what it is
    let mut flipped = whole;
    *flipped.last_mut().unwrap() ^= 1;
    let model = study.path("model");
    for place in [&file, &model.join("model.safetensors")] {
        fs_err::write(place, &flipped).unwrap();
    }
    words(&file).expect(0);
    for given in [&model.join("model.safetensors"), &model] {
        let said = words(given).expect(1);
        assert!(said.contains("E015 a file is not as it was written") && said.contains("'train'"), "{said}");
    }
}

/// The same anatomy stored in other orders and directions of axes gives the same labels in those orders.
#[test]
fn orientation_does_not_matter_and_is_kept() {
    let study = Study::new(Kind::Ct);
    study.model();
    let source = scan::read_image(&images(&study, "imagesTs")[0]).unwrap();
    let upright = Orientation::to_canonical(&source.grid);
    let (data, shape) = upright.apply(&source.data, source.grid.shape_zyx).unwrap();
    let spacing = upright.apply_to_grid(&source.grid).spacing_zyx_mm();
    let ras = Grid::from_spacing(shape, spacing, [-31.0, 12.5, 90.25]).unwrap();
    // columns x, y, z; an axis order, and which directions are turned
    let turned = |order: [usize; 3], signs: [f64; 3]| {
        let mut affine =
            [[0.0, 0.0, 0.0, -31.0], [0.0, 0.0, 0.0, 12.5], [0.0, 0.0, 0.0, 90.25], [0.0, 0.0, 0.0, 1.0]];
        for axis in 0..3 {
            let world = order[axis];
            affine[world][axis] = signs[axis] * spacing[2 - world];
        }
        let shape_xyz = order.map(|world| shape[2 - world]);
        Grid::new([shape_xyz[2], shape_xyz[1], shape_xyz[0]], affine).unwrap()
    };
    let (sine, cosine) = 0.2f64.sin_cos();
    // turned about x
    let [x, y, z, last] = ras.affine;
    let mix = |a: f64, b: f64| std::array::from_fn(|column| a * y[column] + b * z[column]);
    let tilted = [x, mix(cosine, -sine), mix(sine, cosine), last];
    let grids = [
        ("ras", ras),
        ("lps", turned([0, 1, 2], [-1.0, -1.0, 1.0])),
        ("slp", turned([2, 0, 1], [1.0, -1.0, -1.0])),
        ("oblique", Grid::new(shape, tilted).unwrap()),
    ];
    let paths: Vec<PathBuf> = grids
        .iter()
        .map(|(name, grid)| {
            let back = Orientation::to_canonical(grid).invert();
            let (stored, stored_shape) = back.apply(&data, shape).unwrap();
            assert_eq!(stored_shape, grid.shape_zyx, "{name}");
            let path = study.path(&format!("{name}.nii.gz"));
            nifti::write_image(&path, &stored, 1, grid, ImageType::F32).unwrap();
            path
        })
        .collect();
    study.predict("given", &paths.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]).expect(0);
    study.verified("given");
    let table = study.table("given");
    let canonical: Vec<Vec<u32>> = grids
        .iter()
        .zip(&paths)
        .map(|((name, grid), path)| {
            let [part, file, image, label] = &table[*name];
            assert_eq!((part.as_str(), image, label.as_str()), ("given", &format!("$RAW/{name}.nii.gz"), ""));
            let file = study.path("given").join(file);
            assert_same_grid(&file, path);
            let labels = scan::read_labels(file).unwrap().data;
            Orientation::to_canonical(grid).apply(&labels, grid.shape_zyx).unwrap().0
        })
        .collect();
    assert!(canonical[0].iter().any(|v| *v != canonical[0][0]), "one class everywhere says nothing");
    for (labels, (name, _)) in canonical.iter().zip(&grids) {
        assert!(*labels == canonical[0], "{name} differs");
    }
}

#[test]
fn files_that_the_model_was_trained_on_are_named() {
    let study = Study::new(Kind::Ct);
    study.model();
    let files = images(&study, "imagesTr");
    let said = study.predict("files", &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]).expect(0);
    let split = study.json("model/split.json");
    let warning = said.lines().find(|line| line.contains("W443")).unwrap();
    assert!(warning.contains("3 files have the names of cases that the model was trained on"), "{said}");
    let named = warning.split_once("trained on. ").unwrap().1.split_once(": ").unwrap().0;
    let named: Vec<&str> = named.split(", ").collect();
    let mut train: Vec<&str> =
        split["train"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    train.sort_unstable();
    assert_eq!(named, train);
    let one = study.path(&format!("raw/{}.nii.gz", train[0]));
    fs_err::create_dir(study.path("raw")).unwrap();
    fs_err::copy(files.iter().find(|file| file.to_string_lossy().contains(train[0])).unwrap(), &one).unwrap();
    let said = study.predict("one", &[&one], &[]).expect(0);
    assert!(said.contains("W443 a file has the name of a case that the model was trained on"), "{said}");
    assert!(study.table("files").values().all(|row| row[0] == "given"));
}

#[test]
fn a_bad_image_costs_itself_alone() {
    let study = Study::new(Kind::Ct);
    study.model();
    let raw = study.raw();
    let test = images(&study, "imagesTs").remove(0);
    let whole = fs_err::read(&test).unwrap();
    fs_err::write(&test, &whole[..whole.len() / 2]).unwrap();
    let parts = ["--cases", "train,val,test"];
    let said = study.predict("predictions", &[&raw], &parts).expect(3);
    assert!(said.contains("E10") && said.contains("Fetch the file again"), "{said}");
    assert!(said.contains("4 label maps, 1 failed"), "{said}");
    assert_eq!(study.table("predictions").len(), 4);
    assert_eq!(study.json("predictions/manifest.json")["counts"]["failed"], 1);
    study.verified("predictions");

    // the same command again tries it again and keeps the others
    let modified = |id: &str| {
        fs_err::metadata(study.path("predictions").join(format!("{id}.nii.gz"))).unwrap().modified().unwrap()
    };
    let ids: Vec<String> = study.table("predictions").into_keys().collect();
    let before: Vec<_> = ids.iter().map(|id| modified(id)).collect();
    study.predict("predictions", &[&raw], &parts).expect(3);
    assert_eq!(ids.iter().map(|id| modified(id)).collect::<Vec<_>>(), before);
    fs_err::write(&test, whole).unwrap();
    study.predict("predictions", &[&raw], &parts).expect(0);
    assert_eq!(study.table("predictions").len(), 5);

    // an image that is not there at all
    fs_err::remove_file(&test).unwrap();
    let gone = study.table("predictions").into_iter().find(|(_, row)| row[0] == "test").unwrap();
    let map = format!("predictions/{}", gone.1[1]);
    let kept = study.bytes(&map);
    let said = study.predict("predictions", &[&raw], &parts).expect(3);
    assert!(
        said.contains("E194") && said.contains(&format!("W448 case {}: its image is gone", gone.0)),
        "{said}"
    );
    assert!(study.bytes(&map) == kept);
    assert_eq!((study.table("predictions").len(), &study.table("predictions")[&gone.0]), (5, &gone.1));
    study.verified("predictions");
    // by other options it could not be made again: it is removed only where that is asked for
    let other = [&parts[..], &["--overlap", "0"]].concat();
    let words = study.predict_words("predictions", &[&raw], &other);
    let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "0.25").collect();
    let words: Vec<&str> = {
        // the study's own overlap goes
        let at = words.iter().position(|word| *word == "--overlap").unwrap();
        [&words[..at], &words[at + 1..]].concat()
    };
    let said = run(&words).expect(1);
    assert!(said.contains("E440 a finished file of another case would be removed"), "{said}");
    assert!(study.bytes(&map) == kept);
    run(&[&words[..], &["--overwrite"]].concat()).expect(3);
    assert!(!study.path(&map).exists());
    // NaN, a constant, and another number of channels
    let image = scan::read_image(&images(&study, "imagesTr")[0]).unwrap();
    let mut voxels = image.data.clone();
    voxels[77] = f32::NAN;
    let write = |name: &str, data: &[f32], channels: usize| {
        let path = study.path(name);
        nifti::write_image(&path, data, channels, &image.grid, ImageType::F32).unwrap();
        path
    };
    let bad = [
        write("nan.nii.gz", &voxels, 1),
        write("flat.nii.gz", &vec![3.0; image.data.len()], 1),
        write("two.nii.gz", &image.data.repeat(2), 2),
    ];
    let said = study.predict("bad", &bad.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]).expect(1);
    for code in ["E130 case nan", "E132 case flat", "E141 case two", "E413"] {
        assert!(said.contains(code), "{code}: {said}");
    }
    assert!(!said.contains("--nan"), "{said}");
}

#[test]
fn an_interrupted_prediction_continues_to_the_same_bytes() {
    let study = Study::new(Kind::Ct);
    study.model();
    let raw = study.raw();
    let settings = ["--cases", "train,val,test", "--window-batch", "1", "--mirror"];
    study.predict("whole", &[&raw], &settings).expect(0);
    let words = study.predict_words("parts", &[&raw], &settings);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut child = command(&words).stderr(Stdio::piped()).spawn().unwrap();
    let start = Instant::now();
    let maps = || {
        let Ok(entries) = fs_err::read_dir(study.path("parts")) else { return 0 };
        entries.filter(|e| !e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
    };
    while maps() == 0 {
        assert!(child.try_wait().unwrap().is_none() && start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_micros(200));
    }
    // as LSF does before a job's time is over
    kill_process(Pid::from_child(&child), Signal::USR2).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("I306 interrupted") && said.contains("of 5 label maps done"), "{said}");
    assert!(!study.path("parts/manifest.json").exists());
    study.predict("parts", &[&raw], &settings).expect(0);
    let names = study.verified("whole");
    assert_eq!(names, study.verified("parts"));
    for name in names.iter().filter(|name| *name != "report.json") {
        let [whole, parts] = ["whole", "parts"].map(|out| study.bytes(&format!("{out}/{name}")));
        assert!(whole == parts, "{name} differs");
    }
}

#[test]
fn a_folder_of_scans_is_predicted_with_channels_in_files_of_their_own() {
    let study = Study::new(Kind::Mri);
    study.model();
    let file = &images(&study, "imagesTs")[0];
    let scan::Image { channels, grid, data, .. } = scan::read_image(file).unwrap();
    assert_eq!(channels, 4);
    let scans = study.path("scans");
    fs_err::create_dir(&scans).unwrap();
    for (channel, values) in data.chunks(data.len() / channels).enumerate() {
        let path = scans.join(format!("patient_{channel:04}.nii.gz"));
        nifti::write_image(path, values, 1, &grid, ImageType::F32).unwrap();
    }
    // what a folder of scans may hold besides
    fs_err::write(scans.join("notes.txt"), "x").unwrap();
    study.predict("one", &[file], &[]).expect(0);
    let said = study.predict("several", &[&scans], &[]).expect(0);
    assert!(
        said.contains("I446 1 image by nnU-Net's numbers of channels: patient_0000 is case patient"),
        "{said}"
    );
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(study.bytes(&format!("one/{name}")) == study.bytes("several/patient.nii.gz"));
    assert_eq!(study.table("several")["patient"][0], "given");
    study.verified("several");
    fs_err::remove_file(scans.join("patient_0002.nii.gz")).unwrap();
    let said = study.predict("several", &[&scans], &[]).expect(1);
    assert!(
        said.contains("E194 case patient: a channel is missing") && said.contains("patient_0002"),
        "{said}"
    );
}

/// What a rule evens out changes nothing, what it keeps does: each channel goes by its own, in training as in prediction.
#[test]
fn each_channel_is_prepared_by_its_own_rule() {
    let rules = vec![
        Intensity::MriZscore { nonzero: true },
        Intensity::MinMax {},
        Intensity::Window { low: 0.0, high: 400.0 },
        Intensity::None {},
    ];
    let study = Study::edited(Kind::Mri, |d, _| d.intensity = rules.into());
    study.model();
    let kept = &study.json("model/plan.json")["augmentation"]["zeros_kept"];
    assert_eq!(*kept, serde_json::json!([true, false, false, false]));
    let file = &images(&study, "imagesTs")[0];
    let scan::Image { channels, grid, data, .. } = scan::read_image(file).unwrap();
    let predicted = |name: &str, factors: [f32; 4]| {
        let voxels = data.len() / channels;
        let scaled: Vec<f32> = data.iter().enumerate().map(|(i, v)| v * factors[i / voxels]).collect();
        let path = study.path(&format!("{name}.nii"));
        nifti::write_image(&path, &scaled, channels, &grid, ImageType::F32).unwrap();
        study.predict(name, &[&path], &["--probabilities"]).expect(0);
        study.bytes(&format!("{name}/{name}.probabilities.nii.gz"))
    };
    let whole = predicted("whole", [1.0; 4]);
    assert!(predicted("evened", [2.0, 0.5, 1.0, 1.0]) == whole);
    assert!(predicted("window", [1.0, 1.0, 0.5, 1.0]) != whole);
    assert!(predicted("kept", [1.0, 1.0, 1.0, 0.5]) != whole);
}

#[test]
fn images_in_the_output_directory_are_safe() {
    let study = Study::new(Kind::Ct);
    study.model();
    let image = study.path("scans/scan.nii.gz");
    fs_err::create_dir(study.path("scans")).unwrap();
    fs_err::copy(&images(&study, "imagesTs")[0], &image).unwrap();
    let before = fs_err::read(&image).unwrap();
    let said = study.predict("scans", &[&image], &[]).expect(1);
    assert!(said.contains("E165") && said.contains("scan.nii.gz"), "{said}");
    assert_eq!(fs_err::read(&image).unwrap(), before);
    let said = study.predict("out", &[&study.path("absent.nii.gz")], &[]).expect(1);
    assert!(said.contains("E414") && said.contains("absent.nii.gz"), "{said}");
    let said = study.predict("out", &[&image, &image], &[]).expect(1);
    assert!(said.contains("E190"), "{said}");
    let said = crate::support::run(&[
        "predict",
        "--model",
        text(&study.shards()),
        "--input",
        text(&image),
        "--out",
        text(&study.path("out")),
    ]);
    assert!(said.expect(1).contains("E010"));
}
