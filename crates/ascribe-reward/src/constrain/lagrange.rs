//! Component rewards under constraints: "Confronting Reward Model Overoptimization with Constrained RLHF",
//! arXiv:2310.04373, its code.
//!
//! ```text
//! squashed: A = (N - sum_i s(l_i)) A_KL + sum_i s(l_i) A_i,  s = sigmoid for inequalities, tanh for equalities
//! plain:    A = A_KL + sum_i l_i A_i,  l_i at least 0
//! loss of the multipliers: sum_i s(l_i) (mean R_i - theta_i), without gradient through the bracket
//! ```
//! `theta_i` is where the outside metric peaks; a weight rises while its reward is below and falls beyond. A squashed
//! equality may be pushed down again, by a negative weight. Each advantage is brought to mean 0 and variance 1 over the batch
//! first. The loss is minimised by gradient descent with momentum, after the step of the policy: 0.1 and 0.1 in the code.

use ascribe_core::advantage::Constraints;
use ascribe_core::{CoreError, Stream};
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::error::{finite, option, same_length, within};
use crate::math::{mean, normal, sigmoid, variance};

/// What a threshold says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// The reward is to be at least the threshold.
    #[default]
    Inequality,
    /// The reward is to be at the threshold.
    Equality,
}

/// How a multiplier becomes a weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Multiplier {
    /// Through sigmoid or tanh, at the cost of the divergence's weight.
    #[default]
    Squashed,
    /// As it is, kept at least 0.
    Plain,
}

/// Options of [`Lagrange`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LagrangeConfig {
    /// Threshold of each component reward.
    pub thresholds: Vec<f64>,
    /// What the thresholds say.
    pub constraint: Constraint,
    /// How a multiplier becomes a weight.
    pub multiplier: Multiplier,
    /// Step size; finite and above 0.
    pub learning_rate: f64,
    /// Share of the last step; in [0, 1).
    pub momentum: f64,
    /// Longest gradient; above 0.
    pub max_grad_norm: f64,
}

impl Default for LagrangeConfig {
    fn default() -> Self {
        Self {
            thresholds: Vec::new(),
            constraint: Constraint::default(),
            multiplier: Multiplier::default(),
            learning_rate: 0.1,
            momentum: 0.1,
            max_grad_norm: 1.0,
        }
    }
}

impl LagrangeConfig {
    /// Checks the options and starts the multipliers: squashed ones near 0, drawn from `stream`, plain ones at 0.5.
    ///
    /// # Errors
    /// When an option is out of range, squashed multipliers have no component, or plain ones hold an equality.
    pub fn init(&self, stream: &mut Stream) -> Result<Lagrange, RewardError> {
        let n = self.thresholds.len();
        within("a threshold", &self.thresholds, "finite", f64::is_finite)?;
        let rate = self.learning_rate;
        option("learning_rate", "finite and above 0, such as 0.1", rate, 0.0 < rate && rate.is_finite())?;
        option("momentum", "at least 0 and below 1", self.momentum, (0.0..1.0).contains(&self.momentum))?;
        option("max_grad_norm", "above 0", self.max_grad_norm, 0.0 < self.max_grad_norm)?;
        let multipliers = match (self.multiplier, self.constraint) {
            (Multiplier::Plain, Constraint::Equality) => {
                let rule = "plain multipliers are kept at least 0 and cannot hold an equality; squash them";
                return Err(RewardError::Shape { rule, got: "an equality".to_owned() });
            }
            (Multiplier::Plain, Constraint::Inequality) => vec![0.5; n],
            // With no component the weight of the divergence, N less their sum, would be 0.
            (Multiplier::Squashed, _) => {
                option("the number of squashed components", "at least 1", n as f64, n >= 1)?;
                (0..n).map(|_| 0.01 * normal(stream)).collect()
            }
        };
        Ok(Lagrange { velocity: vec![0.0; n], config: self.clone(), multipliers })
    }
}

/// Weights of the advantages.
#[derive(Clone, Debug, PartialEq)]
pub struct MixWeights {
    /// Of the divergence from the reference.
    pub kl: f64,
    /// Of each component.
    pub components: Vec<f64>,
}

/// Multipliers with their optimizer. A plain value: a checkpoint keeps the whole of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lagrange {
    config: LagrangeConfig,
    multipliers: Vec<f64>,
    velocity: Vec<f64>,
}

impl Lagrange {
    /// The multipliers as they are.
    pub fn multipliers(&self) -> &[f64] {
        &self.multipliers
    }

    /// The weights that they give.
    pub fn weights(&self) -> MixWeights {
        let components: Vec<f64> = self.multipliers.iter().map(|l| self.squash(*l)).collect();
        let kl = match self.config.multiplier {
            Multiplier::Squashed => components.len() as f64 - components.iter().sum::<f64>(),
            Multiplier::Plain => 1.0,
        };
        MixWeights { kl, components }
    }

    fn squash(&self, l: f64) -> f64 {
        match (self.config.multiplier, self.config.constraint) {
            (Multiplier::Plain, _) => l,
            (Multiplier::Squashed, Constraint::Inequality) => sigmoid(l),
            (Multiplier::Squashed, Constraint::Equality) => l.tanh(),
        }
    }

    fn slope(&self, l: f64) -> f64 {
        match (self.config.multiplier, self.config.constraint) {
            (Multiplier::Plain, _) => 1.0,
            (Multiplier::Squashed, Constraint::Inequality) => sigmoid(l) * sigmoid(-l),
            (Multiplier::Squashed, Constraint::Equality) => 1.0 - l.tanh().powi(2),
        }
    }

    /// One step of the multipliers, given the mean reward of each component over the batch; the gradient that was followed.
    ///
    /// # Errors
    /// When there is not one reward a component, or one is NaN or infinite; nothing is changed then.
    pub fn update(&mut self, rewards: &[f64]) -> Result<Vec<f64>, RewardError> {
        same_length("the component rewards", self.multipliers.len(), rewards.len())?;
        within("a component reward", rewards, "finite", f64::is_finite)?;
        let over = rewards.iter().zip(&self.config.thresholds).map(|(reward, threshold)| reward - threshold);
        let mut gradient: Vec<f64> = self.multipliers.iter().zip(over).map(|(l, over)| self.slope(*l) * over).collect();
        let norm = gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
        if norm > self.config.max_grad_norm {
            gradient.iter_mut().for_each(|slope| *slope *= self.config.max_grad_norm / norm);
        }
        for ((l, velocity), slope) in self.multipliers.iter_mut().zip(&mut self.velocity).zip(&gradient) {
            *velocity = self.config.momentum * *velocity + slope;
            *l -= self.config.learning_rate * *velocity;
            if self.config.multiplier == Multiplier::Plain {
                *l = l.max(0.0);
            }
        }
        Ok(gradient)
    }

    /// The advantage that the policy sees: that of the divergence and those of the components, each brought to mean 0 and
    /// variance 1 over the batch, weighted.
    ///
    /// # Errors
    /// When there is not one list a component, or the lists differ in length, are empty, or hold a NaN or infinity.
    pub fn mix(&self, kl: &[f64], components: &[Vec<f64>]) -> Result<Vec<f64>, RewardError> {
        same_length("the advantages of the components", self.multipliers.len(), components.len())?;
        let weights = self.weights();
        let mut mixed = vec![0.0; kl.len()];
        let channels = std::iter::once((weights.kl, kl))
            .chain(weights.components.iter().copied().zip(components.iter().map(Vec::as_slice)));
        for (weight, advantages) in channels {
            finite("the advantages", advantages)?;
            same_length("the advantages of a component", mixed.len(), advantages.len())?;
            let (centre, scale) = (mean(advantages), (variance(advantages, 0) + SMALL).sqrt());
            mixed.iter_mut().zip(advantages).for_each(|(mixed, a)| *mixed += weight * (a - centre) / scale);
        }
        Ok(mixed)
    }
}

impl Lagrange {
    /// The same with other thresholds, one a component.
    pub(super) fn with_thresholds(&self, thresholds: Vec<f64>) -> Self {
        Self { config: LagrangeConfig { thresholds, ..self.config.clone() }, ..self.clone() }
    }

    /// The same with the multipliers and velocities of another time.
    fn at(&self, kept: &[f64]) -> Result<Self, RewardError> {
        let n = self.multipliers.len();
        same_length("multipliers and velocities", 2 * n, kept.len())?;
        let (multipliers, velocity) = kept.split_at(n);
        Ok(Self { config: self.config.clone(), multipliers: multipliers.to_vec(), velocity: velocity.to_vec() })
    }
}

impl Constraints for Lagrange {
    fn components(&self) -> usize {
        self.multipliers.len()
    }

    fn start(&self) -> Vec<f64> {
        [self.multipliers.as_slice(), &self.velocity].concat()
    }

    fn weights(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError> {
        Ok(Lagrange::weights(&self.at(kept)?).components)
    }

    fn mix(&self, kept: &[f64], free: &[f64], components: &[Vec<f64>]) -> Result<Vec<f64>, CoreError> {
        Ok(Lagrange::mix(&self.at(kept)?, free, components)?)
    }

    fn thresholds(&self, kept: &[f64]) -> Result<Vec<f64>, CoreError> {
        Ok(self.at(kept)?.config.thresholds)
    }

    fn next(&self, kept: &[f64], means: &[f64]) -> Result<Vec<f64>, CoreError> {
        let mut moved = self.at(kept)?;
        moved.update(means)?;
        Ok(moved.start())
    }
}

/// Keeps equal advantages from a division by 0.
const SMALL: f64 = 1e-8;

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    fn lagrange(thresholds: &[f64], constraint: Constraint, multiplier: Multiplier) -> Result<Lagrange, RewardError> {
        let config =
            LagrangeConfig { thresholds: thresholds.to_vec(), constraint, multiplier, ..LagrangeConfig::default() };
        config.init(&mut Seed(1).stream("multipliers", 0))
    }

    #[test]
    fn plain_multipliers_by_hand() {
        let mut plain = lagrange(&[1.0], Constraint::Inequality, Multiplier::Plain).unwrap();
        assert_eq!(plain.weights(), MixWeights { kl: 1.0, components: vec![0.5] });
        // 0.5 below: the gradient is -0.5, the step 0.05; then above, with a tenth of the last velocity.
        assert_eq!(plain.update(&[0.5]).unwrap(), [-0.5]);
        assert!((plain.multipliers()[0] - 0.55).abs() < 1e-12);
        plain.update(&[1.5]).unwrap();
        assert!((plain.multipliers()[0] - (0.55 - 0.1 * (0.5 - 0.05))).abs() < 1e-12);
        // A gradient longer than 1 is cut, and nothing falls below 0.
        for _ in 0..20 {
            assert!((plain.update(&[100.0]).unwrap()[0] - 1.0).abs() < 1e-12);
        }
        assert_eq!(plain.multipliers(), [0.0]);
    }

    #[test]
    fn what_a_run_keeps_is_where_the_multipliers_stand() {
        let first = lagrange(&[1.0, -1.0], Constraint::Inequality, Multiplier::Squashed).unwrap();
        let (mut moved, constraints): (_, &dyn Constraints) = (first.clone(), &first);
        let mut kept = constraints.start();
        for means in [[0.5, 0.0], [1.5, -2.0]] {
            moved.update(&means).unwrap();
            kept = constraints.next(&kept, &means).unwrap();
            assert_eq!(kept, moved.start());
            assert_eq!(constraints.weights(&kept).unwrap(), moved.weights().components);
        }
        let (free, components) = ([0.0, 2.0], [vec![3.0, 7.0], vec![1.0, 0.0]]);
        assert_eq!(constraints.mix(&kept, &free, &components).unwrap(), moved.mix(&free, &components).unwrap());
        assert_eq!((constraints.thresholds(&kept).unwrap(), constraints.adapts()), (vec![1.0, -1.0], false));
        let [by, plain] = [constraints.next_by(&kept, &[0.5, 0.0], 7.0), constraints.next(&kept, &[0.5, 0.0])];
        assert_eq!(by.unwrap(), plain.unwrap());
        assert!(constraints.weights(&kept[1..]).is_err());
    }

    #[test]
    fn a_reward_at_its_threshold_moves_nothing() {
        for constraint in [Constraint::Inequality, Constraint::Equality] {
            let mut squashed = lagrange(&[0.44, 0.238], constraint, Multiplier::Squashed).unwrap();
            let before = squashed.clone();
            assert_eq!(squashed.update(&[0.44, 0.238]).unwrap(), [0.0, 0.0]);
            assert_eq!(squashed, before);
        }
    }

    #[test]
    fn an_equality_can_push_down_and_an_inequality_cannot() {
        let weight = |constraint| {
            let mut squashed = lagrange(&[0.0], constraint, Multiplier::Squashed).unwrap();
            (0..200).for_each(|_| {
                squashed.update(&[1.0]).unwrap();
            });
            squashed.weights().components[0]
        };
        assert!(weight(Constraint::Equality) < -0.5);
        assert!((0.0..0.1).contains(&weight(Constraint::Inequality)));
    }

    #[test]
    fn fixed_multipliers_are_a_weighted_sum_of_advantages() {
        let plain = lagrange(&[1.0], Constraint::Inequality, Multiplier::Plain).unwrap();
        // Both are -1, 1 after normalising: 1 + 0.5.
        let mixed = plain.mix(&[0.0, 2.0], &[vec![3.0, 7.0]]).unwrap();
        assert!((mixed[0] + 1.5).abs() < 1e-6 && (mixed[1] - 1.5).abs() < 1e-6, "{mixed:?}");
        // Without a component, the divergence alone.
        let none = lagrange(&[], Constraint::Inequality, Multiplier::Plain).unwrap();
        let mixed = none.mix(&[0.0, 2.0], &[]).unwrap();
        assert!((mixed[1] - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (inequality, squashed) = (Constraint::Inequality, Multiplier::Squashed);
        assert!(lagrange(&[], inequality, squashed).is_err(), "its divergence would weigh 0");
        assert!(lagrange(&[f64::NAN], inequality, squashed).is_err());
        assert!(lagrange(&[1.0], Constraint::Equality, Multiplier::Plain).is_err());
        let mut two = lagrange(&[1.0, 2.0], inequality, squashed).unwrap();
        assert!(two.update(&[1.0]).is_err() && two.update(&[1.0, f64::NAN]).is_err());
        assert!(two.mix(&[1.0], &[vec![1.0]]).is_err() && two.mix(&[], &[vec![], vec![]]).is_err());
        assert!(two.mix(&[1.0, 2.0], &[vec![1.0], vec![1.0, 2.0]]).is_err());
    }

    proptest! {
        #[test]
        fn squashed_weights_sum_to_the_number_of_components(rewards in prop::collection::vec(-3.0..3.0f64, 1..5)) {
            for constraint in [Constraint::Inequality, Constraint::Equality] {
                let mut squashed = lagrange(&vec![0.0; rewards.len()], constraint, Multiplier::Squashed).unwrap();
                for _ in 0..10 {
                    squashed.update(&rewards).unwrap();
                    let weights = squashed.weights();
                    let sum = weights.kl + weights.components.iter().sum::<f64>();
                    prop_assert!((sum - rewards.len() as f64).abs() < 1e-9);
                }
            }
        }
    }
}
