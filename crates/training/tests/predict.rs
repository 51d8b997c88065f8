//! Sliding-window prediction: properties and failures.

use simulated_gpu::SimulatedGpu;
use tch::{Device, Kind, Tensor};
use training::TrainingError;
use training::predict::{Blending, SlidingWindow, label_map, predict, predict_slabs};

fn volume(shape: [i64; 4]) -> Tensor {
    tch::manual_seed(4);
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

/// A network that looks at single voxels gives the same whatever the windows.
#[test]
fn a_voxelwise_network_is_reproduced_exactly_whatever_the_tiling() {
    for shape in [[2, 9, 17, 11], [2, 3, 4, 5], [2, 8, 8, 8]] {
        let volume = volume(shape);
        let network = |x: &Tensor| {
            Ok(Tensor::cat(&[x * 2.0, x.sum_dim_intlist([1i64].as_slice(), true, Kind::Float)], 1))
        };
        let expected = network(&volume.unsqueeze(0)).unwrap().get(0);
        for blending in [Blending::Constant, Blending::Gaussian] {
            for mirror_axes in [[false; 3], [true; 3]] {
                let options =
                    SlidingWindow { blending, mirror_axes, batch: 4, ..SlidingWindow::new([8, 8, 8]) };
                let found = predict(&volume, &options, Device::Cpu, &network).unwrap();
                assert_eq!(found.size(), expected.size());
                assert!((found - &expected).abs().max().double_value(&[]) < 1e-5);
            }
        }
    }
}

#[test]
fn slabs_come_in_order_without_gaps_and_are_the_whole() {
    let network = |x: &Tensor| Ok(x * 3.0);
    for (depth, batch) in [(21, 1), (21, 7), (5, 2), (8, 2)] {
        let volume = volume([1, depth, 9, 12]);
        let options = SlidingWindow { batch, ..SlidingWindow::new([8, 8, 8]) };
        let (mut slabs, mut next) = (Vec::new(), 0);
        predict_slabs(&volume, &options, Device::Cpu, &network, &mut |first, slab| {
            assert_eq!((first, slab.size()[0]), (next, 1));
            // no more than a window is kept back
            assert!(slab.size()[1] <= 8);
            next += slab.size()[1];
            slabs.push(slab.shallow_clone());
            Ok(())
        })
        .unwrap();
        assert_eq!(next, depth);
        assert!(Tensor::cat(&slabs, 1).equal(&predict(&volume, &options, Device::Cpu, &network).unwrap()));
    }
    let full = predict_slabs(
        &volume([1, 8, 8, 8]),
        &SlidingWindow::new([8; 3]),
        Device::Cpu,
        &network,
        &mut |_, _| Err("the disk is full".into()),
    );
    assert_eq!(full.unwrap_err().to_string(), "prediction: the disk is full");
}

#[test]
fn mirroring_averages_a_network_that_is_not_symmetric() {
    let volume = volume([1, 8, 8, 8]);
    // adds the position along x: its mirror image adds the opposite position
    let ramp = Tensor::arange(8, (Kind::Float, Device::Cpu)).view([1, 1, 1, 1, 8]);
    let network = |x: &Tensor| Ok(x + &ramp);
    let options = SlidingWindow { mirror_axes: [false, false, true], ..SlidingWindow::new([8, 8, 8]) };
    let found = predict(&volume, &options, Device::Cpu, &network).unwrap();
    assert!((found - (&volume + 3.5)).abs().max().double_value(&[]) < 1e-5);
}

#[test]
fn failures_are_errors_not_panics() {
    let volume = volume([1, 8, 8, 8]);
    let options = SlidingWindow::new([8, 8, 8]);
    let failing = |_: &Tensor| Err("no weights".into());
    assert!(matches!(predict(&volume, &options, Device::Cpu, &failing), Err(TrainingError::Network { .. })));
    let refused = |x: &Tensor| Ok(x.view([1, 2, 3]));
    let error = predict(&volume, &options, Device::Cpu, &refused).unwrap_err();
    assert!(matches!(error, TrainingError::Network { .. }) && !error.to_string().contains('\n'), "{error}");
    let smaller = |x: &Tensor| Ok(x.narrow(4, 0, 4));
    assert!(matches!(predict(&volume, &options, Device::Cpu, &smaller), Err(TrainingError::Shape { .. })));
    let good = |x: &Tensor| Ok(x.shallow_clone());
    for bad in [
        SlidingWindow { overlap: 1.0, ..options.clone() },
        SlidingWindow { batch: 0, ..options.clone() },
        SlidingWindow::new([0, 8, 8]),
    ] {
        assert!(matches!(predict(&volume, &bad, Device::Cpu, &good), Err(TrainingError::Option { .. })));
    }
    assert!(predict(&volume.get(0), &options, Device::Cpu, &good).is_err());
}

#[test]
fn the_label_map_holds_the_largest_class() {
    let prediction = Tensor::from_slice(&[0.1f32, 0.9, 0.5, 0.2, 0.3, 0.0]).view([3, 1, 1, 2]);
    let labels = label_map(&prediction);
    assert_eq!((labels.size(), labels.kind()), (vec![1, 1, 2], Kind::Uint8));
    assert_eq!(Vec::<u8>::try_from(labels.view(-1)).unwrap(), [1, 0]);
}

/// Sums of windows lie where the network computes if they fit there beside it, and give the same bits elsewhere.
#[test]
fn sums_are_the_same_wherever_they_lie() {
    for kilobytes in [64 << 10, 768] {
        SimulatedGpu { bytes: Some(kilobytes << 10), cores: None }.run_ignored("predictions_of_a_device");
    }
}

#[test]
#[ignore = "in a process that has a simulated GPU"]
fn predictions_of_a_device() {
    let device = torch_runtime::parse_device("cuda").unwrap();
    let volume = Tensor::arange(8 * 64 * 64, (Kind::Float, Device::Cpu)).view([1, 8, 64, 64]).sin();
    // 1 MiB for the sums of eight classes, 64 KiB for what a window gives
    let network = |windows: &Tensor| {
        let classes: Vec<Tensor> = (1..=8).map(|n| windows * f64::from(n)).collect();
        Ok(Tensor::cat(&classes, 1))
    };
    let mut options = SlidingWindow::new([8, 16, 16]);
    options.batch = 1;
    let expected = predict(&volume, &options, Device::Cpu, &network).unwrap();
    let held = || torch_runtime::gpu_memory(device).unwrap().unwrap();
    let there = predict(&volume, &options, device, &network).unwrap();
    assert!(there.equal(&expected));
    // with room for the sums they were there
    let were_there = held()[1] >= 1 << 20;
    let is_roomy = Tensor::f_zeros([4 << 20], (Kind::Float, device)).is_ok();
    assert_eq!(were_there, is_roomy);
    // all that there is but half a MiB, in float32
    let held_by_network = if is_roomy { ((64 << 20) - (512 << 10)) / 4 } else { 0 };
    // a network that lacks the room of the sums from its second window on gets it
    let calls = std::cell::Cell::new(0);
    let growing = |windows: &Tensor| {
        calls.set(calls.get() + 1);
        let room = if calls.get() > 1 { held_by_network } else { 0 };
        let _work = Tensor::f_zeros([room], (Kind::Float, windows.device()))?;
        network(windows)
    };
    assert!(predict(&volume, &options, device, &growing).unwrap().equal(&expected));
    // and a device that has no room for windows says so
    let _filled: Vec<Tensor> =
        (0..).map_while(|_| Tensor::f_zeros([4 << 8], (Kind::Float, device)).ok()).collect();
    let error = predict(&volume, &options, device, &network).unwrap_err();
    assert_eq!(error.code(), "E305");
    let message = error.message().to_string();
    assert!(message.contains("CUDA out of memory") && message.contains("--window-batch"), "{message}");
}
