//! What the stage does with a GPU, on a simulated one. It has no NCCL: programs built for that cannot load it, so that no name of a test here has
//! the word by which `make test-gpu` chooses.

use crate::support::Study;
use data_manifests::phantom::Kind;
use simulated_gpu::SimulatedGpu;
use stage::ExitStatus;

const SETTINGS: [&str; 8] = ["--device", "cuda", "--batch", "4", "--patch-zyx", "8,16,16", "--holdout", "0"];

/// Whoever waits for a GPU leaves it idle afterwards, until it has work again.
#[test]
fn a_step_waits_for_the_device_once_for_its_losses_and_its_norm() {
    let study = Study::with(&[Kind::Ct]);
    // each case has one, so that every step moves the same weights, and the checkpoints are alike
    let reports = study.text(Kind::Ct, 5, 1);
    let waits = |steps: &str, more: &[&str]| {
        let words = [&SETTINGS[..], &["--steps", steps, "--overwrite"], more].concat();
        SimulatedGpu::default().waits(study.command(&[Kind::Ct], &[&reports], "run", &words))
    };
    for more in [&[][..], &["--views", "extended", "--parts", "2", "--precision", "bf16"]] {
        let [Some(few), Some(many)] = [waits("3", more), waits("13", more)] else { return };
        assert_eq!(many - few, 10, "{more:?}");
    }
}

#[test]
fn a_device_without_room_is_said_with_what_to_change() {
    let study = Study::with(&[Kind::Ct]);
    let reports = study.text(Kind::Ct, 4, 1);
    // the network does not fit; its first step does not
    for (megabytes, in_step) in [(1, false), (12, true)] {
        let gpu = SimulatedGpu { bytes: Some(megabytes << 20), cores: None };
        let words = [&SETTINGS[..], &["--steps", "2", "--overwrite"]].concat();
        let command = study.command(&[Kind::Ct], &[&reports], "run", &words);
        let Some(output) = gpu.run(command) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(ExitStatus::Failed as i32), "{said}");
        assert!(said.contains("E305") && said.contains("CUDA out of memory"), "{said}");
        assert!(said.contains("--batch"), "{said}");
        assert_eq!(said.contains("step 1"), in_step, "{said}");
    }
}
