//! Whether classes can be told apart by planes in an embedding.

use crate::{Result, TrainingError};
use tch::{Kind, Tensor};

/// Strength of the ridge, relative to the mean square of the centred rows.
const RIDGE: f64 = 1e-2;

/// Balanced accuracy of a ridge regression to the classes, fitted on the rows of even index and asked on the odd ones.
/// `None` unless at least two classes have a row in both halves; rows of other classes are left out.
///
/// # Shapes
/// `embedding`: `[rows, features]`, any float kind; computed in float64. `classes`: a number for each row.
///
/// # Errors
/// On other shapes, and when LibTorch refuses.
pub fn linear_probe(embedding: &Tensor, classes: &[i64]) -> Result<Option<f64>> {
    let shape = embedding.size();
    if shape.len() != 2 || shape[0] != classes.len() as i64 {
        return Err(TrainingError::shape("embedding", embedding, format!("[{}, features]", classes.len())));
    }
    // classes need not come in turns: each is halved by itself
    let (mut fit, mut ask) = (Vec::new(), Vec::new());
    let mut known: Vec<i64> = classes.to_vec();
    known.sort_unstable();
    known.dedup();
    let mut kept = 0;
    for class in known {
        let rows: Vec<i64> =
            (0_i64..).zip(classes).filter(|(_, c)| **c == class).map(|(row, _)| row).collect();
        if rows.len() < 2 {
            continue;
        }
        for (i, row) in rows.into_iter().enumerate() {
            if i % 2 == 0 { &mut fit } else { &mut ask }.push((row, kept));
        }
        kept += 1;
    }
    if kept < 2 {
        return Ok(None);
    }
    let x = embedding.detach().to_kind(Kind::Double).to_device(tch::Device::Cpu);
    let rows = |of: &[(i64, i64)]| {
        let at: Vec<i64> = of.iter().map(|(row, _)| *row).collect();
        x.index_select(0, &Tensor::from_slice(&at))
    };
    let (train, test) = (rows(&fit), rows(&ask));
    let mean = train.mean_dim([0i64].as_slice(), true, Kind::Double);
    let (train, test) = (train - &mean, test - &mean);
    let targets: Vec<i64> = fit.iter().map(|(_, class)| *class).collect();
    // each class weighs the same, however many rows it has
    let weight: Vec<f64> = targets
        .iter()
        .map(|class| (1.0 / targets.iter().filter(|other| *other == class).count() as f64).sqrt())
        .collect();
    let weight = Tensor::from_slice(&weight).unsqueeze(1);
    let targets =
        (Tensor::from_slice(&targets).one_hot(kept).to_kind(Kind::Double) - 1.0 / kept as f64) * &weight;
    let train = train * &weight;
    // as many unknowns as rows: there are often fewer of them than of features
    let gram = train.matmul(&train.transpose(0, 1));
    let n = gram.size()[0];
    let ridge = (gram.diagonal(0, 0, 1).mean(Kind::Double) * RIDGE).clamp_min(f64::MIN_POSITIVE);
    let gram = gram + Tensor::eye(n, (Kind::Double, tch::Device::Cpu)) * ridge;
    let dual = Tensor::f_linalg_solve(&gram, &targets, true).map_err(TrainingError::tensor)?;
    let guesses = test.matmul(&train.transpose(0, 1)).matmul(&dual).argmax(1, false);
    let guesses = Vec::<i64>::try_from(guesses).map_err(TrainingError::tensor)?;
    let mut sum = 0.0;
    for class in 0..kept {
        let of: Vec<bool> = ask
            .iter()
            .zip(&guesses)
            .filter(|((_, c), _)| *c == class)
            .map(|((_, c), guess)| c == guess)
            .collect();
        sum += of.iter().filter(|right| **right).count() as f64 / of.len() as f64;
    }
    Ok(Some(sum / kept as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn planes_are_found_and_noise_is_not() {
        tch::manual_seed(4);
        let noise = Tensor::randn([120, 300], (Kind::Float, Device::Cpu));
        let classes: Vec<i64> = (0..120).map(|i| i / 40).collect();
        let shift = Tensor::from_slice(&classes).one_hot(300).to_kind(Kind::Float) * 20.0;
        let found = linear_probe(&(&noise + shift), &classes).unwrap().unwrap();
        assert!(found > 0.95, "{found}");
        let found = linear_probe(&noise, &classes).unwrap().unwrap();
        assert!((0.1..0.6).contains(&found), "{found}");
    }

    #[test]
    fn one_class_says_nothing() {
        let x = Tensor::randn([5, 3], (Kind::Float, Device::Cpu));
        assert_eq!(linear_probe(&x, &[1; 5]).unwrap(), None);
        assert_eq!(linear_probe(&x, &[1, 1, 1, 1, 2]).unwrap(), None);
        assert!(linear_probe(&x, &[1; 4]).is_err());
    }
}
