//! Finished stage directories: what is covered, what is refused.
#![expect(clippy::unwrap_used, reason = "test code")]

use data_manifests::verify::verify;
use data_manifests::{Artefact, Manifest, rules};
use serde_json::json;
use stage::lock::OutputLock;
use stage::sealed;
use std::path::Path;

fn finished(directory: &Path) -> Manifest {
    let lock = OutputLock::acquire(directory, "test").unwrap();
    fs_err::create_dir_all(directory.join("cases/ä b")).unwrap();
    for (path, text) in
        [("a.json", "{\"x\": 1}\n"), ("cases/ä b/zarr.json", "text"), ("cases/ä b/0", "\0\u{1}")]
    {
        stage::atomic::write(&directory.join(path), text.as_bytes()).unwrap();
    }
    let parameters = json!({"seed": 3});
    let manifest = Manifest::new("preprocess", "0.1.0", "preprocess", &parameters, Vec::new()).unwrap();
    let manifest = manifest.finish(directory, |_| "cases").unwrap();
    sealed::write(&directory.join("report.json"), &json!({"status": "done", "seconds": 0.25})).unwrap();
    drop(lock);
    manifest
}

#[test]
fn every_flipped_bit_of_every_file_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    finished(root);
    assert_eq!(verify(root).unwrap(), Vec::<String>::new());
    let files = data_manifests::digest::files_below(root).unwrap();
    assert_eq!(
        files,
        [".lock", "a.json", "cases/ä b/0", "cases/ä b/zarr.json", "manifest.json", "report.json"]
    );
    for file in files {
        let path = root.join(&file);
        let good = fs_err::read(&path).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1 << (i % 8);
            fs_err::write(&path, &bad).unwrap();
            // a manifest that cannot be trusted is an error, anything else is listed
            assert!(verify(root).map_or(true, |wrong| !wrong.is_empty()), "byte {i} of {file}");
        }
        let mut longer = good.clone();
        longer.push(b'\n');
        fs_err::write(&path, &longer).unwrap();
        assert!(verify(root).map_or(true, |wrong| !wrong.is_empty()), "{file} grown");
        fs_err::write(&path, &good).unwrap();
    }
    assert_eq!(verify(root).unwrap(), Vec::<String>::new());
}

#[test]
fn added_and_lost_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    finished(root);
    fs_err::write(root.join("cases/extra"), "x").unwrap();
    fs_err::remove_file(root.join("a.json")).unwrap();
    fs_err::write(root.join("cases/ä b/0"), "xyz").unwrap();
    assert_eq!(
        verify(root).unwrap(),
        ["cases/extra: not in the manifest", "cases/ä b/0: found 3 bytes, expected 2", "a.json: missing"]
    );
}

#[test]
fn a_withdrawn_manifest_leaves_no_finished_stage() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let written = finished(root);
    assert_eq!(Manifest::load(root, "preprocess").unwrap(), written);
    assert_eq!(written.reusable(root).unwrap(), Some(written.clone()));
    Manifest::withdraw(root).unwrap();
    Manifest::withdraw(root).unwrap();
    assert_eq!(written.reusable(root).unwrap(), None);
    let said = |result: anyhow::Result<Manifest>| {
        result.unwrap_err().to_string().replace(root.to_str().unwrap(), "[DIR]")
    };
    insta::assert_snapshot!(said(Manifest::load(root, "preprocess")), @"E010 no finished stage here. [DIR]/manifest.json is missing. The stage that writes it has not finished. Run that stage (again); it continues where it stopped.");
    insta::assert_snapshot!(said(Manifest::load(&root.join("none"), "preprocess")), @"E010 no finished stage here. [DIR]/none does not exist. The path is mistyped, or the stage that writes it was not run. Correct the path, or run that stage.");
    let beside = tempfile::tempdir().unwrap();
    fs_err::create_dir(beside.path().join("my-scores")).unwrap();
    finished(&beside.path().join("my-scores"));
    let near = Manifest::load_any(&beside.path().join("my-score")).unwrap_err().to_string();
    assert!(near.contains("/my-score does not exist; nearest there: my-scores."), "{near}");
    let written = finished(root);
    insta::assert_snapshot!(said(Manifest::load(root, "pretrain")), @"E010 this directory comes from another stage. [DIR]: found 'preprocess', expected 'pretrain'. Give the directory that 'pretrain' wrote.");
    fs_err::write(root.join("manifest.json"), "{}").unwrap();
    insta::assert_snapshot!(said(Manifest::load(root, "preprocess")), @"E011 the manifest cannot be trusted. [DIR]/manifest.json was changed after it was written: member 'seal' is missing. Run the stage again.");
    let later = Manifest { schema: "gtgm/manifest/9".into(), ..written };
    sealed::write(&root.join("manifest.json"), &later).unwrap();
    insta::assert_snapshot!(said(Manifest::load(root, "preprocess")), @"E012 the manifest has another schema. [DIR]/manifest.json: found gtgm/manifest/9, expected gtgm/manifest/1. Run the stage again with this version.");
}

#[test]
fn work_is_reused_only_when_it_is_the_same_and_whole() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let written = finished(root);
    let wanted = |version: &str, seed: u64| {
        Manifest::new("preprocess", version, "preprocess", &json!({"seed": seed}), Vec::new()).unwrap()
    };
    assert!(wanted("0.1.0", 3).reusable(root).unwrap().is_some());
    assert!(wanted("0.1.0", 4).reusable(root).unwrap().is_none());
    assert!(wanted("0.2.0", 3).reusable(root).unwrap().is_none());
    fs_err::remove_file(written.outputs[0].resolve(root)).unwrap();
    assert!(wanted("0.1.0", 3).reusable(root).unwrap().is_none());
}

#[test]
fn nobody_writes_among_the_files_of_a_finished_stage() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let inside = root.join("shards/cases/mine");
    let own = |name: &str| name == "plan.json";
    // others have a manifest.json, too
    fs_err::write(root.join("manifest.json"), r#"{"name": "an app"}"#).unwrap();
    Manifest::refuse_foreign(&inside, own).unwrap();
    finished(&root.join("shards"));
    let said = |directory: &Path| {
        let error = Manifest::refuse_foreign(directory, own).unwrap_err().to_string();
        error.replace(root.to_str().unwrap(), "[DIR]")
    };
    insta::assert_snapshot!(said(&inside), @"E165 the output directory lies in what 'preprocess' wrote. [DIR]/shards/cases/mine lies in [DIR]/shards. Give --out a place beside that directory.");
    insta::assert_snapshot!(said(&root.join("shards")), @"E165 the output directory holds other files. [DIR]/shards: found a.json and 1 more, expected none. Give --out a directory of its own, or move the files away.");
    let beside = root.join("beside");
    fs_err::create_dir(&beside).unwrap();
    // by the way of the stage's directory, and by links
    Manifest::refuse_foreign(&root.join("shards/../captions"), own).unwrap();
    Manifest::refuse_foreign(&root.join("shards/cases/../../captions"), own).unwrap();
    let link = |from: &str, to: &Path| std::os::unix::fs::symlink(to, root.join(from)).unwrap();
    link("inwards", &root.join("shards/cases"));
    assert!(
        said(&root.join("inwards/mine"))
            .starts_with("E165 the output directory lies in what 'preprocess' wrote")
    );
    link("shards/outwards", &beside);
    Manifest::refuse_foreign(&root.join("shards/outwards/mine"), own).unwrap();
    fs_err::write(beside.join("plan.json"), "").unwrap();
    Manifest::refuse_foreign(&beside, own).unwrap();
}

#[test]
fn an_output_is_what_was_written_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let manifest = finished(root);
    assert_eq!(manifest.intact(root, "cases/ä b/0").unwrap(), root.join("cases/ä b/0"));
    fs_err::write(root.join("a.json"), "{\"x\": 2}\n").unwrap();
    fs_err::write(root.join("more"), "").unwrap();
    fs_err::remove_file(root.join("cases/ä b/0")).unwrap();
    for (path, found) in
        [("a.json", "found SHA-256 "), ("more", "expected no such file"), ("cases/ä b/0", "found none, ")]
    {
        let error = manifest.intact(root, path).unwrap_err().to_string();
        assert!(
            error.starts_with("E015 a file is not as it was written") && error.contains(found),
            "{error}"
        );
    }
}

#[test]
fn a_file_from_anywhere_is_compared_with_a_manifest_of_ours_only() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (file, manifest) = (root.join("a.json"), root.join("manifest.json"));
    let taken = || Manifest::file_as_input("init", &file, root).map_err(|error| error.to_string());
    finished(root);
    taken().unwrap();
    let whole = fs_err::read_to_string(&manifest).unwrap();
    for broken in [&whole[..whole.len() / 2], &whole.replace("\"seed\": 3", "\"seed\": 4")] {
        assert_ne!(broken, whole);
        fs_err::write(&manifest, broken).unwrap();
        let error = taken().unwrap_err();
        assert!(error.starts_with("E011 the manifest cannot be trusted"), "{error}");
    }
    fs_err::write(&manifest, r#"{"name": "an app"}"#).unwrap();
    taken().unwrap();
    fs_err::write(&manifest, &whole).unwrap();
    fs_err::write(&file, "{\"x\": 2}\n").unwrap();
    assert!(taken().unwrap_err().starts_with("E015 a file is not as it was written"));
}

#[test]
fn broken_rules_are_all_listed() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let shards = root.join("shards");
    let text = root.join("text");
    finished(&shards);
    fs_err::create_dir_all(&text).unwrap();
    fs_err::write(text.join("rows.csv"), "row,id,dataset,case,z0,y0,x0,z1,y1,x1,group,sha256\n").unwrap();
    let input = Manifest::as_input("shards", &shards, &text).unwrap();
    assert_eq!(input.path, "../shards/manifest.json");
    let manifest = Manifest::new("embed", "0.1.0", "text-synth", &json!({}), vec![input]).unwrap();
    let good = manifest.finish(&text, |_| "text").unwrap();
    assert_eq!(rules::check_directory(&text).unwrap(), Vec::<String>::new());

    fs_err::write(
        text.join("rows.csv"),
        "row,id,dataset,case,z0,y0,x0,z1,y1,x1,group,sha256\n1,a,d,c,0,0,0,1,1,1,0,00\n",
    )
    .unwrap();
    fs_err::remove_file(shards.join("a.json")).unwrap();
    let parameters = json!({"other": 1});
    Manifest::new("preprocess", "0.1.0", "preprocess", &parameters, Vec::new())
        .unwrap()
        .finish(&shards, |_| "cases")
        .unwrap();
    let mut bad = good.clone();
    bad.stage = "cooking".into();
    bad.outputs.push(Artefact { role: String::new(), path: "../x".into(), bytes: 1, sha256: "12".into() });
    bad.outputs.push(bad.outputs[0].clone());
    sealed::write(&text.join("manifest.json"), &bad).unwrap();
    let wrong = rules::check_directory(&text).unwrap().join("\n").replace(root.to_str().unwrap(), "[DIR]");
    insta::assert_snapshot!(wrong, @r#"
        stage: found 'cooking', expected one of phantom, preprocess, slices, caption, report, embed, pretrain, train, predict, instances, score, evaluation-report
        work: found f07142c1d40e125e5504beb4441357107f0ea494d6ce491328cc38d99951b3ec, expected 400c440e4d016693accf370953d722a9d0ea15cf255b9426a5ec0ff2aac8f220 from stage, parameters and inputs
        ../x: '12' is no SHA-256
        ../x: has no role
        rows.csv: found 76 bytes, expected 51
        ../x: an output must lie below the manifest's directory
        rows.csv: listed twice
        rows.csv: found 76 bytes, expected 51
        ../shards/manifest.json: this input has changed since; run 'cooking' again
        [DIR]/text/rows.csv: line 2: found row 1, expected 0
        [DIR]/text/rows.csv: line 2: found row 1, expected 0
    "#);
}

#[test]
fn a_folder_is_one_output_and_no_byte_in_it_escapes() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    for (name, text) in
        [("cases/a/one", "1"), ("cases/a/deep/two", "22"), ("cases/b/one", "1"), ("table", "t")]
    {
        stage::atomic::write(&root.join(name), text.as_bytes()).unwrap();
    }
    let tree = |id: &str| {
        let (bytes, sha256) = data_manifests::digest::tree(&root.join("cases").join(id)).unwrap();
        Artefact { role: "shards".into(), path: format!("cases/{id}/"), bytes, sha256 }
    };
    let manifest = Manifest::new("preprocess", "0", "preprocess", &json!({}), Vec::new()).unwrap();
    let written = manifest.finish_with(root, vec![tree("b"), tree("a")], |_| "cases").unwrap();
    let listed: Vec<_> = written.outputs.iter().map(|o| (o.path.as_str(), o.bytes)).collect();
    assert_eq!(listed, [("cases/a/", 3), ("cases/b/", 1), ("table", 1)]);
    assert_eq!(verify(root).unwrap(), Vec::<String>::new());
    assert_eq!(rules::check_directory(root).unwrap(), Vec::<String>::new());

    fs_err::write(root.join("cases/a/deep/two"), "23").unwrap();
    let wrong = verify(root).unwrap();
    assert!(wrong.len() == 1 && wrong[0].starts_with("cases/a/: found SHA-256 "), "{wrong:?}");
    fs_err::write(root.join("cases/a/more"), "22").unwrap();
    assert_eq!(verify(root).unwrap(), ["cases/a/: found 5 bytes, expected 3"]);
    assert_eq!(rules::check_directory(root).unwrap(), ["cases/a/: found 5 bytes, expected 3"]);
    fs_err::remove_dir_all(root.join("cases/a")).unwrap();
    assert_eq!(verify(root).unwrap(), ["cases/a/: missing"]);
    // equal bytes under other names are another folder
    fs_err::rename(root.join("cases/b/one"), root.join("cases/b/won")).unwrap();
    assert!(verify(root).unwrap()[0].starts_with("cases/b/: found SHA-256 "));
}
