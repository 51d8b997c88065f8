//! For tests: a GPU that computes on the CPU, so that a machine without one runs what programs do for `--device cuda`.
//!
//! It is a library that is loaded in place of LibTorch's CUDA part, by its name, when a program asks for a GPU. Programs need no change, and what a GPU refuses it refuses:
//! its memory cannot be read by the host (that ends a program, as on a GPU), operations on tensors of different devices fail, and memory runs
//! out where a test says how much there is. It counts how often a program waits for it. Convolutions and pooling are computed in float32
//! where CPUs have no bfloat16.
//!
//! It says nothing of speed, of what runs beside each other, or of the numbers of a GPU's own kernels, and has no NCCL: `make test-gpu` on a
//! real one does.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

use std::path::Path;
use std::process::{Command, Output};

/// The library; none where it cannot be loaded in place of another (Linux only).
fn library() -> Option<&'static Path> {
    let path = env!("SIMULATED_GPU");
    (!path.is_empty()).then_some(Path::new(path))
}

/// A simulated GPU.
#[derive(Debug, Clone, Default)]
pub struct SimulatedGpu {
    /// How much memory it has, in bytes; without end if none.
    pub bytes: Option<u64>,
    /// With how many of the machine's cores a program computes; with all of them if none.
    pub cores: Option<usize>,
}

impl SimulatedGpu {
    /// Runs a program that sees this GPU as `cuda:0`. Says so and gives nothing where that cannot be.
    pub fn run(&self, mut command: Command) -> Option<Output> {
        let Some(library) = library() else {
            println!("skipped: a GPU is simulated on Linux only");
            return None;
        };
        // where it is looked for first
        let own = library.parent().into_iter().map(Path::to_owned);
        let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::env::join_paths(
            own.chain(std::env::split_paths(&before).filter(|path| !path.as_os_str().is_empty())),
        )
        .unwrap();
        command.env("LD_LIBRARY_PATH", folders).env_remove("CUDA_VISIBLE_DEVICES");
        if let Some(cores) = self.cores.map(|cores| cores.to_string()) {
            command.env("SLURM_CPUS_PER_TASK", &cores).env("OMP_NUM_THREADS", cores);
        }
        if let Some(bytes) = self.bytes {
            command.env("SIMULATED_GPU_BYTES", bytes.to_string());
        }
        Some(command.output().unwrap())
    }

    /// How often a program waits for this GPU, from its start to its end.
    ///
    /// # Panics
    /// When the program fails.
    #[track_caller]
    pub fn waits(&self, mut command: Command) -> Option<u64> {
        let file = tempfile::NamedTempFile::new().unwrap();
        command.env("SIMULATED_GPU_WAITS", file.path());
        let output = self.run(command)?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(std::io::read_to_string(file).unwrap().trim().parse().unwrap())
    }

    /// Runs those tests of this executable of which the name contains `filter` and that are ignored, on this GPU and one after the other.
    ///
    /// # Panics
    /// When one of them fails, or there is none.
    #[track_caller]
    pub fn run_ignored(&self, filter: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([filter, "--ignored", "--nocapture", "--test-threads", "1"]);
        command.env("GTGM_TEST_DEVICE", "cuda");
        if let Some(output) = self.run(command) {
            let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
            let all = output.status.success() && !said.contains(" 0 passed");
            assert!(all, "on a simulated GPU ({}):\n{said}\n{errors}", output.status);
        }
    }
}
