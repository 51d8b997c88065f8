//! What a network is taught: classes, or the affinities that objects are made of.

use label_maps::affinities::axis_offsets;
use label_maps::targets::{
    Balance, TargetRules, affinity_targets, class_weights, inside_targets, widen_borders,
};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;
use training::losses::affinity::AffinityLoss;
use volume::hdf5::NOT_ANNOTATED;

/// In patches of objects: what nobody annotated, and what lies outside of the volume. It is no object and no background.
pub(crate) const UNKNOWN: u64 = 1;

/// What a model's channels are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Objective {
    /// Scores of classes, the background first.
    #[default]
    Classes,
    /// Scores of the regions that the descriptor declares.
    Regions,
    /// Logits of affinities.
    Affinities(AffinityPlan),
}

impl Objective {
    /// Whether there is a label map of classes in the end.
    pub(crate) fn is_semantic(&self) -> bool {
        !matches!(self, Self::Affinities(_))
    }
}

/// How affinities are taught.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AffinityPlan {
    /// The voxel that each channel compares with, as seen from its own: z, y, x. Only the voxel itself, which is a boundary mask, or
    /// only others.
    pub(crate) offsets_zyx: Vec<[isize; 3]>,
    /// Voxels by which borders are widened within sections before affinities are taken; the published radius is 1.
    pub(crate) widen_borders: usize,
    pub(crate) balance: Balance,
    pub(crate) loss: AffinityLoss,
}

/// What is learnt of labels that are classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SemanticTargets {
    /// Each class apart from the others
    Classes,
    /// The regions of the descriptor, which may overlap
    Regions,
}

/// Which affinities are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OffsetSet {
    /// The three nearest neighbours, as published
    Nearest,
    /// These and nine farther ones (2,3,3; 3,9,9; 4,27,27), the published option: what the mutex watershed needs
    LongRange,
    /// None: whether a voxel lies inside an object or on a boundary, one channel
    Boundary,
}

/// The offset of a voxel to itself: its channel says whether the voxel lies inside an object.
const ITSELF: [isize; 3] = [0; 3];

/// Whether the channels are a boundary mask and no affinities.
pub(crate) fn is_boundary(offsets_zyx: &[[isize; 3]]) -> bool {
    offsets_zyx == [ITSELF]
}

impl OffsetSet {
    pub(crate) fn offsets_zyx(self) -> Vec<[isize; 3]> {
        match self {
            Self::Nearest => axis_offsets(&[[1; 3]]),
            Self::LongRange => axis_offsets(&[[1; 3], [2, 3, 3], [3, 9, 9], [4, 27, 27]]),
            Self::Boundary => vec![ITSELF],
        }
    }
}

/// Object ids of a patch as small numbers, which augmentation may carry through floating point: 0 stays the background, what is not
/// annotated becomes [`UNKNOWN`], and objects are numbered from 2 in the order in which they occur.
pub(crate) fn small_ids(ids: &[u64]) -> Vec<i64> {
    let mut known = std::collections::HashMap::new();
    ids.iter()
        .map(|id| match *id {
            0 => 0,
            NOT_ANNOTATED => UNKNOWN.cast_signed(),
            id => {
                let next = known.len() as i64 + 2;
                *known.entry(id).or_insert(next)
            }
        })
        .collect()
}

/// What the affinities of a batch should be, and how much each counts.
pub(crate) struct Targets {
    /// 0 or 1: `[batch, offset, z, y, x]`.
    pub(crate) values: Tensor,
    /// Likewise; 0 where the affinity is not known.
    pub(crate) weights: Tensor,
}

impl AffinityPlan {
    /// Targets of patches of [`small_ids`]. Affinities across the rim of a patch are not known.
    ///
    /// # Shapes
    /// `labels`: int64 `[batch, 1, z, y, x]`, on the CPU; the result on `device`.
    pub(crate) fn targets(&self, labels: &Tensor, device: Device) -> Result<Targets, BoxedError> {
        let size = labels.size();
        let shape = [size[2] as usize, size[3] as usize, size[4] as usize];
        let channels = self.offsets_zyx.len();
        let rules = TargetRules { ignore: Some(UNKNOWN), ..TargetRules::default() };
        let (mut values, mut weights) = (Vec::new(), Vec::new());
        for sample in labels.unbind(0) {
            let ids = Vec::<i64>::try_from(sample.contiguous().view(-1))?;
            let ids: Vec<u64> = ids.into_iter().map(i64::cast_unsigned).collect();
            let ids = widen_borders(&ids, shape, self.widen_borders, Some(UNKNOWN))?;
            let targets = if is_boundary(&self.offsets_zyx) {
                inside_targets(&ids, &rules)
            } else {
                affinity_targets(&ids, shape, &self.offsets_zyx, &rules)?
            };
            weights.extend(class_weights(&targets.values, &targets.known, channels, self.balance)?);
            values.extend(targets.values);
        }
        let shape = [size[0], channels as i64, size[2], size[3], size[4]];
        let tensor = |numbers: &[f32]| uploaded(numbers, &shape, device);
        Ok(Targets { values: tensor(&values)?, weights: tensor(&weights)? })
    }
}

impl AffinityPlan {
    /// How likely a boundary runs between each voxel and its nearest neighbours within the section: one minus the lowest of these
    /// affinities, of all where there are none such.
    ///
    /// # Shapes
    /// `affinities`: `[offset, z, y, x]`, 0 to 1; the result `[z, y, x]`.
    pub(crate) fn boundary(&self, affinities: &Tensor) -> Tensor {
        let nearest = |offset: &[isize; 3]| offset[0] == 0 && offset[1].abs() + offset[2].abs() == 1;
        let channels: Vec<i64> =
            (0_i64..).zip(&self.offsets_zyx).filter(|(_, offset)| nearest(offset)).map(|(c, _)| c).collect();
        let lowest = if channels.is_empty() {
            affinities.amin(0, false)
        } else {
            affinities
                .index_select(0, &Tensor::from_slice(&channels).to_device(affinities.device()))
                .amin(0, false)
        };
        1.0 - lowest
    }
}

/// Of all known pairs: how well those that are apart were found, pooled over volumes.
#[derive(Debug, Default)]
pub(crate) struct BoundaryScore {
    /// Of each channel: found and true, found, true.
    counts: Vec<[i64; 3]>,
}

impl BoundaryScore {
    /// Counts a volume; `affinities` from 0 to 1, `[offset, z, y, x]`.
    pub(crate) fn add(&mut self, affinities: &Tensor, targets: &Targets) {
        let known = targets.weights.get(0).gt(0.0);
        let apart = targets.values.get(0).lt(0.5).logical_and(&known);
        let found = affinities.lt(0.5).logical_and(&known);
        let both = found.logical_and(&apart);
        let channels = affinities.size()[0];
        self.counts.resize(channels as usize, [0; 3]);
        for (channel, counts) in (0..channels).zip(&mut self.counts) {
            for (count, what) in counts.iter_mut().zip([&both, &found, &apart]) {
                *count += what.get(channel).sum(Kind::Int64).int64_value(&[]);
            }
        }
    }

    /// F1 of each channel, and their mean; channels in which nothing is apart have none.
    pub(crate) fn finish(&self) -> (Vec<Option<f64>>, Option<f64>) {
        let each: Vec<Option<f64>> = self
            .counts
            .iter()
            .map(|[both, found, apart]| (*apart > 0).then(|| 2.0 * *both as f64 / (found + apart) as f64))
            .collect();
        let scored: Vec<f64> = each.iter().flatten().copied().collect();
        let mean = (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64);
        (each, mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(offsets: OffsetSet) -> AffinityPlan {
        AffinityPlan {
            offsets_zyx: offsets.offsets_zyx(),
            widen_borders: 0,
            balance: Balance::Jointly,
            loss: AffinityLoss::default(),
        }
    }

    #[test]
    fn ids_stay_apart_however_large() {
        let ids = [u64::MAX - 1, 0, u64::MAX - 2, NOT_ANNOTATED, u64::MAX - 1];
        assert_eq!(small_ids(&ids), [2, 0, 3, 1, 2]);
        assert_eq!(OffsetSet::LongRange.offsets_zyx()[..3], OffsetSet::Nearest.offsets_zyx());
        assert_eq!(OffsetSet::LongRange.offsets_zyx().len(), 12);
    }

    #[test]
    fn boundaries_are_seen_within_sections() {
        let affinities = Tensor::from_slice(&[0.0_f32, 0.75, 0.5]).view([3, 1, 1, 1]);
        let found = |offsets: &[[isize; 3]]| {
            let plan = AffinityPlan { offsets_zyx: offsets.to_vec(), ..plan(OffsetSet::Nearest) };
            plan.boundary(&affinities).double_value(&[0, 0, 0])
        };
        assert_eq!(found(&OffsetSet::Nearest.offsets_zyx()), 0.5);
        assert_eq!(found(&[[-1, 0, 0], [-2, 0, 0], [0, 0, -9]]), 1.0);
    }

    #[test]
    fn what_nobody_annotated_teaches_nothing() {
        // along x: two objects of two voxels, then one that is unknown
        let labels = Tensor::from_slice(&[2_i64, 2, 3, 3, 1]).view([1, 1, 1, 1, 5]);
        let targets = plan(OffsetSet::Nearest).targets(&labels, Device::Cpu).unwrap();
        let row = |t: &Tensor| Vec::<f32>::try_from(t.get(0).get(2).contiguous().view(-1)).unwrap();
        assert_eq!(row(&targets.values), [0.0, 1.0, 0.0, 1.0, 0.0]);
        let weights = row(&targets.weights);
        assert!(weights[0] == 0.0 && weights[4] == 0.0 && weights[1..4].iter().all(|w| *w > 0.0));

        // a boundary mask: inside two objects, on the boundary between them, and not known
        let boundary = AffinityPlan { widen_borders: 1, ..plan(OffsetSet::Boundary) };
        let inside = boundary.targets(&labels, Device::Cpu).unwrap();
        assert_eq!(inside.values.size(), [1, 1, 1, 1, 5]);
        let row = |t: &Tensor| Vec::<f32>::try_from(t.contiguous().view(-1)).unwrap();
        assert_eq!(row(&inside.values), [1.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(row(&inside.weights)[4], 0.0);

        let mut score = BoundaryScore::default();
        // one pair that is apart, found with one too many; what is unknown does not count
        let found =
            Tensor::from_slice(&[0.0_f32, 0.9, 0.2, 0.4, 0.0]).view([1, 1, 1, 5]).repeat([3, 1, 1, 1]);
        score.add(&found, &targets);
        let (each, mean) = score.finish();
        assert_eq!(each, [None, None, Some(2.0 / 3.0)]);
        assert_eq!(mean, Some(2.0 / 3.0));
    }

    #[test]
    fn a_model_without_an_objective_has_classes() {
        #[derive(Deserialize)]
        struct Holder {
            #[serde(default)]
            objective: Objective,
        }
        assert_eq!(serde_json::from_str::<Holder>("{}").unwrap().objective, Objective::Classes);
        let text = serde_json::to_string(&Objective::Affinities(plan(OffsetSet::Nearest))).unwrap();
        assert!(text.contains(r#""kind":"affinities""#) && text.contains("[0,-1,0]"), "{text}");
        assert_eq!(
            serde_json::from_str::<Objective>(&text).unwrap(),
            Objective::Affinities(plan(OffsetSet::Nearest))
        );
    }
}
