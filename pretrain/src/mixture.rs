//! How often each data set is drawn.

use data_manifests::descriptor::Modality;
use serde::{Deserialize, Serialize};

/// What is drawn alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Balance {
    /// Data sets
    #[default]
    Datasets,
    /// Modalities, and the data sets within each
    Modalities,
}

/// How often data sets are drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mixture {
    /// Each is drawn in proportion to its number of cases to this power.
    pub(crate) power: f64,
    /// Among which.
    pub(crate) balance: Balance,
}

impl Mixture {
    /// Upper ends of the shares of data sets, of which each has a modality and so many cases.
    pub(crate) fn ends(self, datasets: &[(Modality, usize)]) -> Vec<f64> {
        let weight = |cases: usize| (cases as f64).powf(self.power);
        let among = |modality: Modality| match self.balance {
            Balance::Datasets => 1.0,
            Balance::Modalities => {
                datasets.iter().filter(|(other, _)| *other == modality).map(|(_, cases)| weight(*cases)).sum()
            }
        };
        let weights: Vec<f64> =
            datasets.iter().map(|(modality, cases)| weight(*cases) / among(*modality)).collect();
        let all: f64 = weights.iter().sum();
        let mut below = 0.0;
        weights
            .iter()
            .map(|weight| {
                below += weight;
                below / all
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_data_sets_follow_the_mix() {
        let datasets = [(Modality::Ct, 100), (Modality::Em, 1), (Modality::Ct, 25)];
        let found = |power| Mixture { power, balance: Balance::Datasets }.ends(&datasets);
        let near = |found: Vec<f64>, expected: [f64; 3]| {
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(near(found(0.0), [1.0 / 3.0, 2.0 / 3.0, 1.0]), "equal");
        assert!(near(found(0.5), [10.0 / 16.0, 11.0 / 16.0, 1.0]), "square roots");
        assert!(near(found(1.0), [100.0 / 126.0, 101.0 / 126.0, 1.0]), "by cases");
        let found = |power| Mixture { power, balance: Balance::Modalities }.ends(&datasets);
        assert!(near(found(0.0), [0.25, 0.75, 1.0]), "one of two modalities has two data sets");
        assert!(near(found(1.0), [0.4, 0.9, 1.0]), "by cases within modalities");
    }
}
