//! What this process was granted: cores, memory, disk.

mod cgroup;

use crate::Message;
use std::io;
use std::path::Path;

/// Cores granted: `SLURM_CPUS_PER_TASK`, else `LSB_DJOB_NUMPROC`, else affinity and cgroup quota.
#[must_use]
pub fn cores() -> usize {
    granted_cores(|name| std::env::var(name).ok())
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// By whom cores are granted, the first that says so.
const GRANTS: [&str; 2] = ["SLURM_CPUS_PER_TASK", "LSB_DJOB_NUMPROC"];

fn granted_cores(variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    GRANTS.iter().find_map(|name| granted_by(name, &variable))
}

fn granted_by(name: &str, variable: impl Fn(&str) -> Option<String>) -> Option<usize> {
    // Slurm writes "24(x2)" for equal grants on several nodes
    variable(name)?.split('(').next()?.trim().parse().ok().filter(|n| *n > 0)
}

/// Whether an error's text says that a device or this machine has no memory left, as LibTorch and its allocators put it.
#[must_use]
pub fn is_out_of_memory(text: &str) -> bool {
    // the last two are cuBLAS's and cuDNN's, which look for room of their own
    let words = [
        "out of memory",
        "not enough memory",
        "can't allocate memory",
        "ALLOC_FAILED",
        "unable to find an engine",
    ];
    words.iter().any(|words| text.contains(words))
}

/// Says how many cores are used where the machine has more (I310).
#[must_use]
pub fn grant_message() -> Option<Message> {
    let machine = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    let machine = machine.lines().filter(|line| line.starts_with("processor")).count();
    of_grant(|name| std::env::var(name).ok(), cores(), machine)
}

fn of_grant(variable: impl Fn(&str) -> Option<String>, used: usize, machine: usize) -> Option<Message> {
    let by = GRANTS.iter().find(|name| granted_by(name, &variable).is_some());
    let by = by.copied().unwrap_or("affinity or cgroup");
    (used != machine && machine > 0).then(|| {
        Message::info(
            "I310",
            format!("using {} ({by}); node has {machine}", crate::message::counted(used, "CPU")),
        )
    })
}

/// Memory that this process may use, in bytes: the machine's available memory, or the limit of a control group that this process is in, where
/// smaller. `None` where the system does not tell.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let available = field_kib("/proc/meminfo", "MemAvailable:");
    available.into_iter().chain(cgroup::memory_limit()).min()
}

/// Starts the pool of threads that all computation outside of LibTorch shares: one for each core granted, which rayon would not ask for.
///
/// # Errors
/// When threads cannot be started, or the pool was already.
pub(crate) fn start_pool() -> Result<(), rayon::ThreadPoolBuildError> {
    let threads = pool_threads(|name| std::env::var(name).ok(), cores());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
}

/// 0 where rayon's own variable says how many.
fn pool_threads(variable: impl Fn(&str) -> Option<String>, cores: usize) -> usize {
    if variable("RAYON_NUM_THREADS").is_some() { 0 } else { cores }
}

fn field_kib(path: &str, key: &str) -> Option<u64> {
    let text = fs_err::read_to_string(path).ok()?;
    let line = text.lines().find(|l| l.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Resident memory of this process now, in bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    field_kib("/proc/self/status", "VmRSS:")
}

/// Largest resident memory of this process so far, in bytes.
#[must_use]
pub fn peak_resident_bytes() -> Option<u64> {
    field_kib("/proc/self/status", "VmHWM:")
}

/// Bytes that an ordinary user may still write below `path`; the nearest existing ancestor is asked.
///
/// # Errors
/// Fails when no ancestor can be asked.
pub fn free_disk_bytes(path: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(path)?;
    let existing = absolute.ancestors().find(|p| p.exists()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("no part of {} exists", path.display()))
    })?;
    let stat = rustix::fs::statvfs(existing)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Bytes for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slurm_grants_win() {
        let slurm = |name: &str| (name == "SLURM_CPUS_PER_TASK").then(|| "24(x2)".to_owned());
        assert_eq!(granted_cores(slurm), Some(24));
        assert_eq!(granted_cores(|_| None), None);
        assert!(cores() >= 1);
    }

    #[test]
    fn a_grant_smaller_than_the_node_is_said() {
        let slurm = |name: &str| (name == "SLURM_CPUS_PER_TASK").then(|| "4".to_owned());
        let said = of_grant(slurm, 4, 192).unwrap().to_string();
        assert!(said.contains("I310 using 4 CPUs (SLURM_CPUS_PER_TASK); node has 192"), "{said}");
        assert!(of_grant(|_| None, 2, 8).unwrap().to_string().contains("(affinity or cgroup)"));
        assert!(of_grant(|_| None, 8, 8).is_none());
    }

    #[test]
    fn the_pool_has_the_cores_granted_or_what_its_own_variable_says() {
        assert_eq!(pool_threads(|_| None, 4), 4);
        assert_eq!(pool_threads(|name| (name == "RAYON_NUM_THREADS").then(|| "2".to_owned()), 4), 0);
    }

    #[test]
    fn this_process_has_memory_and_disk() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(memory_bytes().unwrap() > 1 << 20);
        assert!(free_disk_bytes(Path::new("not/there/yet")).unwrap() > 0);
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!((size(1 << 19), size(3 << 29)), ("0.5 MiB".to_owned(), "1.5 GiB".to_owned()));
    }
}
