//! Labels that are classes: the classes themselves, or regions that they make up together and that may overlap.

use crate::boundary;
use crate::objective::Objective;
use data_manifests::descriptor::{Labels, Region};
use stage::Message;
use tch::{Device, Kind, Tensor};
use torch_runtime::Group;
use training::TrainingError;
use training::error::BoxedError;
use training::losses::dice_ce::{DiceCe, DiceCeOptions, deep_supervision};
use training::losses::pooled::PooledLoss;
use training::losses::regions::{deep_region_loss, masks};
use training::predict::label_map;
use volume::resample::LabelRule;

/// What semantic labels are learnt and predicted as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Semantic {
    /// Names of classes without the background, or of regions.
    pub(crate) names: Vec<String>,
    /// The label values of each.
    values: Vec<Vec<i64>>,
    /// Of regions: what each becomes in a label map, in the order of painting.
    paint: Option<Vec<u16>>,
}

/// How a semantic network is told from the truth.
#[derive(Debug, Clone)]
pub(crate) struct SemanticLoss {
    pub(crate) overlap: DiceCeOptions,
    /// Weight of the boundary term; none for 0.
    pub(crate) boundary_weight: f64,
    /// Of the shards' grid, z, y, x.
    pub(crate) spacing_zyx: [f64; 3],
}

impl Semantic {
    /// Each class apart from the others.
    pub(crate) fn classes(labels: &Labels) -> Self {
        let names: Vec<String> = labels.classes.iter().skip(1).cloned().collect();
        let values = (1..=names.len() as i64).map(|value| vec![value]).collect();
        Self { names, values, paint: None }
    }

    /// The regions that the descriptor declares.
    ///
    /// # Errors
    /// For classes beyond the 65,536 that a label map holds.
    pub(crate) fn regions(labels: &Labels) -> Result<Self, Message> {
        let regions = || labels.regions.iter();
        Ok(Self {
            names: regions().map(|region| region.name.clone()).collect(),
            values: regions().map(|region| region.values.iter().map(|v| i64::from(*v)).collect()).collect(),
            paint: Some(regions().map(painted).collect::<Result<_, _>>()?),
        })
    }

    /// What a model with this objective and these labels predicts; none for objects.
    ///
    /// # Errors
    /// As [`Self::regions`].
    pub(crate) fn of(objective: &Objective, labels: Option<&Labels>) -> Result<Option<Self>, Message> {
        match (objective, labels) {
            (Objective::Classes, Some(labels)) => Ok(Some(Self::classes(labels))),
            (Objective::Regions, Some(labels)) => Self::regions(labels).map(Some),
            (Objective::Affinities(_), _) | (_, None) => Ok(None),
        }
    }

    /// Channels of the network: the background has one among classes.
    pub(crate) fn channels(&self) -> usize {
        self.names.len() + usize::from(self.paint.is_none())
    }

    /// How scores become a label map.
    pub(crate) fn rule(&self) -> LabelRule {
        match &self.paint {
            Some(paint) => LabelRule::Paint(paint.clone()),
            None => LabelRule::Highest(self.channels()),
        }
    }

    /// The distances that the boundary term of [`Self::loss`] takes, if it is asked for.
    ///
    /// # Shapes
    /// `labels`: int64 `[batch, 1, z, y, x]`, on the CPU; float32 `[batch, class or region, z, y, x]` on `device`.
    pub(crate) fn distances(
        &self,
        labels: &Tensor,
        options: &SemanticLoss,
        device: Device,
    ) -> Result<Option<Tensor>, BoxedError> {
        if options.boundary_weight <= 0.0 {
            return Ok(None);
        }
        let ignored = options.overlap.ignore_label;
        boundary::signed_distances(labels, &self.values, options.spacing_zyx, ignored, device).map(Some)
    }

    /// The loss of scores at several resolutions, the label's first.
    ///
    /// # Shapes
    /// `outputs`: `[batch, channel, z, y, x]`; `labels`: int64 `[batch, 1, z, y, x]`; `distances`: see [`Self::distances`].
    pub(crate) fn loss(
        &self,
        outputs: &[Tensor],
        (labels, distances): (&Tensor, Option<&Tensor>),
        options: &SemanticLoss,
        group: Option<&Group>,
    ) -> Result<(DiceCe, Option<Tensor>), BoxedError> {
        let mut loss = match &self.paint {
            Some(_) => deep_region_loss(outputs, labels, &self.values, &options.overlap, group)?,
            None => deep_supervision(outputs, labels, &options.overlap, group)?,
        };
        let (Some(scores), Some(distances)) = (outputs.first(), distances) else {
            return Ok((loss, None));
        };
        let probability = match &self.paint {
            Some(_) => scores.sigmoid(),
            None => scores.softmax(1, Kind::Float).narrow(1, 1, self.names.len() as i64),
        };
        let term = (probability * distances).mean(Kind::Float);
        loss.total = &term * options.boundary_weight + loss.total;
        Ok((loss, Some(term.detach())))
    }

    /// The overlap part of [`Self::loss`] over whole volumes, without deep supervision.
    pub(crate) fn pooled_loss(&self, options: &SemanticLoss) -> PooledLoss<'_> {
        PooledLoss::new(options.overlap, self.paint.is_some().then_some(self.values.as_slice()))
    }

    /// Of a volume's scores the label map, int64, and the mask of each class or region.
    ///
    /// # Shapes
    /// `scores`: `[channel, z, y, x]`; `[z, y, x]` and as many such as there are names.
    pub(crate) fn labels_and_masks(&self, scores: &Tensor) -> (Tensor, Vec<Tensor>) {
        match &self.paint {
            None => {
                let labels = label_map(scores).to_kind(Kind::Int64);
                let masks = (1..=self.names.len() as i64).map(|class| labels.eq(class)).collect();
                (labels, masks)
            }
            Some(paint) => {
                let masks: Vec<Tensor> = scores.unbind(0).iter().map(|score| score.gt(0.0)).collect();
                let blank = Tensor::zeros(&scores.size()[1..], (Kind::Int64, scores.device()));
                let painted = masks
                    .iter()
                    .zip(paint)
                    .fold(blank, |labels, (mask, value)| labels.masked_fill(mask, i64::from(*value)));
                (painted, masks)
            }
        }
    }

    /// The true mask of each class or region.
    ///
    /// # Shapes
    /// `labels`: int64 `[z, y, x]`.
    pub(crate) fn true_masks(&self, labels: &Tensor) -> Vec<Tensor> {
        masks(&labels.unsqueeze(0), &self.values).gt(0.5).unbind(0)
    }
}

/// The value of a region in a label map.
fn painted(region: &Region) -> Result<u16, Message> {
    u16::try_from(region.paint).map_err(|_| {
        Message::error("E411", format!("region '{}' is painted {}", region.name, region.paint))
            .detail("A label map holds values to 65,535")
            .fix("Give the classes of the descriptor's [labels] smaller values by 'map'")
    })
}

impl SemanticLoss {
    /// Refuses numbers with which there is no loss.
    pub(crate) fn check(&self) -> Result<(), TrainingError> {
        if self.boundary_weight.is_finite() && self.boundary_weight >= 0.0 {
            return Ok(());
        }
        Err(TrainingError::Option {
            name: "boundary-weight",
            found: self.boundary_weight.to_string(),
            expected: "0 or more".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let names = ["background", "oedema", "core"].map(str::to_owned);
        let region = |name: &str, values: &[u32], paint| Region {
            name: name.to_owned(),
            values: values.to_vec(),
            paint,
        };
        Labels {
            regions: vec![region("whole", &[1, 2], 1), region("core", &[2], 2)],
            ..Labels::semantic(names.to_vec())
        }
    }

    #[test]
    fn regions_are_painted_one_over_the_other_and_classes_exclude_each_other() {
        let regions = Semantic::regions(&labels()).unwrap();
        assert_eq!((regions.channels(), regions.rule()), (2, LabelRule::Paint(vec![1, 2])));
        let scores = Tensor::from_slice(&[-1.0_f32, 1.0, 1.0, -1.0, -1.0, -1.0, 2.0, 2.0]).view([2, 1, 1, 4]);
        let (map, masks) = regions.labels_and_masks(&scores);
        let row = |t: &Tensor| Vec::<i64>::try_from(t.to_kind(Kind::Int64).contiguous().view(-1)).unwrap();
        assert_eq!(row(&map), [0, 1, 2, 2]);
        assert_eq!((row(&masks[0]), row(&masks[1])), (vec![0, 1, 1, 0], vec![0, 0, 1, 1]));
        let truth = regions.true_masks(&Tensor::from_slice(&[0_i64, 1, 2, 0]).view([1, 1, 4]));
        assert_eq!((row(&truth[0]), row(&truth[1])), (vec![0, 1, 1, 0], vec![0, 0, 1, 0]));

        let classes = Semantic::classes(&labels());
        assert_eq!((classes.channels(), classes.rule()), (3, LabelRule::Highest(3)));
        let scores = Tensor::cat(&[scores.zeros_like().narrow(0, 0, 1), scores], 0);
        let (map, masks) = classes.labels_and_masks(&scores);
        assert_eq!(row(&map), [0, 1, 2, 2]);
        assert_eq!(row(&masks[0]), [0, 1, 0, 0]);
        let truth = classes.true_masks(&Tensor::from_slice(&[0_i64, 1, 2, 0]).view([1, 1, 4]));
        assert_eq!((row(&truth[0]), row(&truth[1])), (vec![0, 1, 0, 0], vec![0, 0, 1, 0]));
    }

    #[test]
    fn a_boundary_term_pulls_towards_the_true_surface() {
        let semantic = Semantic::classes(&labels());
        let truth = Tensor::from_slice(&[0_i64, 0, 1, 1, 1, 0, 0, 0]).view([1, 1, 1, 1, 8]);
        let options =
            SemanticLoss { overlap: DiceCeOptions::default(), boundary_weight: 0.5, spacing_zyx: [1.0; 3] };
        let cost = |guess: [i64; 8]| {
            let guess = Tensor::from_slice(&guess).view([1, 1, 1, 1, 8]);
            let scores =
                Tensor::zeros([1, 3, 1, 1, 8], (Kind::Float, Device::Cpu)).scatter_value(1, &guess, 60.0);
            let distances = semantic.distances(&truth, &options, Device::Cpu).unwrap();
            let (loss, term) =
                semantic.loss(&[scores], (&truth, distances.as_ref()), &options, None).unwrap();
            let parts = loss.dice + loss.cross_entropy;
            let term = term.unwrap();
            assert!((loss.total - parts - &term * 0.5).abs().double_value(&[]) < 1e-5);
            term.double_value(&[])
        };
        let (right, near, far) =
            (cost([0, 0, 1, 1, 1, 0, 0, 0]), cost([0, 0, 1, 1, 1, 1, 0, 0]), cost([0, 0, 1, 1, 1, 0, 0, 1]));
        assert!(right < near && near < far, "{right} {near} {far}");
        let without = SemanticLoss { boundary_weight: 0.0, ..options.clone() };
        let scores = Tensor::zeros([1, 3, 1, 1, 8], (Kind::Float, Device::Cpu));
        assert!(semantic.distances(&truth, &without, Device::Cpu).unwrap().is_none());
        assert!(semantic.loss(&[scores], (&truth, None), &without, None).unwrap().1.is_none());
        assert!(SemanticLoss { boundary_weight: -1.0, ..options }.check().is_err());
    }
}
