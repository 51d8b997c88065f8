//! Whether classes can be told apart by planes in an embedding.

use crate::{Result, TrainingError};
use std::collections::BTreeSet;
use tch::{Kind, Tensor};

/// Strength of the ridge, relative to the mean square of the centred rows.
const RIDGE: f64 = 1e-2;

/// How well classes were told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Balanced accuracy: the mean over classes of the share of rows that were found.
    pub accuracy: f64,
    /// That of guessing.
    pub chance: f64,
}

/// Balanced accuracy of a ridge regression to the classes, fitted on one half of each class's subjects and asked on the others: rows of one
/// subject are alike whatever their class.
/// `None` unless at least two classes have two subjects; rows of other classes are left out.
///
/// # Shapes
/// `embedding`: `[rows, features]`, any float kind; computed in float64. `classes`, `subjects`: a number for each row.
///
/// # Errors
/// On other shapes, and when LibTorch refuses.
pub fn linear_probe(embedding: &Tensor, classes: &[i64], subjects: &[i64]) -> Result<Option<Probe>> {
    let shape = embedding.size();
    if shape.len() != 2 || shape[0] != classes.len() as i64 || subjects.len() != classes.len() {
        return Err(TrainingError::shape("embedding", embedding, format!("[{}, features]", classes.len())));
    }
    let (mut fit, mut ask) = (Vec::new(), Vec::new());
    let known: BTreeSet<i64> = classes.iter().copied().collect();
    let mut kept = 0;
    for class in known {
        let rows: Vec<usize> = (0..classes.len()).filter(|row| classes[*row] == class).collect();
        let of_class: BTreeSet<i64> = rows.iter().map(|row| subjects[*row]).collect();
        if of_class.len() < 2 {
            continue;
        }
        let fitted: BTreeSet<i64> = of_class.into_iter().step_by(2).collect();
        for row in rows {
            let half = if fitted.contains(&subjects[row]) { &mut fit } else { &mut ask };
            half.push((row as i64, kept));
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
    Ok(Some(Probe { accuracy: sum / kept as f64, chance: 1.0 / kept as f64 }))
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
        let subjects: Vec<i64> = (0..120).collect();
        let shift = Tensor::from_slice(&classes).one_hot(300).to_kind(Kind::Float) * 20.0;
        let found = linear_probe(&(&noise + shift), &classes, &subjects).unwrap().unwrap();
        assert!(found.accuracy > 0.95 && (found.chance - 1.0 / 3.0).abs() < 1e-12, "{found:?}");
        let found = linear_probe(&noise, &classes, &subjects).unwrap().unwrap();
        assert!((0.1..0.6).contains(&found.accuracy), "{found:?}");
    }

    #[test]
    fn who_a_row_is_of_says_nothing_of_its_class() {
        tch::manual_seed(5);
        // ten subjects of each class, each far from all others, eight rows of each
        let subjects: Vec<i64> = (0..160).map(|i| i / 8).collect();
        let classes: Vec<i64> = subjects.iter().map(|subject| subject % 2).collect();
        let own = Tensor::randn([20, 64], (Kind::Float, Device::Cpu)) * 10.0;
        let rows = own.index_select(0, &Tensor::from_slice(&subjects));
        let rows = rows + Tensor::randn([160, 64], (Kind::Float, Device::Cpu));
        let by_row: Vec<i64> = (0..160).collect();
        let known = linear_probe(&rows, &classes, &by_row).unwrap().unwrap();
        let new = linear_probe(&rows, &classes, &subjects).unwrap().unwrap();
        assert!(known.accuracy > 0.95 && new.accuracy < 0.85, "{known:?} {new:?}");
    }

    #[test]
    fn one_class_says_nothing() {
        let x = Tensor::randn([5, 3], (Kind::Float, Device::Cpu));
        let each = [0, 1, 2, 3, 4];
        assert_eq!(linear_probe(&x, &[1; 5], &each).unwrap(), None);
        assert_eq!(linear_probe(&x, &[1, 1, 1, 1, 2], &each).unwrap(), None);
        // two rows of one subject
        assert_eq!(linear_probe(&x, &[1, 1, 1, 2, 2], &[0, 1, 2, 3, 3]).unwrap(), None);
        assert!(linear_probe(&x, &[1; 4], &each[..4]).is_err());
        assert!(linear_probe(&x, &[1; 5], &each[..4]).is_err());
    }
}
