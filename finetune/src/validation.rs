//! The validation while training: Dice or the F1 of boundaries, and a picture of some cases.

use crate::objective::{AffinityPlan, BoundaryScore};
use crate::sampling;
use crate::semantic::{Semantic, SemanticLoss};
use crate::sheet::{Sheet, Shown};
use crate::task::{Output, Segmentation, predict_image, predict_whole};
use patches::{Case, Region};
use tch::{Device, Kind, Tensor};
use training::error::BoxedError;
use training::losses::affinity::loss_of_probabilities;
use training::predict::SlidingWindow;
use training::record::Values;
use training::step::Validation;

/// Patches of a training patch's size along z, y, x that validation of affinities looks at in each case, at most: in its middle.
const VALIDATED_ZYX: [usize; 3] = [2, 4, 4];

impl Segmentation {
    /// Sliding windows of validation: fewer than prediction takes.
    fn windows(&self) -> SlidingWindow {
        SlidingWindow { overlap: 0.25, ..SlidingWindow::new(self.patch_zyx) }
    }

    fn image(&self, case: &Case, region: &Region) -> patches::Result<Tensor> {
        let [z, y, x] = region.shape().map(|n| n as i64);
        Ok(Tensor::from_slice(&case.read_image(region)?).view([self.channels, z, y, x]))
    }

    /// Dice pooled over the validation cases per class or region, in the shards' grid, by sliding window, and the loss likewise pooled, without
    /// its boundary term. What nobody annotated does not count.
    pub(crate) fn pooled_dice(
        &self,
        semantic: &Semantic,
        loss: &SemanticLoss,
    ) -> Result<Validation, BoxedError> {
        let ignore_label = loss.overlap.ignore_label;
        let mut pooled = semantic.pooled_loss(loss);
        let mut both = vec![0i64; semantic.names.len()];
        let mut sizes = vec![0i64; semantic.names.len()];
        let options = self.windows();
        let (store, ids) = &self.validation;
        let mut sheet = Sheet::default();
        let mut not_finite = 0_u64;
        for id in ids {
            let case = store.case(id).map_err(|e| e.message(id))?;
            let shape = case.record().shape_zyx;
            let mut finite = true;
            let region = Region::whole(shape);
            let image = self.image(&case, &region).map_err(|e| e.message(id))?;
            let truth = case.read_label(&region).map_err(|e| e.message(id))?;
            let compute = (self.precision, self.device);
            let network = (std::slice::from_ref(&self.network), &self.filling);
            // what the picture shows, both without what nobody annotated
            let mut shown = sheet.has_room().then(<[Vec<u32>; 2]>::default);
            let mut score = |first: i64, scores: &Tensor| -> Result<(), BoxedError> {
                let size = scores.size()[1..].to_vec();
                let start = first as usize * shape[1] * shape[2];
                let voxels = size.iter().product::<i64>() as usize;
                let labels: Vec<i64> = truth[start..start + voxels].iter().copied().map(i64::from).collect();
                let labels = Tensor::from_slice(&labels).view(size.as_slice());
                pooled.add(scores, &labels)?;
                finite = finite && is_finite(scores)?;
                let known = match ignore_label {
                    Some(ignored) => labels.ne(ignored),
                    None => labels.ones_like().to_kind(Kind::Bool),
                };
                let (predicted, guesses) = semantic.labels_and_masks(scores);
                if let Some([reference, prediction]) = &mut shown {
                    reference.extend(numbers(&(&labels * &known))?);
                    prediction.extend(numbers(&(predicted * &known))?);
                }
                for (index, (truth, guess)) in semantic.true_masks(&labels).iter().zip(&guesses).enumerate() {
                    let guess = guess.logical_and(&known);
                    let count = |t: &Tensor| t.sum(Kind::Int64).int64_value(&[]);
                    both[index] += count(&guess.logical_and(truth));
                    sizes[index] += count(&guess) + count(truth);
                }
                Ok(())
            };
            // slab by slab: classes times voxels are never in memory at once
            predict_image(&image, &options, network, compute, Output::Scores, &|| true, &mut score)?;
            not_finite += u64::from(!finite);
            if let Some([reference, prediction]) = &shown {
                let image = Vec::<f32>::try_from(image.get(0).contiguous().view(-1))?;
                sheet.add_classes(&self.shown(&case, shape), &image, [reference, prediction]);
            }
        }
        let mut values = Values::new();
        values.extend(pooled.finish().map(|loss| ("loss".to_owned(), loss)));
        if not_finite > 0 {
            return Ok(without_score(not_finite, values, sheet));
        }
        let mut scored = Vec::new();
        for (name, (both, size)) in semantic.names.iter().zip(both.into_iter().zip(sizes)) {
            if size > 0 {
                let dice = 2.0 * both as f64 / size as f64;
                values.insert(format!("pooled_dice {name}"), dice);
                scored.push(dice);
            }
        }
        let score = (!scored.is_empty()).then(|| scored.iter().sum::<f64>() / scored.len() as f64);
        Ok(Validation { score, values, picture: sheet.finish(), ..Validation::default() })
    }

    /// F1 of pairs of voxels that are apart, at one half, pooled over the middles of the validation cases, and their loss.
    pub(crate) fn boundary_f1(&self, plan: &AffinityPlan) -> Result<Validation, BoxedError> {
        let mut pooled = BoundaryScore::default();
        let (mut loss, mut voxels, mut not_finite) = (0.0, 0, 0_u64);
        let mut sheet = Sheet::default();
        let (store, ids) = &self.validation;
        for id in ids {
            let case = store.case(id).map_err(|e| e.message(id))?;
            let shape = case.record().shape_zyx;
            let looked: [usize; 3] =
                std::array::from_fn(|a| shape[a].min(VALIDATED_ZYX[a] * self.patch_zyx[a] as usize));
            let region = Region::whole(shape).widened(looked);
            let image = self.image(&case, &region).map_err(|e| e.message(id))?;
            let labels = sampling::objects(&case, &region).map_err(|e| e.message(id))?;
            let [z, y, x] = looked.map(|n| n as i64);
            let targets = plan.targets(&Tensor::from_slice(&labels).view([1, 1, z, y, x]), Device::Cpu)?;
            let compute = (self.precision, self.device);
            let network = (std::slice::from_ref(&self.network), &self.filling);
            let found = predict_whole(&image, &self.windows(), network, compute, Output::Sigmoid)?;
            pooled.add(&found, &targets);
            not_finite += u64::from(!is_finite(&found)?);
            let (known, weight) = (targets.values.get(0), targets.weights.get(0));
            loss += loss_of_probabilities(&found, &known, &weight, plan.loss)?;
            voxels += looked.iter().product::<usize>();
            if sheet.has_room() {
                let labels: Vec<u32> =
                    labels.iter().map(|id| u32::try_from(*id)).collect::<Result<_, _>>()?;
                let image = Vec::<f32>::try_from(image.get(0).contiguous().view(-1))?;
                let boundary = Vec::<f32>::try_from(plan.boundary(&found).contiguous().view(-1))?;
                sheet.add_objects(&self.shown(&case, looked), &image, &labels, &boundary);
            }
        }
        let (each, score) = pooled.finish();
        let mut values = Values::new();
        if voxels > 0 {
            values.insert("loss".to_owned(), loss / voxels as f64);
        }
        if not_finite > 0 {
            return Ok(without_score(not_finite, values, sheet));
        }
        for (offset, f1) in plan.offsets_zyx.iter().zip(each) {
            if let Some(f1) = f1 {
                let [z, y, x] = offset;
                values.insert(format!("boundary_f1 {z},{y},{x}"), f1);
            }
        }
        Ok(Validation { score, values, picture: sheet.finish(), ..Validation::default() })
    }

    /// A case, as its rows of the picture name and lay it out.
    fn shown<'a>(&self, case: &'a Case, shape_zyx: [usize; 3]) -> Shown<'a> {
        let [_, y, x] = case.record().spacing_zyx_mm;
        Shown { id: &case.record().id, shape_zyx, spacing_yx: [y, x], from_feet: self.from_feet }
    }
}

fn is_finite(scores: &Tensor) -> Result<bool, tch::TchError> {
    Ok(scores.f_isfinite()?.f_all()?.f_int64_value(&[])? != 0)
}

/// What is found where a network gives no numbers for some cases: the largest of scores that are none is a class all the same, and its Dice
/// would pass for a score.
fn without_score(cases: u64, mut values: Values, sheet: Sheet) -> Validation {
    values.insert("not_finite_cases".to_owned(), cases as f64);
    Validation { score: Some(f64::NAN), values, picture: sheet.finish(), ..Validation::default() }
}

/// The numbers of a label map.
fn numbers(labels: &Tensor) -> Result<Vec<u32>, BoxedError> {
    let numbers = Vec::<i64>::try_from(labels.to_device(Device::Cpu).contiguous().view(-1))?;
    Ok(numbers.into_iter().map(u32::try_from).collect::<Result<_, _>>()?)
}
