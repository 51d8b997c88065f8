//! The memory limit of the control groups that this process is in, as jobs of SLURM and containers set it (cgroups(7)).

use std::path::{Component, Path, PathBuf};

/// Where control groups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The least limit of this process's group and those above it, in bytes; none without one.
pub(super) fn memory_limit() -> Option<u64> {
    let groups = fs_err::read_to_string("/proc/self/cgroup").ok()?;
    least(&groups, |path| fs_err::read_to_string(path).ok())
}

/// `groups`: lines `hierarchy:controllers:path`; the second version's names no controllers.
fn least(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    groups.lines().flat_map(files).filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

/// Files with the limits of a line's group and of those above it.
fn files(line: &str) -> Vec<PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { return Vec::new() };
    let (root, name) = match controllers {
        "" => (PathBuf::from(MOUNT), "memory.max"),
        _ if controllers.split(',').any(|controller| controller == "memory") => {
            (Path::new(MOUNT).join("memory"), "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let group = Path::new(group.trim_start_matches('/'));
    // a group outside of a container's own shows as a path that climbs out of the mount, where nothing can be read
    let group =
        if group.components().any(|part| part == Component::ParentDir) { Path::new("") } else { group };
    group.ancestors().map(|group| root.join(group).join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        least(groups, |path| {
            let found = files.iter().find(|(file, _)| Path::new(MOUNT).join(file) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let job = "system.slice/slurmstepd.scope/job_7";
        let step = format!("{job}/step_0/user/task_0/memory.max");
        let job = format!("{job}/memory.max");
        let groups = "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_0\n";
        assert_eq!(
            limit(groups, &[(&step, "max\n"), (&job, "8000\n"), ("memory.max", "9000\n")]),
            Some(8000)
        );
        assert_eq!(limit(groups, &[(&step, "max\n"), (&job, "max\n")]), None);
        // as a container sees itself
        assert_eq!(limit("0::/\n", &[("memory.max", "7\n")]), Some(7));
        assert_eq!(
            limit("0::/../other\n", &[("memory.max", "7\n"), ("../other/memory.max", "1\n")]),
            Some(7)
        );
    }

    #[test]
    fn groups_of_the_first_version_are_read_where_memory_is() {
        let groups = "9:name=systemd:/\n4:cpu,memory:/slurm/uid_1/job_7\n3:cpuset:/other\n0::/\n";
        let files = [
            ("memory/slurm/uid_1/job_7/memory.limit_in_bytes", "5000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("other/memory.max", "1\n"),
        ];
        assert_eq!(limit(groups, &files), Some(5000));
        // the group's path is the host's, and the mount is the container's
        assert_eq!(limit(groups, &files[1..]), Some(9_223_372_036_854_771_712));
        assert_eq!(limit("torn", &files), None);
    }
}
