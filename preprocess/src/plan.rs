//! `preprocess plan`: what a data set is like, and the grid, patch and intensities that follow.

mod fingerprint;
mod forecast;

use crate::messages;
use crate::treatment::{Flags, Treatment};
use crate::{data_set, estimate, inputs, preflight};
use data_manifests::cases::triple;
use data_manifests::descriptor::{Intensities, Intensity, Resampling};
use data_manifests::plan::{Plan, Prediction};
use data_manifests::raw::{self, RawCase};
use data_manifests::{CaseSplit, Descriptor};
use fingerprint::{Found, Sampling};
use stage::limits::size;
use stage::{Context, ExitStatus, Message, Severity, interrupt};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  preprocess plan --dataset msd04-hippocampus --raw data/Task04_Hippocampus --out plan.json
  preprocess plan --raw nnUNet_raw/Dataset017_Mine --out plan.json --resampling nnunet
  preprocess --dataset my-data.toml --raw data/mine --out shards --plan plan.json

A plan is meant to be read and edited. Target spacing and patch follow nnU-Net's rules from the training cases; the
intensities of CT follow from sampled foreground voxels.";

/// Measure a data set, and plan spacing, patch and intensities
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Built-in data set, descriptor in TOML, or raw folder with dataset.json [default: the raw folder]
    #[arg(long, value_name = "NAME|FILE|DIR", required_unless_present = "raw")]
    dataset: Option<String>,
    /// The data set's own folder [default: --dataset if that is one, else below $GTGM_RAW or $nnUNet_raw]
    #[arg(long, value_name = "DIR")]
    raw: Option<PathBuf>,
    /// Where the plan goes
    #[arg(long, value_name = "FILE.json")]
    out: PathBuf,
    /// Foreground voxels sampled per case
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Seed of the sample
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Convention of resampling [default: the descriptor's]
    #[arg(long, value_name = "NAME", value_enum)]
    resampling: Option<Convention>,
    /// Memory of the GPU that the patch is planned for, in GiB
    #[arg(long, value_name = "GIB", default_value_t = 8.0, value_parser = stage::arguments::numbers::positive)]
    gpu_gb: f64,
    /// Memory for cases that are measured at once, in GiB; a single one that needs more is read all the same, with a warning
    /// [default: four fifths of what is available]
    #[arg(long, value_name = "GIB", value_parser = stage::arguments::numbers::positive)]
    max_ram: Option<f64>,
    #[command(flatten)]
    treatment: Flags,
    /// Values in the label files that become other values, as the run that follows will have them, such as 255=0
    #[arg(long, value_name = "FROM=TO", value_delimiter = ',', value_parser = crate::arguments::replacement)]
    label_map: Vec<(u64, u32)>,
    /// Leave the time out, for which one case is preprocessed; --compression has a say in nothing else here
    #[arg(long, conflicts_with = "compression")]
    no_timing: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Convention {
    /// Trilinear images, nearest labels.
    Linear,
    /// nnU-Net's: cubic splines, linear vote of labels.
    Nnunet,
}

impl From<Convention> for Resampling {
    fn from(convention: Convention) -> Self {
        match convention {
            Convention::Linear => Self::Linear,
            Convention::Nnunet => Self::Nnunet,
        }
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments, context: &Context) -> anyhow::Result<ExitStatus> {
    let (mut descriptor, raw) =
        data_set::find(arguments.dataset.as_deref(), arguments.raw.as_deref(), context)?;
    inputs::map_labels(&mut descriptor, &arguments.label_map)?;
    let listing = raw::list(&descriptor, &raw)?;
    let mut failed = 0;
    for problem in listing.problems {
        failed += usize::from(problem.severity == Severity::Error);
        context.tell(problem);
    }
    let all = listing.cases;
    let labelled = |case: &&RawCase| case.split == CaseSplit::Train && case.label.is_some();
    let mut train: Vec<RawCase> = all.iter().filter(labelled).cloned().collect();
    if train.is_empty() {
        train.clone_from(&all);
    }
    if train.is_empty() {
        return Err(inputs::no_usable_case(&raw).into());
    }
    let treatment = arguments.treatment.treatment();
    let sampling = Sampling { voxels: arguments.sample as usize, seed: arguments.seed };
    let mut measured =
        fingerprint::measure(&train, &descriptor, sampling, treatment, arguments.max_ram, context)?;
    if interrupt::requested() {
        let message = Message::info("I164", "interrupted: no plan was written");
        context.tell(message.fix("Run the same command again"));
        return Ok(ExitStatus::Interrupted);
    }
    let mut refused: BTreeSet<String> = BTreeSet::new();
    let mut tell = |found: Vec<(String, anyhow::Error)>| {
        for (id, error) in found {
            if refused.insert(id.clone()) {
                context.tell(messages::of_error(&id, &error, &raw));
            }
        }
        failed + refused.len()
    };
    tell(std::mem::take(&mut measured.failed));
    let resampling = arguments.resampling.map_or(descriptor.grid.resampling, Resampling::from);
    let (mut plan, planned) = loop {
        let plan = Plan::from_fingerprint(&descriptor, measured.fingerprint(), resampling, arguments.gpu_gb)?;
        let planned = descriptor.clone().with_plan(&plan)?;
        // what a run by this plan refuses has no say in it
        let found = measured.refuse(|found| acceptable(found, &train[found.place], &planned, treatment));
        if found.is_empty() {
            break (plan, planned);
        }
        tell(found);
    };
    let timing = (!arguments.no_timing).then_some(arguments.max_ram);
    let forecast = forecast::of(&all, &planned, &raw, treatment, timing, context)?;
    let failed = tell(forecast.failed);
    plan.predicted = Some(forecast.prediction);
    if !arguments.label_map.is_empty() {
        let replaced: Vec<_> = arguments.label_map.iter().map(|(from, to)| format!("{from}={to}")).collect();
        plan.notes.push(format!("the foreground was sampled with --label-map {}", replaced.join(",")));
    }
    plan.save(&arguments.out)?;
    context.count("cases", train.len() as u64);
    summary(&plan, &descriptor.channels, all.len(), &arguments.out, context)?;
    Ok(if failed > 0 { ExitStatus::Partial } else { ExitStatus::Done })
}

/// Refuses a case that a run by a plan refuses: a grid that only a wrong voxel size explains, no foreground.
fn acceptable(
    found: &Found,
    case: &RawCase,
    planned: &Descriptor,
    treatment: Treatment,
) -> anyhow::Result<()> {
    estimate::of_case(case, planned, treatment.align_labels)?.refuse_explosion()?;
    volume::prepare::check(&found.statistics, &found.grid, &planned.method())
        .map_err(|error| case.image.in_own_file(error.naming_channels(&planned.channels)))?;
    Ok(())
}

/// A rule with what was measured for it.
fn numbers(rule: &Intensity) -> String {
    let name = rule.rule().name();
    match rule {
        Intensity::CtPercentile { low, high, mean, std } => {
            let [low, high, mean, std] = [low, high, mean, std].map(|v| preflight::readable(*v));
            format!("{name}: clip {low} to {high}, mean {mean}, deviation {std}")
        }
        _ => name.to_owned(),
    }
}

fn summary(
    plan: &Plan,
    channels: &[String],
    cases: usize,
    out: &Path,
    context: &Context,
) -> anyhow::Result<()> {
    context.print(&format!("data set    {} ({cases} cases)", plan.dataset))?;
    if let Some(fingerprint) = &plan.fingerprint {
        let shape = triple(&fingerprint.median_shape_zyx.map(preflight::readable));
        let spacing = triple(&fingerprint.median_spacing_zyx_mm.map(preflight::readable));
        context.print(&format!("median      {shape} voxels of {spacing} mm (z,y,x)"))?;
    }
    context.print(&format!("spacing     {} mm", triple(&plan.spacing_zyx_mm.map(preflight::readable))))?;
    context.print(&format!("patch       {} voxels", triple(&plan.patch_zyx)))?;
    match &plan.intensity {
        Intensities::All(rule) => context.print(&format!("intensity   {}", numbers(rule)))?,
        Intensities::Each(rules) => {
            for (channel, (name, rule)) in channels.iter().zip(rules).enumerate() {
                let what = if channel == 0 { "intensity" } else { "" };
                context.print(&format!("{what:<12}{name}: {}", numbers(rule)))?;
            }
        }
    }
    if let Some(Prediction { bytes, peak_memory_bytes, seconds, measured_on }) = &plan.predicted {
        context.print(&format!("shards      at most {} before compression and crop", size(*bytes)))?;
        context.print(&format!("memory      {}", size(*peak_memory_bytes)))?;
        if let (Some(seconds), Some(on)) = (seconds, measured_on) {
            context.print(&format!("time        {} ({on})", duration(*seconds)))?;
        }
    }
    for note in &plan.notes {
        context.print(&format!("note        {note}"))?;
    }
    context.say(&format!("Plan written to {}.", out.display()));
    Ok(())
}

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}
