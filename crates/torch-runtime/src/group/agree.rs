//! The comparison at the start: do all processes hold the same?

use super::Group;
use super::error::GroupError;
use super::fingerprint::{Fingerprint, compare};
use crate::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long rank 0 waits for the others to read before it goes on.
const READING: Duration = Duration::from_secs(2);

impl Group {
    /// Compares `fingerprint` between all processes; every process gets the same answer. `label` names in messages what
    /// is compared, in the plural: "parameters".
    ///
    /// Collectives on tensors of different size or type end the process without a message, so compare what they will be
    /// called with once before the first. The comparison itself goes through the store and is safe.
    ///
    /// # Errors
    /// E333 names the ranks that differ from rank 0 and what both have; E331 names ranks that do not come to the
    /// comparison within the time-out.
    pub fn agree(&self, label: &str, fingerprint: Fingerprint) -> Result<(), Error> {
        let member = &self.0;
        let (rank, size) = (member.rank, member.size);
        let started = Instant::now();
        let missing = |missing| GroupError::Missing {
            rank,
            size,
            missing,
            what: format!("the comparison of {label}"),
            waited: started.elapsed(),
        };
        let name = format!("agree/{}", member.comparisons.fetch_add(1, Ordering::Relaxed));
        let values = format!("{name}/values");
        // Processes that compare different things differ.
        let own = fingerprint.and_text(label).to_bytes();
        member.board.write(&values, &own).map_err(|_| missing(vec![0]))?;
        member.board.wait_for_all(&name, 0, started + member.timeout).map_err(missing)?;
        let all = (0..size)
            .map(|other| member.board.read(&values, other).map(|bytes| Fingerprint::from_bytes(&bytes)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| missing(vec![0]))?;
        // Rank 0 serves the store: it waits until everyone has read, in case it ends with this error. Who is late then
        // is late for what follows too, which will say so.
        let read = format!("{name}/read");
        drop(member.board.note(&read, if rank == 0 { READING.min(member.timeout) } else { Duration::ZERO }));
        let fix = "Start all processes with the same program, options and input";
        Ok(compare(rank, label, fix, &all)?)
    }
}
