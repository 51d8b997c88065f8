//! Joining: where rank 0 listens, and who is there.

use super::error::GroupError;
use super::ffi::{Bind, Store};
use super::launch::{Launch, Network, join};
use std::io;
use std::net::{IpAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long rank 0 keeps the store up after a failure, so that the others can still read who failed.
const LINGER: Duration = Duration::from_millis(400);
/// The longest pause between two looks at the store.
const PAUSE: Duration = Duration::from_millis(100);

/// The key under which a rank says that a collective failed.
const FAILURE: &str = "failure";

/// The ranks' notice board: keys that each of them sets when it has come somewhere.
pub(super) struct Board {
    store: Store,
    rank: usize,
    size: usize,
    /// Whether the store ends with this process.
    serves: bool,
}

/// See [`stop_waiting_when`].
static STOP: OnceLock<fn() -> bool> = OnceLock::new();

/// Says how to know that the process was asked to stop, as signals are for all of it: joining the others and comparing with them end early
/// then. What was said first holds.
pub fn stop_waiting_when(asked: fn() -> bool) {
    let _first = STOP.set(asked);
}

fn stop_asked() -> bool {
    STOP.get().is_some_and(|asked| asked())
}

impl Board {
    /// Opens the store, on rank 0 serving it, and waits until every rank is there.
    pub(super) fn open(launch: &Launch, timeout: Duration) -> Result<Self, GroupError> {
        let started = Instant::now();
        let (rank, size) = (launch.rank, launch.size);
        let serves = rank == 0 && launch.launcher_store.is_none();
        let listener = if serves { Some(listen(launch)?) } else { None };
        let host = match listener.as_ref().and_then(|listener| listener.local_addr().ok()) {
            Some(own) if !own.ip().is_unspecified() => own.ip().to_string(),
            Some(_) => "127.0.0.1".to_owned(),
            None => loopback(launch).map_or_else(|| launch.master.clone(), |address| address.to_string()),
        };
        let prefix = match launch.launcher_store {
            Some(attempt) => format!("/worker/attempt_{attempt}"),
            None => "group".to_owned(),
        };
        let no_store =
            |reason| GroupError::NoStore { rank, size, address: launch.address(), timeout, reason };
        if !serves {
            knock(&host, launch.port, started + timeout).map_err(|error| no_store(error.to_string()))?;
        }
        let left = timeout.saturating_sub(started.elapsed());
        let store = Store::open(&host, launch.port, listener, left, &prefix).map_err(no_store)?;
        let board = Self { store, rank, size, serves };
        if board.store.has(&key("joined", rank)).unwrap_or(false) {
            return Err(contradiction("RANK", format!("{rank} in two processes"), "another number in each"));
        }
        board.wait_for_all("joined", size as u64, started + timeout).map_err(|missing| {
            GroupError::Missing { rank, size, missing, what: launch.address(), waited: started.elapsed() }
        })?;
        for other in 0..size {
            let theirs = board.read::<8>("joined", other).map(u64::from_le_bytes);
            if theirs.as_ref().is_ok_and(|theirs| *theirs != size as u64) {
                let found = format!("{size} in rank {rank}, {} in rank {other}", theirs.unwrap_or_default());
                board.linger();
                return Err(contradiction("WORLD_SIZE", found, "the same number in all processes"));
            }
        }
        Ok(board)
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Says under `name` that this rank has come there, with eight bytes for the others.
    fn say(&self, name: &str, value: u64) -> Result<(), String> {
        self.store.set(&key(name, self.rank), &value.to_le_bytes())
    }

    /// Leaves bytes for the other ranks under `name`.
    pub(super) fn write(&self, name: &str, value: &[u8]) -> Result<(), String> {
        self.store.set(&key(name, self.rank), value)
    }

    /// What `rank` has left under `name`.
    pub(super) fn read<const N: usize>(&self, name: &str, rank: usize) -> Result<[u8; N], String> {
        self.store.get(&key(name, rank))
    }

    /// Says `name` and waits until every rank has; otherwise the ranks that have not at `deadline`, or when another
    /// rank gave up.
    pub(super) fn wait_for_all(&self, name: &str, value: u64, deadline: Instant) -> Result<(), Vec<usize>> {
        let given_up = format!("{name}/given-up");
        // Whoever cannot reach the store has lost the process that serves it.
        let lost = |_| vec![0];
        self.say(name, value).map_err(lost)?;
        let stop = || stop_asked() || self.store.has(&given_up).unwrap_or(false);
        self.look_for_all(name, deadline, stop).inspect_err(|_| {
            // The others find out at once and name the same ranks; where even this fails, no one is left to read it.
            drop(self.store.set(&given_up, &[1]));
            self.linger();
        })
    }

    /// Says `name` and waits for the others to do so, but no longer than `time`.
    pub(super) fn note(&self, name: &str, time: Duration) -> Result<(), Vec<usize>> {
        self.say(name, 0).map_err(|_| vec![0])?;
        if time.is_zero() { Ok(()) } else { self.look_for_all(name, Instant::now() + time, || false) }
    }

    /// Says that this rank has failed and returns those that do not say so within `grace`: they ended or hang.
    pub(super) fn roll_call(&self, grace: Duration) -> Vec<usize> {
        let deadline = Instant::now() + grace;
        // Those who wait for someone else look here. Where it fails, no one can read it.
        drop(self.store.set(FAILURE, &(self.rank as u64).to_le_bytes()));
        let silent = match self.say("failed", 0) {
            Ok(()) => self.look_for_all("failed", deadline, || false).err().unwrap_or_default(),
            Err(_) => vec![0],
        };
        self.linger();
        silent
    }

    /// The rank that last said that it failed.
    pub(super) fn failure(&self) -> Option<u64> {
        let there = self.store.has(FAILURE).unwrap_or(false);
        there.then(|| self.store.get(FAILURE).ok()).flatten().map(u64::from_le_bytes)
    }

    fn look_for_all(&self, name: &str, deadline: Instant, stop: impl Fn() -> bool) -> Result<(), Vec<usize>> {
        let mut missing: Vec<usize> = (0..self.size).collect();
        let mut pause = Duration::from_millis(1);
        loop {
            let mut reached = true;
            missing.retain(|rank| {
                let there = self.store.has(&key(name, *rank));
                reached &= there.is_ok();
                !there.unwrap_or(false)
            });
            if missing.is_empty() {
                return Ok(());
            }
            if !reached {
                // The store went with rank 0. Who is missing beside it cannot be known any more.
                return Err(if missing.contains(&0) { vec![0] } else { missing });
            }
            if Instant::now() >= deadline || stop() {
                return Err(missing);
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }

    /// Keeps the store up a little longer where this process serves it.
    pub(super) fn linger(&self) {
        if self.serves && self.size > 1 {
            sleep(LINGER);
        }
    }
}

fn key(name: &str, rank: usize) -> String {
    format!("{name}/{rank}")
}

fn contradiction(variable: &'static str, found: String, expected: &str) -> GroupError {
    GroupError::Launch {
        variable,
        found,
        expected: expected.to_owned(),
        fix: "Let the launcher set the variables, and give each run its own MASTER_PORT".to_owned(),
    }
}

/// The address of rank 0 when it is this machine's loopback.
fn loopback(launch: &Launch) -> Option<IpAddr> {
    match launch.master.parse::<IpAddr>() {
        Ok(address) => Some(address).filter(IpAddr::is_loopback),
        Err(_) => launch.is_local().then_some(IpAddr::from([127, 0, 0, 1])),
    }
}

/// The address to which Gloo binds.
pub(super) fn gloo_address(launch: &Launch) -> (Option<String>, Option<String>) {
    match &launch.network {
        Network::Host(host) => (Some(host.clone()), None),
        Network::Interface(interface) => (None, Some(interface.clone())),
        Network::Auto => (loopback(launch).map(|address| address.to_string()), None),
    }
}

impl<'a> Bind<'a> {
    /// From a host or an interface.
    pub(super) fn from_parts(parts: &'a (Option<String>, Option<String>)) -> Self {
        match parts {
            (Some(host), _) => Self::Host(host),
            (None, Some(interface)) => Self::Interface(interface),
            (None, None) => Self::Name,
        }
    }
}

/// Waits until something listens at host:port. LibTorch's own waiting may take twice the time-out.
fn knock(host: &str, port: u16, deadline: Instant) -> io::Result<()> {
    let mut pause = Duration::from_millis(10);
    loop {
        let outcome = (host, port).to_socket_addrs().and_then(|addresses| {
            let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for address in addresses {
                let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
                match TcpStream::connect_timeout(&address, left) {
                    Ok(_) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            Err(last)
        });
        if outcome.is_ok() || Instant::now() >= deadline || stop_asked() {
            return outcome;
        }
        sleep(pause);
        pause = (pause * 2).min(5 * PAUSE);
    }
}

/// Listens for the other ranks.
fn listen(launch: &Launch) -> Result<TcpListener, GroupError> {
    let port = launch.port;
    let everywhere = || TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)));
    let numeric = launch.master.parse::<IpAddr>().ok().or_else(|| loopback(launch));
    let (address, listener) = match (&launch.network, numeric) {
        (Network::Host(host), _) => (join(host, port), TcpListener::bind((host.as_str(), port))),
        (_, Some(address)) => {
            let bound = TcpListener::bind((address, port)).or_else(|error| {
                // The address belongs to a router or load balancer before this machine.
                if error.kind() == io::ErrorKind::AddrNotAvailable { everywhere() } else { Err(error) }
            });
            (launch.address(), bound)
        }
        _ => (format!("port {port}"), everywhere()),
    };
    listener.map_err(|error| GroupError::Listen {
        address,
        reason: error.to_string(),
        fix: match error.kind() {
            io::ErrorKind::AddrInUse => "Another run uses this port: choose another MASTER_PORT",
            io::ErrorKind::PermissionDenied => "Choose a MASTER_PORT above 1023",
            _ => "Check MASTER_ADDR, and the host that the option for the network names",
        },
    })
}
