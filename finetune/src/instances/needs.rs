//! What is settled before objects of any volume are made: whether they can be, and how many blocks there is memory for.

use super::evidence::OnDisk;
use super::method::refused;
use label_maps::window::Blocks;
use label_maps::{Method, demands};
use rayon::{ThreadPool, ThreadPoolBuilder};
use stage::limits::{self, size};
use stage::{Context, Message};
use std::path::Path;

/// What the volumes of a run need, all of them together.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Bytes of the largest block and number of blocks of each volume.
    volumes: Vec<(u64, usize)>,
    /// An offset that reaches beyond the halo where a volume is cut, and that halo.
    beyond: Option<([isize; 3], [usize; 3])>,
}

impl Needs {
    /// Takes in what a volume needs.
    ///
    /// # Errors
    /// As [`OnDisk::open`], and `E434` where no objects can be made of it.
    pub(crate) fn add(&mut self, path: &Path, method: &Method, blocks: &Blocks) -> Result<(), Message> {
        let source = OnDisk::open(path, method)?;
        demands::check(&source, method, blocks).map_err(|error| refused(&error))?;
        let count = blocks.counts(source.info().shape_zyx).iter().product();
        self.volumes.push((demands::bytes_per_block(&source, method, blocks), count));
        if let Some(offset) = demands::offset_beyond_halo(&source, method, blocks) {
            self.beyond.get_or_insert((offset, blocks.halo_zyx));
        }
        Ok(())
    }

    /// As many threads as cores were granted and as there is memory for: each holds a block. Warns of what the run may suffer from (`W452`, `W453`).
    ///
    /// # Errors
    /// When threads cannot be started.
    pub(crate) fn pool(&self, context: &Context) -> anyhow::Result<ThreadPool> {
        if let Some((offset, halo)) = self.beyond {
            let text = "affinities reach further than blocks see of each other: what they keep apart may become one there";
            let listed = |zyx: [usize; 3]| zyx.map(|n| n.to_string()).join(",");
            let least = std::array::from_fn(|axis| offset[axis].unsigned_abs().max(halo[axis]));
            let detail = format!("offset {offset:?}, --halo {}", listed(halo));
            let fix = format!("Give --halo of at least {} and a --block no smaller", listed(least));
            context.tell(Message::warning("W453", text).detail(detail).fix(fix));
        }
        let budget = limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4);
        let (threads, warning) = self.threads(limits::cores(), budget);
        warning.into_iter().for_each(|message| context.tell(message));
        Ok(ThreadPoolBuilder::new().num_threads(threads).build()?)
    }

    /// How many of `cores` work at once in `budget` bytes, and what there is to say of it.
    fn threads(&self, cores: usize, budget: u64) -> (usize, Option<Message>) {
        let allowed = |bytes: u64| usize::try_from(budget / bytes.max(1)).unwrap_or(usize::MAX);
        // fewer blocks than threads leave cores that work on one block together
        let short = self.volumes.iter().filter(|(bytes, count)| allowed(*bytes) < cores.min(*count));
        let Some((bytes, count)) = short.max_by_key(|(bytes, _)| *bytes) else { return (cores, None) };
        let text = format!(
            "a block with its halo takes about {}, four fifths of the memory available are {}",
            size(*bytes),
            size(budget)
        );
        let fix = match allowed(*bytes) {
            0 => "Making one at a time, which may run out of memory: give a smaller --block".to_owned(),
            some => {
                let wanted = cores.min(*count);
                format!("Making {some} at a time instead of {wanted}; a smaller --block lets more cores work")
            }
        };
        (allowed(*bytes).max(1), Some(Message::warning("W452", text).fix(fix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_blocks_are_made_at_once_as_there_is_memory_for() {
        let said = |bytes: u64, count, cores, budget: u64| {
            // another volume's one block is larger, and fits
            let needs = Needs { volumes: vec![(budget << 30, 1), (bytes << 30, count)], beyond: None };
            let (threads, message) = needs.threads(cores, budget << 30);
            (threads, message.map(|message| message.to_string()).unwrap_or_default())
        };
        assert_eq!(said(1, 100, 8, 8), (8, String::new()));
        // one block of all cores
        assert_eq!(said(7, 1, 8, 8), (8, String::new()));
        let (threads, text) = said(3, 100, 8, 8);
        assert_eq!(threads, 2);
        insta::assert_snapshot!(text, @"W452 a block with its halo takes about 3.0 GiB, four fifths of the memory available are 8.0 GiB. Making 2 at a time instead of 8; a smaller --block lets more cores work.");
        let (threads, text) = said(9, 1, 8, 8);
        assert_eq!(threads, 1);
        insta::assert_snapshot!(text, @"W452 a block with its halo takes about 9.0 GiB, four fifths of the memory available are 8.0 GiB. Making one at a time, which may run out of memory: give a smaller --block.");
        assert_eq!(said(0, 0, 8, 8), (8, String::new()), "no volume");
    }
}
