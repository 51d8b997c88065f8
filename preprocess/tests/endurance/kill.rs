//! Runs that are killed at random moments.

use crate::support::Task;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::process::Stdio;
use std::time::{Duration, Instant};

const MOMENTS: usize = 30;
const CASES: u64 = 6;

#[test]
fn thirty_kills_at_random_moments_leave_no_trace() {
    let task = Task::noise(CASES as usize, [40, 48, 44]);
    let started = Instant::now();
    let (code, text) = task.process(&[]);
    let mut whole_run = started.elapsed();
    assert_eq!(code, 0, "{text}");
    let whole = task.tree();

    let mut random = ChaCha8Rng::seed_from_u64(30);
    let mut struck = 0;
    for moment in 0..MOMENTS {
        // from nothing twice, then where most is kept: one case and what ends a run are missing
        if moment % 3 < 2 {
            fs_err::remove_dir_all(task.out()).unwrap();
        } else {
            fs_err::remove_file(task.out().join("manifest.json")).unwrap();
            let case = task.out().join(format!("cases/c{:02}", random.next_u64() % CASES));
            fs_err::remove_dir_all(case).unwrap();
        }
        let share = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let delay = whole_run.mul_f64(share);
        let running = killed_after(&task, delay);
        struck += usize::from(running);
        if !running && moment % 3 < 2 {
            // the run that was timed met a busier machine: aim at what a run takes now
            whole_run = whole_run.min(delay);
        }
        let (code, text) = task.process(&[]);
        assert_eq!(code, 0, "after {delay:?} of {whole_run:?}: {text}");
        let [converted, kept, failed] = task.counts();
        assert_eq!((converted + kept, failed), (CASES, 0), "after {delay:?}: {text}");
        let found = task.tree();
        let names =
            |tree: &std::collections::BTreeMap<String, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&whole), "after {delay:?} of {whole_run:?}");
        assert!(found == whole, "other bytes after a kill at {delay:?} of {whole_run:?}");
    }
    eprintln!("{struck} of {MOMENTS} kills met a running process; a whole run takes {whole_run:?}");
    assert!(struck >= MOMENTS / 3, "only {struck} of {MOMENTS} kills met a running process");
}

/// Whether the process was still there when it was killed.
fn killed_after(task: &Task, delay: Duration) -> bool {
    let mut child = task.command(&[]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    let running = child.try_wait().unwrap().is_none();
    if running {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    running
}
