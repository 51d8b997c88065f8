//! Watershed, smoothing, maxima, agglomeration, mutex watershed, region graph and multicut against the packages that the
//! field uses: scikit-image and SciPy, waterz, bioimage-cpp (elf's solvers).
#![expect(clippy::unwrap_used, reason = "test code")]

use label_maps::Connectivity;
use label_maps::affinities::{Affinities, NEAREST};
use label_maps::agglomerate::{Agglomeration, HistogramStart, Score};
use label_maps::fragments::{FragmentParameters, fragments};
use label_maps::maxima::regional_maxima;
use label_maps::multicut::Multicut;
use label_maps::mutex::{MutexParameters, mutex_watershed};
use label_maps::region_graph::RegionGraph;
use label_maps::smooth::gaussian;
use label_maps::watershed::watershed;
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use test_peers::{run_script, venv};

/// What a package made of its cases.
struct Cases {
    folder: tempfile::TempDir,
    cases: Vec<Value>,
}

impl Cases {
    /// Runs the script; `None`, with a word on why, where it cannot run.
    fn of(package: &str) -> Option<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut script = Command::new(venv("python")?);
        let folder = tempfile::tempdir().unwrap();
        script.arg(manifest.join("tests/peers/peers.py")).arg(package).arg(folder.path());
        run_script(&mut script)?;
        let text = fs_err::read_to_string(folder.path().join("cases.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert!(!cases.is_empty());
        Some(Self { folder, cases })
    }

    fn bytes(&self, case: &Value, name: &str) -> Vec<u8> {
        fs_err::read(self.folder.path().join(case[name].as_str().unwrap())).unwrap()
    }

    fn f32s(&self, case: &Value, name: &str) -> Vec<f32> {
        self.bytes(case, name).as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn f64s(&self, case: &Value, name: &str) -> Vec<f64> {
        self.bytes(case, name).as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    fn u64s(&self, case: &Value, name: &str) -> Vec<u64> {
        self.bytes(case, name).as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect()
    }

    fn bools(&self, case: &Value, name: &str) -> Vec<bool> {
        self.bytes(case, name).iter().map(|b| *b != 0).collect()
    }
}

fn triple(value: &Value) -> [usize; 3] {
    [0, 1, 2].map(|a| value[a].as_u64().unwrap() as usize)
}

/// Fails unless both label maps have the same sets, and the same background.
fn assert_same_sets(found: &[u64], expected: &[u64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let (mut there, mut back) = (HashMap::from([(0, 0)]), HashMap::from([(0, 0)]));
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert_eq!(*there.entry(*a).or_insert(*b), *b, "{what}: voxel {i}");
        assert_eq!(*back.entry(*b).or_insert(*a), *a, "{what}: voxel {i}");
    }
}

#[test]
fn watershed_fragments_maxima_and_smoothing_equal_scikit_image_and_scipy() {
    let Some(cases) = Cases::of("scikit-image") else { return };
    for case in &cases.cases {
        let shape = triple(&case["shape"]);
        let (heights, seeds) = (cases.f32s(case, "heights"), cases.u64s(case, "seeds"));
        let mask = cases.bools(case, "mask");
        for (connectivity, name) in [(Connectivity::Faces, "faces"), (Connectivity::Corners, "corners")] {
            let found = watershed(&heights, &seeds, Some(&mask), shape, connectivity).unwrap();
            assert_eq!(found, cases.u64s(case, &format!("watershed_{name}")), "{shape:?} {name}");
            let found = regional_maxima(&cases.f64s(case, "values"), shape, connectivity).unwrap();
            assert_eq!(found, cases.bools(case, &format!("maxima_{name}")), "{shape:?} {name}");
        }
        for (name, parameters) in case["parameters"].as_object().unwrap() {
            let parameters: FragmentParameters = serde_json::from_value(parameters.clone()).unwrap();
            let found = fragments(&heights, Some(&mask), shape, &parameters).unwrap();
            let expected = cases.u64s(case, &format!("fragments_{name}"));
            assert_same_sets(&found, &expected, &format!("fragments {name} of {shape:?}"));
        }
        let sigma = [0, 1, 2].map(|a| case["sigma"][a].as_f64().unwrap());
        let found = gaussian(heights, shape, sigma).unwrap();
        for (a, b) in found.iter().zip(cases.f32s(case, "smooth")) {
            assert!((a - b).abs() < 1e-6, "{a} instead of {b}");
        }
    }
}

#[test]
fn agglomeration_equals_waterz() {
    let Some(cases) = Cases::of("waterz") else { return };
    for (number, case) in cases.cases.iter().enumerate() {
        let shape = triple(&case["shape"]);
        let name = case["score"].as_str().unwrap();
        let score = match name.split_once(' ') {
            None => Score::Mean,
            Some((percent, start)) => Score::Quantile {
                percent: percent.parse().unwrap(),
                start: if start == "all" { HistogramStart::All } else { HistogramStart::Largest },
            },
        };
        let values = cases.f32s(case, "affinities");
        let fragments = cases.u64s(case, "fragments");
        let affinities = Affinities::new(&values, &NEAREST, shape).unwrap();
        let graph = RegionGraph::of_volume(&fragments, &affinities, true).unwrap();
        let mut agglomeration = Agglomeration::new(&graph, score).unwrap();
        let expected = cases.u64s(case, "labels");
        for (i, expected) in expected.chunks(fragments.len()).enumerate() {
            let threshold = case["thresholds"][i].as_f64().unwrap();
            agglomeration.merge_until(threshold);
            let mut found = fragments.clone();
            graph.relabel(&mut found, &agglomeration.labels());
            assert_same_sets(&found, expected, &format!("case {number}, {name} at {threshold}"));
        }
    }
}

#[test]
fn mutex_watershed_graph_and_multicut_equal_bioimage_cpp() {
    let Some(cases) = Cases::of("bioimage-cpp") else { return };
    for case in &cases.cases {
        match case["kind"].as_str().unwrap() {
            "mutex" => {
                let offsets: Vec<[isize; 3]> = serde_json::from_value(case["offsets"].clone()).unwrap();
                let shape = triple(&case["shape"]);
                let values = cases.f32s(case, "affinities");
                let affinities = Affinities::new(&values, &offsets, shape).unwrap();
                let parameters = MutexParameters { attractive: 3, strides_zyx: triple(&case["strides"]) };
                let mask = cases.bools(case, "mask");
                let found = mutex_watershed(&affinities, Some(&mask), &parameters).unwrap();
                assert_same_sets(&found, &cases.u64s(case, "labels"), &format!("mutex {shape:?}"));
            }
            "graph" => {
                let values = cases.f32s(case, "affinities");
                let affinities = Affinities::new(&values, &NEAREST, triple(&case["shape"])).unwrap();
                let graph =
                    RegionGraph::of_volume(&cases.u64s(case, "fragments"), &affinities, false).unwrap();
                let edges = cases.u64s(case, "edges");
                let mut expected: Vec<([u64; 2], [f64; 2])> = edges
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .zip(cases.f64s(case, "features").as_chunks::<2>().0)
                    .map(|(edge, features)| (*edge, *features))
                    .collect();
                expected.sort_by_key(|(edge, _)| *edge);
                assert_eq!(graph.edges().len(), expected.len());
                for ((edge, samples), (border, [mean, size])) in
                    graph.edges().iter().zip(graph.samples()).zip(expected)
                {
                    assert_eq!(edge.map(|i| graph.labels()[i as usize]), border);
                    assert_eq!(samples.count() as f64, size);
                    assert!((samples.mean() - mean).abs() < 1e-6, "{} instead of {mean}", samples.mean());
                }
            }
            _ => {
                let ends = cases.u64s(case, "edges");
                let edges = ends.as_chunks::<2>().0.iter().map(|e| e.map(|n| n as u32)).collect();
                let nodes = case["nodes"].as_u64().unwrap() as usize;
                let problem = Multicut::new(nodes, edges, cases.f64s(case, "costs")).unwrap();
                let greedy = problem.contract_greedily();
                let found: Vec<u64> = greedy.iter().map(|l| u64::from(*l) + 1).collect();
                let expected: Vec<u64> = cases.u64s(case, "labels").iter().map(|l| l + 1).collect();
                assert_same_sets(&found, &expected, "greedy contraction");
                // two runs of moves end in different places; ours may be at most a hundredth worse
                let refined = problem.energy(&problem.refine(&greedy, 100).unwrap());
                let theirs = case["energies"]["refined"].as_f64().unwrap();
                println!(
                    "{nodes} nodes: greedy {}, refined {refined}, theirs {theirs}",
                    problem.energy(&greedy)
                );
                assert!(refined <= theirs + 0.01 * theirs.abs(), "{refined} against {theirs}");
            }
        }
    }
}
