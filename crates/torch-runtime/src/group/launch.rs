//! Which process of how many this is: what torchrun, SLURM or Open MPI say in the environment.

use super::error::GroupError;
use std::env;
use std::net::IpAddr;

/// This process's place in a data-parallel run, and where rank 0 is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Number of this process, from 0.
    pub rank: usize,
    /// Number of processes.
    pub size: usize,
    /// Number of this process on its machine, from 0: the index of its GPU.
    pub local_rank: usize,
    /// Host name or address of rank 0.
    pub master: String,
    /// The TCP port on which rank 0 listens.
    pub port: u16,
    /// The network that this process uses.
    pub network: Network,
    /// Whether the launcher serves the store on that port in rank 0's place, as torchrun may, and the number of the
    /// attempt, which it raises at every restart.
    pub launcher_store: Option<u64>,
}

/// The address to which a process binds: where rank 0 listens, and over which Gloo connects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// The loopback address when rank 0's host is one. Otherwise rank 0 listens on its own address when the host is
    /// given as a number, on all interfaces when it is a name; Gloo uses the address of this machine's name.
    #[default]
    Auto,
    /// This host name or address of this machine, for both.
    Host(String),
    /// Gloo uses this interface, e.g. `eth0`; rank 0 listens as for `Auto`.
    Interface(String),
}

type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Launch {
    /// Reads the variables of torchrun (`RANK`, `WORLD_SIZE`, `LOCAL_RANK`, `MASTER_ADDR`, `MASTER_PORT`); where the first
    /// three are absent, those of a step of SLURM (`SLURM_PROCID`, `SLURM_STEP_NUM_TASKS`, `SLURM_LOCALID`) or of
    /// Open MPI (`OMPI_COMM_WORLD_RANK`, `…_SIZE`, `…_LOCAL_RANK`) take their place, and a single task of theirs is no group.
    /// `GLOO_SOCKET_IFNAME` becomes [`Network::Interface`].
    ///
    /// `None` means a single process.
    ///
    /// # Errors
    /// When some of the variables are set and others not, or they contradict each other (E330).
    pub fn from_environment() -> Result<Option<Self>, GroupError> {
        Self::read(&|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(get: Read) -> Result<Option<Self>, GroupError> {
        let names = ["RANK", "WORLD_SIZE", "LOCAL_RANK"];
        let slurm = ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"];
        let mpi = ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"];
        let set = |names: &[&'static str]| names.iter().copied().find(|name| get(name).is_some());
        if let Some(one) = set(&names) {
            return Self::complete(get, names, one).map(Some);
        }
        // Open MPI first: mpirun inside a SLURM job sets both, and its numbers are the finer ones.
        // What sbatch starts is number 0 of SLURM, too, and SLURM_NTASKS, where it is set, is the number of tasks that the job may start: only
        // srun's are a step, whose number of tasks tells them apart.
        for (names, sign) in [(mpi, mpi[0]), (slurm, slurm[1])] {
            let Some(one) = set(&[sign]) else { continue };
            if number(get, names[1], one)? == 1 {
                return Ok(None);
            }
            return Self::complete(get, names, one).map(Some);
        }
        match set(&["MASTER_ADDR", "MASTER_PORT"]) {
            Some(one) => Err(absent("RANK", one)),
            None => Ok(None),
        }
    }

    fn complete(
        get: Read,
        [rank, size, local]: [&'static str; 3],
        one: &'static str,
    ) -> Result<Self, GroupError> {
        let launch = Self {
            rank: number(get, rank, one)?,
            size: number(get, size, one)?,
            local_rank: number(get, local, one)?,
            master: get("MASTER_ADDR").ok_or_else(|| absent("MASTER_ADDR", one))?,
            port: {
                let port = number(get, "MASTER_PORT", one)?;
                u16::try_from(port).ok().filter(|port| *port > 0).ok_or_else(|| {
                    contradiction(
                        "MASTER_PORT",
                        port,
                        "a TCP port from 1 to 65535",
                        "Set MASTER_PORT, e.g. to 29500",
                    )
                })?
            },
            network: get("GLOO_SOCKET_IFNAME").map_or(Network::Auto, Network::Interface),
            launcher_store: (get("TORCHELASTIC_USE_AGENT_STORE").as_deref() == Some("True"))
                .then(|| number(get, "TORCHELASTIC_RESTART_COUNT", one))
                .transpose()?
                .map(|attempt| attempt as u64),
        };
        let relaunch = "Let the launcher set them, or set them alike in all processes";
        if launch.size == 0 {
            return Err(contradiction(size, 0, "at least 1", relaunch));
        }
        let below = |bound: &str, size: usize| format!("below {bound}={size}");
        if launch.rank >= launch.size {
            return Err(contradiction(rank, launch.rank, below(size, launch.size), relaunch));
        }
        if launch.local_rank >= launch.size {
            return Err(contradiction(local, launch.local_rank, below(size, launch.size), relaunch));
        }
        if let Some(local_size) = get("LOCAL_WORLD_SIZE").and_then(|text| text.parse().ok())
            && local == "LOCAL_RANK"
            && launch.local_rank >= local_size
        {
            let expected = below("LOCAL_WORLD_SIZE", local_size);
            return Err(contradiction(local, launch.local_rank, expected, relaunch));
        }
        Ok(launch)
    }

    /// The same place with another network.
    #[must_use]
    pub fn on(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Whether rank 0 is on this machine and no other can be part of the run.
    pub(super) fn is_local(&self) -> bool {
        self.master == "localhost" || self.master.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// `host:port` of rank 0.
    pub(super) fn address(&self) -> String {
        join(&self.master, self.port)
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn number(get: Read, name: &'static str, one: &'static str) -> Result<usize, GroupError> {
    let text = get(name).ok_or_else(|| absent(name, one))?;
    text.trim().parse().map_err(|_| GroupError::Launch {
        variable: name,
        found: format!("{text:?}"),
        expected: "a number from 0".to_owned(),
        fix: format!("Correct {name} or unset it"),
    })
}

fn absent(variable: &'static str, one: &'static str) -> GroupError {
    let fix = if matches!(variable, "MASTER_ADDR" | "MASTER_PORT") && one.starts_with("SLURM") {
        "Before srun: export MASTER_ADDR=$(scontrol show hostnames \"$SLURM_JOB_NODELIST\" | head -n 1) \
         MASTER_PORT=29500. For a single process: srun --ntasks=1, or unset SLURM_STEP_NUM_TASKS"
            .to_owned()
    } else if matches!(variable, "MASTER_ADDR" | "MASTER_PORT") {
        "Set MASTER_ADDR to rank 0's host and MASTER_PORT to a free port there, alike in all processes"
            .to_owned()
    } else {
        format!("Start by torchrun, srun or mpirun, or set {variable} too; for a single process unset {one}")
    };
    GroupError::Launch {
        variable,
        found: "not set".to_owned(),
        expected: format!("a value, as {one} is set"),
        fix,
    }
}

fn contradiction(
    variable: &'static str,
    found: usize,
    expected: impl Into<String>,
    fix: impl Into<String>,
) -> GroupError {
    GroupError::Launch { variable, found: found.to_string(), expected: expected.into(), fix: fix.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Launch>, GroupError> {
        Launch::read(&|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    const COMPLETE: [(&str, &str); 5] = [
        ("RANK", "3"),
        ("WORLD_SIZE", "4"),
        ("LOCAL_RANK", "1"),
        ("MASTER_ADDR", "node7"),
        ("MASTER_PORT", "29500"),
    ];

    fn changed(name: &str, value: Option<&str>) -> String {
        let pairs: Vec<_> = COMPLETE
            .into_iter()
            .filter_map(|(known, old)| Some((known, if known == name { value? } else { old })))
            .collect();
        read(&pairs).unwrap_err().to_string()
    }

    #[test]
    fn nothing_set_is_a_single_process() {
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(
            read(&[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1"), ("SLURM_LOCALID", "0")]).unwrap(),
            None
        );
        assert_eq!(read(&[("SLURM_NTASKS", "4")]).unwrap(), None);
        // a batch script's own process, without and with --ntasks
        let batch = [("SLURM_PROCID", "0"), ("SLURM_LOCALID", "0"), ("SLURM_NTASKS", "2")];
        assert_eq!(read(&batch[..2]).unwrap(), None);
        assert_eq!(read(&batch).unwrap(), None);
    }

    #[test]
    fn launchers_are_understood() {
        let torchrun = read(&COMPLETE).unwrap().unwrap();
        assert_eq!((torchrun.rank, torchrun.size, torchrun.local_rank), (3, 4, 1));
        assert_eq!(torchrun.address(), "node7:29500");
        assert_eq!(torchrun.network, Network::Auto);
        assert_eq!(torchrun.launcher_store, None);
        let names = ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"];
        let slurm = [(names[0], "3"), (names[1], "4"), (names[2], "1"), COMPLETE[3], COMPLETE[4]];
        assert_eq!(read(&slurm).unwrap().unwrap(), torchrun);
        let names = ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"];
        let mpi = [(names[0], "3"), (names[1], "4"), (names[2], "1"), COMPLETE[3], COMPLETE[4]];
        assert_eq!(read(&mpi).unwrap().unwrap(), torchrun);
        // torchrun inside srun: torchrun counts.
        let both: Vec<_> =
            COMPLETE.into_iter().chain([("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]).collect();
        assert_eq!(read(&both).unwrap().unwrap(), torchrun);
    }

    #[test]
    fn the_launcher_may_serve_the_store() {
        let agent = [("TORCHELASTIC_USE_AGENT_STORE", "True"), ("TORCHELASTIC_RESTART_COUNT", "2")];
        let pairs: Vec<_> = COMPLETE.into_iter().chain(agent).collect();
        assert_eq!(read(&pairs).unwrap().unwrap().launcher_store, Some(2));
    }

    #[test]
    fn a_missing_variable_is_named_with_the_remedy() {
        for name in ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"] {
            let text = changed(name, None);
            assert!(text.starts_with(&format!("{name} is not set, expected a value")), "{text}");
        }
        let step = [("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_LOCALID", "0")];
        let text = read(&step).unwrap_err();
        assert!(text.to_string().contains("export MASTER_ADDR=$(scontrol"), "{text}");
        let text = read(&[("MASTER_ADDR", "node7")]).unwrap_err().to_string();
        assert!(text.contains("RANK is not set") && text.contains("unset MASTER_ADDR"), "{text}");
    }

    #[test]
    fn contradictions_are_named_with_both_values() {
        let text = changed("RANK", Some("4"));
        assert!(text.contains("RANK is 4, expected below WORLD_SIZE=4"), "{text}");
        assert!(changed("WORLD_SIZE", Some("0")).contains("WORLD_SIZE is 0, expected at least 1"));
        assert!(changed("LOCAL_RANK", Some("4")).contains("LOCAL_RANK is 4, expected below WORLD_SIZE=4"));
        assert!(changed("MASTER_PORT", Some("70000")).contains("1 to 65535"));
        let text = changed("RANK", Some("one"));
        assert!(text.contains("RANK is \"one\", expected a number from 0"), "{text}");
    }

    #[test]
    fn only_loopback_hosts_are_local() {
        let at = |master: &str| Launch { master: master.to_owned(), ..read(&COMPLETE).unwrap().unwrap() };
        assert!(at("localhost").is_local() && at("127.0.0.1").is_local() && at("::1").is_local());
        assert!(!at("10.0.0.1").is_local() && !at("node7").is_local());
        assert_eq!(at("::1").address(), "[::1]:29500");
    }
}
