//! A disk that fills up.

use crate::support::{Task, tree};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const CASES: usize = 8;
const SHAPE: [usize; 3] = [40, 40, 40];

/// Mounts a file system of $2 bytes at $1, lets the run ($6…) meet its end twice, gives it $3 bytes and lets it
/// finish. After each run, what it left goes to $4 and its exit code and messages to $5.
const SCRIPT: &str = r#"
place=$1 small=$2 large=$3 left=$4 said=$5
shift 5
mount -t tmpfs -o size="$small" none "$place" || exit 90
attempt() {
    code=0
    "$@" 2> "$said/$attempt.text" || code=$?
    echo "$code" > "$said/$attempt.code"
    cp -a "$place" "$left/$attempt"
}
attempt=1; attempt "$@"
attempt=2; attempt "$@"
mount -o remount,size="$large" none "$place" || exit 91
attempt=3; attempt "$@"
"#;

#[test]
fn a_full_disk_keeps_finished_cases_and_more_space_completes_them() {
    let Some(mut unshare) = own_mounts() else { return };
    let task = Task::made(CASES, SHAPE, incompressible);
    task.run_cleanly(&[]);
    let whole = task.tree();
    let of_case = |tree: &BTreeMap<String, Vec<u8>>, id: usize| -> BTreeMap<String, Vec<u8>> {
        let start = format!("cases/c{id:02}/");
        tree.iter()
            .filter(|(name, _)| name.starts_with(&start))
            .map(|(n, b)| (n.clone(), b.clone()))
            .collect()
    };

    // what is refused before the start is half of the uncompressed size; this is more than that and less than they need
    let needed: usize = whole.values().map(Vec::len).sum();
    let small = needed / 20 * 17;
    assert!(small > CASES * SHAPE.iter().product::<usize>() * 5 / 2, "{needed}");
    let [place, left, said] = [task.out(), task.file("left"), task.file("said")];
    fs_err::remove_dir_all(&place).unwrap();
    for directory in [&place, &left, &said] {
        fs_err::create_dir(directory).unwrap();
    }
    let run = task.command(&["--workers", "2"]);
    let status = unshare
        .args(["sh", "-euc", SCRIPT, "sh"])
        .args([place.as_os_str(), small.to_string().as_ref(), (4 * needed).to_string().as_ref()])
        .args([left.as_os_str(), said.as_os_str(), run.get_program()])
        .args(run.get_args())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");

    for attempt in [1, 2] {
        let (code, text) = heard(&said, attempt);
        assert_eq!(code, 1, "{text}");
        // the second is refused by what is free, or meets the end once more
        assert!(text.contains("E161 ") && text.contains("Free space"), "{text}");
        assert!(!text.contains("panicked") && !text.contains("E999"), "{text}");
        let found = tree(&left.join(attempt.to_string()));
        assert!(!found.contains_key("manifest.json"), "{:?}", found.keys());
        let ids = (0..CASES).filter(|id| !of_case(&found, *id).is_empty());
        let finished =
            ids.inspect(|id| assert!(of_case(&found, *id) == of_case(&whole, *id), "c{id:02} is torn"));
        let finished = finished.count();
        assert!((1..CASES).contains(&finished), "{finished} of {CASES} cases; {text}");
        // nothing half-written stays and keeps the space
        assert!(found.keys().all(|name| !name.contains(".tmp")), "{:?}", found.keys());
        eprintln!("attempt {attempt}: {finished} of {CASES} cases in {small} of {needed} bytes. {text}");
    }
    let (code, text) = heard(&said, 3);
    assert_eq!(code, 0, "{text}");
    let found = tree(&left.join("3"));
    assert_eq!(found.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    let changed: Vec<_> = found.keys().filter(|name| found[*name] != whole[*name]).collect();
    assert!(changed.is_empty(), "other bytes than on a large disk: {changed:?}");
}

/// `unshare` with a mount table of its own, which this test may change and which ends with the process.
fn own_mounts() -> Option<Command> {
    for arguments in [&["--mount"][..], &["--mount", "--map-root-user"]] {
        let mounts = "mount -t tmpfs -o size=64k none /mnt";
        let tried = Command::new("unshare").args(arguments).args(["sh", "-c", mounts]).output();
        if tried.is_ok_and(|output| output.status.success()) {
            let mut command = Command::new("unshare");
            command.args(arguments);
            return Some(command);
        }
    }
    eprintln!("skipped: mounting a small file system is not permitted here");
    None
}

fn heard(said: &Path, attempt: usize) -> (i32, String) {
    let read = |what: &str| fs_err::read_to_string(said.join(format!("{attempt}.{what}"))).unwrap();
    (read("code").trim().parse().unwrap(), read("text"))
}

/// Intensities with random mantissas, without any border that a crop would remove.
fn incompressible(seed: u64, shape_zyx: [usize; 3]) -> (Vec<f32>, Vec<u32>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..shape_zyx.iter().product::<usize>())
        .map(|_| {
            let bits = random.next_u32();
            ((bits >> 8) as f32 / 8192.0 - 900.0, bits % 3)
        })
        .unzip()
}
