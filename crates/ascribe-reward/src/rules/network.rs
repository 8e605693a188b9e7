//! A small network from features to a reward: one hidden layer, as in "Leveraging Domain Knowledge for Efficient Reward Modelling in
//! RLHF", arXiv:2402.15473 (two layers; their width is our choice).
//!
//! ```text
//! r(x) = v . relu(W x + b)
//! loss = mean over pairs of -log sigmoid(r(chosen) - r(rejected)) + ridge / 2 (|W|^2 + |v|^2)
//! ```
//! Fitted on the host by Adam (arXiv:1412.6980) over all pairs at once, so the same pairs and seed give the same network. A constant
//! of the output would cancel in every pair, and there is none.

use ascribe_core::Seed;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{finite, not_empty, option, same_length};
use crate::math::{dot, log_sigmoid, normal, sigmoid};

/// Options of [`FeatureReward::fit_network`](crate::FeatureReward::fit_network).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Width of the hidden layer; at least 1.
    pub hidden: usize,
    /// Steps of Adam; at least 1.
    pub steps: usize,
    /// Their size; finite and above 0.
    pub learning_rate: f64,
    /// Weight of the squared weights; finite and at least 0.
    pub ridge: f64,
    /// Root of the first weights.
    pub seed: Seed,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { hidden: 32, steps: 500, learning_rate: 0.01, ridge: 1e-3, seed: Seed(0) }
    }
}

/// The network: `hidden` rows of `inputs` weights, then their biases, then the weights of the output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    inputs: usize,
    hidden: usize,
    weights: Vec<f64>,
}

impl Network {
    /// # Errors
    /// Without a pair or a feature, when features differ in number or are not finite, or an option is out of its range.
    pub(super) fn fit(pairs: &[[Vec<f64>; 2]], config: &NetworkConfig) -> Result<Self, RewardError> {
        let NetworkConfig { hidden, steps, learning_rate: rate, ridge, seed } = *config;
        option("hidden", "at least 1", hidden as f64, hidden >= 1)?;
        option("steps", "at least 1", steps as f64, steps >= 1)?;
        option("learning_rate", "finite and above 0", rate, 0.0 < rate && rate.is_finite())?;
        option("ridge", "finite and at least 0", ridge, 0.0 <= ridge && ridge.is_finite())?;
        not_empty("the pairs", pairs)?;
        let inputs = pairs.first().map_or(0, |pair| pair[0].len());
        for side in pairs.iter().flatten() {
            finite("the features of a response", side)?;
            same_length("the features of a response", inputs, side.len())?;
        }
        let mut network = Self::fresh(inputs, hidden, seed);
        let n = network.weights.len();
        let (mut first, mut second): (Vec<f64>, Vec<f64>) = (vec![0.0; n], vec![0.0; n]);
        for step in 1..=steps {
            let (_, slopes) = network.loss(pairs, ridge);
            let corrections = [0.9f64, 0.999].map(|decay| 1.0 - decay.powi(step.min(100_000) as i32));
            let moments = first.iter_mut().zip(&mut second).zip(&slopes);
            for (weight, ((first, second), slope)) in network.weights.iter_mut().zip(moments) {
                *first = 0.9 * *first + 0.1 * slope;
                *second = 0.999 * *second + 0.001 * slope * slope;
                let size = (*second / corrections[1]).sqrt() + 1e-8;
                *weight -= rate * *first / corrections[0] / size;
            }
        }
        Ok(network)
    }

    fn fresh(inputs: usize, hidden: usize, seed: Seed) -> Self {
        let mut stream = seed.stream("feature network", 0);
        let (into, out) = ((2.0 / inputs as f64).sqrt(), (1.0 / hidden as f64).sqrt());
        let mut weights: Vec<f64> = (0..hidden * inputs).map(|_| into * normal(&mut stream)).collect();
        weights.resize(hidden * (inputs + 1), 0.0);
        weights.extend((0..hidden).map(|_| out * normal(&mut stream)));
        Self { inputs, hidden, weights }
    }

    fn parts(&self) -> (&[f64], &[f64], &[f64]) {
        let (rows, rest) = self.weights.split_at(self.hidden * self.inputs);
        let (biases, output) = rest.split_at(self.hidden);
        (rows, biases, output)
    }

    fn hidden(&self, x: &[f64]) -> Vec<f64> {
        let (rows, biases, _) = self.parts();
        let units = rows.chunks_exact(self.inputs).zip(biases);
        units.map(|(row, bias)| (dot(row, x) + bias).max(0.0)).collect()
    }

    /// The reward of standardised features.
    ///
    /// # Errors
    /// When there are more or fewer of them than the network has inputs.
    pub(super) fn apply(&self, x: &[f64]) -> Result<f64, RewardError> {
        same_length("the features", self.inputs, x.len())?;
        Ok(dot(self.parts().2, &self.hidden(x)))
    }

    /// The loss and its slope in every weight.
    fn loss(&self, pairs: &[[Vec<f64>; 2]], ridge: f64) -> (f64, Vec<f64>) {
        let (_, _, output) = self.parts();
        let (biases_at, output_at) = (self.hidden * self.inputs, self.hidden * (self.inputs + 1));
        let (mut loss, mut slopes) = (0.0, vec![0.0; self.weights.len()]);
        for pair in pairs {
            let hidden = [0, 1].map(|side: usize| self.hidden(&pair[side]));
            let margin = dot(output, &hidden[0]) - dot(output, &hidden[1]);
            loss -= log_sigmoid(margin) / pairs.len() as f64;
            let slope = -sigmoid(-margin) / pairs.len() as f64;
            for ((hidden, x), slope) in hidden.iter().zip(pair).zip([slope, -slope]) {
                for (unit, value) in hidden.iter().enumerate() {
                    slopes[output_at + unit] += slope * value;
                    if *value > 0.0 {
                        let inner = slope * output[unit];
                        slopes[biases_at + unit] += inner;
                        let row = &mut slopes[unit * self.inputs..(unit + 1) * self.inputs];
                        row.iter_mut().zip(x).for_each(|(slope, x)| *slope += inner * x);
                    }
                }
            }
        }
        for (at, (slope, weight)) in slopes.iter_mut().zip(&self.weights).enumerate() {
            if !(biases_at..output_at).contains(&at) {
                loss += 0.5 * ridge * weight * weight;
                *slope += ridge * weight;
            }
        }
        (loss, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is near 0 is better than what is far from it, on either side: no line says so.
    fn near_zero() -> Vec<[Vec<f64>; 2]> {
        let far = [-2.0, -1.5, -1.0, 1.0, 1.5, 2.0];
        far.iter().flat_map(|far| [-0.3, 0.0, 0.3].map(|near| [vec![near], vec![*far]])).collect()
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        let pairs = vec![[vec![0.5, -1.0], vec![1.0, 0.25]], [vec![-0.75, 0.5], vec![0.1, -0.4]]];
        let network = Network::fresh(2, 3, Seed(1));
        let (_, slopes) = network.loss(&pairs, 0.1);
        for (at, slope) in slopes.iter().enumerate() {
            let moved = |by: f64| {
                let mut network = network.clone();
                network.weights[at] += by;
                network.loss(&pairs, 0.1).0
            };
            let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
            assert!((slope - expected).abs() < 1e-6, "weight {at}: {slope} and {expected}");
        }
    }

    #[test]
    fn a_network_learns_what_no_line_can() {
        let pairs = near_zero();
        let network = Network::fit(&pairs, &NetworkConfig::default()).unwrap();
        let reward = |x: &[f64]| network.apply(x).unwrap();
        assert!(pairs.iter().all(|[near, far]| reward(near) > reward(far)), "{network:?}");
        // The same pairs and seed, the same network; another seed, another one.
        assert_eq!(Network::fit(&pairs, &NetworkConfig::default()).unwrap(), network);
        let other = NetworkConfig { seed: Seed(1), steps: 1, ..NetworkConfig::default() };
        assert!(Network::fit(&pairs, &other).unwrap() != network);
    }

    #[test]
    fn a_heavy_ridge_leaves_nothing() {
        let heavy = NetworkConfig { ridge: 100.0, steps: 2000, ..NetworkConfig::default() };
        let network = Network::fit(&near_zero(), &heavy).unwrap();
        assert!(network.apply(&[2.0]).unwrap().abs() < 0.05);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (pairs, usual) = (near_zero(), NetworkConfig::default());
        for (config, said) in [
            (NetworkConfig { hidden: 0, ..usual }, "hidden must be at least 1"),
            (NetworkConfig { steps: 0, ..usual }, "steps must be at least 1"),
            (NetworkConfig { learning_rate: f64::NAN, ..usual }, "learning_rate must be finite and above 0"),
            (NetworkConfig { ridge: -1.0, ..usual }, "ridge must be finite and at least 0"),
        ] {
            let error = Network::fit(&pairs, &config).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(Network::fit(&[], &usual).is_err());
        assert!(Network::fit(&[[vec![], vec![]]], &usual).is_err());
        assert!(Network::fit(&[[vec![1.0], vec![1.0, 2.0]]], &usual).is_err());
        assert!(Network::fit(&[[vec![1.0], vec![f64::INFINITY]]], &usual).is_err());
        assert!(Network::fit(&pairs, &usual).unwrap().apply(&[1.0, 2.0]).is_err());
    }
}
