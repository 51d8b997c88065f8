//! What is settled before objects of any volume are made: whether they can be, and how many blocks there is memory for.

use super::evidence::OnDisk;
use super::method::refused;
use label_maps::window::Blocks;
use label_maps::{Method, demands};
use stage::limits::{self, size};
use stage::{Context, Message};
use std::path::Path;

/// What the volumes of a run need, all of them together.
#[derive(Debug)]
pub(crate) struct Needs {
    /// Bytes that the run may take.
    budget: u64,
    /// Bytes that it holds of each voxel of a volume, beside blocks.
    held_per_voxel: u64,
    /// The block of each volume.
    volumes: Vec<Block>,
    /// The halo given, and the one that sees all affinities of all volumes.
    halo: Option<([usize; 3], [usize; 3])>,
}

/// The largest block of a volume.
#[derive(Debug, Clone, Copy)]
struct Block {
    bytes: u64,
    /// Bytes that blocks may take.
    memory: u64,
    /// Number of the volume's blocks.
    count: usize,
}

impl Block {
    /// How many fit into memory.
    fn held(self) -> usize {
        usize::try_from(self.memory / self.bytes.max(1)).unwrap_or(usize::MAX)
    }
}

impl Needs {
    /// Of a run that holds so many bytes of each voxel of the volume at hand, beside its blocks.
    pub(crate) fn beside(held_per_voxel: u64) -> Self {
        let budget = limits::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 4);
        Self { budget, held_per_voxel, volumes: Vec::new(), halo: None }
    }

    /// Takes in what a volume needs.
    ///
    /// # Errors
    /// As [`OnDisk::open`], and `E434` where no objects can be made of it.
    pub(crate) fn add(&mut self, path: &Path, method: &Method, blocks: &Blocks) -> Result<(), Message> {
        let source = OnDisk::open(path, method)?;
        demands::check(&source, method, blocks).map_err(|error| refused(&error))?;
        let shape_zyx = source.info().shape_zyx;
        self.volumes.push(Block {
            bytes: demands::bytes_per_block(&source, method, blocks),
            memory: self.memory(shape_zyx),
            count: blocks.counts(shape_zyx).iter().product(),
        });
        if let Some(longer) = demands::longer_halo(&source, method, blocks) {
            let (_, least) = self.halo.get_or_insert((blocks.halo_zyx, longer));
            *least = std::array::from_fn(|axis| least[axis].max(longer[axis]));
        }
        Ok(())
    }

    /// Bytes that the blocks of a volume of this shape may take.
    pub(crate) fn memory(&self, shape_zyx: [usize; 3]) -> u64 {
        let voxels = shape_zyx.iter().fold(1_u64, |product, n| product.saturating_mul(*n as u64));
        self.budget.saturating_sub(voxels.saturating_mul(self.held_per_voxel))
    }

    /// Warns of what the run may suffer from: affinities that reach beyond halos (`W453`), and blocks that memory does not hold (`W452`).
    /// `chosen`: layout and method are those of a choice.
    pub(crate) fn tell(&self, chosen: bool, context: &Context) {
        self.short_halo(chosen)
            .into_iter()
            .chain(self.short_memory(chosen, limits::cores()))
            .for_each(|message| context.tell(message));
    }

    fn short_halo(&self, chosen: bool) -> Option<Message> {
        let (given, least) = self.halo?;
        let listed = |zyx: [usize; 3]| zyx.map(|n| n.to_string()).join(",");
        let text = "affinities reach further than blocks see of each other: what they keep apart may become one there";
        let fix = match chosen {
            true => "Choose again by 'finetune threshold' with",
            false => "Give",
        };
        let fix = format!("{fix} --halo of at least {} and a --block no smaller", listed(least));
        Some(Message::warning("W453", text).detail(format!("--halo {}", listed(given))).fix(fix))
    }

    fn short_memory(&self, chosen: bool, cores: usize) -> Option<Message> {
        let short = self.volumes.iter().filter(|block| block.held() < cores.min(block.count));
        let block = short.max_by_key(|block| block.bytes)?;
        let text = format!(
            "a block with its halo takes about {}, and blocks may take {}",
            size(block.bytes),
            size(block.memory)
        );
        let fix = match (block.held(), chosen) {
            (0, false) => "Making one at a time, which may run out of memory: give a smaller --block".to_owned(),
            (0, true) => {
                "Making one at a time, which may run out of memory: choose again by 'finetune threshold' with a smaller --block"
                    .to_owned()
            }
            (some, _) => {
                format!("Making {some} at a time instead of {}", cores.min(block.count))
            }
        };
        Some(Message::warning("W452", text).fix(fix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(volumes: Vec<Block>) -> Needs {
        Needs { budget: 8 << 30, held_per_voxel: 0, volumes, halo: None }
    }

    #[test]
    fn as_many_blocks_are_made_at_once_as_there_is_memory_for() {
        let said = |gib: u64, count, chosen| {
            // another volume's one block is larger, and fits
            let block = |gib: u64, count| Block { bytes: gib << 30, memory: 8 << 30, count };
            let needs = needs(vec![block(8, 1), block(gib, count)]);
            needs.short_memory(chosen, 8).map(|message| message.to_string()).unwrap_or_default()
        };
        assert_eq!(said(1, 100, false), "");
        // one block of all cores
        assert_eq!(said(7, 1, false), "");
        insta::assert_snapshot!(said(3, 100, true), @"W452 a block with its halo takes about 3.0 GiB, and blocks may take 8.0 GiB. Making 2 at a time instead of 8.");
        insta::assert_snapshot!(said(9, 1, false), @"W452 a block with its halo takes about 9.0 GiB, and blocks may take 8.0 GiB. Making one at a time, which may run out of memory: give a smaller --block.");
        insta::assert_snapshot!(said(9, 100, true), @"W452 a block with its halo takes about 9.0 GiB, and blocks may take 8.0 GiB. Making one at a time, which may run out of memory: choose again by 'finetune threshold' with a smaller --block.");
        assert_eq!(said(0, 0, false), "", "no volume");
    }

    #[test]
    fn what_a_run_holds_of_a_volume_is_not_left_for_blocks() {
        let needs = Needs { held_per_voxel: 16, ..needs(Vec::new()) };
        assert_eq!(needs.memory([64, 1024, 1024]), 7 << 30);
        assert_eq!(needs.memory([usize::MAX; 3]), 0);
    }

    #[test]
    fn the_halo_that_is_advised_is_enough() {
        let needs = Needs { halo: Some(([1, 8, 8], [4, 27, 27])), ..needs(Vec::new()) };
        let said = |chosen| needs.short_halo(chosen).map(|message| message.to_string()).unwrap_or_default();
        insta::assert_snapshot!(said(false), @"W453 affinities reach further than blocks see of each other: what they keep apart may become one there. --halo 1,8,8. Give --halo of at least 4,27,27 and a --block no smaller.");
        assert!(said(true).contains("Choose again by 'finetune threshold' with --halo of at least 4,27,27"));
    }
}
