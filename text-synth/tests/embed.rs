//! Reports to vectors with the default text encoder.
#![expect(clippy::unwrap_used, reason = "test code")]

mod common;

use common::{captions, ct, shards, text_synth};
use data_manifests::records::{self, EmbeddingRow, Report};
use data_manifests::{Manifest, cases, verify};
use std::path::Path;
use tempfile::tempdir;

fn report(captions: &Path, out: &Path) {
    let mut command = text_synth();
    command.args(["report", "--quiet", "--captions"]).arg(captions).arg("--out").arg(out);
    command.assert().success();
}

fn embed(reports: &Path, out: &Path) -> String {
    let mut command = text_synth();
    command.args(["embed", "--reports"]).arg(reports).arg("--out").arg(out).args(["--batch", "5"]);
    String::from_utf8_lossy(&command.assert().success().get_output().stderr).into_owned()
}

#[test]
fn an_encoder_that_is_not_there_is_named() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    captions(&at("shards"), &at("captions"), &["--stride", "4"]);
    report(&at("captions"), &at("reports"));
    let mut command = text_synth();
    command.args(["embed", "--reports"]).arg(at("reports")).arg("--out").arg(at("text"));
    let said = command.arg("--text-encoder").arg(at("missing")).assert().code(1);
    let said = String::from_utf8_lossy(&said.get_output().stderr).into_owned();
    assert!(said.contains("E223 the text encoder cannot be used") && said.contains("missing"), "{said}");
}

/// Each stage's input is another stage's directory, one word away from its output.
#[test]
fn no_command_writes_into_the_directory_of_another_stage() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    captions(&at("shards"), &at("captions"), &["--stride", "4"]);
    let run = |words: &[&str], from: &str, out: &str| {
        let mut command = text_synth();
        command.args(words).arg(at(from)).arg("--out").arg(at(out));
        String::from_utf8_lossy(&command.assert().get_output().stderr).into_owned()
    };
    report(&at("captions"), &at("reports"));
    let manifests = || {
        ["shards", "captions", "reports"].map(|name| fs_err::read(at(name).join("manifest.json")).unwrap())
    };
    let before = manifests();
    for (words, from) in [
        (&["caption", "--shards"][..], "shards"),
        (&["report", "--captions"], "captions"),
        (&["embed", "--reports"], "reports"),
    ] {
        for out in ["shards", "captions", "reports"] {
            if (words[0], out) != ("caption", "captions") && (words[0], out) != ("report", "reports") {
                let said = run(words, from, out);
                assert!(
                    said.contains("E165 the output directory holds other files"),
                    "{words:?} {out}: {said}"
                );
            }
        }
    }
    assert!(manifests() == before);
}

#[test]
fn records_that_were_changed_since_they_were_written_are_refused() {
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    captions(&at("shards"), &at("captions"), &["--stride", "4"]);
    report(&at("captions"), &at("reports"));
    let finished = fs_err::read(at("reports/manifest.json")).unwrap();
    let path = at("captions").join(records::CAPTIONS);
    let text = fs_err::read_to_string(&path).unwrap();
    fs_err::write(&path, text.replacen("axial", "coronal", 1)).unwrap();
    // another seed is other work, so that the captions are looked at
    let mut again = text_synth();
    again
        .args(["report", "--overwrite", "--seed", "3", "--captions"])
        .arg(at("captions"))
        .arg("--out")
        .arg(at("reports"));
    let output = again.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("E015 a file is not as it was written") && said.contains("run 'caption' again"),
        "{said}"
    );
    assert!(fs_err::read(at("reports/manifest.json")).unwrap() == finished);
    let mut review = text_synth();
    review.args(["review", "--shards"]).arg(at("shards")).arg("--captions").arg(at("captions"));
    review.arg("--reports").arg(at("reports")).arg("--out").arg(at("review.html"));
    assert!(String::from_utf8(review.output().unwrap().stderr).unwrap().contains("E015"));
    // what the message says helps
    fs_err::remove_file(&path).unwrap();
    captions(&at("shards"), &at("captions"), &["--stride", "4"]);
    assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
}

#[test]
fn reports_become_rows() {
    if networks::default_text_encoder().is_err() {
        eprintln!("skipped: no text encoder; 'make setup' installs the default one");
        return;
    }
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a"), ct("b")]);
    captions(&at("shards"), &at("captions"), &["--stride", "2"]);
    report(&at("captions"), &at("reports"));
    embed(&at("reports"), &at("text"));
    embed(&at("reports"), &at("again"));
    let files = [records::EMBEDDINGS, records::ROWS];
    for file in files {
        assert_eq!(
            fs_err::read(at("text").join(file)).unwrap(),
            fs_err::read(at("again").join(file)).unwrap(),
            "{file}"
        );
    }
    let reports: Vec<Report> = records::read_lines(&at("reports").join(records::REPORTS)).unwrap();
    let rows: Vec<EmbeddingRow> = cases::from_csv(&at("text").join(records::ROWS)).unwrap();
    assert_eq!(
        rows.iter().map(|r| &r.id).collect::<Vec<_>>(),
        reports.iter().map(|r| &r.id).collect::<Vec<_>>()
    );
    let bytes = fs_err::read(at("text").join(records::EMBEDDINGS)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("embeddings").unwrap().shape(), [rows.len(), 384]);
    let manifest = Manifest::load(&at("text"), "embed").unwrap();
    let weights = manifest.inputs.iter().find(|i| i.path == "$TEXT_ENCODER/model.safetensors").unwrap();
    assert_eq!(weights.role, "text-encoder");
    verify::verify(&at("text")).unwrap();
    assert!(embed(&at("reports"), &at("text")).contains("Nothing to do"));
}

#[test]
fn vectors_do_not_depend_on_how_often_progress_is_looked_at() {
    if networks::default_text_encoder().is_err() {
        eprintln!("skipped: no text encoder; 'make setup' installs the default one");
        return;
    }
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a"), ct("b"), ct("c"), ct("d")]);
    captions(&at("shards"), &at("captions"), &["--stride", "1"]);
    report(&at("captions"), &at("reports"));
    let run = |out: &str, extra: &[&str]| {
        let mut command = text_synth();
        command.args(["embed", "--reports"]).arg(at("reports")).arg("--out").arg(at(out)).args(extra);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (out, batch) in [("few", "3"), ("some", "40"), ("all", "256")] {
        assert_eq!(run(out, &["--batch", batch]).0, Some(0));
        let texts = Manifest::load(&at(out), "embed").unwrap().counts["texts"];
        assert!(texts > 40, "{texts} texts would be one batch");
        for file in [records::EMBEDDINGS, records::ROWS, "manifest.json"] {
            let read = |out: &str| fs_err::read(at(out).join(file)).unwrap();
            assert!(read(out) == read("few"), "--batch {batch}: {file}");
        }
    }
    // finished vectors are not replaced by others without a word
    for (extra, said) in [
        (&["--pooling", "cls"][..], "--pooling mean → cls."),
        (&["--max-tokens", "20", "--similar", "0.5"], "--max-tokens 128 → 20; --similar 0.999"),
    ] {
        let (status, text) = run("few", extra);
        assert!(status == Some(1) && text.contains("E212 embeddings of other options are here. "), "{text}");
        assert!(text.contains(said), "{text}");
    }
    assert!(run("few", &["--batch", "9"]).1.contains("Nothing to do"));
    assert_eq!(run("few", &["--pooling", "cls", "--overwrite"]).0, Some(0));
    verify::verify(&at("few")).unwrap();
}

#[test]
fn texts_that_are_cut_are_said_and_sides_are_counted() {
    if networks::default_text_encoder().is_err() {
        eprintln!("skipped: no text encoder; 'make setup' installs the default one");
        return;
    }
    let directory = tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    shards(&at("shards"), &[ct("a")]);
    captions(&at("shards"), &at("captions"), &["--stride", "4"]);
    report(&at("captions"), &at("reports"));
    let run = |out: &str, tokens: &str| {
        let mut command = text_synth();
        command.args(["embed", "--reports"]).arg(at("reports")).arg("--out").arg(at(out));
        let output = command.args(["--max-tokens", tokens]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let counts = |out: &str| Manifest::load(&at(out), "embed").unwrap().counts;
    let (status, said) = run("short", "20");
    assert!(status == Some(0) && said.contains("texts have more than 20 tokens"), "{said}");
    assert!(said.contains("W217") && counts("short")["cut"] == counts("short")["texts"], "{said}");
    let (status, said) = run("long", "512");
    assert!(status == Some(0) && !said.contains("W217") && counts("long")["cut"] == 0, "{said}");
    let vectors = |out: &str| fs_err::read(at(out).join(records::EMBEDDINGS)).unwrap();
    assert!(vectors("short") != vectors("long"));
    let reports: Vec<Report> = records::read_lines(&at("reports").join(records::REPORTS)).unwrap();
    let sided = text_synth::sides::count(reports.iter().map(|report| report.text.as_str()));
    assert!(sided.iter().sum::<u64>() > 0);
    assert_eq!(counts("long")["left_or_right"], sided[0]);
    let (status, said) = run("none", "513");
    assert!(status == Some(1) && said.contains("it takes from 3 to 512"), "{said}");
}
