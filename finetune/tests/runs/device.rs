//! What the stage does with a GPU, on a simulated one. It has no NCCL: programs built for that cannot load it, so that no name of a test here has
//! the word by which `make test-gpu` chooses.

use crate::support::Study;
use data_manifests::phantom::Kind;
use simulated_gpu::SimulatedGpu;
use std::process::Command;

const SETTINGS: [&str; 9] = [
    "--from-scratch",
    "--validate-every",
    "0",
    "--augmentation",
    "strong",
    "--ema",
    "0.9",
    "--device",
    "cuda",
];

/// Whoever waits for a GPU leaves it idle afterwards, until it has work again.
#[test]
fn a_step_waits_for_the_device_for_its_losses_and_norm_and_for_the_check_of_labels() {
    let study = Study::new(Kind::Ct);
    let waits = |steps: &str, more: &[&str]| {
        let words = [&SETTINGS[..], &["--steps", steps, "--overwrite"], more].concat();
        SimulatedGpu::default().waits(study.train_command("run", &words))
    };
    for more in [&[][..], &["--batch-dice", "--precision", "bf16"]] {
        let [Some(few), Some(many)] = [waits("3", more), waits("13", more)] else { return };
        assert_eq!(many - few, 10 * 2, "{more:?}");
    }
}

#[test]
fn a_device_without_room_is_said_with_what_to_change() {
    let study = Study::new(Kind::Ct);
    let small = |command: Command, megabytes: u64| {
        SimulatedGpu { bytes: Some(megabytes << 20), cores: None }.run(command).map(|output| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("E305") && said.contains("CUDA out of memory"), "{said}");
            assert!(said.contains("--precision bf16"), "{said}");
            said
        })
    };
    let train = |out: &str| study.train_command(out, &[&SETTINGS[..], &["--steps", "2"]].concat());
    // the network does not fit; its first step does not
    let Some(_) = small(train("network"), 0) else { return };
    assert!(small(train("step"), 12).is_some_and(|said| said.contains("step 1")));
}
