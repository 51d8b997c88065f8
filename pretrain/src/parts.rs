//! Alignment below the patch: equal parts of it along z with the reports of the slices in each.
//!
//! A patch's one vector says what its slices have in common; a report says what one slice shows. With parts, the same encoder
//! pass also gives a vector for each part, of a feature map fine enough to tell parts apart, and these are contrasted with
//! the parts' own reports. GTGM+'s description names alignment at several granularities and releases none; this form is ours.

use networks::Encoder;
use serde::{Deserialize, Serialize};
use stage::Message;
use tch::{Device, Kind, Tensor};
use torch_runtime::transfer::uploaded;
use training::error::BoxedError;

/// How many parts, and how much they count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartsPlan {
    /// Equal parts of a patch along z.
    pub(crate) count: usize,
    /// Weight of their image-text loss, the mean over both views.
    pub(crate) weight: f64,
}

impl PartsPlan {
    /// For a patch of so many slices.
    ///
    /// # Errors
    /// `E329` for one part, which is the patch, and for more than the patch has slices.
    pub(crate) fn new(count: u16, weight: f64, depth: usize) -> Result<Self, Message> {
        match usize::from(count) {
            count if count == 1 || count > depth => {
                Err(Message::error("E329", format!("--parts {count} for a patch of {depth} slices"))
                    .detail("Each part needs a slice, and one part is the patch itself")
                    .fix(format!("Give --parts from 2 to {depth}, or choose a patch with more slices")))
            }
            count => Ok(Self { count, weight }),
        }
    }
}

/// Where the vectors of parts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) count: usize,
    /// Position among the encoder's feature maps, finest first.
    map: usize,
    /// Features of a part.
    pub(crate) features: i64,
}

impl Parts {
    /// Takes the coarsest feature map that has a cell for each part.
    pub(crate) fn new(
        encoder: &Encoder,
        count: usize,
        patch_zyx: [usize; 3],
        device: Device,
    ) -> Result<Self, networks::Error> {
        let [z, y, x] = patch_zyx.map(|n| n as i64);
        let _guard = tch::no_grad_guard();
        let maps = encoder.forward_maps(&Tensor::zeros([1, 1, z, y, x], (Kind::Float, device)), false)?;
        // the finest has at most as many cells as the patch has slices; where it has fewer than parts, some share one
        let map = maps.iter().rposition(|map| map.size()[2] >= count as i64).unwrap_or(0);
        Ok(Self { count, map, features: maps.get(map).map_or(0, |map| map.size()[1]) })
    }

    /// A vector for each part, one after the other.
    ///
    /// # Shapes
    /// `maps`: the encoder's; result: `[batch, count · features]`.
    pub(crate) fn pool(&self, maps: &[Tensor]) -> Result<Tensor, BoxedError> {
        let map = maps.get(self.map).ok_or("the encoder gave fewer feature maps than before")?;
        let along_z = map.f_mean_dim([3_i64, 4].as_slice(), false, Kind::Float)?;
        let parts = along_z.f_adaptive_avg_pool1d(self.count as i64)?;
        Ok(parts.f_transpose(1, 2)?.f_reshape([-1, self.count as i64 * self.features])?)
    }

    /// Turns the order of parts around where a view has z the other way.
    ///
    /// # Shapes
    /// `parts`: `[batch, count, features]`, as is the result.
    pub(crate) fn ordered(parts: &Tensor, reversed: &[bool]) -> Result<Tensor, BoxedError> {
        let reversed = uploaded(reversed, &[-1, 1, 1], parts.device())?;
        Ok(parts.f_flip([1_i64])?.f_where_self(&reversed, parts)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use networks::{EncoderConfig, ResEncConfig, ResEncSize};
    use tch::nn;
    use training::random::{Purpose, normals, stream};

    #[test]
    fn parts_need_slices() {
        assert_eq!(PartsPlan::new(4, 0.5, 8).unwrap(), PartsPlan { count: 4, weight: 0.5 });
        for bad in [1, 9] {
            assert_eq!(PartsPlan::new(bad, 1.0, 8).unwrap_err().code, "E329");
        }
    }

    /// What lies in one part of the patch moves the vector of that part most.
    #[test]
    fn vectors_are_of_their_parts() {
        let mut rng = stream(2, 0, 0, Purpose::FirstView);
        let mut noise = |depth: i64| {
            Tensor::from_slice(&normals(&mut rng, 256 * depth as usize)).view([1, 1, depth, 16, 16])
        };
        let store = nn::VarStore::new(Device::Cpu);
        let topology = ResEncConfig::for_patch([16; 3], [1.0; 3], ResEncSize::Compact).unwrap();
        let config = EncoderConfig::Resenc { in_channels: 1, topology };
        let encoder = Encoder::new(&store.root(), &config, 1).unwrap();
        let parts = Parts::new(&encoder, 4, [16; 3], Device::Cpu).unwrap();
        let _guard = tch::no_grad_guard();
        let vectors = |input: &Tensor| {
            let maps = encoder.forward_maps(input, false).unwrap();
            parts.pool(&maps).unwrap().view([4, parts.features])
        };
        let flat = noise(16) * 0.1;
        for part in 0..4 {
            let marked = flat.copy();
            let mut slices = marked.narrow(2, 4 * part, 4);
            let _marked = slices.g_add_(&noise(4));
            let moved = (vectors(&marked) - vectors(&flat)).square().sum_dim_intlist(
                [1_i64].as_slice(),
                false,
                Kind::Float,
            );
            assert_eq!(moved.argmax(0, false).int64_value(&[]), part, "{moved:?}");
        }
    }

    #[test]
    fn reversed_views_have_their_parts_in_order() {
        let parts = Tensor::arange(12, (Kind::Float, Device::Cpu)).view([2, 3, 2]);
        let ordered = Parts::ordered(&parts, &[false, true]).unwrap();
        assert!(ordered.get(0).equal(&parts.get(0)));
        assert!(ordered.get(1).equal(&parts.get(1).flip([0])));
    }
}
