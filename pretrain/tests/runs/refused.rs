//! What a run refuses before it trains.

use crate::support::{Study, edited, run, text};
use data_manifests::cases::{self, CaseRow};
use data_manifests::phantom::Kind;
use data_manifests::records::{EMBEDDINGS, ROWS};
use test_peers::run_ranks;

const CT: [Kind; 1] = [Kind::Ct];
const SETTINGS: [&str; 4] = ["--steps", "1", "--batch", "4"];

#[test]
fn text_and_shards_must_belong_together() {
    let study = Study::with(&[Kind::Ct, Kind::Em]);
    let reports = study.text(Kind::Ct, 5, 1);
    let refused = |kinds: &[Kind], texts: &[&std::path::Path]| {
        study.pretrain(kinds, texts, "encoder", &SETTINGS).expect(1)
    };
    let said = refused(&[Kind::Em], &[&reports]);
    assert!(said.contains("E322 a text belongs to no shards") && said.contains("'phantom-ct'"), "{said}");
    let said = refused(&[Kind::Ct, Kind::Ct], &[]);
    assert!(said.contains("E328 two shard directories hold data set 'phantom-ct'"), "{said}");
    let said = refused(&CT, &[&study.path("em")]);
    assert!(said.contains("E010") && said.contains("found 'preprocess', expected 'embed'"), "{said}");

    // a table that has lost a row
    let table = fs_err::read_to_string(reports.join(ROWS)).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    let sealed = |content: &str| {
        edited(&reports, |_| fs_err::write(reports.join(ROWS), content).unwrap());
    };
    sealed(&lines[..lines.len() - 1].join("\n"));
    let said = refused(&CT, &[&reports]);
    assert!(
        said.contains("E323 embeddings and table disagree") && said.contains("table of 9 rows"),
        "{said}"
    );
    // and boxes of a larger volume
    let far = table.replacen(",0,0,0,", ",0,0,900,", 1).replacen(",36,", ",990,", 1);
    assert_ne!(far, table);
    sealed(&far);
    let said = refused(&CT, &[&reports]);
    assert!(said.contains("E323 case ") && said.contains("made from other shards"), "{said}");
    edited(&reports, |_| fs_err::write(reports.join(EMBEDDINGS), "nonsense").unwrap());
    assert!(refused(&CT, &[&reports]).contains("not a safetensors file"));
}

#[test]
fn text_that_was_changed_since_it_was_written_is_refused() {
    let study = Study::with(&CT);
    for file in [ROWS, EMBEDDINGS] {
        let reports = study.text(Kind::Ct, 5, 1);
        let path = reports.join(file);
        let mut bytes = fs_err::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs_err::write(&path, bytes).unwrap();
        let said = study.pretrain(&CT, &[&reports], "encoder", &SETTINGS).expect(1);
        assert!(said.contains("E015 a file is not as it was written") && said.contains(file), "{said}");
        assert!(said.contains(&format!("{file} and run 'embed' again")), "{said}");
        fs_err::remove_dir_all(reports).unwrap();
    }
}

#[test]
fn text_of_shards_that_were_made_again_is_stale() {
    let study = Study::with(&CT);
    let reports = study.text(Kind::Ct, 5, 1);
    study.preprocess(Kind::Ct, |descriptor| descriptor.grid.spacing_zyx = [9.0; 3]);
    let said = study.pretrain(&CT, &[&reports], "encoder", &SETTINGS).expect(1);
    assert!(said.contains("E214 the output of 'embed' was made from other shards"), "{said}");
}

#[test]
fn text_of_other_shards_of_the_data_set_is_refused_where_grids_differ() {
    let study = Study::with(&CT);
    let reports = study.text(Kind::Ct, 5, 1);
    let ours = study.path("ct");
    fs_err::rename(&ours, study.path("first")).unwrap();
    // the same grid, made again elsewhere
    study.preprocess(Kind::Ct, |descriptor| descriptor.title.push('!'));
    edited(&reports, |manifest| {
        assert_eq!(manifest.inputs[0].path, "../ct/manifest.json");
        manifest.inputs[0].path = "../first/manifest.json".to_owned();
    });
    let said = study.pretrain(&CT, &[&reports], "same", &SETTINGS).expect(0);
    assert!(!said.contains("I311"), "{said}");
    // finer voxels: the boxes fit into them, and mean other places
    fs_err::remove_dir_all(&ours).unwrap();
    study.preprocess(Kind::Ct, |descriptor| descriptor.grid.spacing_zyx = [4.0; 3]);
    let said = study.pretrain(&CT, &[&reports], "finer", &SETTINGS).expect(1);
    assert!(said.contains("E323 case ct_001: the text was made from other shards"), "{said}");
    // without those that it was made from nobody knows
    fs_err::remove_dir_all(study.path("first")).unwrap();
    let said = study.pretrain(&CT, &[&reports], "finer", &SETTINGS).expect(0);
    assert!(said.contains("I311 whether the text was made from these shards cannot be told"), "{said}");
}

#[test]
fn texts_of_several_embedding_spaces_are_refused() {
    let study = Study::with(&CT);
    let [one, other] = [1, 2].map(|seed| study.text(Kind::Ct, 5, seed));
    edited(&other, |manifest| manifest.parameters = serde_json::json!({"pooling": "cls"}));
    let said = study.pretrain(&CT, &[&one, &other], "encoder", &SETTINGS).expect(1);
    assert!(said.contains("E321 the texts were embedded by different encoders"), "{said}");
}

#[test]
fn a_command_that_cannot_run_leaves_the_run_that_it_was_to_overwrite() {
    let study = Study::with(&CT);
    let reports = study.text(Kind::Ct, 5, 1);
    study.pretrain(&CT, &[&reports], "encoder", &SETTINGS).expect(0);
    for (flag, value, code) in [
        ("--clip", "nan", "E317"),
        ("--clip", "inf", "E317"),
        ("--patch-zyx", "8,262144,262144", "E305 batches do not fit into memory: 1 at a time"),
    ] {
        let more = [&SETTINGS[..], &["--overwrite", flag, value]].concat();
        let said = study.pretrain(&CT, &[&reports], "encoder", &more).expect(1);
        assert!(said.contains(code), "{flag} {value}: {said}");
        study.verified("encoder");
    }
    // nor do processes that disagree
    let seed = std::sync::atomic::AtomicUsize::new(0);
    let said = run_ranks(2, 1, || {
        let seed = seed.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        study.command(
            &CT,
            &[&reports],
            "encoder",
            &[&SETTINGS[..], &["--overwrite", "--seed", &seed]].concat(),
        )
    });
    assert!(
        said.iter().all(|said| said.contains("E333") && said.contains("they differ in selection, seed")),
        "{said:#?}"
    );
    study.verified("encoder");
    // another number of processes makes another batch of the same options
    let said = run_ranks(2, 1, || study.command(&CT, &[&reports], "encoder", &SETTINGS));
    assert!(
        said[0].contains("E307") && said[0].contains("give a --batch that makes it the same"),
        "{said:#?}"
    );
    // of several processes the one that writes says why, the others that they cannot begin
    let more = [&SETTINGS[..], &["--seed", "5"]].concat();
    let said = run_ranks(2, 1, || study.command(&CT, &[&reports], "encoder", &more));
    assert!(said[0].contains("E307") && said[1].contains("E336"), "{said:#?}");
    let foreign = study.path("encoder/thesis.txt");
    fs_err::write(&foreign, "mine").unwrap();
    let said = run_ranks(2, 1, || study.command(&CT, &[&reports], "encoder", &more));
    assert!(said[0].contains("E165") && said[1].contains("E336"), "{said:#?}");
    fs_err::remove_file(foreign).unwrap();
    study.verified("encoder");
}

#[test]
fn a_run_neither_goes_on_nor_passes_for_done_over_other_cases() {
    let study = Study::with(&CT);
    study.pretrain(&CT, &[], "encoder", &SETTINGS).expect(0);
    let report = study.bytes("encoder/report.json");
    // the same work of preprocess gave another case, once its file could be read
    let (shards, table) = (study.path("ct"), study.path("ct/cases.csv"));
    let mut rows: Vec<CaseRow> = cases::from_csv(&table).unwrap();
    rows[1].digest = "00".repeat(32);
    edited(&shards, |_| fs_err::write(&table, cases::to_csv(&rows).unwrap()).unwrap());
    let said = study.pretrain(&CT, &[], "encoder", &SETTINGS).expect(1);
    assert!(said.contains("E307") && said.contains("cases"), "{said}");
    study.verified("encoder");
    // and what is refused leaves the record of what is there
    assert_eq!(study.bytes("encoder/report.json"), report);
}

#[test]
fn text_of_no_case_is_refused_and_text_given_twice_is_said() {
    let study = Study::with(&CT);
    let reports = study.text(Kind::Ct, 2, 1);
    let said = study.pretrain(&CT, &[&reports, &reports], "twice", &SETTINGS).expect(0);
    assert!(said.contains("W342 the same text is given twice"), "{said}");
    let table = fs_err::read_to_string(reports.join(ROWS)).unwrap();
    edited(&reports, |_| fs_err::write(reports.join(ROWS), table.replace(",ct_", ",other_")).unwrap());
    let said = study.pretrain(&CT, &[&reports], "encoder", &SETTINGS).expect(1);
    assert!(said.contains("E342 the text describes no case of the shards"), "{said}");
}

#[test]
fn few_reports_and_reports_of_other_cases_are_said() {
    let study = Study::with(&CT);
    let reports = study.text(Kind::Ct, 2, 1);
    // another case's report, whose volume nobody knows
    let table = fs_err::read_to_string(reports.join(ROWS)).unwrap();
    let (first, rest) = table.split_once('\n').unwrap();
    let other = format!("{first}\n{}", rest.replacen(",ct_001,", ",ct_999,", 2));
    edited(&reports, |_| fs_err::write(reports.join(ROWS), other).unwrap());
    let said = study.pretrain(&CT, &[&reports], "encoder", &SETTINGS).expect(0);
    assert!(said.contains("W311 left out reports of 1 case not in the shards"), "{said}");
    assert!(said.contains("W311 4 of 5 cases have no report"), "{said}");
    assert!(
        said.contains("W327 a batch of 4 holds about 0.8 reports, and the image-text loss needs 4"),
        "{said}"
    );
}

#[test]
fn damaged_cases_are_all_named_before_the_first_step() {
    let study = Study::with(&CT);
    for id in ["ct_002", "ct_004"] {
        fs_err::remove_file(study.path("ct/cases").join(id).join("image/c.0.0.0.0")).unwrap();
    }
    let said = study.pretrain(&CT, &[], "encoder", &SETTINGS).expect(1);
    for wanted in
        ["E301 case ct_002", "E301 case ct_004", "E301 2 cases cannot be read", "Run preprocess again"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert_eq!(study.json("encoder/report.json")["status"], "failed");
    assert!(!study.path("encoder/metrics.jsonl").exists());
}

#[test]
fn values_that_make_no_run_are_refused() {
    let study = Study::with(&CT);
    let said = study.pretrain(&CT, &[], "encoder", &["--steps", "1", "--batch", "2"]).expect(1);
    assert!(said.contains("E325") && said.contains("--head-norm layer"), "{said}");
    for (more, wanted) in [
        // the visual loss takes its statistics over the batch whatever the heads do
        (&["--batch", "2", "--head-norm", "layer"][..], "the visual loss needs a batch of 4, found 2"),
        (
            &["--batch", "6", "--micro-batch", "4", "--encoder", "resnet50"],
            "found 2 of --batch 6 in parts of 4",
        ),
    ] {
        let (shards, out) = (study.path("ct"), study.path("encoder"));
        let words = ["--shards", text(&shards), "--out", text(&out), "--test-cases", "use", "--steps", "1"];
        let said = run(&[&words[..], more].concat()).expect(1);
        assert!(said.contains("E325") && said.contains(wanted), "{said}");
    }
    let said =
        study.pretrain(&CT, &[], "encoder", &[&SETTINGS[..], &["--patch-zyx", "4,4,4"]].concat()).expect(1);
    assert!(said.contains("E324") && said.contains("--patch-zyx"), "{said}");
    let nothing = [&SETTINGS[..], &["--vr-weight", "0"]].concat();
    let said = study.pretrain(&CT, &[], "encoder", &nothing).expect(1);
    assert!(said.contains("E325 there is no loss"), "{said}");
    let absent = study.path("absent.safetensors");
    let said =
        study.pretrain(&CT, &[], "encoder", &[&SETTINGS[..], &["--init", text(&absent)]].concat()).expect(1);
    assert!(said.contains("E019 a file that is needed is not there"), "{said}");
    let single = ["--patch-zyx", "8,8,8", "--network-patch-zyx", "64,64,64"];
    let said = study.pretrain(&CT, &[], "encoder", &[&SETTINGS[..], &single].concat()).expect(1);
    assert!(said.contains("E324") && said.contains("one voxel of [8, 8, 8]"), "{said}");
    let other = ["--encoder", "resnet50", "--network-patch-zyx", "64,64,64"];
    let (shards, out) = (study.path("ct"), study.path("encoder"));
    let words = ["--shards", text(&shards), "--out", text(&out), "--test-cases", "use"];
    for other in [&other[..], &["--encoder", "resnet50", "--size", "full"]] {
        let said = run(&[&words[..], &SETTINGS, other].concat()).expect(1);
        assert!(said.contains("E324") && said.contains("choose --encoder resenc"), "{said}");
    }
    let said = study
        .pretrain(&CT, &[], "encoder", &[&SETTINGS[..], &["--swin-feature-size", "24"]].concat())
        .expect(1);
    assert!(said.contains("E324") && said.contains("choose --encoder swin-unetr"), "{said}");
    let text = study.text(CT[0], 5, 1);
    let said =
        study.pretrain(&CT, &[&text], "encoder", &[&SETTINGS[..], &["--parts", "1"]].concat()).expect(1);
    assert!(said.contains("E329") && said.contains("--parts from 2"), "{said}");
    for bad in [
        ["--wall-minutes", "-1"],
        ["--size", "huge"],
        ["--patch-zyx", "8,8"],
        ["--steps", "0"],
        ["--temperature", "0"],
        ["--mix", "1.5"],
        // of no use without text, or without parts
        ["--parts", "2"],
        ["--parts-weight", "2"],
        ["--views", "none"],
    ] {
        let rest = ["--batch", "4", "--steps", "1"];
        let rest = if bad[0] == "--steps" { &rest[..2] } else { &rest[..] };
        let said = study.pretrain(&CT, &[], "encoder", &[rest, &bad].concat()).expect(2);
        assert!(said.contains(bad[0]), "{bad:?}: {said}");
    }
    fs_err::create_dir(study.path("foreign")).unwrap();
    fs_err::write(study.path("foreign/thesis.tex"), "").unwrap();
    let said = study.pretrain(&CT, &[], "foreign", &SETTINGS).expect(1);
    assert!(said.contains("E165") && said.contains("thesis.tex"), "{said}");
}

#[test]
fn cases_for_testing_are_trained_on_only_where_that_was_asked_for() {
    let study = Study::with(&CT);
    let with = |out: &str, rule: &str| {
        study.pretrain(&CT, &[], out, &[&SETTINGS[..], &["--test-cases", rule]].concat())
    };
    let said = with("encoder", "refuse").expect(1);
    assert!(said.contains("E312 1 test case of phantom-ct among the cases to pretrain on"), "{said}");
    assert!(said.contains("--test-cases leave-out"), "{said}");
    let said = with("left", "leave-out").expect(0);
    assert!(said.contains("4 of 4 cases have no report"), "{said}");
    let used = |out: &str| study.json(&format!("{out}/plan.json"))["datasets"][0]["test_cases_used"].as_u64();
    with("used", "use").expect(0);
    assert_eq!((used("left"), used("used")), (Some(0), Some(1)));
}
