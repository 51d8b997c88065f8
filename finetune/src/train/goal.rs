//! What the labels teach, and how what is learnt is told from the truth.

use super::plan::TrainPlan;
use crate::arguments::Train;
use crate::objective::{AffinityPlan, Objective, OffsetSet, SemanticTargets};
use crate::semantic::{Semantic, SemanticLoss};
use crate::task::Goal;
use data_manifests::Descriptor;
use data_manifests::descriptor::LabelKind;
use label_maps::targets::Balance;
use stage::Message;
use training::losses::affinity::AffinityLoss;

/// What the labels teach.
pub(super) fn objective(arguments: &Train, descriptor: &Descriptor) -> anyhow::Result<Objective> {
    let Some(labels) = &descriptor.labels else {
        return Err(Message::error("E411", format!("data set '{}' has no labels", descriptor.name))
            .fix("Describe them in the descriptor's [labels] and run preprocess again")
            .into());
    };
    if labels.kind == LabelKind::Instances {
        refuse_options_of_classes(arguments, &descriptor.name)?;
        return Ok(Objective::Affinities(AffinityPlan {
            offsets_zyx: arguments.affinities.unwrap_or(OffsetSet::LongRange).offsets_zyx(),
            widen_borders: usize::from(arguments.widen_borders.unwrap_or(1)),
            balance: arguments.affinity_balance.unwrap_or(Balance::Jointly),
            loss: arguments.affinity_loss.unwrap_or(AffinityLoss::Bce),
        }));
    }
    refuse_options_of_objects(arguments, &descriptor.name)?;
    match (arguments.targets, labels.regions.is_empty()) {
        (Some(SemanticTargets::Regions), true) => {
            Err(Message::error("E411", format!("data set '{}' declares no regions", descriptor.name))
                .fix("Add [[labels.regions]] to its descriptor and run preprocess again, or omit --targets")
                .into())
        }
        (Some(SemanticTargets::Classes), _) | (None, true) => Ok(Objective::Classes),
        (Some(SemanticTargets::Regions) | None, false) => Ok(Objective::Regions),
    }
}

/// Refuses options that say nothing where labels are classes.
fn refuse_options_of_objects(arguments: &Train, dataset: &str) -> Result<(), Message> {
    let given = [
        ("--affinities", arguments.affinities.is_some()),
        ("--widen-borders", arguments.widen_borders.is_some()),
        ("--affinity-loss", arguments.affinity_loss.is_some()),
        ("--affinity-balance", arguments.affinity_balance.is_some()),
    ];
    let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    let what = format!("{option} is of labels that are objects, and those of '{dataset}' are classes");
    Err(Message::error("E411", what).fix(format!(
        "Omit {option}, or declare kind = \"instances\" in the descriptor's [labels] and run preprocess again"
    )))
}

/// Refuses options that say nothing where labels are objects.
fn refuse_options_of_classes(arguments: &Train, dataset: &str) -> Result<(), Message> {
    let given = [
        ("--targets", arguments.targets.is_some()),
        ("--batch-dice", arguments.batch_dice),
        ("--boundary-weight", arguments.boundary_weight > 0.0),
    ];
    let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    let what = format!("{option} is of labels that are classes, and those of '{dataset}' are objects");
    Err(Message::error("E411", what).fix(format!("Omit {option}")))
}

/// What is learnt, and how it is told from the truth.
pub(super) fn goal(plan: &TrainPlan, semantic: Option<Semantic>) -> anyhow::Result<Goal> {
    match (&plan.model.objective, semantic) {
        (Objective::Affinities(plan), _) => Ok(Goal::Affinities(plan.clone())),
        (_, Some(semantic)) => {
            let loss = SemanticLoss {
                overlap: plan.loss.unwrap_or_default(),
                boundary_weight: plan.boundary_weight,
                spacing_zyx: plan.model.descriptor.spacing_zyx_mm(),
            };
            loss.check().map_err(|e| e.message())?;
            Ok(Goal::Semantic(semantic, loss))
        }
        (_, None) => Err(Message::error("E411", "there are no labels to learn from")
            .fix("Describe them in the descriptor's [labels] and run preprocess again")
            .into()),
    }
}
