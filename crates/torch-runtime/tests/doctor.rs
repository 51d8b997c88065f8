//! What was linked, and what can be loaded: a machine without a GPU can tell whether CUDA would work on one that has it.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::env;
use std::path::Path;
use std::process::Command;
use tch::{Device, Kind, Tensor};

/// The dynamic section of a 64-bit little-endian ELF file: names of needed libraries and the RUNPATH.
fn dynamic_section(file: &[u8]) -> (Vec<String>, Option<String>) {
    let word = |at: usize, bytes: usize| {
        file[at..at + bytes].iter().rev().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte))
    };
    assert_eq!(&file[..6], b"\x7fELF\x02\x01");
    let headers: Vec<usize> = (0..word(0x38, 2)).map(|index| word(0x20, 8) + index * word(0x36, 2)).collect();
    let offset_of = |address: usize| {
        headers
            .iter()
            .filter(|header| word(**header, 4) == 1)
            .map(|header| (word(header + 16, 8), word(header + 32, 8), word(header + 8, 8)))
            .find(|(start, size, _)| (*start..start + size).contains(&address))
            .map(|(start, _, offset)| address - start + offset)
            .unwrap()
    };
    let dynamic = headers.iter().find(|header| word(**header, 4) == 2).unwrap();
    let entries: Vec<(usize, usize)> = (0..word(dynamic + 32, 8) / 16)
        .map(|index| word(dynamic + 8, 8) + index * 16)
        .map(|at| (word(at, 8), word(at + 8, 8)))
        .collect();
    let strings = offset_of(entries.iter().find(|(tag, _)| *tag == 5).unwrap().1);
    let text = |at: usize| {
        let bytes = &file[strings + at..];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    let needed = entries.iter().filter(|(tag, _)| *tag == 1).map(|(_, at)| text(*at)).collect();
    (needed, entries.iter().find(|(tag, _)| *tag == 29).map(|(_, at)| text(*at)))
}

#[test]
#[ignore = "in a process where nothing has been computed"]
fn the_cuda_part_is_found() {
    let with_cuda = torch_runtime::linked().library_folder.join("libtorch_cuda.so").exists();
    assert_eq!(torch_runtime::gpus().is_ok(), with_cuda, "{:?}", torch_runtime::gpus());
    match torch_runtime::parse_device("cuda") {
        Ok(device) => assert_eq!(device, Device::Cuda(0)),
        Err(error) => assert!(error.to_string().contains("use --device cpu"), "{error}"),
    }
}

#[test]
fn the_cuda_part_is_found_and_gives_a_gpu_or_says_why_not() {
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(["the_cuda_part_is_found", "--exact", "--ignored"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_run_path_is_linked_and_no_cuda() {
    let library = torch_runtime::linked();
    if !cfg!(target_os = "linux") {
        return;
    }
    let (needed, run_path) = dynamic_section(&std::fs::read(env::current_exe().unwrap()).unwrap());
    let run_path = run_path.unwrap();
    assert!(run_path.split(':').any(|part| Path::new(part) == library.library_folder), "{run_path}");
    // every program would wait for it
    let is_linked = needed.iter().any(|name| name == "libtorch_cuda.so");
    assert!(!is_linked || cfg!(feature = "nccl"), "{needed:?}");
    assert!(!needed.iter().any(|name| name.starts_with("libgomp")), "a second OpenMP is loaded: {needed:?}");
}

#[test]
fn programs_start_without_any_environment() {
    let output = Command::new(env::current_exe().unwrap()).arg("--list").env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_version_is_the_one_tch_belongs_to() {
    let library = torch_runtime::linked();
    assert_eq!(library.built_for, "2.11.0");
    assert_eq!(library.loaded, library.built_for);
    assert_eq!(torch_runtime::parse_device("cpu").unwrap(), Device::Cpu);
}

#[test]
fn a_convolution_runs() {
    let input = Tensor::ones([1, 1, 4, 5, 6], (Kind::Float, Device::Cpu));
    let weight = Tensor::ones([1, 1, 3, 3, 3], (Kind::Float, Device::Cpu));
    let output = input.conv3d(&weight, None::<Tensor>, 1, 1, 1, 1);
    assert_eq!(output.size(), [1, 1, 4, 5, 6]);
    assert!((output.double_value(&[0, 0, 1, 1, 1]) - 27.0).abs() < 1e-6);
    assert!((output.double_value(&[0, 0, 0, 0, 0]) - 8.0).abs() < 1e-6);
}
