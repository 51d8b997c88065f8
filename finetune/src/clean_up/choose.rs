//! `finetune clean-up`: which clean-up helps on the validation cases of prediction directories.

use super::{CleanUp, Trial, keep_largest};
use crate::arguments::CleanUpArguments;
use crate::chosen::{self, Chosen, Identity};
use crate::flaw::message_of;
use crate::kept::listed;
use crate::model::{self, ModelPlan};
use crate::predict::{CLASSES, Row, TABLE};
use crate::stacks::{Failure, each_section};
use data_manifests::raw::open::{self, RawVoxels};
use data_manifests::{Descriptor, Manifest, cases};
use stage::message::counted;
use stage::{Context, ExitStatus, Message, atomic, interrupt};
use std::collections::BTreeMap;
use std::path::Path;
use volume::scan;

/// Dice of a class: by whether the foreground was cleaned, then by whether the class was; none where it is in neither map.
type Dice = [[Option<f64>; 2]; 2];

/// A prediction directory.
struct Predictions<'a> {
    directory: &'a Path,
    manifest: Manifest,
    /// Its labelled validation cases.
    rows: Vec<Row>,
}

/// Runs the command.
pub(crate) fn run(arguments: &CleanUpArguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let plan = model::common_plan(&arguments.model)?;
    if !plan.objective.is_semantic() {
        return Err(Message::error("E423", "this is a model of objects: there are no label maps to clean")
            .fix("Give 'finetune instances' a --smallest instead")
            .into());
    }
    let several = arguments.model.len() > 1;
    let read = arguments.predictions.iter().map(|directory| Predictions::read(directory, several));
    let pooled: Vec<Predictions<'_>> = read.collect::<anyhow::Result<_>>()?;
    let models = checked_models(arguments, &pooled)?;
    refuse_twice(&pooled)?;
    let cases: usize = pooled.iter().map(|predictions| predictions.rows.len()).sum();
    let progress = context.progress("clean-up", cases as u64);
    let mut measured = Vec::with_capacity(cases);
    for (predictions, row) in pooled.iter().flat_map(|found| found.rows.iter().map(move |row| (found, row))) {
        if interrupt::requested() {
            progress.finish();
            let text = format!(
                "interrupted after {} of {}: nothing was chosen",
                measured.len(),
                counted(cases, "case")
            );
            context.tell(Message::info("I306", text).fix("Rerun the same command"));
            return Ok(ExitStatus::Interrupted);
        }
        predictions.expect_unchanged(row)?;
        measured.push(measure(row, predictions.directory, &arguments.references, &plan)?);
        progress.step(&row.id);
    }
    progress.finish();
    let choice = choose(&measured, &plan.descriptor, models);
    for trial in &choice.tried {
        context.print(&line(trial))?;
    }
    let mut bytes = serde_json::to_vec_pretty(&choice)?;
    bytes.push(b'\n');
    atomic::write(&arguments.out, &bytes)?;
    context.say(&format!("Clean-up for 'finetune predict --clean-up': {}", arguments.out.display()));
    Ok(ExitStatus::Done)
}

impl<'a> Predictions<'a> {
    /// `several` tells whether models of several splits may have predicted together.
    fn read(directory: &'a Path, several: bool) -> anyhow::Result<Self> {
        let manifest = Manifest::load(directory, "predict")?;
        let detail = directory.display().to_string();
        if manifest.inputs.iter().any(|input| input.role == "clean-up") {
            return Err(Message::error("E423", "these predictions are cleaned already")
                .detail(detail)
                .fix("Give --predictions what 'finetune predict' wrote without --clean-up")
                .into());
        }
        let rows: Vec<Row> = cases::from_csv(&directory.join(TABLE))?;
        let rows: Vec<Row> =
            rows.into_iter().filter(|row| row.split == "val" && !row.label.is_empty()).collect();
        if rows.is_empty() {
            let message =
                Message::error("E423", "no validation case is among these predictions").detail(detail);
            return Err(match several {
                false => message
                    .fix("Predict them: 'finetune predict --cases val' with the raw folder as --input"),
                true => message
                    .cause("With the folds of a cross-validation no case is for validation in all models")
                    .fix("Predict the validation cases of each model alone ('finetune predict --model MODEL --cases val') and give --predictions all these directories"),
            }
            .into());
        }
        Ok(Self { directory, manifest, rows })
    }

    /// Fails where a label map is not the one that its stage wrote.
    fn expect_unchanged(&self, row: &Row) -> anyhow::Result<()> {
        let file = self.directory.join(&row.file);
        let (path, (_, found)) = listed(&file, &row.file)?;
        if self.manifest.outputs.iter().any(|output| output.path == path && output.sha256 == found) {
            return Ok(());
        }
        Err(Message::error("E423", "the prediction was changed after it was written")
            .case(&row.id)
            .detail(file.display().to_string())
            .fix("Remove the file and run 'finetune predict' again")
            .into())
    }
}

/// What a choice stores of the models, each of which must have predicted once: together with the others, or alone.
fn checked_models(
    arguments: &CleanUpArguments,
    pooled: &[Predictions<'_>],
) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let given = chosen::given(&arguments.model)?;
    let predicted: Vec<Identity> =
        pooled.iter().flat_map(|found| chosen::predicted_by(&found.manifest, found.directory)).collect();
    if chosen::same(&given, &predicted) {
        return Ok(chosen::stored(&predicted, &given));
    }
    let directories: Vec<String> =
        arguments.predictions.iter().map(|directory| directory.display().to_string()).collect();
    Err(Message::error("E423", "these predictions are of other models")
        .detail(directories.join(", "))
        .fix("Give --predictions what 'finetune predict' wrote with the same --model: one directory of all of them together, or one of each")
        .into())
}

/// Refuses a case that counts twice.
fn refuse_twice(pooled: &[Predictions<'_>]) -> Result<(), Message> {
    let mut seen = BTreeMap::new();
    for (predictions, row) in pooled.iter().flat_map(|found| found.rows.iter().map(move |row| (found, row))) {
        if let Some(first) = seen.insert(&row.id, predictions.directory) {
            return Err(Message::error("E423", "a case is for validation in two of these directories")
                .case(&row.id)
                .detail(format!("{} and {}", first.display(), predictions.directory.display()))
                .cause("The models are of one split, such as several seeds of it")
                .fix("Predict its validation cases with all models together, and give --predictions that directory"));
        }
    }
    Ok(())
}

/// Dice of each class of a case, in the order of the descriptor's classes.
fn measure(row: &Row, directory: &Path, references: &Path, plan: &ModelPlan) -> anyhow::Result<Vec<Dice>> {
    let failed = |error: volume::VolumeError| message_of(&error).case(&row.id);
    let reference = row.reference(references, "E423")?;
    let open::RawLabels { grid, voxels, .. } = open::labels(&reference, &plan.descriptor).map_err(failed)?;
    let RawVoxels::Narrow(truth) = voxels else {
        return Err(Message::error("E423", "the reference holds objects, not classes").case(&row.id).into());
    };
    let path = directory.join(&row.file);
    let (shape_zyx, values) = prediction(&path).map_err(|failure| failure.0.case(&row.id))?;
    if shape_zyx != grid.shape_zyx {
        return Err(Message::error("E423", "prediction and reference differ in shape (z, y, x)")
            .case(&row.id)
            .detail(format!("{shape_zyx:?} and {:?}", grid.shape_zyx))
            .fix("Give --references the raw folder that was predicted")
            .into());
    }
    let narrow = values.into_iter().map(u16::try_from).collect::<Result<Vec<u16>, _>>();
    let guess =
        narrow.map_err(|_| Message::error("E423", "the prediction holds no classes").case(&row.id))?;
    let (classes, ignored) = (plan.descriptor.foreground_classes().len(), plan.descriptor.ignored());
    of_maps(&truth, guess, grid.shape_zyx, classes, ignored)
        .map_err(|e| Message::error("E423", e.to_string()).case(&row.id).into())
}

/// Shape and values of a label map that 'finetune predict' wrote, z, y, x.
fn prediction(path: &Path) -> Result<([usize; 3], Vec<u64>), Failure> {
    if path.extension().is_some_and(|extension| extension == "h5" || extension == "zarr") {
        let mut values = Vec::new();
        let shape_zyx = each_section(path, CLASSES, |section| values.extend_from_slice(section))?;
        return Ok((shape_zyx, values));
    }
    let map = scan::read_labels(path)?;
    Ok((map.grid.shape_zyx, map.data.into_iter().map(u64::from).collect()))
}

/// Dice of the classes 1 to `classes`, with and without either clean-up.
fn of_maps(
    truth: &[u32],
    guess: Vec<u16>,
    shape_zyx: [usize; 3],
    classes: usize,
    ignored: Option<u32>,
) -> label_maps::Result<Vec<Dice>> {
    let mut found = vec![Dice::default(); classes];
    let mut whole = guess;
    for foreground in [0, 1] {
        if foreground == 1 {
            keep_largest(&mut whole, shape_zyx, |label| label != 0)?;
        }
        for (class, found) in (1_u16..).zip(&mut found) {
            found[foreground][0] = dice(truth, &whole, class, ignored);
            let mut own = whole.clone();
            keep_largest(&mut own, shape_zyx, |label| label == class)?;
            found[foreground][1] = dice(truth, &own, class, ignored);
        }
    }
    Ok(found)
}

fn dice(truth: &[u32], guess: &[u16], class: u16, ignored: Option<u32>) -> Option<f64> {
    let (mut both, mut sizes) = (0_u64, 0_u64);
    for (truth, guess) in truth.iter().zip(guess).filter(|(truth, _)| Some(**truth) != ignored) {
        let (t, g) = (*truth == u32::from(class), *guess == class);
        both += u64::from(t && g);
        sizes += u64::from(t) + u64::from(g);
    }
    (sizes > 0).then(|| 2.0 * both as f64 / sizes as f64)
}

/// A smaller rise of a mean Dice is rounding of its sum.
const RISE: f64 = 1e-9;

/// A trial in a line; where four digits do not tell the two apart, the verdict does.
fn line(Trial { step, without, with, taken }: &Trial) -> String {
    let [before, after] = [without, with].map(|dice| format!("{dice:.4}"));
    let verdict = match (*taken, before == after) {
        (true, true) => format!("taken, better by {:.1e}", with - without),
        (true, false) => "taken".to_owned(),
        (false, _) if (with - without).abs() <= RISE => "left, no better".to_owned(),
        (false, _) => "left".to_owned(),
    };
    format!("{step:<32} Dice {before} without, {after} with: {verdict}")
}

/// As nnU-Net: the foreground's clean-up where the mean over classes rises and no class falls, then that of each class whose own
/// Dice rises.
fn choose(
    cases: &[Vec<Dice>],
    descriptor: &Descriptor,
    (models, weights): (Vec<String>, Vec<String>),
) -> CleanUp {
    let names = descriptor.labels.as_ref().map(|labels| labels.classes.as_slice()).unwrap_or_default();
    let classes = cases.first().map_or(0, Vec::len);
    // a class that no case holds has no say
    let mean = |class: usize, foreground: usize, own: usize| {
        let values: Vec<f64> = cases.iter().filter_map(|case| case[class][foreground][own]).collect();
        metrics::statistics::summarise(&values).map(|summary| summary.mean)
    };
    let pairs: Vec<[f64; 2]> =
        (0..classes).filter_map(|class| Some([mean(class, 0, 0)?, mean(class, 1, 0)?])).collect();
    let of_all = |with: usize| pairs.iter().map(|pair| pair[with]).sum::<f64>() / pairs.len().max(1) as f64;
    let rises = |without: f64, with: f64| with - without > RISE;
    let foreground =
        rises(of_all(0), of_all(1)) && pairs.iter().all(|[without, with]| !rises(*with, *without));
    let mut tried = vec![Trial {
        step: "largest of the foreground".to_owned(),
        without: of_all(0),
        with: of_all(1),
        taken: foreground,
    }];
    let mut taken = Vec::new();
    for (class, number) in (0..classes).zip(1_u16..) {
        let at = usize::from(foreground);
        let (Some(without), Some(with)) = (mean(class, at, 0), mean(class, at, 1)) else { continue };
        let name = names.get(usize::from(number)).map_or_else(|| number.to_string(), Clone::clone);
        tried.push(Trial { step: format!("largest of {name}"), without, with, taken: rises(without, with) });
        if rises(without, with) {
            taken.push(number);
        }
    }
    CleanUp {
        schema: CleanUp::SCHEMA.to_owned(),
        models,
        weights,
        cases: cases.len(),
        foreground,
        classes: taken,
        tried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [1, 1, 9];

    fn chosen(maps: &[([u32; 9], [u16; 9])]) -> CleanUp {
        let descriptor = Descriptor::find("msd04-hippocampus").unwrap();
        let cases: Vec<Vec<Dice>> = maps
            .iter()
            .map(|(truth, guess)| of_maps(truth, guess.to_vec(), SHAPE, 2, Some(9)).unwrap())
            .collect();
        choose(&cases, &descriptor, Default::default())
    }

    #[test]
    fn lines_tell_what_a_verdict_rests_on() {
        let said =
            |without, with, taken| line(&Trial { step: "largest of a".to_owned(), without, with, taken });
        let lines = [
            said(0.5, 0.75, true),
            said(0.81234, 0.81234 + 3.1e-6, true),
            said(0.8, 0.8, false),
            said(0.8, 0.7, false),
        ];
        insta::assert_snapshot!(lines.join("\n"), @r"
        largest of a                     Dice 0.5000 without, 0.7500 with: taken
        largest of a                     Dice 0.8123 without, 0.8123 with: taken, better by 3.1e-6
        largest of a                     Dice 0.8000 without, 0.8000 with: left, no better
        largest of a                     Dice 0.8000 without, 0.7000 with: left
        ");
    }

    #[test]
    fn a_rise_in_the_last_digits_is_none() {
        // the same values in another order have another sum
        let case = |without: f64, with: f64| vec![[[Some(without), Some(without)], [Some(with), Some(with)]]];
        let cases = [case(0.1, 0.3), case(0.2, 0.2), case(0.3, 0.1)];
        let [one, two] = [0, 1].map(|with| cases.iter().map(|case| case[0][with][0].unwrap()).sum::<f64>());
        assert_ne!(one, two);
        let descriptor = Descriptor::find("msd04-hippocampus").unwrap();
        let choice = choose(&cases, &descriptor, Default::default());
        assert!(!choice.foreground && choice.classes.is_empty(), "{choice:?}");
    }

    #[test]
    fn what_helps_is_taken_and_what_harms_is_left() {
        let truth = [1, 1, 1, 2, 2, 0, 0, 0, 0];
        // a stray voxel of either class beside one body
        let stray = [1, 1, 1, 2, 2, 0, 1, 0, 2];
        let choice = chosen(&[(truth, stray)]);
        assert!(choice.foreground && choice.classes.is_empty(), "{choice:?}");
        // two true parts of class 1: the foreground's would take one; class 2 has a stray voxel
        let parts = [1, 1, 0, 1, 0, 2, 2, 0, 0];
        let guess = [1, 1, 0, 1, 0, 2, 2, 0, 2];
        let choice = chosen(&[(parts, guess)]);
        assert!(!choice.foreground, "{choice:?}");
        assert_eq!(choice.classes, [2]);
        assert_eq!(choice.tried.iter().map(|t| t.taken).collect::<Vec<_>>(), [false, false, true]);
        // the smaller part lies where nobody annotated: it is no fault that cleaning would mend
        let choice = chosen(&[([1, 1, 1, 0, 9, 9, 9, 0, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0])]);
        assert!(!choice.foreground && choice.classes.is_empty(), "{choice:?}");
        // what changes nothing is left
        let choice = chosen(&[(truth, [1, 1, 1, 2, 2, 0, 0, 0, 0])]);
        assert!(!choice.foreground && choice.classes.is_empty(), "{choice:?}");
        // no foreground anywhere
        let choice = chosen(&[([0; 9], [0; 9])]);
        assert!(!choice.foreground && choice.classes.is_empty(), "{choice:?}");
    }
}
