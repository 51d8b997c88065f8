//! Two views of each pretraining window, made on the device that trains.
//!
//! First the geometry that both views share (mirroring, transposing), then per view one perturbation, drawn uniformly from
//! the enabled ones as published, or each with a probability of its own. All draws, the noise's included, come from ChaCha8
//! by (seed, step, index in the batch); on a GPU LibTorch's generators draw the noise, seeded by these, and go on from there.
//!
//! Source of operations and ranges: gtgm.md, section 2.5. Differences: strengths of intensity and noise are relative to the
//! view's own range (after the crop, for noise also after the grey values) instead of to `[0, 1]`, which only 8-bit images
//! have, and nothing is clipped or rescaled afterwards, so that both views of a CT window keep their Hounsfield contrast.

mod draw;
mod nature;
mod options;
mod sections;

pub use nature::Nature;
pub use options::{Composition, Perturbation, ViewOptions};

use crate::augment::sections::{self as sections_of, Filling};
use crate::augment::{affine, check_image, elastic, filter, flips, intensity};
use crate::random::{Purpose, coin, stream};
use crate::{Result, TrainingError};
use draw::{Geometry, Perturbed, Sample};
use tch::Tensor;

/// Two views of each window of a batch.
#[derive(Debug)]
pub struct Views {
    /// The first, `[batch, channel, out_zyx]`.
    pub first: Tensor,
    /// The second.
    pub second: Tensor,
    /// Of each view and sample, whether z runs the other way than in the window.
    pub reversed: [Vec<bool>; 2],
}

/// Two views of each window.
///
/// # Shapes
/// `window`: float32 `[batch, channel, z, y, x]`, normalised by its modality's rule, at least as large as the view; a margin
/// in y and x (the published window has twice the view's edge) lets the rescaling show more than the view.
///
/// The windows are the samples `first..first + batch` of the step, so that a part of a batch is augmented as in the whole.
/// `natures` says what each permits; beyond its end they are as [`Nature::default`] has it.
///
/// # Errors
/// On shapes that do not fit or options outside their range.
pub fn two_views(
    window: &Tensor,
    out_zyx: [i64; 3],
    options: &ViewOptions,
    seed: u64,
    step: u64,
    first: u64,
    natures: &[Nature],
) -> Result<Views> {
    let (batch, _, shape) = check_image(window, out_zyx)?;
    options.check(shape, out_zyx)?;
    let _guard = tch::no_grad_guard();
    let samples = first..first + batch.unsigned_abs();
    let natures = || natures.iter().copied().chain(std::iter::repeat(Nature::default()));
    let shared: Vec<Geometry> = samples
        .clone()
        .zip(natures())
        .map(|(index, nature)| {
            let mut rng = stream(seed, step, index, Purpose::SharedView);
            if coin(&mut rng, options.shared_p) {
                Geometry::draw(&mut rng, options, nature)
            } else {
                Geometry::default()
            }
        })
        .collect();
    let common = move_axes(window, &shared.iter().map(Some).collect::<Vec<_>>(), options);

    let largest_crop = (shape[1] as f64 / out_zyx[1] as f64).min(shape[2] as f64 / out_zyx[2] as f64);
    let view = |purpose| {
        let drawn: Vec<Perturbed> = samples
            .clone()
            .zip(natures())
            .map(|(index, nature)| {
                let mut rng = stream(seed, step, index, purpose);
                Perturbed::draw(
                    &mut rng,
                    options,
                    Sample { largest_crop, window_depth: shape[0], view_zyx: out_zyx, nature },
                )
            })
            .collect();
        let reversed = shared.iter().zip(&drawn);
        let reversed = reversed
            .map(|(shared, own)| shared.mirror[0] != own.geometry.as_ref().is_some_and(|g| g.mirror[0]));
        Ok::<_, TrainingError>((perturb(&common, out_zyx, &drawn, options)?, reversed.collect()))
    };
    let (first, reversed_1) = view(Purpose::FirstView)?;
    let (second, reversed_2) = view(Purpose::SecondView)?;
    Ok(Views { first, second, reversed: [reversed_1, reversed_2] })
}

fn perturb(window: &Tensor, out_zyx: [i64; 3], drawn: &[Perturbed], options: &ViewOptions) -> Result<Tensor> {
    // in the window, whose margin comes in where a section moves out
    let shifts = chosen(drawn, |d| d.shift.clone());
    let window = sections_of::shift(window, &shifts);
    let rescale = affine::in_plane(&chosen(drawn, |d| d.rescale));
    let mut x = affine::resample(&window, &rescale, out_zyx, affine::Sampling::Linear, 0.0);
    x = elastic::elastic(&x, &chosen(drawn, |d| d.elastic));
    let geometry: Vec<Option<&Geometry>> = drawn.iter().map(|d| d.geometry.as_ref()).collect();
    x = move_axes(&x, &geometry, options);
    x = intensity::grey(&x, &chosen(drawn, |d| d.grey.clone()));
    let without_noise = x.shallow_clone();
    x = intensity::relative_noise(&x, &chosen(drawn, |d| d.noise));
    x = filter::section_blur(&x, &chosen(drawn, |d| d.blur));
    x = sections_of::unfocused(&x, &chosen(drawn, |d| d.unfocused.clone()));
    x = sections_of::holes(&x, &chosen(drawn, |d| d.cutout.clone()), Filling::Mean, &without_noise)?;
    sections_of::holes(&x, &chosen(drawn, |d| d.missing.clone()), Filling::Darkest, &without_noise)
}

fn chosen<P>(drawn: &[Perturbed], parameter: impl Fn(&Perturbed) -> Option<P>) -> Vec<(i64, P)> {
    (0..).zip(drawn).filter_map(|(index, d)| Some((index, parameter(d)?))).collect()
}

fn move_axes(x: &Tensor, geometry: &[Option<&Geometry>], options: &ViewOptions) -> Tensor {
    let of = |g: &Option<&Geometry>| (*g).cloned().unwrap_or_default();
    let mirrors: Vec<(i64, [bool; 3])> =
        (0..).zip(geometry).map(|(index, g)| (index, of(g).mirror)).collect();
    let mut x = flips::mirror(x, &mirrors);
    for (place, axes) in options.transpose_axes.iter().enumerate() {
        let samples: Vec<i64> = (0..)
            .zip(geometry)
            .filter(|(_, g)| of(g).transpose.get(place).copied().unwrap_or(false))
            .map(|(index, _)| index)
            .collect();
        x = flips::transpose(&x, &samples, *axes);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    const SECTIONS: Nature = Nature { sectioned: true, mirror_axes: [true; 3] };

    fn window() -> Tensor {
        tch::manual_seed(8);
        Tensor::randn([6, 1, 4, 24, 24], (Kind::Float, Device::Cpu))
    }

    fn options() -> ViewOptions {
        ViewOptions::published([true; 3], vec![[1, 2]])
    }

    #[test]
    fn views_are_functions_of_seed_and_step_and_differ_from_each_other() {
        let x = window();
        let Views { first: a, second: b, .. } = two_views(&x, [4, 12, 12], &options(), 1, 2, 0, &[]).unwrap();
        let _other = Tensor::randn([3], (Kind::Float, Device::Cpu));
        let Views { first: c, second: d, .. } = two_views(&x, [4, 12, 12], &options(), 1, 2, 0, &[]).unwrap();
        assert!(a.equal(&c) && b.equal(&d) && !a.equal(&b));
        assert_eq!(a.size(), [6, 1, 4, 12, 12]);
        let Views { first: late, .. } =
            two_views(&x.narrow(0, 2, 4), [4, 12, 12], &options(), 1, 2, 2, &[]).unwrap();
        assert!(late.allclose(&a.narrow(0, 2, 4), 1e-6, 1e-6, false), "a part as in the whole");
        let Views { first: e, .. } = two_views(&x, [4, 12, 12], &options(), 1, 3, 0, &[]).unwrap();
        assert!(!a.equal(&e));
        let both = Tensor::cat(&[a, b], 0);
        assert!(both.isfinite().all().int64_value(&[]) == 1);
    }

    #[test]
    fn without_perturbations_both_views_are_the_same_permuted_crop() {
        let x = window();
        let plain = ViewOptions { perturbations: Vec::new(), ..options() };
        let Views { first: a, second: b, .. } = two_views(&x, [4, 24, 24], &plain, 5, 0, 0, &[]).unwrap();
        assert!(a.equal(&b));
        let sorted = |t: &Tensor| t.reshape([6, -1]).sort(1, false).0;
        assert!(sorted(&a).equal(&sorted(&x)));
        let still = ViewOptions { shared_p: 0.0, ..plain };
        assert!(two_views(&x, [4, 24, 24], &still, 5, 0, 0, &[]).unwrap().first.equal(&x));
    }

    #[test]
    fn each_perturbation_alone_changes_the_view_and_keeps_it_finite() {
        let constant = Tensor::full([2, 1, 4, 24, 24], -3.0, (Kind::Float, Device::Cpu));
        use Perturbation::{Blur, Flip, Intensity, Noise, Rescale};
        for perturbation in [Rescale, Flip, Intensity, Noise, Blur] {
            let one = ViewOptions { shared_p: 0.0, perturbations: vec![perturbation], ..options() };
            let x = window();
            let Views { first: a, .. } = two_views(&x, [4, 24, 24], &one, 0, 1, 0, &[]).unwrap();
            assert!(!a.equal(&x), "{perturbation:?}");
            let Views { first: flat, .. } = two_views(&constant, [4, 12, 12], &one, 0, 1, 0, &[]).unwrap();
            assert!((flat + 3.0).abs().max().double_value(&[]) < 1e-5, "{perturbation:?}");
        }
        let all = ViewOptions { composition: Composition::Each { probability: 1.0 }, ..options() };
        assert!(two_views(&window(), [4, 16, 16], &all, 0, 1, 0, &[]).is_ok());
    }

    #[test]
    fn what_befalls_sections_befalls_those_cut_one_by_one_only() {
        use Perturbation::{Cutout, Elastic, Misalign, Missing, Unfocused};
        let x = window();
        let plain = ViewOptions {
            shared_p: 0.0,
            perturbations: Vec::new(),
            composition: Composition::Each { probability: 1.0 },
            ..ViewOptions::extended([true; 3], vec![[1, 2]])
        };
        for perturbation in [Misalign, Missing, Unfocused, Elastic, Cutout] {
            let one = ViewOptions { section_perturbations: vec![perturbation], ..plain.clone() };
            let Views { first: a, second: b, .. } =
                two_views(&x, [4, 24, 24], &one, 3, 1, 0, &[SECTIONS; 3]).unwrap();
            assert!(!a.narrow(0, 0, 3).equal(&x.narrow(0, 0, 3)), "{perturbation:?}");
            assert!(a.narrow(0, 3, 3).equal(&x.narrow(0, 3, 3)), "{perturbation:?}");
            assert!(!a.equal(&b), "{perturbation:?}");
            assert!(a.isfinite().all().int64_value(&[]) == 1);
        }
        let all = ViewOptions::extended([true; 3], vec![[1, 2]]);
        // the smallest patch of one section
        let thin = x.narrow(2, 0, 1);
        assert!(two_views(&thin, [1, 8, 8], &all, 0, 1, 0, &[SECTIONS; 6]).is_ok());
    }

    #[test]
    fn samples_are_turned_only_as_their_data_set_permits() {
        let one = ViewOptions {
            shared_p: 1.0,
            perturbations: vec![Perturbation::Flip],
            ..ViewOptions::published([true; 3], vec![[1, 2]])
        };
        // what lies where: 100 z + 10 y + x
        let axis = |n: i64, shape: [i64; 5], step: f64| {
            Tensor::arange(n, (Kind::Float, Device::Cpu)).view(shape) * step
        };
        let place =
            axis(4, [1, 1, 4, 1, 1], 100.0) + axis(8, [1, 1, 1, 8, 1], 10.0) + axis(8, [1, 1, 1, 1, 8], 1.0);
        let natures = [[false; 3], [false, false, true], [true, false, false], [true; 3]]
            .map(|mirror_axes| Nature { mirror_axes, ..Nature::default() });
        let mut swapped = [false; 4];
        for step in 0..40 {
            let x = place.expand([4, 1, 4, 8, 8], false);
            let views = two_views(&x, [4, 8, 8], &one, 1, step, 0, &natures).unwrap();
            for view in [views.first, views.second] {
                for (sample, nature) in (0..).zip(natures) {
                    let at = |z, y, x| view.double_value(&[sample, 0, z, y, x]);
                    let origin = at(0, 0, 0);
                    // steps along z, y, x: of the axis itself, backwards where it was mirrored
                    let found = [at(1, 0, 0) - origin, at(0, 1, 0) - origin, at(0, 0, 1) - origin];
                    swapped[sample as usize] |= found[2].abs() > 5.0;
                    for (a, step) in [100.0, 10.0, 1.0].into_iter().enumerate() {
                        let permitted = nature.mirror_axes[a] || found[a] == step;
                        assert!(permitted || nature == natures[3], "{nature:?}: {found:?}");
                    }
                }
            }
        }
        assert_eq!(swapped, [false, false, false, true]);
    }

    #[test]
    fn windows_that_do_not_fit_are_refused() {
        let x = window();
        assert!(two_views(&x, [5, 12, 12], &options(), 0, 0, 0, &[]).is_err());
        let text = two_views(&x, [4, 12, 16], &options(), 0, 0, 0, &[]).unwrap_err().to_string();
        assert!(text.contains("equal size"), "{text}");
    }

    #[test]
    fn views_that_are_mirrored_along_z_say_so() {
        let up = Tensor::arange(8, (Kind::Float, Device::Cpu))
            .view([1, 1, 8, 1, 1])
            .expand([12, 1, 8, 12, 12], false);
        let one = ViewOptions {
            perturbations: vec![Perturbation::Flip],
            ..ViewOptions::published([true, false, false], Vec::new())
        };
        let views = two_views(&up, [8, 12, 12], &one, 4, 9, 0, &[]).unwrap();
        for (view, reversed) in [&views.first, &views.second].into_iter().zip(&views.reversed) {
            assert!(reversed.contains(&true) && reversed.contains(&false));
            for (sample, reversed) in (0..).zip(reversed) {
                assert_eq!(view.double_value(&[sample, 0, 0, 0, 0]), if *reversed { 7.0 } else { 0.0 });
            }
        }
    }
}
