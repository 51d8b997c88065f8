//! What making objects in blocks asks for, as far as it shows before a voxel is read.

use crate::affinities::nearest_of;
use crate::instances::needs_repulsion;
use crate::method::Method;
use crate::storage::Source;
use crate::watershed::check_flooded;
use crate::window::{Blocks, Stitch};
use crate::{LabelMapError, Result};

/// Bytes that every voxel of a block and its halo takes beside its evidence while objects are made: labels before and after, boundaries,
/// fragments, and what decoding a piece of a file holds.
const BYTES_PER_VOXEL: f64 = 80.0;
/// Bytes of an edge of the mutex watershed.
const BYTES_PER_EDGE: f64 = 8.0;

/// Fails where no objects can be made of `source`, whatever its voxels are.
///
/// # Errors
/// Parameters and layouts without a meaning or that do not go together, affinities that the method needs and that are not there, and blocks of more
/// voxels or affinities than 32 bits number.
pub fn check(source: &dyn Source, method: &Method, blocks: &Blocks) -> Result<()> {
    method.check()?;
    blocks.check()?;
    let volume = source.shape_zyx();
    blocks.check_overlap(volume)?;
    let seen = blocks.largest_seen(volume);
    match (method, source.offsets()) {
        (Method::MutexWatershed(_), _) if blocks.stitch == Stitch::Rule => {
            let expected = "overlap: the mutex watershed has no rule of its own";
            Err(LabelMapError::parameter("stitch", expected, blocks.stitch))
        }
        (Method::MutexWatershed(parameters), Some(offsets)) => {
            parameters.check_affinities(offsets.len(), seen)
        }
        (Method::MutexWatershed(_), None) => Err(needs_repulsion(method)),
        (_, offsets) => {
            let fragments = method.fragments();
            if let Some(parameters) = fragments {
                check_flooded(if parameters.planar { [1, seen[1], seen[2]] } else { seen })?;
            }
            // fragments of blocks are joined across their faces as well
            let joined = if fragments.is_some() { volume } else { seen };
            offsets.map_or(Ok(()), |offsets| nearest_of(offsets, joined).map(drop))
        }
    }
}

/// Bytes of memory that a block takes while its objects are made, with its halo and its evidence; of the largest block of the volume, and not
/// too little. Measured on 12 affinities over a million voxels and eight sections: 107 to 121 bytes a voxel, of which 48 are the affinities.
#[must_use]
pub fn bytes_per_block(source: &dyn Source, method: &Method, blocks: &Blocks) -> u64 {
    let channels = source.offsets().map_or(1, <[_]>::len);
    let edges = match method {
        Method::MutexWatershed(parameters) => parameters.edges_per_voxel(channels),
        _ => 0.0,
    };
    let voxels: f64 = blocks.largest_seen(source.shape_zyx()).iter().map(|n| *n as f64).product();
    (voxels * (BYTES_PER_VOXEL + 4.0 * channels as f64 + BYTES_PER_EDGE * edges)) as u64
}

/// The halo along z, y, x with which blocks of the mutex watershed see as much of each other as its longest affinity reaches along every axis on which
/// the volume is cut, no shorter than that of `blocks`; none where that one is long enough. What would keep objects apart beyond a halo goes unseen,
/// and they become one.
#[must_use]
pub fn longer_halo(source: &dyn Source, method: &Method, blocks: &Blocks) -> Option<[usize; 3]> {
    if !matches!(method, Method::MutexWatershed(_)) {
        return None;
    }
    let counts = blocks.counts(source.shape_zyx());
    let mut halo = blocks.halo_zyx;
    for offset in source.offsets()? {
        for axis in (0..3).filter(|axis| counts[*axis] > 1) {
            halo[axis] = halo[axis].max(offset[axis].unsigned_abs());
        }
    }
    (halo != blocks.halo_zyx).then_some(halo)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::affinities::{NEAREST, axis_offsets};
    use crate::mutex::MutexParameters;
    use crate::storage::StorageError;
    use crate::window::Window;

    /// Where voxels are not to be read.
    struct Unread([usize; 3], Option<Vec<[isize; 3]>>);

    impl Source for Unread {
        fn shape_zyx(&self) -> [usize; 3] {
            self.0
        }

        fn offsets(&self) -> Option<&[[isize; 3]]> {
            self.1.as_deref()
        }

        fn read(&self, _: &Window) -> std::result::Result<Vec<f32>, StorageError> {
            Err("read".into())
        }
    }

    const OVERLAP: Stitch = Stitch::Overlap { percent: 50 };

    fn mutex(strides_zyx: [usize; 3]) -> Method {
        Method::MutexWatershed(MutexParameters { attractive: 3, strides_zyx })
    }

    fn long() -> Vec<[isize; 3]> {
        axis_offsets(&[[1, 1, 1], [2, 3, 3], [3, 9, 9], [4, 27, 27]])
    }

    fn blocks(block_zyx: [usize; 3], halo_zyx: [usize; 3], stitch: Stitch) -> Blocks {
        Blocks { block_zyx, halo_zyx, stitch }
    }

    #[test]
    fn what_cannot_be_made_is_known_before_a_voxel_is_read() {
        let said = |source: Unread, method: &Method, blocks: Blocks| {
            check(&source, method, &blocks).map_or_else(|error| error.to_string(), |()| String::new())
        };
        let volume = [40, 400, 400];
        let few = blocks([20, 200, 200], [4, 27, 27], OVERLAP);
        let rule = blocks([20, 200, 200], [4, 27, 27], Stitch::Rule);
        assert_eq!(said(Unread(volume, Some(long())), &mutex([1, 4, 4]), few), "");
        assert_eq!(said(Unread(volume, None), &Method::multicut(), rule), "");
        for (source, method, blocks, error) in [
            (Unread(volume, Some(long())), mutex([1; 3]), rule, "`stitch` must be overlap"),
            (Unread(volume, Some(NEAREST.to_vec())), mutex([1; 3]), few, "`attractive` must be at least 1"),
            (Unread(volume, None), mutex([1; 3]), few, "`method` must be one for a boundary map"),
            (
                Unread(volume, Some(long())),
                mutex([1; 3]),
                blocks([20, 200, 200], [0, 27, 27], OVERLAP),
                "`halo_zyx` must be above 0",
            ),
            (
                Unread([40, 4000, 4000], Some(long())),
                mutex([1; 3]),
                blocks([40, 4000, 4000], [4, 27, 27], OVERLAP),
                "7680000000 affinities are more than",
            ),
            (
                Unread([2, 70_000, 70_000], None),
                Method::waterz(),
                blocks([2, 70_000, 70_000], [0; 3], Stitch::Rule),
                "4900000000 voxels are more than",
            ),
            (
                Unread(volume, Some(long()[1..].to_vec())),
                Method::waterz(),
                rule,
                "no offset of one voxel along z",
            ),
            (
                Unread(volume, Some(long()[1..].to_vec())),
                Method::components(),
                rule,
                "no offset of one voxel along z",
            ),
        ] {
            let found = said(source, &method, blocks);
            assert!(found.starts_with(error), "{found}");
        }
        // no block sees a neighbour along z, but the graph of all does
        let sections = blocks([1, 200, 200], [0; 3], Stitch::Rule);
        let planar = || Unread(volume, Some(NEAREST[1..].to_vec()));
        assert_eq!(said(planar(), &Method::components(), sections), "");
        assert!(said(planar(), &Method::waterz(), sections).starts_with("no offset of one voxel along z"));
    }

    #[test]
    fn memory_is_that_of_the_largest_block_and_its_halo() {
        let layout = blocks([8, 64, 64], [2, 16, 16], Stitch::Rule);
        let bytes = |volume, offsets: Option<Vec<[isize; 3]>>, method: &Method| {
            bytes_per_block(&Unread(volume, offsets), method, &layout)
        };
        assert_eq!(bytes([8, 64, 64], None, &Method::waterz()), 8 * 64 * 64 * 84, "one block has no halo");
        assert_eq!(bytes([16, 64, 200], None, &Method::waterz()), 10 * 64 * 96 * 84);
        let (shape, voxels) = ([40, 400, 400], 12 * 96 * 96);
        assert_eq!(bytes(shape, Some(long()), &Method::waterz()), voxels * 128);
        assert_eq!(bytes(shape, Some(long()), &mutex([1; 3])), voxels * (128 + 96));
        assert_eq!(bytes(shape, Some(long()), &mutex([1, 2, 4])), voxels * (128 + 24 + 9));
    }

    #[test]
    fn a_halo_shorter_than_an_offset_is_noticed_where_volumes_are_cut() {
        let found = |halo, volume, method: &Method| {
            longer_halo(&Unread(volume, Some(long())), method, &blocks([8, 64, 64], halo, OVERLAP))
        };
        let mutex = mutex([1, 4, 4]);
        assert_eq!(found([4, 27, 27], [40, 400, 400], &mutex), None);
        assert_eq!(found([5, 8, 8], [40, 64, 400], &mutex), Some([5, 8, 27]));
        assert_eq!(found([3, 27, 28], [40, 64, 64], &mutex), Some([4, 27, 28]));
        assert_eq!(found([1, 8, 8], [40, 400, 400], &mutex), Some([4, 27, 27]), "of all offsets at once");
        assert_eq!(found([1, 1, 1], [8, 64, 64], &mutex), None, "one block");
        assert_eq!(found([1, 1, 1], [40, 400, 400], &Method::waterz()), None);
    }
}
