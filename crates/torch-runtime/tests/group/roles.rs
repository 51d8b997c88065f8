//! What ranks do.

use crate::processes::{DEVICE, TIMEOUT};
use std::env;
use std::time::Duration;
use tch::{Device, Kind, Tensor};
use torch_runtime::group::{BUCKET_BYTES, Fingerprint};
use torch_runtime::{Error, Group, Launch, Reducer, gather_rows, sum_over_processes};

/// Where the tensors of this rank are.
fn device() -> Device {
    env::var(DEVICE).map_or(Device::Cpu, |text| torch_runtime::parse_device(&text).unwrap())
}

/// Joins and does what `role` says; an error is printed with its code.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn play(role: &str) {
    let timeout = Duration::from_millis(env::var(TIMEOUT).unwrap().parse().unwrap());
    let outcome = Launch::from_environment().map_err(Error::from).and_then(|launch| {
        let launch = launch.unwrap();
        let store = if launch.launcher_store.is_some() { "the launcher's store" } else { "an own store" };
        let group = Group::join(&launch, device(), timeout)?;
        match role {
            "collectives" => collectives(&group),
            "gradients" => gradients(&group),
            "overlapped" => overlapped(&group),
            "contrastive" => contrastive(&group),
            "statistics" => statistics(&group),
            "weights" => weights(&group),
            other => unlucky(other, &group),
        }?;
        // In one write: torchrun mixes the lines of ranks.
        println!("\nrank {} of {} done with {store}", group.rank(), group.size());
        Ok(())
    });
    if let Err(error) = outcome {
        println!("{} {error}", error.code().unwrap_or("no code"));
    }
}

fn ranks(group: &Group) -> (i64, i64) {
    (i64::try_from(group.rank()).unwrap(), i64::try_from(group.size()).unwrap())
}

fn collectives(group: &Group) -> Result<(), Error> {
    let (rank, size) = ranks(group);
    let total = size * (size + 1) / 2;
    for kind in [Kind::Float, Kind::BFloat16, Kind::Half, Kind::Double, Kind::Int64] {
        let mine = |shape: &[i64]| Tensor::full(shape, rank + 1, (kind, device()));
        let sums = [mine(&[1]), mine(&[300, 7]), mine(&[0, 3]), mine(&[4, 5, 6]).transpose(0, 2), mine(&[])];
        group.all_reduce_sum(&sums)?;
        for sum in sums {
            assert!(sum.equal(&sum.full_like(total)), "{kind:?}: {sum:?}");
        }
        // A few at once, waited for in another order.
        let sums = [mine(&[1000]), mine(&[10]), mine(&[2000])];
        let mut pending =
            sums.iter().map(|sum| group.start_all_reduce_sum(sum)).collect::<Result<Vec<_>, _>>()?;
        while let Some(last) = pending.pop() {
            last.wait()?;
        }
        assert!(sums.iter().all(|sum| sum.equal(&sum.full_like(total))));

        let rows = Tensor::arange(6, (kind, device())).view([2, 3]) + rank * 100;
        let all = group.all_gather(&rows.set_requires_grad(kind == Kind::Float))?;
        assert_eq!((all.size(), all.kind(), all.requires_grad()), (vec![2 * size, 3], kind, false));
        for other in 0..size {
            let expected = Tensor::arange(6, (kind, device())).view([2, 3]) + other * 100;
            assert!(all.narrow(0, 2 * other, 2).equal(&expected), "{kind:?}: {all:?}");
        }
        assert_eq!(group.all_gather(&mine(&[0, 3]))?.size(), [0, 3]);
        assert_eq!(group.all_gather(&mine(&[3, 2]).transpose(0, 1))?.size(), [2 * size, 3]);

        for from in 0..group.size() {
            let tensor = mine(&[2, 5]).transpose(0, 1);
            group.broadcast(&tensor, from)?;
            assert!(tensor.equal(&tensor.full_like(i64::try_from(from).unwrap() + 1)));
        }
    }
    group.barrier()?;
    group.agree("plans", Fingerprint::of(&[]).and_text("one plan"))?;
    assert_eq!(group.all_gather(&Tensor::from(1.0)).unwrap_err().code(), Some("E334"));
    assert_eq!(
        group.broadcast(&Tensor::zeros([1], (Kind::Float, device())), 9).unwrap_err().code(),
        Some("E334")
    );
    Ok(())
}

/// A small network whose last parameter has a gradient on the last rank only, and one that has none anywhere.
fn parameters() -> Vec<Tensor> {
    tch::manual_seed(5);
    let of = |shape: &[i64]| (Tensor::randn(shape, (Kind::Float, device())) * 0.3).set_requires_grad(true);
    vec![of(&[6, 16]), of(&[16]), of(&[16, 3]), of(&[3]), of(&[5, 2]).transpose(0, 1).contiguous(), of(&[4])]
        .into_iter()
        .map(|tensor| tensor.detach().set_requires_grad(true))
        .collect()
}

fn encoded(parameters: &[Tensor], input: &Tensor) -> Tensor {
    (input.matmul(&parameters[0]) + &parameters[1]).tanh().matmul(&parameters[2]) + &parameters[3]
}

fn batch(rows: i64) -> Tensor {
    tch::manual_seed(11);
    Tensor::randn([rows, 6], (Kind::Float, device()))
}

fn largest_difference(one: &Tensor, other: &Tensor) -> f64 {
    (one - other).abs().max().double_value(&[])
}

fn gradients(group: &Group) -> Result<(), Error> {
    let (rank, size) = ranks(group);
    let whole = batch(8 * size);
    let mean = |parameters: &[Tensor], input: &Tensor| encoded(parameters, input).square().mean(Kind::Float);
    let reference = parameters();
    mean(&reference, &whole).backward();

    for bucket_bytes in [BUCKET_BYTES, 64] {
        let own = parameters();
        let reducer = Reducer::new(group, &own, bucket_bytes)?;
        assert_eq!(reducer.buckets()? > 1, bucket_bytes == 64);
        for _ in 0..2 {
            for parameter in &own {
                if parameter.grad().defined() {
                    let _ = parameter.grad().zero_();
                }
            }
            let loss = mean(&own, &whole.narrow(0, 8 * rank, 8));
            let loss = if rank == size - 1 { loss + own[4].sum(Kind::Float) } else { loss };
            loss.backward();
            reducer.average()?;
            for (own, reference) in own[..4].iter().zip(&reference) {
                let difference = largest_difference(&own.grad(), &reference.grad());
                assert!(difference <= 2e-7, "{difference:e}");
            }
            let shared = own[4].grad();
            assert!(largest_difference(&shared, &shared.full_like(1.0 / size as f64)) <= 2e-7);
            assert!(!own[5].grad().defined());
        }
    }
    Ok(())
}

/// Gradients are sent while others are made, from the second step on; one that nobody expected is sent anew.
fn overlapped(group: &Group) -> Result<(), Error> {
    let (rank, size) = ranks(group);
    let whole = batch(8 * size);
    let loss = |parameters: &[Tensor], input: &Tensor, unexpected: bool| {
        // what comes first in the forward pass comes last in the backward pass
        let last = parameters[5].sum(Kind::Float);
        let loss = encoded(parameters, input).square().mean(Kind::Float);
        if unexpected { loss + last } else { loss }
    };
    let own = parameters();
    let reducer = Reducer::new(group, &own, 64)?;
    for step in 0..5 {
        let unexpected = step == 2 && rank == 0;
        let reference = parameters();
        loss(&reference, &whole, false).backward();
        for parameter in own.iter().filter(|parameter| parameter.grad().defined()) {
            let _ = parameter.grad().zero_();
        }
        // a first pass of the step, whose gradients the last one adds to
        loss(&own, &whole.narrow(0, 8 * rank, 4), false).backward();
        reducer.arm()?;
        loss(&own, &whole.narrow(0, 8 * rank + 4, 4), unexpected).backward();
        let all = reducer.buckets()?;
        match step {
            0 => assert_eq!(reducer.started()?, 0),
            // waits for what came once and does not come again
            3 if rank == 0 => assert_eq!(reducer.started()?, 0),
            _ => assert_eq!(reducer.started()?, all, "step {step}"),
        }
        let late = Tensor::from(f64::from(u8::from(reducer.start_rest()?)));
        group.all_reduce_sum(&[late.shallow_clone()])?;
        let late = late.double_value(&[]) > 0.0;
        assert_eq!(late, step == 2);
        if step == 1 {
            // of a step that is not made
            let before = own[0].grad().copy();
            reducer.discard()?;
            assert!(reducer.started()? == 0 && own[0].grad().equal(&before));
            continue;
        }
        reducer.finish(late)?;
        for (own, reference) in own[..4].iter().zip(&reference) {
            let difference = largest_difference(&own.grad(), &(reference.grad() * 2.0));
            assert!(difference <= 4e-7, "step {step}: {difference:e}");
        }
        if step == 2 {
            let shared = own[5].grad();
            assert!(largest_difference(&shared, &shared.full_like(1.0 / size as f64)) <= 2e-7);
        }
    }
    Ok(())
}

/// The symmetric contrastive loss between rows and a fixed partner of each.
fn contrast(rows: &Tensor, partners: &Tensor) -> Tensor {
    let unit = |rows: &Tensor| rows / rows.norm_scalaropt_dim(2.0, [1], true);
    let similarity = unit(rows).matmul(&unit(partners).transpose(0, 1)) / 0.07;
    let targets = Tensor::arange(rows.size()[0], (Kind::Int64, device()));
    similarity.cross_entropy_for_logits(&targets)
        + similarity.transpose(0, 1).cross_entropy_for_logits(&targets)
}

fn contrastive(group: &Group) -> Result<(), Error> {
    let (rank, size) = ranks(group);
    let whole = batch(4 * size);
    let partners = whole.narrow(1, 0, 3).cos();
    // A parameter behind the gathering, and a term that is a mean over local rows.
    let loss = |parameters: &[Tensor], gathered: &Tensor, local: &Tensor, partners: &Tensor| {
        contrast(&(gathered * &parameters[3]), partners) + local.square().mean(Kind::Float) * 0.5
    };
    let reference = parameters();
    let rows = encoded(&reference, &whole);
    let expected = loss(&reference, &rows, &rows, &partners);
    expected.backward();

    let own = parameters();
    let reducer = Reducer::new(group, &own, BUCKET_BYTES)?;
    let local = encoded(&own, &whole.narrow(0, 4 * rank, 4));
    let gathered = gather_rows(group, &local)?;
    assert!(largest_difference(&gathered, &rows) <= 1e-6);
    assert!(gathered.narrow(0, 4 * rank, 4).equal(&local), "own rows are the values given");
    let found = loss(&own, &gathered, &local, &gather_rows(group, &partners.narrow(0, 4 * rank, 4))?);
    found.backward();
    reducer.average()?;
    for (own, reference) in own[..4].iter().zip(&reference) {
        let scale = reference.grad().abs().max().double_value(&[]);
        let difference = largest_difference(&own.grad(), &reference.grad());
        assert!(difference <= 2e-6 * scale.max(1.0), "{difference:e} of {scale}");
    }
    Ok(())
}

/// Rows normalised by their mean and deviation over the batch of all, as batch norms do.
fn normalised(rows: &Tensor, count: i64, sum: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let over = |rows: &Tensor| sum(&rows.sum_dim_intlist([0i64].as_slice(), true, Kind::Float)) / count;
    let centred = rows - over(rows);
    &centred / (over(&centred.square()) + 1e-5).sqrt()
}

fn statistics(group: &Group) -> Result<(), Error> {
    let (rank, size) = ranks(group);
    let whole = batch(4 * size);
    // not symmetric in the rows, so that gradients through the statistics do not vanish
    let loss = |rows: &Tensor| (rows * rows.cumsum(1, Kind::Float)).relu().mean(Kind::Float);
    let reference = parameters();
    let all = normalised(&encoded(&reference, &whole), 4 * size, Tensor::shallow_clone);
    loss(&all).backward();

    let own = parameters();
    let reducer = Reducer::new(group, &own, BUCKET_BYTES)?;
    let local = encoded(&own, &whole.narrow(0, 4 * rank, 4));
    let found = normalised(&local, 4 * size, |sum| sum_over_processes(group, sum).unwrap());
    assert!(largest_difference(&found, &all.narrow(0, 4 * rank, 4)) <= 1e-5);
    loss(&found).backward();
    reducer.average()?;
    for (own, reference) in own[..3].iter().zip(&reference) {
        let scale = reference.grad().abs().max().double_value(&[]);
        let difference = largest_difference(&own.grad(), &reference.grad());
        assert!(scale > 0.0 && difference <= 1e-5 * scale.max(1.0), "{difference:e} of {scale}");
    }
    Ok(())
}

fn weights(group: &Group) -> Result<(), Error> {
    let own: Vec<Tensor> = parameters().iter().map(|tensor| tensor.detach() + ranks(group).0).collect();
    let print = || {
        let values = own.iter().map(|tensor| Vec::<f32>::try_from(tensor.detach().flatten(0, -1)));
        values
            .collect::<Result<Vec<_>, _>>()
            .map(|values| Fingerprint::of(&own).and_text(&format!("{values:?}")))
    };
    let error = group.agree("weights", print()?).unwrap_err();
    assert!(error.code() == Some("E333") && error.to_string().contains("rank 1 has digest "), "{error}");
    for tensor in &own {
        group.broadcast(&tensor.set_requires_grad(true), 0)?;
    }
    group.agree("weights", print()?)
}

fn unlucky(role: &str, group: &Group) -> Result<(), Error> {
    let (rank, _) = ranks(group);
    let large = || Tensor::ones([4_000_000], (Kind::Float, device()));
    match role {
        "differ" => {
            let rows = if rank == 1 { 3 } else { 2 };
            Reducer::new(group, &[Tensor::zeros([rows, 2], (Kind::Float, device()))], BUCKET_BYTES).map(drop)
        }
        "differ-in-content" => group
            .agree("plans", Fingerprint::of(&[]).and_text(if rank == 1 { "plan 9c1e" } else { "plan 77aa" })),
        "shapes" => group.all_gather(&Tensor::zeros([2, 3 + rank], (Kind::Float, device()))).map(drop),
        "orders" if rank == 1 => group.barrier(),
        "orders" => group.all_reduce_sum(&[large()]),
        "die" | "die-0" => {
            group.all_reduce_sum(&[large()])?;
            let sum = large();
            let pending = group.start_all_reduce_sum(&sum)?;
            if rank == i64::from(role == "die") {
                std::process::abort();
            }
            pending.wait()?;
            group.all_reduce_sum(&[large()])
        }
        "hang" if rank == 1 => {
            std::thread::sleep(Duration::from_secs(7));
            Ok(())
        }
        "hang" => group.all_reduce_sum(&[large()]),
        other => unreachable!("no role {other}"),
    }
}
