//! What is to be seen on a GPU alone: a simulated one, and the first one by `make test-gpu`.
#![expect(clippy::unwrap_used, reason = "test code")]

use simulated_gpu::SimulatedGpu;
use tch::{Device, Kind, Tensor};
use test_peers::test_device;
use torch_runtime::{Error, gpu_memory, lists, parse_device, transfer};

#[test]
fn on_a_simulated_gpu() {
    SimulatedGpu::default().run_ignored("on_a_gpu_");
}

#[test]
fn what_comes_too_late_is_said() {
    SimulatedGpu::default().run_ignored("too_late_");
}

#[test]
#[ignore = "in a process of its own that has a GPU"]
fn too_late_for_a_gpu() {
    // a CPU's numbers, too, are drawn after a look at what there is
    tch::manual_seed(1);
    assert!(matches!(parse_device("cuda").unwrap_err(), Error::LateCudaLibrary));
    assert_eq!(parse_device("cpu").unwrap(), Device::Cpu);
}

fn gpu() -> Device {
    parse_device(&test_device()).unwrap()
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn on_a_gpu_memory_is_told() {
    let gpu = gpu();
    let held = Tensor::zeros([1 << 20], (Kind::Float, gpu));
    let [now, peak] = gpu_memory(gpu).unwrap().unwrap();
    assert!(now >= 4 << 20 && peak >= now, "{now} {peak} {held:?}");
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn on_a_gpu_memory_is_pinned() {
    let (gpu, tensor) = (gpu(), Tensor::from_slice(&[1f32, 2.0]));
    let pinned = lists::pinned(&tensor).unwrap();
    assert!(pinned.equal(&tensor) && pinned.is_pinned(gpu));
}

#[test]
#[ignore = "on a GPU: make test-gpu"]
fn on_a_gpu_numbers_arrive_as_they_are() {
    let gpu = gpu();
    let there = transfer::uploaded(&[1_i64, 2, 3, 4], &[2, -1], gpu).unwrap();
    assert_eq!((there.size(), there.device()), (vec![2, 2], gpu));
    assert_eq!(Vec::<i64>::try_from(there.view(-1)).unwrap(), [1, 2, 3, 4]);
    let few = transfer::sent(&Tensor::from_slice(&[0.5_f64]), gpu);
    assert_eq!((few.device(), few.double_value(&[0])), (gpu, 0.5));
}
