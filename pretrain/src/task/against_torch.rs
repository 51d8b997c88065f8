//! Three steps of the stage's own task and loop against the same three in PyTorch.

use super::{AlikeReports, Pretraining, VisualHeads};
use crate::exam::Exam;
use crate::mixture::Balance;
use crate::pairs::{Batch, Pairs, Texts};
use crate::plan::Plan;
use crate::selection::{SelectionRule, TestCases, WithoutReport};
use crate::text::ReportMatch;
use networks::{EncoderConfig, HeadNorm, MemoryFormat, ResEncConfig, ResEncSize, weights};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use tch::{Device, Tensor, nn};
use test_peers::python;
use torch_runtime::Precision;
use training::losses::pretrain::PretrainLossOptions;
use training::optimizer::{Optimizer, OptimizerOptions, Rule, named_variables};
use training::record::Values;
use training::run::{Observer, RunOptions, Session};
use training::schedule::LearningRate;
use training::step::InOrder;
use training::views::{self, Nature, ViewOptions};

const STEPS: u64 = 3;
const BATCH: usize = 8;
const FEATURES: usize = 10;
const PATCH: [usize; 3] = [8, 32, 32];
const WINDOW: [usize; 3] = [8, 48, 48];

fn topology() -> ResEncConfig {
    ResEncConfig::for_patch(PATCH.map(|n| n as i64), [1.0; 3], ResEncSize::Compact).unwrap()
}

fn plan() -> Plan {
    let mut optimizer = OptimizerOptions::new(Rule::adamw(), 0.05);
    optimizer.decay_vectors = false;
    Plan {
        schema: "test".to_owned(),
        encoder: EncoderConfig::Resenc { in_channels: 1, topology: topology() },
        patch_zyx: PATCH,
        window_zyx: WINDOW,
        datasets: Vec::new(),
        texts: Vec::new(),
        batch: BATCH,
        micro_batch: BATCH,
        memory_format: Some(MemoryFormat::Contiguous),
        report_match: ReportMatch::Overlap,
        parts: None,
        selection: SelectionRule {
            test_cases: TestCases::Refuse,
            holdout: 0.0,
            seed: 0,
            left_out: BTreeMap::new(),
            trained_later: BTreeMap::new(),
            without_report: WithoutReport::default(),
        },
        skipped: BTreeMap::new(),
        mix: 0.0,
        balance: Balance::default(),
        visual_heads: VisualHeads::default(),
        alike_reports: AlikeReports::default(),
        steps: STEPS,
        seed: 5,
        precision: "fp32".to_owned(),
        views: ViewOptions::published([true; 3], vec![[1, 2]]),
        loss: PretrainLossOptions::default(),
        head_norm: HeadNorm::Batch,
        projection_hidden: 32,
        projection_out: 16,
        optimizer,
        lr: LearningRate::cosine(1e-3, 10),
        clip: Some(1.0),
        init: None,
    }
}

fn numbers(count: usize, step: u64, salt: u64) -> Vec<f32> {
    let value = |i: u64| ((i * 2_654_435_761 + step * 40_503 + salt * 97) % 10_007) as f32 / 5_003.0 - 1.0;
    (0..count as u64).map(value).collect()
}

/// Waves of other lengths, directions and strengths in each sample: batch statistics are to be well conditioned.
fn windows(step: u64) -> Vec<f32> {
    let mut values = Vec::new();
    for sample in 0..BATCH {
        let wave = numbers(5, step, 100 + sample as u64);
        for z in 0..WINDOW[0] {
            for y in 0..WINDOW[1] {
                for x in 0..WINDOW[2] {
                    let phase = [z, y, x].iter().zip(&wave).map(|(at, w)| *at as f32 * w).sum::<f32>();
                    values.push(wave[3] + (1.0 + wave[4]) * (0.6 * phase).sin());
                }
            }
        }
    }
    values
}

fn batch(step: u64) -> Batch {
    Batch {
        windows: Tensor::from_slice(&windows(step)).view([BATCH as i64, 1, 8, 48, 48]),
        natures: vec![Nature::default(); BATCH],
        texts: Texts {
            embeddings: numbers(BATCH * FEATURES, step, 2),
            rows: (0..BATCH as i64).collect(),
            likeness: vec![(0..BATCH as i64).collect()],
        },
        part_texts: Texts::default(),
        members: Vec::new(),
    }
}

#[derive(Default)]
struct Seen(Vec<[f64; 2]>);

impl Observer for Seen {
    fn logged(&mut self, _step: u64, metrics: &Values, _timing: &Values) {
        self.0.push([metrics["loss"], metrics["grad_norm"]]);
    }
}

#[test]
fn three_steps_are_those_of_pytorch() {
    let Some(python) = python("torch, numpy") else { return };
    let plan = plan();
    let (encoder, heads) = (nn::VarStore::new(Device::Cpu), nn::VarStore::new(Device::Cpu));
    let pairs = Arc::new(Pairs::without_images(FEATURES));
    let exam = Exam { places: Vec::new(), texts: Vec::new(), owners: Vec::new() };
    let mut task = Pretraining::new(&encoder, &heads, &plan, (pairs, exam), Precision::Fp32, None).unwrap();
    let mut given = BTreeMap::new();
    for (name, tensor) in encoder.variables().into_iter().chain(heads.variables()) {
        given.insert(format!("start/{name}"), tensor.detach().copy());
    }
    for step in 0..STEPS {
        let batch = batch(step);
        let window = batch.windows.shallow_clone();
        let views::Views { first, second, .. } =
            views::two_views(&window, PATCH.map(|n| n as i64), &plan.views, plan.seed, step, 0, &[]).unwrap();
        given.insert(format!("view1/{step}"), first.contiguous());
        given.insert(format!("view2/{step}"), second.contiguous());
        let text = Tensor::from_slice(&batch.texts.embeddings).view([BATCH as i64, FEATURES as i64]);
        given.insert(format!("text/{step}"), text);
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("given.safetensors");
    weights::save_tensors(&given, &file, &BTreeMap::new()).unwrap();

    let variables = named_variables(&[("", &encoder), ("", &heads)]).unwrap();
    let mut optimizer = Optimizer::new(plan.optimizer.clone(), &variables).unwrap();
    let run = directory.path().join("run");
    fs_err::create_dir(&run).unwrap();
    let session = Session::start(&run, serde_json::to_value(&plan).unwrap(), plan.seed, variables).unwrap();
    let mut options = RunOptions::new(STEPS, plan.lr);
    options.clip = plan.clip;
    options.log_every = 1;
    let mut source = InOrder::new(0, STEPS, |step| Ok(batch(step)));
    let mut seen = Seen::default();
    session.run(&mut task, &mut optimizer, &mut source, &options, &mut seen).unwrap();

    let rates: Vec<f64> = (0..STEPS).map(|step| plan.lr.at(step)).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/task/torch_steps.py");
    let words = [serde_json::to_string(&rates).unwrap(), serde_json::to_string(&topology()).unwrap()];
    let output = Command::new(python).arg(script).arg(&file).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let peer: Vec<[f64; 2]> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let (loss, norm) = line.split_once(' ').unwrap();
            [loss.parse().unwrap(), norm.parse().unwrap()]
        })
        .collect();
    assert_eq!((seen.0.len(), peer.len()), (3, 3));
    for ([loss, norm], [expected, expected_norm]) in seen.0.iter().zip(&peer) {
        assert!((loss - expected).abs() < 1e-4 * expected.abs().max(1.0), "{:?} {peer:?}", seen.0);
        assert!((norm - expected_norm).abs() < 1e-3 * expected_norm, "{:?} {peer:?}", seen.0);
    }
    // the steps did something
    assert!((seen.0[0][0] - seen.0[2][0]).abs() > 1e-2, "{:?}", seen.0);
}
