use super::super::{Entry, Ledger};
use super::*;
use serde_json::json;

fn header(model: &str) -> Header {
    Header::new(model, "p/1", json!({"t": 0.5}))
}

fn say(directory: &Path, model: &str, request: &str) {
    let mut ledger = Ledger::open(directory, &header(model)).unwrap();
    ledger.append(vec![Entry::of_refusal(request, "HTTP 400: no")]).unwrap();
}

/// The requests that are answered for each model, wherever that stands.
fn known(directory: &Path) -> [Vec<String>; 2] {
    ["one", "two"].map(|model| {
        let mut known: Vec<_> = Ledger::peek(directory, &header(model)).unwrap().into_keys().collect();
        known.sort();
        known
    })
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs_err::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn only_ledgers_have_their_names() {
    let aside = aside_name(&header("one")).unwrap();
    for name in [FILE_NAME, NEXT_NAME, &aside, &next_aside_name(&header("one")).unwrap()] {
        assert!(is_ledger(name), "{name}");
    }
    for name in [
        "ledger.json",
        "ledger.old.jsonl",
        "ledger.3f2c91aa0b1.jsonl",
        "ledger.3f2c91aa0b1z.jsonl",
        "ledger.next.3f2c.jsonl",
    ] {
        assert!(!is_ledger(name), "{name}");
    }
    assert_ne!(aside, aside_name(&header("two")).unwrap());
}

#[test]
fn answers_of_other_options_are_neither_mixed_nor_lost_while_nothing_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    say(at, "one", "a");
    assert_eq!(other(at, Some(&header("one"))).unwrap(), None);
    let (path, found) = other(at, Some(&header("two"))).unwrap().unwrap();
    assert_eq!((path, found.model.as_str()), (at.join(FILE_NAME), "one"));
    assert!(other(at, None).unwrap().is_some());
    say(at, "two", "b");
    say(at, "one", "c");
    assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
    assert_eq!(names(at), [aside_name(&header("two")).unwrap().as_str(), FILE_NAME]);
    // without a model
    assert_eq!(take_over(at, None).unwrap(), [at.join(aside_name(&header("one")).unwrap())]);
    assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
    assert_eq!(other(at, None).unwrap(), None);
}

#[test]
fn what_holds_no_answer_is_nobodys() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    drop(Ledger::open(at, &header("one")).unwrap());
    assert_eq!(other(at, Some(&header("two"))).unwrap(), None);
    say(at, "two", "b");
    assert_eq!(names(at), [FILE_NAME]);
    assert_eq!(known(at), [vec![], vec!["b"]]);
}

#[test]
fn a_finished_directory_keeps_its_files_until_it_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    say(at, "one", "a");
    let manifest = at.join(manifest::FILE_NAME);
    fs_err::write(&manifest, "{}").unwrap();
    let finished = fs_err::read(at.join(FILE_NAME)).unwrap();
    say(at, "two", "b");
    assert!(fs_err::read(at.join(FILE_NAME)).unwrap() == finished);
    assert_eq!(names(at), [FILE_NAME, NEXT_NAME, manifest::FILE_NAME]);
    // the finished options again: what was begun stands aside
    say(at, "one", "c");
    assert_eq!(known(at), [vec!["a", "c"], vec!["b"]]);
    say(at, "two", "d");
    fs_err::remove_file(&manifest).unwrap();
    // killed before it took over, and after
    for _ in 0..2 {
        assert_eq!(known(at), [vec!["a", "c"], vec!["b", "d"]]);
        take_over(at, Some(&header("two"))).unwrap();
    }
    assert_eq!(known(at), [vec!["a", "c"], vec!["b", "d"]]);
    assert_eq!(names(at), [aside_name(&header("one")).unwrap().as_str(), FILE_NAME]);
    assert_eq!(header_of(&at.join(FILE_NAME)).unwrap(), Some(header("two")));
    // and back
    say(at, "one", "e");
    assert_eq!(known(at), [vec!["a", "c", "e"], vec!["b", "d"]]);
}

/// A directory that "two" has finished, with the answers of "one" aside; the bytes of both.
fn finished(at: &Path) -> [(PathBuf, Vec<u8>); 2] {
    say(at, "one", "a");
    say(at, "two", "b");
    fs_err::write(at.join(manifest::FILE_NAME), "{}").unwrap();
    let aside = aside_name(&header("one")).unwrap();
    [FILE_NAME, &aside].map(|name| (at.join(name), fs_err::read(at.join(name)).unwrap()))
}

/// What a kill or a full disk leaves of a file that was begun hides nothing.
#[test]
fn a_next_file_that_was_cut_hides_no_answer() {
    let line = format!("{}\n", serde_json::to_string(&header("one")).unwrap());
    for cut in [0, 1, line.len() - 1, line.len()] {
        for is_finished in [true, false] {
            let directory = tempfile::tempdir().unwrap();
            let at = directory.path();
            finished(at);
            fs_err::write(at.join(NEXT_NAME), &line.as_bytes()[..cut]).unwrap();
            if !is_finished {
                fs_err::remove_file(at.join(manifest::FILE_NAME)).unwrap();
            }
            for (model, request) in [("one", "c"), ("two", "d")] {
                say(at, model, request);
            }
            assert_eq!(known(at), [vec!["a", "c"], vec!["b", "d"]], "cut {cut}");
        }
    }
}

#[test]
fn what_a_manifest_lists_stays_as_it_is_until_it_is_withdrawn() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let listed = finished(at);
    let three = next_aside_name(&header("three")).unwrap();
    for (model, request) in [("one", "c"), ("three", "x"), ("two", "d"), ("one", "e"), ("two", "f")] {
        say(at, model, request);
        assert!(
            listed.iter().all(|(path, bytes)| fs_err::read(path).unwrap() == *bytes),
            "{model} {request}"
        );
    }
    assert_eq!(known(at), [vec!["a", "c", "e"], vec!["b", "d", "f"]]);
    let mut expected = [
        FILE_NAME,
        NEXT_NAME,
        manifest::FILE_NAME,
        &aside_name(&header("one")).unwrap(),
        &next_aside_name(&header("one")).unwrap(),
        &three,
    ];
    expected.sort_unstable();
    assert_eq!(names(at), expected);
    fs_err::remove_file(at.join(manifest::FILE_NAME)).unwrap();
    let aside = ["one", "three"].map(|model| at.join(aside_name(&header(model)).unwrap()));
    let mut taken = take_over(at, Some(&header("two"))).unwrap();
    let mut all = aside.to_vec();
    taken.sort();
    all.sort();
    assert_eq!(taken, all);
    assert_eq!(known(at), [vec!["a", "c", "e"], vec!["b", "d", "f"]]);
    assert_eq!(names(at).len(), 3, "{:?}", names(at));
}

/// Of two files with the same answers the settled one stays.
#[test]
fn the_order_of_replies_of_before_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    say(at, "one", "b");
    say(at, "one", "a");
    say(at, "two", "b");
    fs_err::write(at.join(manifest::FILE_NAME), "{}").unwrap();
    Ledger::open(at, &header("one")).unwrap().settle(&["a".into(), "b".into()]).unwrap();
    let settled = fs_err::read(at.join(NEXT_NAME)).unwrap();
    assert!(settled != fs_err::read(at.join(aside_name(&header("one")).unwrap())).unwrap());
    fs_err::remove_file(at.join(manifest::FILE_NAME)).unwrap();
    take_over(at, Some(&header("one"))).unwrap();
    assert!(fs_err::read(at.join(FILE_NAME)).unwrap() == settled);
}

#[test]
fn only_what_adds_nothing_is_cleared() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let listed = finished(at);
    assert!(clear(at).unwrap());
    // no answer, the answers that are in the ledger, half a line
    drop(Ledger::open(at, &header("three")).unwrap());
    assert!(clear(at).unwrap());
    drop(Ledger::open(at, &header("two")).unwrap());
    assert!(clear(at).unwrap());
    fs_err::write(at.join(NEXT_NAME), "{").unwrap();
    assert!(clear(at).unwrap());
    assert!(!at.join(NEXT_NAME).exists());
    // one answer
    say(at, "two", "d");
    assert!(!clear(at).unwrap() && at.join(NEXT_NAME).is_file());
    drop(Ledger::open(at, &header("three")).unwrap());
    assert!(!clear(at).unwrap());
    assert_eq!(known(at)[1], ["b", "d"]);
    assert!(listed.iter().all(|(path, bytes)| fs_err::read(path).unwrap() == *bytes));
}
