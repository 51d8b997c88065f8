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
        self.compared(label, fingerprint, &[])
    }

    /// The same for texts with names, such as the members of a plan: the message says by their names in which of them processes differ.
    ///
    /// # Errors
    /// As [`Group::agree`].
    pub fn agree_by_name(&self, label: &str, members: &[(String, String)]) -> Result<(), Error> {
        let all =
            members.iter().fold(Fingerprint::of(&[]), |all, (name, text)| all.and_text(name).and_text(text));
        self.compared(label, all, members)
    }

    fn compared(
        &self,
        label: &str,
        fingerprint: Fingerprint,
        members: &[(String, String)],
    ) -> Result<(), Error> {
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
        let named = format!("{name}/named");
        if !members.is_empty() {
            member.board.write(&named, &drawers(members)).map_err(|_| missing(vec![0]))?;
        }
        member.board.wait_for_all(&name, 0, started + member.timeout).map_err(missing)?;
        let all = (0..size)
            .map(|other| member.board.read(&values, other).map(|bytes| Fingerprint::from_bytes(&bytes)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| missing(vec![0]))?;
        // rank 0 looks at the first that differs, the others at rank 0
        let other = if rank == 0 { all.iter().position(|other| *other != all[0]) } else { Some(0) };
        let theirs = other.filter(|_| !members.is_empty() && all.iter().any(|other| *other != all[0]));
        let theirs = theirs.and_then(|other| member.board.read::<DRAWERS_BYTES>(&named, other).ok());
        // Rank 0 serves the store: it waits until everyone has read, in case it ends with this error. Who is late then
        // is late for what follows too, which will say so.
        let read = format!("{name}/read");
        drop(member.board.note(&read, if rank == 0 { READING.min(member.timeout) } else { Duration::ZERO }));
        let fix = "Start all processes with the same program, options and input";
        Ok(compare(rank, label, fix, &all).map_err(|error| match theirs {
            Some(theirs) => error.differing_in(&differing(members, &theirs)),
            None => error,
        })?)
    }
}

/// Names are sorted into so many drawers, each with a digest of what is in it: what processes tell each other has one size.
const DRAWERS: usize = 256;
const DRAWERS_BYTES: usize = 8 * DRAWERS;

fn drawer(name: &str) -> usize {
    (Fingerprint::of_text(name) % DRAWERS as u64) as usize
}

fn drawers(members: &[(String, String)]) -> [u8; DRAWERS_BYTES] {
    let mut digests = [0_u64; DRAWERS];
    for (name, text) in members {
        let digest = &mut digests[drawer(name)];
        *digest = Fingerprint::of_text(&format!("{digest:x} {name} {text}"));
    }
    let mut bytes = [0; DRAWERS_BYTES];
    for (place, digest) in bytes.chunks_exact_mut(8).zip(digests) {
        place.copy_from_slice(&digest.to_le_bytes());
    }
    bytes
}

/// Own members in drawers that hold something else there; none where only the other process has any.
fn differing<'a>(members: &'a [(String, String)], theirs: &[u8; DRAWERS_BYTES]) -> Vec<&'a str> {
    let own = drawers(members);
    let differs = |name: &str| {
        let place = 8 * drawer(name);
        own[place..place + 8] != theirs[place..place + 8]
    };
    members.iter().map(|(name, _)| name.as_str()).filter(|name| differs(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_differ_are_named() {
        let members = |lr: &str| -> Vec<(String, String)> {
            (0..50).map(|i| (format!("option{i}"), "1".into())).chain([("lr".into(), lr.into())]).collect()
        };
        let (one, two) = (members("0.1"), members("0.2"));
        assert_eq!(differing(&one, &drawers(&one)), [""; 0]);
        let found = differing(&one, &drawers(&two));
        // a drawer may hold another one, too
        assert!(found.contains(&"lr") && found.len() < 5, "{found:?}");
        assert!(differing(&one, &drawers(&one[..50])).contains(&"lr"));
    }
}
