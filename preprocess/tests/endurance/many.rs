//! Thousands of cases: memory stays flat, time grows with their number, every core works, somebody is told how long.

use crate::measured::{self, Measured};
use crate::support::Task;

/// As large as a cropped hippocampus: of smaller cases the kernel's writing, which is not counted as the program's, is a sixth.
const SHAPE: [usize; 3] = [56, 56, 56];
const FEW: usize = 200;
const MANY: usize = 2000;
/// What may be kept of a case until the run ends: its lines of table and manifest, some of them twice while they are written.
const BYTES_A_CASE: f64 = 5.0 * 1024.0;

#[test]
#[ignore = "two thousand cases; make test-long runs it alone, in release"]
fn two_thousand_cases_take_ten_times_two_hundred_and_no_more_memory() {
    let few = median(FEW, 3);
    let many = median(MANY, 1);
    let [few_s, many_s] = [&few, &many].map(|m| m.wall.as_secs_f64());
    let used = many.cpu.as_secs_f64() / many_s;
    let idle = many.idle.as_secs_f64() / many_s;
    let mib = |m: &Measured| m.peak as f64 / f64::from(1 << 20);
    eprintln!(
        "{FEW} cases: {few_s:.2} s, {:.1} MiB; {MANY} cases: {many_s:.2} s, {:.1} MiB, {:.0} % CPU, {:.0} % idle",
        mib(&few),
        mib(&many),
        100.0 * used,
        100.0 * idle
    );
    eprint!("{}", many.stderr);
    let grown = (many.peak as f64 - few.peak as f64) / (MANY - FEW) as f64;
    assert!(grown <= BYTES_A_CASE, "{grown:.0} bytes more for each case");
    let linear = MANY as f64 / FEW as f64;
    assert!(many_s <= 1.4 * linear * few_s, "time is not linear");
    let cpu = many.cpu.as_secs_f64() / few.cpu.as_secs_f64();
    assert!(cpu <= 1.4 * linear, "processor time is not linear: {cpu:.1} times");
    assert!(many.stderr.contains(&format!("cases {MANY}/{MANY} ")), "{}", many.stderr);
    if many_s > 4.0 {
        assert!(many.stderr.contains(" s left "), "no estimate in {many_s} s: {}", many.stderr);
    }
    if stage::limits::cores() == 2 {
        assert!(used > 1.8, "{:.0} % CPU, expected more than 180 %", 100.0 * used);
        assert!(idle < 0.2, "{:.0} % idle, expected two busy cores", 100.0 * idle);
    }
}

/// The run of median time.
fn median(count: usize, runs: usize) -> Measured {
    let task = Task::noise(count, SHAPE);
    let mut runs: Vec<Measured> = (0..runs)
        .map(|_| {
            if task.out().exists() {
                fs_err::remove_dir_all(task.out()).unwrap();
            }
            measured::run(&task, &["--workers", "2"])
        })
        .collect();
    runs.sort_by_key(|run| run.wall);
    runs.swap_remove(runs.len() / 2)
}
