//! A SLURM of one node on this machine, for a test: its own servers, ports, keys and files.

use rustix::process::{Pid, Signal, getuid, kill_process};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use test_peers::free_port;

/// Where `make test-slurm` unpacked SLURM; unset where SLURM is installed.
const UNPACKED: &str = "GTGM_SLURM";
/// Where administrators' programs are, which a user's PATH may lack.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];
/// Servers answer within seconds, also on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Lines of each log that a failure shows.
const SHOWN: usize = 25;

/// A controller, a node of two CPUs and two GPUs that are none, and the authentication between them. All of it and every job ends with the test, however
/// that ends; where it fails, the ends of all logs are shown.
pub(crate) struct Cluster {
    directory: TempDir,
    servers: Vec<Child>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let mut cluster = Self { directory: tempfile::tempdir().unwrap(), servers: Vec::new() };
        for folder in ["state", "spool"] {
            fs_err::create_dir(cluster.path(folder)).unwrap();
        }
        fs_err::write(cluster.configuration(), cluster.described()).unwrap();
        // GPUs to be asked for; nothing opens them
        fs_err::write(cluster.path("gres.conf"), "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
            .unwrap();
        let mut key = [0; 1024];
        fs_err::File::open("/dev/urandom").unwrap().read_exact(&mut key).unwrap();
        fs_err::write(cluster.path("munge.key"), key).unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        fs_err::set_permissions(cluster.path("munge.key"), private).unwrap();

        let mut munged = cluster.command("munged");
        // a folder that nobody else may enter is unusual for a socket, and meant
        munged.args(["--foreground", "--force", "--num-threads", "2"]);
        for (option, file) in [
            ("--socket", "munge.socket"),
            ("--key-file", "munge.key"),
            ("--seed-file", "munge.seed"),
            ("--pid-file", "munge.pid"),
            ("--log-file", "munge.log"),
        ] {
            munged.arg(option).arg(cluster.path(file));
        }
        cluster.serve("munged", munged);
        until("munged answers", STARTS_WITHIN, || cluster.path("munge.socket").exists());
        let mut controller = cluster.command("slurmctld");
        controller.args(["-D", "-c"]);
        cluster.serve("slurmctld", controller);
        let mut node = cluster.command("slurmd");
        node.args(["-D", "-N", &node_name()]);
        if let Some(unpacked) = unpacked() {
            node.arg("-d").arg(unpacked.join("bin/slurmstepd"));
        }
        cluster.serve("slurmd", node);
        until("the node is idle", STARTS_WITHIN, || {
            let output = cluster.command("sinfo").args(["--noheader", "--format=%T"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).trim() == "idle"
        });
        cluster
    }

    /// A command of SLURM for this cluster; none of the variables of a job in which the test itself may run.
    pub(crate) fn command(&self, name: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders: Vec<PathBuf> = unpacked().map(|unpacked| unpacked.join("bin")).into_iter().collect();
        folders.extend(std::env::split_paths(&path));
        folders.extend(SYSTEM.map(PathBuf::from));
        let program = folders.iter().map(|folder| folder.join(name)).find(|file| file.exists());
        let program = program.ok_or_else(|| format!("no {name} in PATH: make test-slurm finds one")).unwrap();
        let mut command = Command::new(program);
        alone(&mut command);
        command.env("PATH", std::env::join_paths(&folders).unwrap());
        command.env("SLURM_CONF", self.configuration());
        if let Some(unpacked) = unpacked() {
            let libraries = [unpacked.join("lib"), unpacked.join("plugins")];
            command.env("LD_LIBRARY_PATH", std::env::join_paths(libraries).unwrap());
        }
        command
    }

    /// Runs a command of SLURM, which succeeds, in the folder of the jobs; what it prints.
    #[track_caller]
    pub(crate) fn tells(&self, name: &str, words: &[&str]) -> String {
        let output: Output = self.command(name).args(words).current_dir(self.jobs()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} {words:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The folder of scripts and of what jobs write.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.path("jobs")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configuration(&self) -> PathBuf {
        self.path("slurm.conf")
    }

    fn serve(&mut self, name: &str, mut command: Command) {
        let log = fs_err::File::create(self.path(&format!("{name}.out"))).unwrap().into_parts().0;
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.servers.push(command.spawn().unwrap());
    }

    /// The text of slurm.conf: nothing of the system's is touched, and no rights are needed. A job that is queued again begins after seconds, for which
    /// credentials of the earlier one have to expire; one that is cancelled has ten seconds to end, which is less than SLURM's thirty.
    fn described(&self) -> String {
        let (node, user) = (node_name(), getuid().as_raw());
        let [state, spool, socket] = ["state", "spool", "munge.socket"].map(|name| self.path(name));
        let [state, spool, socket] = [&state, &spool, &socket].map(|path| path.display());
        let plugins =
            unpacked().map(|unpacked| format!("PluginDir={}\n", unpacked.join("plugins").display()));
        let plugins = plugins.unwrap_or_default();
        let [controller_id, node_id] = ["slurmctld.pid", "slurmd.pid"].map(|name| self.path(name));
        let (controller_id, node_id) = (controller_id.display(), node_id.display());
        let [controller_port, node_port] = [free_port(), free_port()];
        format!(
            "ClusterName=test\n\
             SlurmctldHost={node}(127.0.0.1)\n\
             SlurmctldPort={controller_port}\n\
             SlurmdPort={node_port}\n\
             SlurmUser={user}\n\
             SlurmdUser={user}\n\
             {plugins}\
             AuthType=auth/munge\n\
             AuthInfo=socket={socket},cred_expire=5\n\
             StateSaveLocation={state}\n\
             SlurmdSpoolDir={spool}\n\
             SlurmctldPidFile={controller_id}\n\
             SlurmdPidFile={node_id}\n\
             ProctrackType=proctrack/linuxproc\n\
             TaskPlugin=task/none\n\
             JobAcctGatherType=jobacct_gather/none\n\
             MpiDefault=none\n\
             SelectType=select/cons_tres\n\
             SelectTypeParameters=CR_CPU\n\
             SchedulerParameters=sched_interval=2,sched_min_interval=0\n\
             JobRequeue=1\n\
             KillWait=10\n\
             MinJobAge=600\n\
             ReturnToService=2\n\
             SlurmdParameters=config_overrides\n\
             GresTypes=gpu\n\
             NodeName={node} NodeAddr=127.0.0.1 CPUs=2 Gres=gpu:2 State=UNKNOWN\n\
             PartitionName=main Nodes={node} Default=YES MaxTime=INFINITE State=UP\n"
        )
    }

    /// Ends what carries this cluster's configuration in its environment: servers, what they started, and jobs, which are nobody's children.
    fn end(&mut self) {
        for server in self.servers.iter_mut().rev() {
            // it may have ended by itself
            let _ended = server.kill();
            let _reaped = server.wait();
        }
        let mark = [b"SLURM_CONF=", self.configuration().as_os_str().as_encoded_bytes()].concat();
        let is_ours = |process: &Path| {
            let environment = fs_err::read(process.join("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark)
        };
        let processes = fs_err::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        for process in processes.filter(|process| is_ours(process)) {
            let id = process.file_name().and_then(|name| name.to_str()?.parse().ok()).and_then(Pid::from_raw);
            // it may be gone by now
            let _sent = id.map(|id| kill_process(id, Signal::KILL));
        }
    }

    fn show_logs(&self) {
        let servers = ["munged", "slurmctld", "slurmd"].map(|name| self.path(&format!("{name}.out")));
        let jobs = fs_err::read_dir(self.jobs()).into_iter().flatten().flatten().map(|entry| entry.path());
        let jobs = jobs.filter(|file| file.extension().is_some_and(|extension| extension == "out"));
        for file in servers.into_iter().chain(jobs) {
            let text = fs_err::read(&file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
            let text = text.unwrap_or_else(|error| error.to_string());
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            eprintln!("--- {}\n{end}", file.display());
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        self.end();
    }
}

/// A job, by its number or `NUMBER_INDEX` in an array.
pub(crate) struct Job<'a> {
    cluster: &'a Cluster,
    id: String,
}

impl<'a> Job<'a> {
    /// Hands a script of the folder of jobs in.
    pub(crate) fn submit(cluster: &'a Cluster, options: &[&str], script: &str) -> Self {
        Self { cluster, id: cluster.tells("sbatch", &[&["--parsable"], options, &[script]].concat()) }
    }

    /// One of an array.
    pub(crate) fn indexed(&self, index: usize) -> Self {
        Self { cluster: self.cluster, id: format!("{}_{index}", self.id) }
    }

    /// What SLURM calls it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What SLURM keeps of it under this name, such as JobState.
    #[track_caller]
    pub(crate) fn kept(&self, name: &str) -> String {
        let told = self.cluster.tells("scontrol", &["--oneliner", "show", "job", &self.id]);
        let start = format!("{name}=");
        let value = told.split(' ').find_map(|member| member.strip_prefix(&start));
        value.ok_or_else(|| format!("no {name} in {told}")).unwrap().to_owned()
    }

    /// Waits until it has ended so.
    #[track_caller]
    pub(crate) fn ends(&self, state: &str, within: Duration) {
        let is_over = |state: &str| !matches!(state, "PENDING" | "RUNNING" | "COMPLETING");
        until("the job ends", within, || is_over(&self.kept("JobState")));
        assert_eq!(self.kept("JobState"), state, "job {}", self.id);
    }

    /// What it wrote on the screen.
    pub(crate) fn said(&self) -> String {
        fs_err::read_to_string(self.cluster.jobs().join(format!("slurm-{}.out", self.id))).unwrap_or_default()
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < within, "{what}: not within {} s", within.as_secs());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Takes the variables of launchers from a command's environment.
pub(crate) fn alone(command: &mut Command) {
    let launchers =
        ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_", "SLURM", "SBATCH_", "SRUN_", "OMPI_", "GLOO_"];
    for (name, _) in std::env::vars_os() {
        if launchers.iter().any(|start| name.as_encoded_bytes().starts_with(start.as_bytes())) {
            command.env_remove(name);
        }
    }
}

fn unpacked() -> Option<PathBuf> {
    std::env::var_os(UNPACKED).map(PathBuf::from)
}

/// This machine's name without its domain, which SLURM calls the node.
fn node_name() -> String {
    let whole = rustix::system::uname().nodename().to_string_lossy().into_owned();
    whole.split('.').next().unwrap_or("localhost").to_owned()
}
