//! The command line: what all executables share, and values from `--config FILE.toml`, over which flags win.

pub mod numbers;

use crate::Message;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, CommandFactory, FromArgMatches, ValueEnum};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Arguments of every command.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// TOML file with values for any flag (`steps = 100`); flags on the command line win
    #[arg(long, global = true, value_name = "FILE.toml", help_heading = "Common")]
    pub config: Option<PathBuf>,
    /// Print results and errors only
    #[arg(long, global = true, help_heading = "Common")]
    pub quiet: bool,
    /// Also write a log to this file (level by GTGM_LOG, default info)
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common")]
    pub log: Option<PathBuf>,
    /// Take over the output directory of a run that is gone but whose lock the file system kept
    #[arg(long, global = true, help_heading = "Common")]
    pub steal_lock: bool,
    /// Print a completion script for a shell and stop
    #[arg(long, global = true, value_name = "SHELL", help_heading = "Common")]
    pub completions: Option<clap_complete::Shell>,
}

/// Arguments of the commands that compute with LibTorch.
#[derive(Debug, Clone, clap::Args)]
pub struct Compute {
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", help_heading = "Compute")]
    pub device: String,
    /// Number format of convolutions and matrix products; losses, norms and optimiser state stay in fp32
    #[arg(long, default_value = "fp32", value_parser = ["fp32", "bf16"], help_heading = "Compute")]
    pub precision: String,
    /// Seed of every random choice
    #[arg(long, default_value_t = 0, help_heading = "Compute")]
    pub seed: u64,
    /// On a GPU: kernels with a fixed order of sums, where there are any; a CPU has no others
    #[arg(long, help_heading = "Compute")]
    pub deterministic: bool,
}

/// What [`parse`] may end with besides arguments.
#[derive(Debug)]
pub enum Stop {
    /// clap has something to print (help, version, usage error).
    Clap(clap::Error),
    /// The configuration file is wrong.
    Config(Message),
    /// A completion script was asked for.
    Completions(clap_complete::Shell),
}

/// A parsed command line.
#[derive(Debug)]
pub struct Parsed<A> {
    /// The values.
    pub arguments: A,
    /// Long names, without dashes, of the flags that the chosen command knows.
    pub flags: Vec<String>,
}

/// Parses `argv` (with the program's name first), after adding what `--config` says and the command line does not.
///
/// # Errors
/// [`Stop`] says what to print instead of running.
pub fn parse<A: CommandFactory + FromArgMatches>(argv: Vec<OsString>) -> Result<Parsed<A>, Stop> {
    let command = A::command();
    if let Some(shell) = value_of(&argv, "--completions") {
        return <clap_complete::Shell as ValueEnum>::from_str(&shell, true)
            .map_err(|_| {
                Stop::Config(
                    Message::error("E002", format!("no completions for '{shell}'"))
                        .fix("Use bash, elvish, fish, powershell or zsh"),
                )
            })
            .and_then(|shell| Err(Stop::Completions(shell)));
    }
    let config = value_of(&argv, "--config").map(PathBuf::from);
    let (argv, keys) = match &config {
        Some(path) => with_config(&command, argv, path).map_err(Stop::Config)?,
        None => (argv, Vec::new()),
    };
    let stop = |error: clap::Error| match config.as_deref().and_then(|path| of_config(&error, path, &keys)) {
        Some(message) => Stop::Config(message),
        None => Stop::Clap(error),
    };
    let matches = command.clone().try_get_matches_from(argv).map_err(stop)?;
    let chosen = matches.subcommand_name().and_then(|name| command.find_subcommand(name)).unwrap_or(&command);
    let flags = chosen.get_arguments().filter_map(|a| a.get_long().map(str::to_owned)).collect();
    Ok(Parsed { arguments: A::from_arg_matches(&matches).map_err(stop)?, flags })
}

/// A refusal of what a key of the configuration file says, with file and key: the command line has no such word.
fn of_config(error: &clap::Error, path: &Path, keys: &[String]) -> Option<Message> {
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return None };
    let long = argument.strip_prefix("--")?.split([' ', '=', '[']).next()?;
    let key = keys.iter().find(|key| key.replace('_', "-") == long)?;
    let text = error.to_string();
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let said = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let said = said.trim_start_matches("error: ");
    Some(
        unusable(path, &format!("key '{key}': {said}"))
            .fix("Correct the value; --help shows what the flag takes"),
    )
}

fn unusable(path: &Path, detail: &str) -> Message {
    Message::error("E003", "the configuration file cannot be used")
        .detail(format!("{}: {detail}", path.display()))
}

/// The value of `--name VALUE` or `--name=VALUE` before any `--`.
fn value_of(argv: &[OsString], name: &str) -> Option<String> {
    let mut words = argv.iter().map_while(|w| w.to_str().filter(|w| *w != "--"));
    while let Some(word) = words.next() {
        if word == name {
            return words.next().map(str::to_owned);
        }
        if let Some(value) = word.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            return Some(value.to_owned());
        }
    }
    None
}

/// The command line with what the file says besides, and the keys that this is from.
fn with_config(
    command: &clap::Command,
    mut argv: Vec<OsString>,
    path: &Path,
) -> Result<(Vec<OsString>, Vec<String>), Message> {
    let wrong = |detail: String, fix: &str| unusable(path, &detail).fix(fix);
    let text = fs_err::read_to_string(path)
        .map_err(|e| wrong(e.to_string(), "Give --config an existing TOML file"))?;
    let table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| wrong(e.to_string(), "Correct the line"))?;
    let words: Vec<String> = argv.iter().skip(1).filter_map(|w| w.to_str().map(str::to_owned)).collect();
    let sub = command.get_subcommands().find(|s| words.iter().any(|w| w == s.get_name()));
    let target = sub.unwrap_or(command);
    let (mut extra, mut keys) = (Vec::new(), Vec::new());
    let mut pairs: Vec<(&String, &toml::Value)> = Vec::new();
    for (key, value) in &table {
        match value {
            toml::Value::Table(inner) if command.get_subcommands().any(|s| s.get_name() == key) => {
                if key == target.get_name() {
                    pairs.extend(inner.iter());
                }
            }
            _ => pairs.push((key, value)),
        }
    }
    for (key, value) in pairs {
        let long = key.replace('_', "-");
        let named = |a: &&clap::Arg| a.get_long() == Some(&long);
        let known = target
            .get_arguments()
            .find(named)
            .or_else(|| command.get_arguments().filter(|a| a.is_global_set()).find(named));
        let Some(argument) = known else {
            // of a command that also works without a subcommand
            if command.get_arguments().any(|a| named(&a)) {
                continue;
            }
            return Err(wrong(
                format!("unknown key '{key}'"),
                "See --help for the flags; a key is a flag's name",
            ));
        };
        let flag = format!("--{long}");
        if words.iter().any(|w| *w == flag || w.starts_with(&format!("{flag}="))) {
            continue;
        }
        let values = match value {
            toml::Value::Array(values) => values.iter().collect(),
            single => vec![single],
        };
        keys.push(key.clone());
        // one word, so that a value that begins with a dash is not taken for a flag
        let stated = |text: &str| OsString::from(format!("{flag}={text}"));
        for value in values {
            match (value, argument.get_action()) {
                (toml::Value::Boolean(on), ArgAction::SetTrue) => {
                    if *on {
                        extra.push(OsString::from(&flag));
                    }
                }
                (toml::Value::String(text), _) => extra.push(stated(text)),
                (
                    toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_),
                    ArgAction::Set | ArgAction::Append,
                ) => extra.push(stated(&value.to_string())),
                _ => {
                    return Err(wrong(
                        format!("'{key}' cannot be {value}"),
                        "Give it the form that --help shows",
                    ));
                }
            }
        }
    }
    let end = argv.iter().position(|w| w == "--").unwrap_or(argv.len());
    argv.splice(end..end, extra);
    Ok((argv, keys))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Train {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        command: Sub,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Run {
            #[arg(long)]
            steps: u32,
            #[arg(long)]
            shards: Vec<String>,
            #[arg(long)]
            resume: bool,
            #[arg(long, default_value_t = 1.0)]
            lr: f64,
        },
        Other,
    }

    fn run(config: &str, words: &[&str]) -> Result<Train, Stop> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), config).unwrap();
        let path = file.path().to_str().unwrap();
        let argv = ["train"].iter().chain(words).copied().chain(["--config", path]);
        parse(argv.map(OsString::from).collect()).map(|parsed| parsed.arguments)
    }

    #[test]
    fn flags_win_over_the_file() {
        let text = "steps = 5\nquiet = true\n[run]\nshards = [\"a\", \"b\"]\nresume = true\n";
        let train = run(text, &["run", "--steps", "7"]).unwrap();
        let Sub::Run { steps, shards, resume, .. } = train.command else { panic!("wrong command") };
        assert_eq!(
            (steps, shards, resume, train.common.quiet),
            (7, vec!["a".into(), "b".into()], true, true)
        );
    }

    #[test]
    fn a_value_may_begin_with_a_dash() {
        let Sub::Run { lr, shards, .. } =
            run("lr = -0.5\nshards = [\"-a\"]", &["run", "--steps", "7"]).unwrap().command
        else {
            panic!("wrong command")
        };
        assert_eq!((lr, shards), (-0.5, vec!["-a".to_owned()]));
    }

    #[test]
    fn flags_are_those_of_the_chosen_command() {
        let flags = |words: &[&str]| {
            let argv = ["train"].iter().chain(words).map(OsString::from).collect();
            parse::<Train>(argv).unwrap().flags
        };
        assert_eq!(flags(&["run", "--steps", "7"]), ["steps", "shards", "resume", "lr"]);
        assert_eq!(flags(&["other"]), [""; 0]);
    }

    #[test]
    fn an_unknown_key_is_named() {
        let Err(Stop::Config(message)) = run("step = 5", &["run", "--steps", "7"]) else {
            panic!("accepted")
        };
        assert!(message.to_string().contains("unknown key 'step'"), "{message}");
    }

    #[test]
    fn a_value_that_is_refused_is_laid_to_its_file_and_key() {
        let said = |config: &str, words: &[&str]| match run(config, words).unwrap_err() {
            Stop::Config(message) => {
                let text = message.to_string();
                let (place, rest) = text.split_once(": key ").unwrap();
                assert!(place.starts_with("E003 the configuration file cannot be used. /"), "{text}");
                rest.to_owned()
            }
            other => panic!("{other:?}"),
        };
        insta::assert_snapshot!(said("steps = \"two\"", &["run"]), @"'steps': invalid value 'two' for '--steps <STEPS>': invalid digit found in string. Correct the value; --help shows what the flag takes.");
        assert!(said("[run]\nsteps = -1", &["run"]).starts_with("'steps': "));
        // what the command line says is its own
        assert!(matches!(run("lr = 0.5", &["run", "--steps", "two"]), Err(Stop::Clap(_))));
    }

    #[test]
    fn another_commands_table_is_ignored() {
        assert!(matches!(run("[run]\nsteps = 5", &["other"]).unwrap().command, Sub::Other));
    }
}
