//! What this process was granted: cores, memory, disk.

mod cgroup;

use crate::Message;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::Path;

/// Cores granted: `SLURM_CPUS_PER_TASK`, else `LSB_DJOB_NUMPROC`, as far as affinity and cgroup quota leave as many: LSF counts the cores of all machines
/// of a job, and a step of SLURM may be bound to fewer than its job has.
#[must_use]
pub fn cores() -> usize {
    let there = std::thread::available_parallelism().map_or(1, usize::from);
    granted_cores(|name| std::env::var(name).ok()).map_or(there, |granted| granted.min(there))
}

/// Cores for this process: those granted, shared with the other processes that a launcher started on this machine, unless the grant is each one's own,
/// as that of SLURM is for what it starts itself.
#[must_use]
pub fn own_cores() -> usize {
    share_of(cores(), |name| std::env::var(name).ok())
}

/// Variables by which launchers say how many processes they started on this machine: torchrun, Open MPI, and MPICH and Intel MPI.
const NEIGHBOURS: [&str; 3] = ["LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

fn share_of(cores: usize, variable: impl Fn(&str) -> Option<String>) -> usize {
    // a task of SLURM that is torchrun shares its grant among the processes that it starts
    let own_grant = variable("SLURM_CPUS_PER_TASK").is_some() && variable("TORCHELASTIC_RUN_ID").is_none();
    let local = NEIGHBOURS.iter().find_map(|name| variable(name)?.parse::<usize>().ok()).unwrap_or(1);
    if own_grant { cores } else { (cores / local.max(1)).max(1) }
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
    let by = GRANTS.iter().find(|name| granted_by(name, &variable) == Some(used));
    let by = by.copied().unwrap_or("affinity or cgroup");
    (used != machine && machine > 0).then(|| {
        Message::info(
            "I310",
            format!("using {} ({by}); node has {machine}", crate::message::counted(used, "CPU")),
        )
    })
}

/// Memory that this process may use, in bytes: the least of the machine's available memory, the limits of the control groups that this process is in,
/// what `ulimit -v` and `-d` leave it, and what SLURM says that it granted, whether or not it enforces that. `None` where nobody tells.
#[must_use]
pub fn memory_bytes() -> Option<u64> {
    let available = field_kib("/proc/meminfo", "MemAvailable:");
    let bounds =
        [available, cgroup::memory_limit(), granted_memory(|name| std::env::var(name).ok(), cores())];
    bounds.into_iter().chain(left_by_limits()).flatten().min()
}

/// Starts the pool of threads that all computation outside of LibTorch shares: one for each core granted, which rayon would not ask for.
///
/// # Errors
/// When threads cannot be started, or the pool was already.
pub(crate) fn start_pool() -> Result<(), rayon::ThreadPoolBuildError> {
    let threads = pool_threads(|name| std::env::var(name).ok(), own_cores());
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
}

/// 0 where rayon's own variable says how many.
fn pool_threads(variable: impl Fn(&str) -> Option<String>, cores: usize) -> usize {
    if variable("RAYON_NUM_THREADS").is_some() { 0 } else { cores }
}

/// Bytes that SLURM granted on this machine; it says 0 for all of them.
fn granted_memory(variable: impl Fn(&str) -> Option<String>, cores: usize) -> Option<u64> {
    let mib = |name: &str| variable(name)?.parse::<u64>().ok().filter(|mib| *mib > 0);
    let per_core = || Some(mib("SLURM_MEM_PER_CPU")?.saturating_mul(cores as u64));
    Some(mib("SLURM_MEM_PER_NODE").or_else(per_core)?.saturating_mul(1 << 20))
}

/// Bytes by which address space and data of this process may still grow.
fn left_by_limits() -> [Option<u64>; 2] {
    [(Resource::As, "VmSize:"), (Resource::Data, "VmData:")].map(|(resource, used)| {
        let limit = getrlimit(resource).current?;
        Some(limit.saturating_sub(field_kib("/proc/self/status", used)?))
    })
}

/// Lets this process have as many files open as it may: shells are given few, for programs that could not count further.
pub(crate) fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // refused, the limit stays what it was
    let _stays = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How many files this process may have open.
#[must_use]
pub fn open_files() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
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
    fn processes_of_a_machine_share_its_cores() {
        let set = |wanted: &'static [(&'static str, &'static str)]| {
            move |name: &str| wanted.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        };
        assert_eq!(share_of(8, set(&[])), 8);
        assert_eq!(share_of(8, set(&[("LOCAL_WORLD_SIZE", "3")])), 2);
        assert_eq!(share_of(2, set(&[("LOCAL_WORLD_SIZE", "4")])), 1);
        assert_eq!(share_of(8, set(&[("OMPI_COMM_WORLD_LOCAL_SIZE", "4")])), 2);
        assert_eq!(share_of(8, set(&[("MPI_LOCALNRANKS", "2")])), 4);
        // each a task of SLURM's, and all in one task
        assert_eq!(share_of(4, set(&[("LOCAL_WORLD_SIZE", "2"), ("SLURM_CPUS_PER_TASK", "4")])), 4);
        let torchrun =
            [("LOCAL_WORLD_SIZE", "2"), ("SLURM_CPUS_PER_TASK", "4"), ("TORCHELASTIC_RUN_ID", "none")];
        assert_eq!(
            share_of(4, |name| torchrun
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, v)| (*v).to_owned())),
            2
        );
    }

    #[test]
    fn memory_that_slurm_granted_counts() {
        let granted = |name: &'static str, mib: &'static str| {
            granted_memory(move |asked| (asked == name).then(|| mib.to_owned()), 4)
        };
        assert_eq!(granted("SLURM_MEM_PER_NODE", "1000"), Some(1000 << 20));
        assert_eq!(granted("SLURM_MEM_PER_CPU", "1000"), Some(4000 << 20));
        assert_eq!((granted("SLURM_MEM_PER_NODE", "0"), granted("HOME", "7")), (None, None));
    }

    #[test]
    fn a_grant_smaller_than_the_node_is_said() {
        let slurm = |name: &str| (name == "SLURM_CPUS_PER_TASK").then(|| "4".to_owned());
        let said = of_grant(slurm, 4, 192).unwrap().to_string();
        assert!(said.contains("I310 using 4 CPUs (SLURM_CPUS_PER_TASK); node has 192"), "{said}");
        assert!(of_grant(|_| None, 2, 8).unwrap().to_string().contains("(affinity or cgroup)"));
        assert!(
            of_grant(slurm, 2, 8).unwrap().to_string().contains("(affinity or cgroup)"),
            "it grants more"
        );
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
