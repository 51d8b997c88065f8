//! The command line as a whole: what excludes what, help, completions.

use crate::support::Task;

#[test]
fn commands_and_flags_of_a_run_exclude_each_other() {
    let task = Task::noise(1, [12, 14, 16]);
    let (code, _, text) = task.ask(&[]);
    assert_eq!(code, 2);
    assert!(text.contains("--dataset") && text.contains("--out"), "{text}");
    let (code, _, text) = task.ask(&["--dataset", "msd04-hippocampus", "verify", "x"]);
    assert_eq!(code, 2, "{text}");
    let (code, _, text) = task.ask(&["verify"]);
    assert!(code == 2 && text.contains("DIR"), "{text}");
    let (code, _, text) = task.ask(&["verify", "x", "--repair", "a"]);
    assert!(code == 1 && text.contains("E010"), "{text}");
    // values from a file are for the run, not for every command
    fs_err::write(task.file("run.toml"), "dataset = \"dataset.toml\"\nraw = \"raw\"\nout = \"shards\"\n")
        .unwrap();
    let (code, _, text) = task.ask(&["--config", "run.toml"]);
    assert_eq!(code, 0, "{text}");
    let (code, _, text) = task.ask(&["verify", "shards", "--config", "run.toml"]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn help_has_examples_and_completions_know_the_commands() {
    let task = Task::new();
    for words in [
        &["--help"][..],
        &["verify", "--help"],
        &["info", "--help"],
        &["preview", "--help"],
        &["plan", "--help"],
    ] {
        let (code, text, _) = task.ask(words);
        assert!(code == 0 && text.contains("Examples:\n  preprocess "), "{text}");
    }
    for shell in ["bash", "fish", "zsh"] {
        let (code, text, _) = task.ask(&["--completions", shell]);
        assert_eq!(code, 0);
        for word in ["verify", "info", "preview", "repair", "allow-large", "steal-lock"] {
            assert!(text.contains(word), "{shell}: {word}");
        }
    }
}
