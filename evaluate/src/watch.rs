//! `evaluate watch`: what running training jobs do, from their records.

use crate::show::aligned;
use anyhow::Result;
use clap::Args;
use data_manifests::manifest;
use serde_json::{Map, Value};
use stage::{Context, ExitStatus, Message, interrupt, lock};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The record of a training run and the clock beside it.
const METRICS: &str = "metrics.jsonl";
const TIMING: &str = "timing.jsonl";
/// Bytes read from the end of a record: some hundred lines.
const TAIL: u64 = 1 << 16;
/// How deep directories are looked through for records.
const DEPTH: usize = 4;
/// A lock is touched every five seconds while its run lives.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Arguments of `watch`.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Reads the ends of metrics.jsonl and timing.jsonl below the directories; nothing is written and no run is disturbed.

Examples:
  evaluate watch runs
  evaluate watch runs/hippocampus/model-1 --steps 25000 --once"
)]
pub struct WatchArguments {
    /// Directories of training runs, or folders that hold some
    #[arg(value_name = "DIR", num_args = 1.., required = true)]
    pub directories: Vec<PathBuf>,
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value = "5", value_parser = clap::value_parser!(u64).range(1..))]
    pub every: u64,
    /// Steps that the runs will take, for the time that is left
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Look once and end
    #[arg(long)]
    pub once: bool,
}

/// Runs `watch`: until interrupted, or until every run has ended.
///
/// # Errors
/// No record below the directories, or one that cannot be read.
pub(crate) fn run(arguments: &WatchArguments, context: &Context) -> Result<ExitStatus> {
    loop {
        let mut found = Vec::new();
        for directory in &arguments.directories {
            find(directory, DEPTH, &mut found);
        }
        found.sort();
        found.dedup();
        if found.is_empty() {
            let places: Vec<_> = arguments.directories.iter().map(|d| d.display().to_string()).collect();
            return Err(Message::error("E518", "no training record here")
                .detail(format!("{} hold no {METRICS}", places.join(", ")))
                .fix("Give the output directory of 'pretrain' or 'finetune train', or a folder above it")
                .into());
        }
        let looks: Vec<Look> = found.iter().map(|directory| look(directory)).collect::<Result<_>>()?;
        let head = ["run", "state", "step", "loss", "validation", "steps/s", "waiting", "memory", "left"];
        let lines = std::iter::once(head.map(str::to_owned).to_vec());
        let rows: Vec<Vec<String>> = lines.chain(looks.iter().map(|l| l.row(arguments.steps))).collect();
        for line in aligned(&rows) {
            context.print(&line)?;
        }
        if arguments.once || looks.iter().all(|look| look.state != State::Running) {
            return Ok(ExitStatus::Done);
        }
        for _ in 0..arguments.every * 10 {
            if interrupt::requested() {
                return Ok(ExitStatus::Done);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        context.print("")?;
    }
}

/// Directories with a record; what cannot be listed holds none.
fn find(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if directory.join(METRICS).is_file() {
        found.push(directory.to_owned());
        return;
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let Ok(entries) = fs_err::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), depth, found);
        }
    }
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its lock is touched.
    Running,
    /// It has its manifest.
    Done,
    /// Neither.
    Stopped,
}

/// What is known of a run.
#[derive(Debug)]
struct Look {
    name: String,
    state: State,
    step: Option<u64>,
    loss: Option<f64>,
    /// Of the last one, what says most.
    validation: Option<String>,
    rate: Option<f64>,
    waiting: Option<f64>,
    memory_mib: Option<f64>,
}

fn look(directory: &Path) -> Result<Look> {
    let records = tail(&directory.join(METRICS))?;
    let timing = tail(&directory.join(TIMING)).unwrap_or_default();
    let last = |lines: &[Map<String, Value>], kind: &str, name: &str| -> Option<f64> {
        let of_kind = lines.iter().rev().filter(|l| l.get("kind").and_then(Value::as_str) == Some(kind));
        of_kind.filter_map(|line| line.get(name)?.as_f64()).next()
    };
    let validation = |name: &str| last(&records, "validation", name);
    let validation = match (validation("recall_5"), validation("recall_5_chance")) {
        // of few candidates any ranking finds most
        (Some(recall), Some(chance)) if chance > 0.0 => {
            Some(format!("recall_5 {recall:.4} ({:.1} × chance)", recall / chance))
        }
        _ => ["score", "loss"].iter().find_map(|name| Some(format!("{name} {:.4}", validation(name)?))),
    };
    let touched = fs_err::metadata(directory.join(lock::FILE_NAME)).and_then(|m| m.modified()).ok();
    // a clock that runs ahead counts as just touched
    let age = |at: SystemTime| lock::clock(directory).duration_since(at).unwrap_or_default();
    let alive = touched.is_some_and(|at| age(at) < HEARTBEAT);
    let state = if directory.join(manifest::FILE_NAME).is_file() {
        State::Done
    } else if alive {
        State::Running
    } else {
        State::Stopped
    };
    Ok(Look {
        name: directory.display().to_string(),
        state,
        step: records.last().and_then(|line| line.get("step")?.as_u64()),
        loss: last(&records, "step", "loss"),
        validation,
        rate: last(&timing, "step", "steps_per_second"),
        waiting: last(&timing, "step", "data_wait"),
        memory_mib: last(&timing, "step", "rss_mib"),
    })
}

/// The last whole lines of a record.
fn tail(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // the first line may have lost its beginning, the last one may still be written
    let lines = text.split_inclusive('\n').skip(usize::from(start > 0)).filter(|line| line.ends_with('\n'));
    Ok(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
}

impl Look {
    fn row(&self, steps: Option<u64>) -> Vec<String> {
        let state = match self.state {
            State::Running => "running",
            State::Done => "done",
            State::Stopped => "stopped",
        };
        let text =
            |value: Option<f64>, format: fn(f64) -> String| value.map_or_else(|| "–".to_owned(), format);
        let left = steps.zip(self.step).zip(self.rate).filter(|_| self.state == State::Running);
        let left = left.map(|((steps, step), rate)| steps.saturating_sub(step) as f64 / rate);
        let step = self.step.map_or_else(|| "–".to_owned(), |step| step.to_string());
        vec![
            self.name.clone(),
            state.to_owned(),
            steps.map_or_else(|| step.clone(), |steps| format!("{step} of {steps}")),
            text(self.loss, |v| format!("{v:.4}")),
            self.validation.clone().unwrap_or_else(|| "–".to_owned()),
            text(self.rate, |v| format!("{v:.2}")),
            text(self.waiting, |v| format!("{:.0} %", v * 100.0)),
            text(self.memory_mib, |v| format!("{:.2} GiB", v / 1024.0)),
            text(left, |s| {
                if s < 3600.0 { format!("{:.0} min", s / 60.0) } else { format!("{:.1} h", s / 3600.0) }
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_while_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path().join("deep/model");
        fs_err::create_dir_all(&run).unwrap();
        let mut found = Vec::new();
        find(directory.path(), DEPTH, &mut found);
        assert!(found.is_empty());
        let long = "{\"step\":1,\"kind\":\"step\",\"loss\":9.0}\n".repeat(4000);
        let text = format!(
            "{long}{{\"step\":40,\"kind\":\"validation\",\"loss\":0.7,\"pooled_dice liver\":0.5,\"score\":0.5}}\n{{\"step\":50,\"kind\":\"step\",\"loss\":0.25}}\n{{\"step\":60,\"ki"
        );
        fs_err::write(run.join(METRICS), text).unwrap();
        fs_err::write(
            run.join(TIMING),
            "{\"step\":50,\"kind\":\"step\",\"steps_per_second\":2.0,\"data_wait\":0.125,\"rss_mib\":512}\n",
        )
        .unwrap();
        find(directory.path(), DEPTH, &mut found);
        assert_eq!(found, std::slice::from_ref(&run));
        let stopped = look(&run).unwrap();
        assert_eq!(stopped.state, State::Stopped);
        fs_err::write(run.join(stage::lock::FILE_NAME), b"{}").unwrap();
        let running = look(&run).unwrap();
        let row = running.row(Some(650));
        assert_eq!(
            row[1..],
            ["running", "50 of 650", "0.2500", "score 0.5000", "2.00", "12 %", "0.50 GiB", "5 min"]
        );
        let validated = |line: &str| {
            fs_err::write(run.join(METRICS), format!("{line}\n")).unwrap();
            look(&run).unwrap().validation
        };
        let pretraining =
            "{\"step\":40,\"kind\":\"validation\",\"recall_5\":0.1,\"recall_5_chance\":0.02,\"score\":0.3}";
        assert_eq!(validated(pretraining).unwrap(), "recall_5 0.1000 (5.0 × chance)");
        assert_eq!(validated("{\"step\":4,\"kind\":\"validation\",\"loss\":2.5}").unwrap(), "loss 2.5000");
        fs_err::write(run.join(manifest::FILE_NAME), b"{}").unwrap();
        assert_eq!(look(&run).unwrap().row(None)[1], "done");
    }
}
