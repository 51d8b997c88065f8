//! The simulated GPU refuses what a GPU refuses, and computes what a CPU computes.
#![expect(clippy::unwrap_used, reason = "test code")]

use simulated_gpu::SimulatedGpu;
use std::process::Command;
use tch::{Device, Kind, Tensor};

/// The device; loads it the first time.
fn gpu() -> Device {
    torch_runtime::parse_device("cuda").unwrap()
}

/// This test executable, for one of its ignored tests.
fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([name, "--exact", "--ignored", "--nocapture"]);
    command
}

#[test]
fn it_computes_and_refuses() {
    SimulatedGpu::default().run_ignored("on_it_");
}

#[test]
#[ignore = "in a process that has the device"]
fn on_it_one_device_is_found() {
    assert_eq!(gpu(), Device::Cuda(0));
    assert!(tch::Cuda::is_available());
    assert_eq!(tch::Cuda::device_count(), 1);
}

#[test]
#[ignore = "in a process that has the device"]
fn on_it_a_network_gives_the_values_and_gradients_of_the_cpu() {
    let gpu = gpu();
    let on = |device: Device, kind: Kind| {
        tch::manual_seed(1);
        let drawn = |shape: [i64; 5]| {
            Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(kind).to_device(device)
        };
        let (weight, image) = (drawn([4, 1, 3, 3, 3]).set_requires_grad(true), drawn([2, 1, 6, 6, 6]));
        let maps = image.conv3d(&weight, None::<Tensor>, [1, 1, 1], [1, 1, 1], [1, 1, 1], 1);
        let maps = maps.avg_pool3d([2, 2, 2], [2, 2, 2], [0, 0, 0], false, true, None).leaky_relu();
        let loss = Tensor::cat(&[&maps, &maps.flip([2])], 1).to_kind(Kind::Float).square().mean(Kind::Float);
        loss.backward();
        assert_eq!((loss.device(), weight.grad().kind()), (device, kind));
        (loss.double_value(&[]), weight.grad().to_device(Device::Cpu).to_kind(Kind::Float))
    };
    let (here, there) = (on(Device::Cpu, Kind::Float), on(gpu, Kind::Float));
    assert!((here.0 - there.0).abs() < 1e-6 && here.1.allclose(&there.1, 1e-4, 1e-6, false));
    // a CPU does not pool in this format
    let narrow = on(gpu, Kind::BFloat16);
    assert!((here.0 - narrow.0).abs() < 0.02 * here.0, "{} {}", here.0, narrow.0);
}

#[test]
#[ignore = "in a process that has the device"]
fn on_it_gradients_lie_in_memory_as_weights_do() {
    let weight =
        Tensor::randn([4, 3, 3, 3, 3], (Kind::Float, Device::Cpu)).permute([0, 2, 3, 4, 1]).contiguous();
    let weight = weight.permute([0, 4, 1, 2, 3]).to_device(gpu()).set_requires_grad(true);
    let image = Tensor::randn([2, 3, 6, 6, 6], (Kind::Float, gpu()));
    // the second adds to the first
    for _ in 0..2 {
        image.conv3d(&weight, None::<Tensor>, [1, 1, 1], [0, 0, 0], [1, 1, 1], 1).sum(Kind::Float).backward();
        assert_eq!(weight.grad().stride(), weight.stride());
    }
}

#[test]
#[ignore = "in a process that has the device"]
fn on_it_other_devices_are_refused_but_for_single_numbers_and_indices() {
    let there = Tensor::ones([2, 2], (Kind::Float, gpu()));
    let here = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
    for refused in [there.f_add(&here), there.f_mm(&here), Tensor::f_cat(&[&there, &here], 0)] {
        assert!(refused.unwrap_err().to_string().contains("on the same device"));
    }
    assert!(there.f_add(&here.get(0).get(0)).is_ok());
    let row = there.index(&[Some(Tensor::from_slice(&[1_i64]))]);
    assert_eq!((row.size(), row.device()), (vec![1, 2], gpu()));
}

#[test]
#[ignore = "in a process that has the device"]
fn on_it_pinned_memory_is_known_as_such() {
    let tensor = Tensor::from_slice(&[1_f32, 2.0]);
    let pinned = tensor.pin_memory(gpu());
    assert!(pinned.is_pinned(gpu()) && !tensor.is_pinned(gpu()));
    assert_eq!(Vec::<f32>::try_from(pinned.to_device(gpu())).unwrap(), [1.0, 2.0]);
}

#[test]
fn its_memory_is_closed_to_the_host() {
    let Some(output) = SimulatedGpu::default().run(role("reads_memory_of_the_device")) else { return };
    assert!(!output.status.success());
    // it does not get to say that it was there
    assert!(!String::from_utf8_lossy(&output.stdout).contains("read it"));
}

#[test]
#[ignore = "ends its process"]
#[expect(unsafe_code, reason = "what the device has to stop")]
fn reads_memory_of_the_device() {
    let tensor = Tensor::ones([2], (Kind::Float, gpu()));
    // SAFETY: none: the address is the device's, and reading there has to end this process, which exists for that.
    let value = unsafe { tensor.data_ptr().cast::<f32>().read_volatile() };
    println!("read it: {value}");
}

#[test]
fn its_memory_ends_and_what_is_freed_serves_again() {
    let gpu = SimulatedGpu { bytes: Some(3 << 20), cores: None };
    gpu.run_ignored("small_memory");
}

#[test]
#[ignore = "in a process that has the device"]
fn small_memory() {
    let megabytes = |count: i64| Tensor::f_zeros([count << 18], (Kind::Float, gpu()));
    for _ in 0..3 {
        let _held = megabytes(2).unwrap();
        assert!(megabytes(2).unwrap_err().to_string().contains("CUDA out of memory"));
    }
    assert!(megabytes(3).is_ok());
}

#[test]
fn waits_are_counted() {
    let waits = SimulatedGpu::default().waits(role("waits_twice"));
    assert!(waits.is_none_or(|waits| waits == 2), "{waits:?}");
}

#[test]
#[ignore = "in a process that has the device"]
fn waits_twice() {
    let tensor = Tensor::ones([8], (Kind::Float, gpu())) * 2.0;
    let sum = tensor.sum(Kind::Float).double_value(&[]);
    let all = Vec::<f32>::try_from(&tensor).unwrap();
    assert_eq!((sum, all.len()), (16.0, 8));
}
