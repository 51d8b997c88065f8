//! What a network learns to predict from labels: affinities, their weights, and labels with widened borders.
//!
//! Border widening, affinities and class weights are those of the published neuron segmentation (GTGM's NeuronSeg, after
//! K. Lee et al., arXiv:1706.00120), with rules for voxels that nobody labelled.

use crate::grid::Pairs;
use crate::{LabelMapError, Result, expect_volume};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What the affinity to a voxel outside of the volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outside {
    /// As published: to a nearest neighbour 1 in the foreground and 0 in the background, to a farther voxel 0.
    Filled,
    /// Not known, so that a patch that is cut from a larger volume teaches nothing wrong.
    #[default]
    Unknown,
}

/// What label 0 means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Background {
    /// Background and borders: affinities to it are 0, as published.
    #[default]
    Apart,
    /// Not labelled: affinities to it are not known.
    Unlabelled,
}

/// Rules of [`affinity_targets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetRules {
    /// Pairs that leave the volume.
    pub outside: Outside,
    /// Pairs with label 0.
    pub background: Background,
    /// Label of voxels to ignore: no affinity of theirs is known.
    pub ignore: Option<u64>,
}

/// Affinities to learn.
#[derive(Debug, Clone, PartialEq)]
pub struct AffinityTargets {
    /// Offset, z, y, x: 1 where both voxels have the same label above 0, otherwise 0.
    pub values: Vec<f32>,
    /// Offset, z, y, x: whether the value is known; what is not known has value 0 and counts nowhere.
    pub known: Vec<bool>,
}

/// Affinities of a label map: at voxel p of channel c that of p and p + `offsets[c]`.
///
/// # Shapes and units
/// `labels`: z, y, x of `shape_zyx`; `offsets`: voxels.
///
/// # Errors
/// A slice that does not fill the shape, or an offset of zero.
pub fn affinity_targets<T: Copy + PartialEq + Into<u64> + Sync>(
    labels: &[T],
    shape_zyx: [usize; 3],
    offsets: &[[isize; 3]],
    rules: &TargetRules,
) -> Result<AffinityTargets> {
    expect_volume(labels.len(), shape_zyx)?;
    if offsets.contains(&[0; 3]) {
        return Err(LabelMapError::Offset { found: [0; 3] });
    }
    let voxels = labels.len();
    let mut values = vec![0.0_f32; offsets.len() * voxels];
    let mut known = vec![false; offsets.len() * voxels];
    if voxels == 0 {
        return Ok(AffinityTargets { values, known });
    }
    let usable = |label: u64| usable(label, rules);
    values.par_chunks_mut(voxels).zip(known.par_chunks_mut(voxels)).zip(offsets).for_each(
        |((values, known), offset)| {
            if rules.outside == Outside::Filled {
                let nearest = offset.iter().map(|o| o.unsigned_abs()).sum::<usize>() == 1;
                for p in 0..voxels {
                    let label = labels[p].into();
                    known[p] = usable(label);
                    values[p] = f32::from(u8::from(known[p] && nearest && label != 0));
                }
            }
            let pairs = Pairs::new(shape_zyx, *offset);
            for p in pairs.sections().flat_map(|z| pairs.rows(z)).flatten() {
                // both voxels of a pair are in the volume
                let partner = p.wrapping_add_signed(pairs.step);
                let (a, b) = (labels[p].into(), labels[partner].into());
                known[p] = usable(a) && usable(b);
                values[p] = f32::from(u8::from(known[p] && a == b && a != 0));
            }
        },
    );
    Ok(AffinityTargets { values, known })
}

/// What each voxel is by itself: 1 inside an object, 0 in the background, to which [`widen_borders`] adds the boundaries. One minus
/// it is a boundary map.
///
/// # Shapes
/// `labels`: z, y, x; the result likewise, one channel.
#[must_use]
pub fn inside_targets<T: Copy + Into<u64>>(labels: &[T], rules: &TargetRules) -> AffinityTargets {
    let known = labels.iter().map(|label| usable((*label).into(), rules)).collect();
    let inside = |label: u64| f32::from(u8::from(label != 0 && usable(label, rules)));
    AffinityTargets { values: labels.iter().map(|label| inside((*label).into())).collect(), known }
}

/// Whether something is known of a voxel with this label.
fn usable(label: u64, rules: &TargetRules) -> bool {
    Some(label) != rules.ignore && (label != 0 || rules.background == Background::Apart)
}

/// Labels whose borders are background: a voxel becomes 0 when the square of `2 * radius + 1` voxels around it in its
/// section holds more than one label above 0. Labels to ignore stay, and make no border.
///
/// The published pipeline takes radius 1. At the rim the square is cut, which is the same as mirroring.
///
/// # Shapes and units
/// `labels`: z, y, x of `shape_zyx`; `radius`: voxels.
///
/// # Errors
/// A slice that does not fill the shape.
pub fn widen_borders<T: Copy + Ord + Default + Send + Sync>(
    labels: &[T],
    shape_zyx: [usize; 3],
    radius: usize,
    ignore: Option<T>,
) -> Result<Vec<T>> {
    expect_volume(labels.len(), shape_zyx)?;
    let [_, ny, nx] = shape_zyx;
    let mut out = labels.to_vec();
    if labels.is_empty() || radius == 0 {
        return Ok(out);
    }
    let none = T::default();
    out.par_chunks_mut(ny * nx).zip(labels.par_chunks(ny * nx)).for_each(|(out, section)| {
        // smallest and largest label above 0, first along x, then along y; `none` where there is no label
        let rows: Vec<(T, T)> = (0..ny * nx)
            .map(|i| {
                let (row, x) = (i / nx * nx, i % nx);
                let near = &section[row + x.saturating_sub(radius)..row + nx.min(x + radius + 1)];
                near.iter()
                    .filter(|l| **l != none && Some(**l) != ignore)
                    .fold((none, none), |range, l| span(range, (*l, *l)))
            })
            .collect();
        for (i, label) in out.iter_mut().enumerate() {
            let (y, x) = (i / nx, i % nx);
            let near = y.saturating_sub(radius)..ny.min(y + radius + 1);
            let (low, high) = near.fold((none, none), |range, y| span(range, rows[y * nx + x]));
            if low != high && Some(*label) != ignore {
                *label = none;
            }
        }
    });
    Ok(out)
}

/// The range that covers both ranges, of which the default stands for an empty one.
fn span<T: Copy + Ord + Default>(a: (T, T), b: (T, T)) -> (T, T) {
    let none = T::default();
    if a.0 == none {
        b
    } else if b.0 == none {
        a
    } else {
        (a.0.min(b.0), a.1.max(b.1))
    }
}

/// Over which channels the classes are balanced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// One share for all channels, the published default.
    #[default]
    Jointly,
    /// A share for each channel.
    PerChannel,
}

/// Weights that give both classes of a binary target the same say: with f the share of ones among the known values, cut to
/// 0.05 … 0.99, zeros weigh f / (1 − f) where f > 0.5, otherwise ones weigh (1 − f) / f; the other class weighs 1, as does
/// everything where only one class occurs. What is not known weighs 0.
///
/// # Shapes
/// Of `targets`: channel, z, y, x with `channels` channels; the result likewise.
///
/// # Errors
/// Slices of different lengths, or that are no multiple of `channels`.
pub fn class_weights(values: &[f32], known: &[bool], channels: usize, balance: Balance) -> Result<Vec<f32>> {
    if values.len() != known.len() || channels == 0 || !values.len().is_multiple_of(channels) {
        return Err(LabelMapError::parameter(
            "targets",
            "values and masks of the same number of channels",
            (values.len(), known.len(), channels),
        ));
    }
    let mut weights = vec![0.0_f32; values.len()];
    if values.is_empty() {
        return Ok(weights);
    }
    let part = match balance {
        Balance::Jointly => values.len(),
        Balance::PerChannel => values.len() / channels,
    };
    weights.chunks_mut(part).zip(values.chunks(part)).zip(known.chunks(part)).for_each(
        |((weights, values), known)| {
            let total = known.par_iter().filter(|k| **k).count();
            let ones = values.par_iter().zip(known).filter(|(v, k)| **k && **v > 0.5).count();
            let (zero, one) = if ones == 0 || ones == total {
                (1.0, 1.0)
            } else {
                let f = (ones as f64 / total as f64).clamp(0.05, 0.99);
                if f > 0.5 { (f / (1.0 - f), 1.0) } else { (1.0, (1.0 - f) / f) }
            };
            weights.par_iter_mut().zip(values).zip(known).with_min_len(4096).for_each(|((w, v), known)| {
                *w = match (known, *v > 0.5) {
                    (false, _) => 0.0,
                    (true, true) => one as f32,
                    (true, false) => zero as f32,
                };
            });
        },
    );
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grid::place;
    use proptest::prelude::*;

    fn volumes() -> impl Strategy<Value = (Vec<u8>, [usize; 3])> {
        (1_usize..4, 1_usize..7, 1_usize..7)
            .prop_flat_map(|(z, y, x)| (prop::collection::vec(0_u8..4, z * y * x), Just([z, y, x])))
    }

    fn at(labels: &[u8], shape: [usize; 3], p: [isize; 3]) -> Option<u8> {
        let inside = (0..3).all(|a| (0..shape[a] as isize).contains(&p[a]));
        inside.then(|| labels[(p[0] as usize * shape[1] + p[1] as usize) * shape[2] + p[2] as usize])
    }

    proptest! {
        #[test]
        fn targets_follow_their_definition(
            (labels, shape) in volumes(),
            ignore in prop::option::of(1_u64..4),
            filled: bool,
            unlabelled: bool,
        ) {
            let offsets = [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [1, 0, 0], [-2, 0, 0], [0, -3, 0], [1, -1, 2], [9, 0, 0]];
            let rules = TargetRules {
                outside: if filled { Outside::Filled } else { Outside::Unknown },
                background: if unlabelled { Background::Unlabelled } else { Background::Apart },
                ignore,
            };
            let found = affinity_targets(&labels, shape, &offsets, &rules).unwrap();
            let bad = |l: u8| ignore == Some(u64::from(l)) || (l == 0 && unlabelled);
            for (c, offset) in offsets.iter().enumerate() {
                for p in 0..labels.len() {
                    let own = labels[p];
                    let here = place(p, shape);
                    let there = [0, 1, 2].map(|a| here[a] as isize + offset[a]);
                    let (value, known) = match at(&labels, shape, there) {
                        Some(other) => (own == other && own > 0, !bad(own) && !bad(other)),
                        None => (c < 4 && own > 0, filled && !bad(own)),
                    };
                    let i = c * labels.len() + p;
                    prop_assert_eq!(found.known[i], known);
                    prop_assert_eq!(found.values[i], f32::from(u8::from(value && known)));
                }
            }
        }

        #[test]
        fn borders_follow_their_definition(
            (labels, shape) in volumes(), radius in 0_usize..3, ignore in prop::option::of(1_u8..4),
        ) {
            let found = widen_borders(&labels, shape, radius, ignore).unwrap();
            for p in 0..labels.len() {
                let [z, y, x] = place(p, shape).map(|n| n as isize);
                let r = radius as isize;
                let mut seen: Vec<u8> = (-r..=r)
                    .flat_map(|dy| (-r..=r).map(move |dx| [z, y + dy, x + dx]))
                    .filter_map(|q| at(&labels, shape, q))
                    .filter(|l| *l > 0 && Some(*l) != ignore)
                    .collect();
                seen.sort_unstable();
                seen.dedup();
                let gone = seen.len() > 1 && Some(labels[p]) != ignore;
                prop_assert_eq!(found[p], if gone { 0 } else { labels[p] });
            }
        }
    }

    #[test]
    fn both_classes_weigh_the_same() {
        let mut values = vec![1.0; 80];
        values[60..].fill(0.0);
        let mut known = vec![true; 80];
        let weights = class_weights(&values, &known, 2, Balance::Jointly).unwrap();
        assert_eq!((weights[0], weights[79]), (1.0, 3.0));
        // the second channel is balanced already, the first holds one class only
        let weights = class_weights(&values, &known, 2, Balance::PerChannel).unwrap();
        assert_eq!(weights, [1.0; 80]);
        known[..50].fill(false);
        let weights = class_weights(&values, &known, 2, Balance::Jointly).unwrap();
        assert_eq!((weights[0], weights[50], weights[79]), (0.0, 2.0, 1.0));
        // one in a thousand is cut to one in twenty
        let mut rare = vec![0.0; 1000];
        rare[3] = 1.0;
        let weights = class_weights(&rare, &[true; 1000], 1, Balance::Jointly).unwrap();
        assert!((weights[3] - 19.0).abs() < 1e-5 && weights[4] == 1.0);
        assert!(class_weights(&values, &known, 3, Balance::Jointly).is_err());
    }

    #[test]
    fn the_inside_of_objects_ends_where_their_borders_were_widened() {
        let labels = [4_u64, 4, 4, 9, 9, 9, 0, 1];
        let rules = TargetRules { ignore: Some(1), ..TargetRules::default() };
        let inside = |labels: &[u64], rules: &TargetRules| {
            let AffinityTargets { values, known } = inside_targets(labels, rules);
            (values, known)
        };
        let known = [true, true, true, true, true, true, true, false];
        assert_eq!(inside(&labels, &rules), (vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], known.to_vec()));
        let widened = widen_borders(&labels, [1, 1, 8], 1, Some(1)).unwrap();
        assert_eq!(inside(&widened, &rules).0, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        let rules = TargetRules { background: Background::Unlabelled, ..rules };
        assert_eq!(inside(&labels, &rules).1[6..], [false, false]);
    }
}
